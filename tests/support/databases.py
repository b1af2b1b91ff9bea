"""Sources and what opens sessions with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rounds.databases.databases import Databases
from rounds.fields import Secret
from rounds.sources import Source, SqliteSource


def databases_for(sources: Mapping[str, Source]) -> Databases:
    """What opens sessions with these sources."""
    databases = Databases()
    databases.configure(sources)
    return databases


def sqlite_source(path: Path, **keys: Any) -> SqliteSource:
    """A configured SQLite file."""
    return SqliteSource.model_validate({"kind": "sqlite", "path": path, **keys})


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
