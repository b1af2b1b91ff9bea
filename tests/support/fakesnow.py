"""fakesnow's server, which stands for Snowflake: in an environment of its own, on 127.0.0.1, a free port."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import snowflake.connector

from rounds.databases.snowflake import arguments
from rounds.demo import warehouse
from rounds.demo.ports import pick_port
from rounds.sources import SnowflakeSource
from support import processes


@dataclass(frozen=True)
class FakesnowServer:
    """A running server.

    Attributes:
        port: where it listens on 127.0.0.1.
        pid: its process.
    """

    port: int
    pid: int
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def sql(self, *statements: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run statements; the rows of the last one. No placeholders."""
        with (
            contextlib.closing(self.connect(database)) as connection,
            contextlib.closing(connection.cursor()) as cursor,
        ):
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def executemany(self, statement: str, rows: Sequence[Sequence[object]], database: str) -> None:
        """Run one statement with ``?`` for many rows."""
        with (
            contextlib.closing(self.connect(database)) as connection,
            contextlib.closing(connection.cursor()) as cursor,
        ):
            cursor.executemany(statement, rows)

    def connect(self, database: str | None = None) -> Any:
        """A connection of the connector's, in autocommit, to a database's schema ``public``. The caller closes it."""
        schema = {"schema": "public"} if database else {}
        return snowflake.connector.connect(**arguments(self.source(database), 60), **schema)

    def open_sessions(self, database: str) -> int:
        """How many sessions are open in a database."""
        return sum(each["database"] == database.upper() for each in self.seen()["sessions"])

    def create_database(self, prefix: str = "test") -> str:
        """A new database with a name of its own and an empty schema ``public``."""
        name = f"{prefix}_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name}", f"CREATE SCHEMA IF NOT EXISTS {name}.public")
        return name

    def source(self, database: str | None, **keys: Any) -> SnowflakeSource:
        """A configured source; its password is ``secret`` unless another way to log in is given."""
        ways = {"password_file", "private_key_file", "token", "token_file"}
        given = {
            "user": "rounds",
            "database": database,
            **({} if ways & keys.keys() else {"password": "secret"}),
            **keys,
        }
        place = {"account": "test", "host": "127.0.0.1", "port": self.port, "protocol": "http"}
        return SnowflakeSource.model_validate({"kind": "snowflake", **place, **given})

    def seen(self) -> dict[str, Any]:
        """``logins`` (the requests), ``paths`` (how often each was asked for), ``sessions`` (those that are open)."""
        seen: dict[str, Any] = httpx.get(self._control, trust_env=False).json()
        return seen

    @contextlib.contextmanager
    def faults(self, **faults: Any) -> Iterator[None]:
        """Forget what was seen, and do these things wrong until left; see ``Faults`` of the server."""
        httpx.post(self._control, json={"forget": True, **faults}, trust_env=False).raise_for_status()
        try:
            yield
        finally:
            httpx.post(self._control, json={}, trust_env=False).raise_for_status()

    @property
    def _control(self) -> str:
        return f"http://127.0.0.1:{self.port}/control"


def require_fakesnow() -> Path:
    """The Python of fakesnow's environment. Without one, as ``require_binary``."""
    python = warehouse.python()
    if python is None:
        reason = f"fakesnow's environment is not there; run make test, or set {warehouse.VARIABLE} to its python"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return python


@contextlib.contextmanager
def fakesnow_server() -> Iterator[FakesnowServer]:
    """A server that runs until left."""
    python, port = require_fakesnow(), pick_port()
    with processes.folder("rounds-fakesnow-") as folder:
        probe = FakesnowServer(port, 0)
        with processes.server(warehouse.command(python, port), folder / "server.log", probe.seen) as process:
            yield FakesnowServer(port, process.pid)
