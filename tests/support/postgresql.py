"""A PostgreSQL server of the tests' own: data in a temporary folder, 127.0.0.1, a free port."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rounds.demo.ports import pick_port
from rounds.sources import PostgresqlSource
from support import processes
from support.binaries import require_binary

ADMIN, ADMIN_PASSWORD = "admin", "admin of the tests"
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_wal_size=1GB", "shared_buffers=64MB")


@dataclass(frozen=True)
class PostgresqlServer:
    """A running server.

    Attributes:
        port: where it listens on 127.0.0.1.
        pid: its first process.
        log: what it has to say.
    """

    port: int
    pid: int
    log: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def connect(self, database: str = "postgres", **arguments: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection of the administrator's, in autocommit. The caller closes it."""
        given = {"user": ADMIN, "password": ADMIN_PASSWORD, **arguments}
        return psycopg.connect(host="127.0.0.1", port=self.port, dbname=database, autocommit=True, **given)

    def sql(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements as the administrator; the rows of the last one. No placeholders: ``%`` stands for itself."""
        with contextlib.closing(self.connect(database)) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def executemany(self, statement: str, rows: Sequence[Sequence[object]], database: str) -> None:
        """Run one statement with ``%s`` for many rows, as the administrator."""
        with contextlib.closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.executemany(statement, rows)

    def create_database(self, prefix: str = "test") -> str:
        """A new, empty database with a name of its own."""
        name = f"{prefix}_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} STRATEGY file_copy")
        return name

    def open_sessions(self, database: str) -> int:
        """How many sessions of others are open in a database."""
        count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        return int(self.sql(f"{count} AND datname = '{database}'")[0][0])

    def url(self, database: str) -> str:
        """Of a database, as the administrator, for SQLAlchemy."""
        password = ADMIN_PASSWORD.replace(" ", "%20")
        return f"postgresql+psycopg://{ADMIN}:{password}@127.0.0.1:{self.port}/{database}"

    def source(self, database: str, **keys: Any) -> PostgresqlSource:
        """A configured source, as the administrator unless ``user`` and ``password`` say otherwise."""
        given = {"user": ADMIN, "password": ADMIN_PASSWORD, "host": "127.0.0.1", "port": self.port, **keys}
        return PostgresqlSource.model_validate({"kind": "postgresql", "database": database, **given})


def _program(name: str) -> Path:
    """A program of the server's, which Debian keeps out of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    return found[-1] if found else require_binary(name)


def require_postgresql() -> None:
    """Without the server, as ``require_binary``."""
    _program("postgres"), _program("initdb")


def _unprivileged() -> str | None:
    """Who the server may run as: it refuses root."""
    if os.geteuid() != 0:
        return None
    for user in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(user)
            return user
    pytest.skip("PostgreSQL does not run as root, and there is no other user")


@contextlib.contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A server that runs until left. It asks for passwords."""
    postgres, initdb = _program("postgres"), _program("initdb")
    user = _unprivileged()
    with processes.folder("rounds-postgresql-", user) as folder:
        data, port, secret = folder / "data", pick_port(), folder / "password"
        secret.write_text(ADMIN_PASSWORD, encoding="utf-8")
        options = [f"--username={ADMIN}", f"--pwfile={secret}", "--auth=scram-sha-256", "--locale=C", "--encoding=UTF8"]
        command = [str(initdb), f"--pgdata={data}", *options, "--no-sync", "--no-instructions"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, user=user)
        settings = [*_FAST, "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}"]
        command = [
            str(postgres),
            "-D",
            str(data),
            "-p",
            str(port),
            *(part for each in settings for part in ("-c", each)),
        ]
        log = folder / "server.log"
        probe = PostgresqlServer(port, 0, log)
        with processes.server(command, log, lambda: probe.sql("SELECT 1"), user, signal.SIGQUIT) as process:
            yield PostgresqlServer(port, process.pid, log)
