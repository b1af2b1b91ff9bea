"""Servers of ``bench/tables.py``: each of their own data, with a table that is changed by known keys.

The table ``patients`` has an integer key and a name; every hundredth name is NULL, many are not ASCII. Its keys are the
numbers from 1 on but for multiples of :data:`FREE`, so that rows can be inserted anywhere.
"""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pymysql
from measure import free_port, running

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
        table: the table's name in a configuration.
        source: its section ``sources``, plain.
        rows: how many rows the table was made with.
    """

    title: ClassVar[str]
    table: str = "patients"
    #: The floor: one bare aggregate over all columns, which every digest must cost at least.
    floor_statement: ClassVar[str]
    source: dict[str, Any]

    def __init__(self) -> None:
        self.rows = 0
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

    def floor(self) -> float:
        """Seconds that the floor takes."""
        begin = time.perf_counter()
        self.sql(self.floor_statement)
        return time.perf_counter() - begin

    @abstractmethod
    def sql(self, statement: str) -> list[Any]:
        """Run a statement; its rows."""

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
        "SELECT COUNT(*), BIT_XOR(CAST(CONV(LEFT(SHA2(CONCAT_WS(',', id, name), 256), 16), 16, 10) AS UNSIGNED))"
        " FROM patients"
    )

    def __init__(self, source: dict[str, Any]) -> None:
        super().__init__()
        self.source = source
        self._connection = connect(source)

    @property
    def url(self) -> str:
        """Of its database, for reladiff."""
        source = self.source
        return f"mysql://{source['user']}:{source['password']}@{source['host']}:{source['port']}/{source['database']}"

    def sql(self, statement: str) -> list[Any]:
        """Run a statement; its rows."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

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
    with running(tethered(command), port):
        source = {"kind": "mariadb", "host": "127.0.0.1", "port": port, "user": "bench", "database": "bench"}
        yield Mariadb({**source, "password": password})


def connect(source: dict[str, Any]) -> Any:
    """A connection of the driver alone, without Rounds."""
    keys = ("host", "port", "user", "password", "database")
    return pymysql.connect(**{key: source[key] for key in keys}, charset="utf8mb4", autocommit=True)


def tethered(command: Sequence[str]) -> list[str]:
    """The command, made such that it does not outlive this process."""
    return [sys.executable, "-m", "rounds.demo.tether", str(os.getpid()), *command]


def _quoted(key: int) -> str:
    return f"'{_GIVEN[key % len(_GIVEN)]} {_FAMILY[key % len(_FAMILY)]} {key}'"


def _batches(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(keys), _BATCH):
        yield keys[start : start + _BATCH]
