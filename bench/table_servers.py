"""Servers of ``bench/tables.py``: each of their own data, with a table that is changed by known keys.

The table ``patients`` has an integer key and a name; every hundredth name is NULL, many are not ASCII. Its keys are the
numbers from 1 on but for multiples of :data:`FREE`, so that rows can be inserted anywhere.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from measure import cpu_seconds, free_port, running

from rounds.demo import warehouse

#: Every so manyth key is not in the table.
FREE = 51
#: Keys in one statement.
_BATCH = 1000
_GIVEN = ("Ana", "José", "Zoë", "Łukasz", "Мария", "小龍", "Ngọc")
_FAMILY = ("Silva", "Müller", "O''Brien", "Çelik", "Παπάς", "da Conceição", "Smith")


@dataclass(frozen=True)
class Changed:
    """Keys that were changed."""

    inserted: list[int]
    deleted: list[int]
    modified: list[int]

    def __len__(self) -> int:
        return len(self.inserted) + len(self.deleted) + len(self.modified)


class Server(ABC):
    """A server with the table.

    Attributes:
        title: what it is.
        connection: one that owns the table.
        table: the table's name in a configuration.
        source: its section ``sources``, plain.
        rows: how many rows the table was made with.
    """

    title: ClassVar[str]
    connection: Any
    table: str = "patients"
    #: The floor: one aggregate over 64 bits of a hash of all columns, in which NULL and '' differ; no key, no buckets.
    floor_statement: ClassVar[str]

    def __init__(self, source: dict[str, Any], pid: int) -> None:
        self.source = source
        self.rows = 0
        self._pid = pid
        self._random = random.Random(12780)
        self._touched: set[int] = set()

    def fill(self, rows: int) -> None:
        """Make the table anew.

        Args:
            rows: a multiple of 50.
        """
        self.rows = rows
        self._touched.clear()
        self._fill(rows // (FREE - 1) * FREE)

    def change(self, rows: int) -> Changed:
        """Insert, delete and modify a third of so many rows each, all over the table; no row twice."""
        third = rows // 3
        changed = Changed(
            sorted(self._pick(third, free=True)),
            sorted(self._pick(third, free=False)),
            sorted(self._pick(rows - 2 * third, free=False)),
        )
        for keys in _batches(changed.inserted):
            self.sql(f"INSERT INTO patients VALUES {', '.join(f'({key}, {_quoted(key)})' for key in keys)}")
        for keys in _batches(changed.deleted):
            self.sql(f"DELETE FROM patients WHERE id IN ({', '.join(map(str, keys))})")
        for keys in _batches(changed.modified):
            listed = ", ".join(map(str, keys))
            self.sql(f"UPDATE patients SET name = CONCAT(COALESCE(name, ''), '*') WHERE id IN ({listed})")
        return changed

    def floor(self) -> tuple[float, float]:
        """Seconds that the floor takes, and seconds of processor time of the server."""
        begin, spent = time.perf_counter(), self.cpu()
        self.sql(self.floor_statement)
        return time.perf_counter() - begin, self.cpu() - spent

    def cpu(self) -> float:
        """Seconds of processor time that the server has used."""
        return cpu_seconds(self._pid)

    def sql(self, statement: str) -> list[Any]:
        """Run a statement; its rows."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    @abstractmethod
    def sent(self) -> int:
        """Bytes that it has sent to clients so far."""

    @abstractmethod
    def settle(self) -> None:
        """Wait until what was committed can be told from what may still come."""

    @abstractmethod
    def _fill(self, highest: int) -> None:
        """Make the table with keys up to this."""

    def _pick(self, count: int, *, free: bool) -> Iterator[int]:
        highest = self.rows // (FREE - 1)
        while count:
            key = self._random.randrange(1, highest + 1) * FREE
            if not free:
                key -= self._random.randrange(1, FREE)
            if key not in self._touched:
                self._touched.add(key)
                count -= 1
                yield key


class Mariadb(Server):
    """A MariaDB server."""

    title = "MariaDB"
    floor_statement = (
        "SELECT COUNT(*), BIT_XOR(CAST(CONV(LEFT(SHA2(CONCAT("
        "IFNULL(id, 'N'), ',', IFNULL(CONCAT(LENGTH(name), ':', name), 'N')"
        "), 256), 16), 16, 10) AS UNSIGNED)) FROM patients"
    )

    def __init__(self, source: dict[str, Any], pid: int) -> None:
        super().__init__(source, pid)
        self.connection = connect(source)

    @property
    def url(self) -> str:
        """Of its database, for reladiff."""
        source = self.source
        return f"mysql://{source['user']}:{source['password']}@{source['host']}:{source['port']}/{source['database']}"

    def sent(self) -> int:
        """As the server counts them."""
        return int(self.sql("SHOW GLOBAL STATUS LIKE 'Bytes_sent'")[0][1])

    def settle(self) -> None:
        """The time of a table's last change has a resolution of one second."""
        time.sleep(2.5)

    def _fill(self, highest: int) -> None:
        given, family = (", ".join(f"'{name}'" for name in names) for names in (_GIVEN, _FAMILY))
        name = f"CONCAT(ELT(1 + seq % {len(_GIVEN)}, {given}), ' ', ELT(1 + seq DIV 7 % {len(_FAMILY)}, {family}))"
        self.sql("DROP TABLE IF EXISTS patients, patients_before")
        self.sql("CREATE TABLE patients (id BIGINT PRIMARY KEY, name VARCHAR(100)) CHARACTER SET utf8mb4")
        self.sql(
            f"INSERT INTO patients SELECT seq, IF(seq % 100 = 7, NULL, CONCAT({name}, ' ', seq))"
            f" FROM seq_1_to_{highest} WHERE seq % {FREE} <> 0"
        )

    def copy(self) -> None:
        """Make ``patients_before``, for a peer that compares two tables."""
        self.sql("CREATE OR REPLACE TABLE patients_before LIKE patients")
        self.sql("INSERT INTO patients_before SELECT * FROM patients")


