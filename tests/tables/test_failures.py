"""What may go wrong with a watched table, in a real exporter: told once, counted right, nothing lost by it.

Snowflake is fakesnow's server, which knows no passwords, no privileges and no warehouses: its wrapper gives the
answers that Snowflake documents for these. Dropped tables and columns are fakesnow's own.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from rounds.sources import Source
from support.exporter import RunningExporter, running_exporter, until
from support.fakesnow import FakesnowServer
from support.mariadb import MariadbServer
from support.patients import PatientsTable, ServerPatients, SnowflakePatients, SqlitePatients
from support.postgresql import PostgresqlServer
from tables.test_exporter import changes, config

COLLECTOR = "tables/patients"


class Scene(ABC):
    """A watched table whose database can be made to fail, as its operators may.

    Attributes:
        source: what the exporter is configured with.
        failures: what can be made to go wrong: the reason that it counts as, a part of what is told of it, and what
            makes it so until left.
    """

    patients: PatientsTable
    source: Source
    failures: dict[str, tuple[str, str, Callable[[], AbstractContextManager[None]]]]

    def __init__(self) -> None:
        self.rows = 0
        self.fill(20)

    def fill(self, rows: int) -> None:
        """Let the table have so many rows."""
        self.rows = rows
        self.patients.replace([(key, f"Name {key}") for key in range(rows)])

    def grow(self) -> None:
        """One more row."""
        self.patients.sql(f"INSERT INTO patients VALUES ({self.rows}, 'Name {self.rows}')")
        self.rows += 1

    @contextlib.contextmanager
    def without_table(self) -> Iterator[None]:
        self.patients.sql("DROP TABLE patients")
        yield
        self.create()
        self.fill(self.rows + 1)

    @contextlib.contextmanager
    def without_column(self) -> Iterator[None]:
        self.patients.sql("ALTER TABLE patients DROP COLUMN name")
        yield
        self.patients.sql(f"ALTER TABLE patients ADD COLUMN name {self.text}")
        self.fill(self.rows + 1)

    text = "TEXT"

    def create(self) -> None:
        """The table as it was, without rows."""
        self.patients.sql("CREATE TABLE patients (id BIGINT, name TEXT)")

    @abstractmethod
    def refused_logins(self) -> int | None:
        """Logins that the server has refused so far; None where there are none."""

    @abstractmethod
    def idle(self) -> bool:
        """Whether nothing of the exporter runs in the server."""


class SqliteScene(Scene):
    def __init__(self, _: Any, folder: Path) -> None:
        self.patients = SqlitePatients(folder)
        self.source = self.patients.source
        # Where writers do not keep readers out, there is nothing to wait for.
        self.patients.sql("PRAGMA journal_mode = DELETE")
        self._file = folder / "clinic.db"
        self.failures = {
            "dropped table": ("query", "does not exist", self.without_table),
            "dropped column": ("query", "has no column NAME", self.without_column),
            "locked": ("timeout", "another program keeps the file locked", self._locked),
            "moved file": ("connect", "the file cannot be opened", self._moved),
        }
        super().__init__()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.patients.sql("BEGIN EXCLUSIVE")
        self.grow()
        yield
        self.patients.sql("COMMIT")

    @contextlib.contextmanager
    def _moved(self) -> Iterator[None]:
        aside = self._file.rename(self._file.with_suffix(".aside"))
        yield
        with contextlib.closing(sqlite3.connect(aside)) as connection, connection:
            connection.execute(f"INSERT INTO patients VALUES ({self.rows}, 'New')")
        self.rows += 1
        aside.rename(self._file)

    def create(self) -> None:
        self.patients.sql("CREATE TABLE patients (id INTEGER, name TEXT)")

    def refused_logins(self) -> None:
        return None

    def idle(self) -> bool:
        return True


class ServerScene(Scene):
    """A user of the exporter's own, who may only read."""

    def __init__(self, server: Any) -> None:
        self.patients = ServerPatients(server)
        self.server = server
        self.database = str(self.patients.source.database)  # type: ignore[union-attr]
        self.user = f"watcher_{self.database}"
        self.source = server.source(self.database, user=self.user, password="good")
        self.failures = {
            "wrong password": ("auth", "access denied", self._wrong_password),
            "missing grant": ("auth", "grant it SELECT", self._missing_grant),
            "dropped table": ("query", "does not exist", self.without_table),
            "dropped column": ("query", "has no column NAME", self.without_column),
            "locked": ("timeout", "", self._locked),
            "killed": ("connect", "", self._killed),
        }
        super().__init__()

    @contextlib.contextmanager
    def _wrong_password(self) -> Iterator[None]:
        self.patients.sql(self.password("other"))
        self.grow()
        yield
        self.patients.sql(self.password("good"))

    @contextlib.contextmanager
    def _missing_grant(self) -> Iterator[None]:
        self.patients.sql(self.revoke)
        self.grow()
        yield
        self.patients.sql(self.grant)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with contextlib.closing(self.server.connect(self.database)) as other, other.cursor() as cursor:
            self.lock(cursor)
            cursor.execute(f"INSERT INTO patients VALUES ({self.rows}, 'New')")
            self.rows += 1
            yield
            other.commit()

    @contextlib.contextmanager
    def _killed(self) -> Iterator[None]:
        """While it waits for a lock, so that it is surely at work."""
        with self._locked():
            while not (waiting := self.waiting()):
                time.sleep(0.01)
            self.kill(waiting[0][0])
        yield

    grant: str
    revoke: str

    @abstractmethod
    def password(self, password: str) -> str:
        """A statement that sets the user's password."""

    @abstractmethod
    def lock(self, cursor: Any) -> None:
        """Keep others from the table as long as the cursor's connection lasts."""

    @abstractmethod
    def waiting(self) -> list[tuple[Any, ...]]:
        """Sessions of the exporter that wait for a lock."""

    @abstractmethod
    def kill(self, session: int) -> None:
        """End a session."""


