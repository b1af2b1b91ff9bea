"""Sources and what opens sessions with them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from rounds.databases.databases import Databases
from rounds.fields import Secret
from rounds.sources import Source, SqliteSource


class SqliteFiles:
    """SQLite databases in a folder, with the methods of the servers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create_database(self, prefix: str = "test") -> str:
        """A new, empty file with an odd name of its own."""
        name = f"{prefix} {len(list(self._folder.iterdir()))} ?#%.db"
        self.sql("PRAGMA user_version = 1", database=name)
        return name

    def sql(self, *statements: str, database: str) -> list[tuple[Any, ...]]:
        """Run statements; the rows of the last one."""
        with closing(sqlite3.connect(self._folder / database, isolation_level=None)) as connection:
            return [connection.execute(statement).fetchall() for statement in statements][-1]

    def open_sessions(self, database: str) -> int:
        """How many handles this process has on a file."""
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sum(link.exists() and link.readlink() == self._folder / database for link in links)

    def source(self, database: str, **keys: Any) -> SqliteSource:
        """A configured source."""
        return SqliteSource.model_validate({"kind": "sqlite", "path": self._folder / database, **keys})


def databases_for(sources: Mapping[str, Source]) -> Databases:
    """What opens sessions with these sources."""
    databases = Databases()
    databases.configure(sources)
    return databases


def sources_yaml(sources: Mapping[str, Source]) -> str:
    """The section ``sources`` of a configuration file, secrets and all. YAML holds JSON."""
    plain = {
        name: {key: _plain(key, value) for key, value in source if key in source.model_fields_set}
        for name, source in sources.items()
    }
    return f"sources: {json.dumps(plain)}\n"


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal().replace("${", "$${")
    if isinstance(value, Path):
        return str(value)
    return f"{value}s" if key.endswith("timeout") else value