@contextmanager
def mariadb(folder: Path) -> Iterator[Mariadb]:
    """A MariaDB server with data in this folder, until left."""
    data, port, password = folder / "data", free_port(), secrets.token_hex()
    common = ["--no-defaults", f"--datadir={data}", "--user=root"]
    install = ["mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run(install, check=True, capture_output=True)
    start = folder / "start.sql"
    start.write_text(
        f"CREATE USER bench@'127.0.0.1' IDENTIFIED BY '{password}';\n"
        "GRANT ALL ON *.* TO bench@'127.0.0.1';\nCREATE DATABASE IF NOT EXISTS bench;\n",
        encoding="utf-8",
    )
    options = {
        "port": port,
        "bind-address": "127.0.0.1",
        "socket": folder / "socket",
        "pid-file": folder / "pid",
        "init-file": start,
        "innodb-buffer-pool-size": "2G",
        "innodb-log-file-size": "1G",
        "innodb-flush-log-at-trx-commit": 0,
        "innodb-doublewrite": 0,
    }
    command = ["mariadbd", *common, "--skip-name-resolve", *(f"--{name}={value}" for name, value in options.items())]
    with running(tethered(command), port) as process:
        source = {"kind": "mariadb", "host": "127.0.0.1", "port": port, "user": "bench", "database": "bench"}
        server = Mariadb({**source, "password": password}, process.pid)
        with closing(server.connection):
            yield server


class Fakesnow(Server):
    """fakesnow's server. What it sends goes through a gate that counts."""

    title = "fakesnow"
    table = "bench.public.patients"
    floor_statement = (
        "SELECT COUNT(*), BITXOR_AGG(BITAND(HASH(SHA2(TO_VARCHAR(HASH(id, name)), 256)), 9223372036854775807))"
        " FROM patients"
    )

    def __init__(self, port: int, pid: int) -> None:
        self._gate = Gate(port)
        place = {"kind": "snowflake", "account": "bench", "host": "127.0.0.1", "protocol": "http"}
        login = {"user": "bench", "password": secrets.token_hex()}
        super().__init__({**place, **login, "port": self._gate.port, "database": "bench"}, pid)
        with closing(connect({**self.source, "port": port, "database": None})) as first, first.cursor() as cursor:
            cursor.execute("CREATE DATABASE bench")
            cursor.execute("CREATE SCHEMA IF NOT EXISTS bench.public")
        self.connection = connect({**self.source, "port": port})

    def sent(self) -> int:
        """As the gate counts them: headers of HTTP too."""
        return self._gate.sent

    def settle(self) -> None:
        """Its token moves with every change."""

    def _fill(self, highest: int) -> None:
        given, family = (
            " ".join(f"WHEN {number} THEN '{name}'" for number, name in enumerate(names)) for names in (_GIVEN, _FAMILY)
        )
        name = f"CASE MOD(n, {len(_GIVEN)}) {given} END || ' ' || CASE MOD(FLOOR(n / 7), {len(_FAMILY)}) {family} END"
        self.sql("CREATE OR REPLACE TABLE patients (id NUMBER(38, 0), name VARCHAR)")
        self.sql(
            f"INSERT INTO patients SELECT n, IFF(MOD(n, 100) = 7, NULL, {name} || ' ' || n) FROM"
            f" (SELECT ROW_NUMBER() OVER (ORDER BY NULL) AS n FROM TABLE(GENERATOR(ROWCOUNT => {highest})))"
            f" WHERE MOD(n, {FREE}) <> 0"
        )


@contextmanager
def fakesnow(python: Path) -> Iterator[Fakesnow]:
    """fakesnow's server, run by the Python of its environment until left."""
    port = free_port()
    with running(tethered(warehouse.command(python, port)), port) as process:
        server = Fakesnow(port, process.pid)
        with closing(server.connection):
            yield server


class Gate:
    """Passes connections on to a port, and counts the bytes that come back.

    Attributes:
        port: where it listens.
        sent: bytes so far.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.port: int = self._server.getsockname()[1]
        self.sent = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client = self._server.accept()[0]
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(2**18):
                if counted:
                    with self._lock:
                        self.sent += len(data)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def connect(source: dict[str, Any]) -> Any:
    """A connection of the driver alone, without Rounds.

    Drivers are imported here: one that a run does not use must not be in its memory.
    """
    keys = ("host", "port", "user", "password", "database")
    if source["kind"] == "snowflake":
        import snowflake.connector  # noqa: PLC0415

        given = {key: source[key] for key in (*keys, "account", "protocol") if source[key]}
        quiet: dict[str, Any] = {"session_parameters": {"CLIENT_TELEMETRY_ENABLED": False}}
        # Its default says with each connection that it will change.
        quiet["enable_server_session_keep_alive_auto_detection"] = False
        return snowflake.connector.connect(**given, schema="public", autocommit=True, **quiet)
    import pymysql  # noqa: PLC0415

    return pymysql.connect(**{key: source[key] for key in keys}, charset="utf8mb4", autocommit=True)


def tethered(command: Sequence[str]) -> list[str]:
    """The command, made such that it does not outlive this process."""
    return [sys.executable, "-m", "rounds.demo.tether", str(os.getpid()), *command]


def _quoted(key: int) -> str:
    return f"'{_GIVEN[key % len(_GIVEN)]} {_FAMILY[key % len(_FAMILY)]} {key}'"


def _batches(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(keys), _BATCH):
        yield keys[start : start + _BATCH]