class MariadbScene(ServerScene):
    server: MariadbServer

    def __init__(self, server: MariadbServer, _: Path) -> None:
        super().__init__(server)
        name = f"{self.user}@'127.0.0.1'"
        self.grant = f"GRANT SELECT ON {self.database}.* TO {name}"
        self.revoke = f"REVOKE SELECT ON {self.database}.* FROM {name}"
        self.patients.sql(f"CREATE USER {name} IDENTIFIED BY 'good'", self.grant)

    def password(self, password: str) -> str:
        return f"SET PASSWORD FOR {self.user}@'127.0.0.1' = PASSWORD('{password}')"

    def lock(self, cursor: Any) -> None:
        cursor.execute("LOCK TABLES patients WRITE")

    def waiting(self) -> list[tuple[Any, ...]]:
        return self.server.sql(
            "SELECT id FROM information_schema.processlist"
            f" WHERE user = '{self.user}' AND state LIKE 'Waiting for table%'"
        )

    def kill(self, session: int) -> None:
        self.server.sql(f"KILL {session}")

    def refused_logins(self) -> int:
        return int(self.server.sql("SHOW GLOBAL STATUS LIKE 'Access_denied_errors'")[0][1])

    def idle(self) -> bool:
        sessions = self.server.sql(f"SELECT 1 FROM information_schema.processlist WHERE user = '{self.user}'")
        return not sessions


class PostgresqlScene(ServerScene):
    server: PostgresqlServer

    def __init__(self, server: PostgresqlServer, _: Path) -> None:
        super().__init__(server)
        self.grant = f"GRANT SELECT ON patients TO {self.user}"
        self.revoke = f"REVOKE SELECT ON patients FROM {self.user}"
        self.patients.sql(f"CREATE USER {self.user} PASSWORD 'good'", self.grant)

    def create(self) -> None:
        super().create()
        self.patients.sql(self.grant)

    def password(self, password: str) -> str:
        return f"ALTER USER {self.user} PASSWORD '{password}'"

    def lock(self, cursor: Any) -> None:
        cursor.connection.autocommit = False
        cursor.execute("LOCK TABLE patients IN ACCESS EXCLUSIVE MODE")

    def waiting(self) -> list[tuple[Any, ...]]:
        return self.server.sql(
            f"SELECT pid FROM pg_stat_activity WHERE usename = '{self.user}' AND wait_event_type = 'Lock'"
        )

    def kill(self, session: int) -> None:
        self.server.sql(f"SELECT pg_terminate_backend({session})")

    def refused_logins(self) -> int:
        return self.server.log.read_text(encoding="utf-8").count(f'authentication failed for user "{self.user}"')

    def idle(self) -> bool:
        return not self.server.sql(f"SELECT 1 FROM pg_stat_activity WHERE usename = '{self.user}'")


class SnowflakeScene(Scene):
    text = "VARCHAR"

    def __init__(self, server: FakesnowServer, _: Path) -> None:
        self.server = server
        self.patients = SnowflakePatients(server)
        self.source = self.patients.source
        suspended = "No active warehouse selected in the current session."
        self.failures = {
            "wrong password": ("auth", "wrong user or password", self._with(login=["390100", "Incorrect username"])),
            "missing grant": ("auth", "lacks a privilege", self._failing("003001", "42501", "Insufficient privileges")),
            "suspended warehouse": ("query", "no warehouse is running", self._failing("000606", "57P03", suspended)),
            "dropped table": ("query", "does not exist, or the role may not see it", self.without_table),
            "dropped column": ("query", "has no column NAME", self.without_column),
            "cancelled": ("timeout", "cancelled", self._failing("000604", "57014", "SQL execution canceled")),
            "lost session": ("connect", "lost", self._failing("390111", "08001", "Session no longer exists.")),
            "too slow": ("timeout", "in time", self._with(statements=[{"text": "GROUP BY", "seconds": 6}])),
            "no answer": ("connect", "", self._with(status=503)),
        }
        super().__init__()

    def _with(self, **faults: Any) -> Callable[[], AbstractContextManager[None]]:
        @contextlib.contextmanager
        def failing() -> Iterator[None]:
            with self.server.faults(**faults):
                self.grow()
                yield

        return failing

    def _failing(self, code: str, state: str, message: str) -> Callable[[], AbstractContextManager[None]]:
        return self._with(statements=[{"text": "GROUP BY", "code": code, "sqlstate": state, "message": message}])

    def create(self) -> None:
        self.patients.sql("CREATE TABLE patients (id NUMBER(38,0), name VARCHAR)")

    def refused_logins(self) -> int:
        return len(self.server.seen()["logins"])

    def idle(self) -> bool:
        return True


