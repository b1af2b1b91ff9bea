"""An installation to be examined, in a folder of its own, and what the doctor says of it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rounds.cli import main
from rounds.ledger.keeper import Keeper
from rounds.ledger.settings import State
from rounds.tables.schema import SCHEMA
from support.mariadb import MariadbServer
from support.postgresql import PostgresqlServer

PASSWORD = "hunter-2-of-the-tests"
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor said.

    Attributes:
        code: its exit code.
        findings: as it prints them for programs.
        output: everything that it printed.
    """

    code: int
    findings: list[dict[str, Any]]
    output: str

    def about(self, level: str, group: str, subject: str = "", found: str = "") -> list[dict[str, Any]]:
        """Findings of a level and a group whose subject and words hold these."""
        return [
            each
            for each in self.findings
            if (each["level"], each["group"]) == (level, group)
            and subject in each["subject"]
            and found in each["found"]
        ]

    @property
    def problems(self) -> list[dict[str, Any]]:
        """Warnings and errors."""
        return [each for each in self.findings if each["level"] in ("warning", "error")]


@dataclass
class Installation:
    """A configuration with its files, and the servers that it reads.

    Attributes:
        folder: where the files are.
        servers: gives a server by its kind, starting it if need be.
        examine: runs the doctor: words, then its exit code, output and errors.
        config: what will be in ``rounds.yml``.
        flags: what the doctor is told besides.
    """

    folder: Path
    servers: Callable[[str], Any]
    examine: Callable[[Sequence[str]], tuple[int, str, str]]
    config: dict[str, Any] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """The configuration."""
        return self.folder / "rounds.yml"

    @property
    def mariadb(self) -> MariadbServer:
        """The server."""
        server: MariadbServer = self.servers("mariadb")
        return server

    @property
    def postgresql(self) -> PostgresqlServer:
        """The server."""
        server: PostgresqlServer = self.servers("postgresql")
        return server

    def secret(self, name: str, text: str = PASSWORD + "\n", mode: int = 0o600) -> str:
        """A file with a secret; its name."""
        file = self.folder / name
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)
        return name

    def state(self) -> Path:
        """A ledger in a file; the file, which is not made."""
        file = self.folder / "state.db"
        self.config["state"] = {"url": f"sqlite:///{file}"}
        return file

    def watch_mariadb(self, *, grant: bool = True) -> str:
        """A table in MariaDB and a user who may read it; the name of database and user."""
        server = self.mariadb
        name = server.create_database("doctor")
        server.sql(
            f"CREATE TABLE {name}.patients (id INT PRIMARY KEY, name VARCHAR(50), born DATE)",
            f"CREATE TABLE {name}.letters (id INT PRIMARY KEY)",
            f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
        )
        if grant:
            server.sql(f"GRANT SELECT ON {name}.patients TO {name}@'127.0.0.1'")
        place = {"host": "127.0.0.1", "port": server.port, "user": name, "database": name}
        self._source("maria", {"kind": "mariadb", **place})
        self._watch({"name": "maria", "source": "maria", "table": "patients", "key": "id", "columns": ["name"]})
        return name

    def watch_postgresql(self, *, grant: bool = True) -> str:
        """The same in PostgreSQL."""
        server = self.postgresql
        name = server.create_database("doctor")
        server.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'", f"GRANT CONNECT ON DATABASE {name} TO {name}")
        server.sql(
            "CREATE TABLE patients (id INT PRIMARY KEY, name TEXT, born DATE)",
            "CREATE TABLE letters (id SERIAL PRIMARY KEY)",
            "CREATE SCHEMA clinic",
            "CREATE TABLE clinic.visits (id INT PRIMARY KEY, name TEXT)",
            database=name,
        )
        if grant:
            server.sql(f"GRANT SELECT ON patients TO {name}", database=name)
        place = {"host": "127.0.0.1", "port": server.port, "user": name, "database": name}
        self._source("postgres", {"kind": "postgresql", **place})
        self._watch({"name": "postgres", "source": "postgres", "table": "patients", "key": "id", "columns": ["name"]})
        return name

    def watch_sqlite(self) -> Path:
        """The same in a file; the file."""
        file = self.folder / "clinic.db"
        sql = "CREATE TABLE patients (id INTEGER PRIMARY KEY, name TEXT)"
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute(sql)
        file.chmod(0o644)
        self.config.setdefault("sources", {})["file"] = {"kind": "sqlite", "path": "clinic.db"}
        self._watch({"name": "file", "source": "file", "table": "patients", "key": "id"})
        return file

    def probe(self, url: str = "http://127.0.0.1:1/", **keys: Any) -> None:
        """A check of a service."""
        self.config.setdefault("services", {"checks": []})["checks"].append({"name": "web", "url": url, **keys})

    def make_ledger(self) -> Path:
        """A ledger as the exporter leaves it; the file."""
        self.watch_sqlite()
        file = self.state()
        keeper = Keeper([SCHEMA])
        keeper.configure(State.model_validate(self.config["state"]))
        keeper.ledger()
        keeper.close()
        return file

    def write(self) -> None:
        """Write the configuration. YAML holds JSON."""
        if not self.file.exists():
            self.file.write_text(json.dumps(self.config, indent=2), encoding="utf-8")
            self.file.chmod(0o600)

    def doctor(self, *flags: str) -> Diagnosis:
        """Examine it."""
        self.write()
        words = ["doctor", f"--config.file={self.file}", "--format=json", *self.flags, *flags]
        code, out, err = self.examine(words)
        assert out, err
        whole = json.loads(out)
        assert (whole["worst"] in ("warning", "error")) is bool(code)
        assert sum(whole["count"].values()) == len(whole["findings"])
        return Diagnosis(code, whole["findings"], out + err)

    def text(self) -> str:
        """The same as text."""
        self.write()
        _, out, err = self.examine(["doctor", f"--config.file={self.file}", *self.flags])
        return out + err

    def _source(self, name: str, keys: dict[str, Any]) -> None:
        keys["password_file"] = self.secret(f"{name}_password")
        self.config.setdefault("sources", {})[name] = keys

    def _watch(self, table: dict[str, Any]) -> None:
        self.config.setdefault("tables", []).append({"interval": "5s", **table})
        if "state" not in self.config:
            self.state()


def examiner(capfd: pytest.CaptureFixture[str]) -> Callable[[Sequence[str]], tuple[int, str, str]]:
    """Runs the command in this process."""

    def examine(words: Sequence[str]) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(list(words))
        out, err = capfd.readouterr()
        return code, out, err

    return examine
