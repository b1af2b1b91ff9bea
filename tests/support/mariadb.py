"""A MariaDB server of the tests' own: data in a temporary folder, 127.0.0.1, a free port."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql

from rounds.demo.ports import pick_port
from rounds.sources import MariadbSource
from support import processes
from support.binaries import require_binary

ROOT_PASSWORD = "root of the tests"
_FAST = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-flush-method=nosync",
    "--innodb-buffer-pool-size=256M",
    "--sync-binlog=0",
)


@dataclass(frozen=True)
class MariadbServer:
    """A running server.

    Attributes:
        port: where it listens on 127.0.0.1.
        pid: its process.
    """

    port: int
    pid: int
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def connect(self, database: str | None = None, **arguments: Any) -> pymysql.Connection[Any]:
        """A connection of root's, in autocommit. The caller closes it."""
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            database=database,
            autocommit=True,
            **{"user": "root", "password": ROOT_PASSWORD, **arguments},
        )

    def sql(self, *statements: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run statements as root; the rows of the last one. No placeholders, so ``%`` stands for itself."""
        with contextlib.closing(self.connect(database)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def executemany(self, statement: str, rows: Sequence[Sequence[object]], database: str) -> None:
        """Run one statement with ``%s`` for many rows, as root."""
        with contextlib.closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.executemany(statement, rows)

    def create_database(self, prefix: str = "test") -> str:
        """A new, empty database with a name of its own."""
        name = f"{prefix}_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        return name

    def open_sessions(self, database: str) -> int:
        """How many sessions of others are open in a database."""
        return int(self.sql(f"SELECT count(*) FROM information_schema.processlist WHERE db = '{database}'")[0][0])

    def url(self, database: str) -> str:
        """Of a database, as root, for SQLAlchemy."""
        return f"mysql+pymysql://root:{ROOT_PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}/{database}"

    def source(self, database: str, **keys: Any) -> MariadbSource:
        """A configured source, as root unless ``user`` and ``password`` say otherwise."""
        given = {"user": "root", "password": ROOT_PASSWORD, "host": "127.0.0.1", "port": self.port, **keys}
        return MariadbSource.model_validate({"kind": "mariadb", "database": database, **given})


@dataclass(frozen=True)
class MariadbFolder:
    """What a server is started from, more than once where it is killed in between."""

    port: int
    log: Path
    command: tuple[str, ...]

    @contextlib.contextmanager
    def running(self) -> Iterator[MariadbServer]:
        """A server that runs until left, when it is killed."""
        probe = MariadbServer(self.port, 0)
        with processes.server(self.command, self.log, lambda: probe.sql("SELECT 1")) as process:
            yield MariadbServer(self.port, process.pid)


@contextlib.contextmanager
def mariadb_folder(*options: str) -> Iterator[MariadbFolder]:
    """An empty server that does not run yet, with these options besides."""
    mariadbd, install = require_binary("mariadbd"), require_binary("mariadb-install-db")
    with processes.folder("rounds-mariadb-") as folder:
        data, port = folder / "data", pick_port()
        # Servers that share a folder for temporary tables delete each other's when they start.
        common = ["--no-defaults", f"--datadir={data}", f"--tmpdir={folder}", "--user=root"]
        command = [str(install), *common, "--auth-root-authentication-method=normal", "--skip-test-db", *_FAST]
        subprocess.run(command, check=True, capture_output=True)
        start = folder / "start.sql"
        start.write_text(
            f"ALTER USER root@localhost IDENTIFIED BY '{ROOT_PASSWORD}';\n"
            f"CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{ROOT_PASSWORD}';\n"
            "GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n"
            "DELETE FROM mysql.global_priv WHERE User='';\nFLUSH PRIVILEGES;\n",
            encoding="utf-8",
        )
        listen = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder / 'socket'}", "--skip-name-resolve"]
        command = [
            str(mariadbd),
            *common,
            *listen,
            f"--pid-file={folder / 'pid'}",
            f"--init-file={start}",
            *_FAST,
            *options,
        ]
        yield MariadbFolder(port, folder / "server.log", tuple(command))


@contextlib.contextmanager
def mariadb_server(*options: str) -> Iterator[MariadbServer]:
    """A server that runs until left, with these options besides."""
    with mariadb_folder(*options) as folder, folder.running() as server:
        yield server