SCENES: dict[str, tuple[str | None, Any]] = {
    "sqlite": (None, SqliteScene),
    "mariadb": ("mariadb", MariadbScene),
    "postgresql": ("postgresql", PostgresqlScene),
    "snowflake": ("fakesnow", SnowflakeScene),
}


@pytest.fixture(params=SCENES)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    """A table of twenty rows, in each kind of database."""
    fixture, kind = SCENES[request.param]
    made: Scene = kind(fixture and request.getfixturevalue(fixture), tmp_path)
    return made


@pytest.mark.slow
async def test_each_failure_is_told_once_counted_right_and_loses_nothing(scene: Scene, tmp_path: Path) -> None:
    # A scan with every check: a table that is locked and not changed yet is not looked at otherwise.
    often: dict[str, Any] = {"interval": "500ms", "full_check_every": "500ms", "timeout": "2s"}
    watched = config(scene.patients, tmp_path, scene.source, columns=["NAME"], **often)
    async with running_exporter(tmp_path, watched, "--web.enable-lifecycle") as exporter:
        await exporter.ready()
        for name, (reason, words, fail) in scene.failures.items():
            before = await changes(exporter)
            counted = await failures(exporter)
            told = len(exporter.log)
            refused, at_first = None, scene.refused_logins()
            with fail():
                if name == "wrong password" and isinstance(scene, SnowflakeScene):
                    at_first = 0
                await until_failures(exporter, reason, counted.get(reason, 0) + 1)
                if name != "killed":
                    record = of_ledger(tmp_path)
                    await until_failures(exporter, reason, counted.get(reason, 0) + 2)
                    assert of_ledger(tmp_path) == record, f"{name}: the ledger is left alone"
                    # What is stale is withdrawn, which is no smaller counter.
                    assert await changes(exporter) in (before, (None,) * 3), f"{name}: so are the counters"
                    if name == "wrong password":
                        attempts = (await failures(exporter))["auth"] - counted.get("auth", 0)
                        refused = (scene.refused_logins() or 0) - (at_first or 0)
                        assert attempts <= refused <= attempts + 1, "one login for a run"
            await until_inserted(exporter, (before[0] or 0) + 1)
            after = await failures(exporter)
            assert {key for key in after if after[key] != counted[key]} == {reason}, (name, exporter.log[told:])
            assert await changes(exporter) == ((before[0] or 0) + 1, *before[1:]), name
            assert await exporter.value("rounds_table_rows", table="patients") == scene.rows
            assert not await exporter.value("rounds_table_rebaselines_total", table="patients", reason="lost")
            lines = [line for line in exporter.log[told:].splitlines() if COLLECTOR in line]
            failed = [line for line in lines if 'event="collector failed"' in line]
            assert len(failed) == 1, (name, lines)
            assert f"reason={reason}" in failed[0], name
            assert words in failed[0], name
            assert sum('event="collector recovered"' in line for line in lines) == 1, (name, lines)
        assert "Traceback" not in exporter.log
        exit_code = await exporter.stop()
    assert exit_code == 0

    async def idle() -> bool:
        return scene.idle()

    await until(idle)


async def failures(exporter: RunningExporter) -> dict[str, float]:
    """Failures of the collector by reason."""
    return {
        dict(labels)["reason"]: value
        for (name, labels), value in (await exporter.samples()).items()
        if name == "rounds_collector_failures_total" and ("collector", COLLECTOR) in labels
    }


async def until_failures(exporter: RunningExporter, reason: str, count: float) -> None:
    async def reached() -> bool:
        return (await failures(exporter))[reason] >= count

    await until(reached, within=30)


async def until_inserted(exporter: RunningExporter, count: float) -> None:
    """Reload, since a job that failed runs soon after that, until the change is counted."""
    assert (await exporter.client.post(f"{exporter.url}/-/reload")).status_code == 200

    async def reached() -> bool:
        return (await changes(exporter))[0] == count

    await until(reached, within=30)


def of_ledger(folder: Path) -> list[Any]:
    """What the ledger knows of the table."""
    with contextlib.closing(sqlite3.connect(folder / "state.db")) as connection:
        watched = connection.execute("SELECT * FROM tables_watched").fetchall()
        return watched + connection.execute("SELECT bucket, digest FROM tables_bucket").fetchall()
