"""Sessions with real servers: what they read, how they are pinned, what they leave behind.

fakesnow stands for Snowflake. It knows no privileges, no time-outs and no cancelling.
"""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rounds.databases import reaper
from rounds.databases.databases import Databases
from rounds.databases.session import Session
from rounds.errors import CollectorError
from rounds.sources import Source
from support.databases import SqliteFiles, databases_for
from support.waiting import eventually

KINDS = ("mariadb", "postgresql", "sqlite", "snowflake")
#: Never ends by itself, where ``{t}`` has three rows.
ENDLESS = {
    "mariadb": "SELECT count(*) FROM seq_1_to_1000000 a, seq_1_to_1000000 b",
    "postgresql": "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "snowflake": "SELECT 'endless'",
}
#: Many rows of 1,000 characters.
LONG = {
    "mariadb": "SELECT repeat('x', 1000) FROM seq_1_to_1000000",
    "postgresql": "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000)"
    " SELECT printf('%1000d', i) FROM n",
}


@dataclass(frozen=True)
class Place:
    """A database with a table of three rows, ``(id, name)``, as the source ``s``."""

    kind: str
    server: Any
    database: str
    source: Source
    table: str

    @property
    def mark(self) -> str:
        """The driver's placeholder."""
        return "?" if self.kind in ("sqlite", "snowflake") else "%s"

    def databases(self, **keys: Any) -> Databases:
        return databases_for({"s": self.server.source(self.database, **keys)})

    def nothing_left(self) -> bool:
        """Whether the server has no session of ours any more, within some seconds."""
        return eventually(lambda: self.server.open_sessions(self.database) == 0)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    kind: str = request.param
    names = {"snowflake": "fakesnow"}
    server = SqliteFiles(tmp_path) if kind == "sqlite" else request.getfixturevalue(names.get(kind, kind))
    database = server.create_database("sessions")
    server.sql(
        "CREATE TABLE t (id bigint PRIMARY KEY, name varchar(50))",
        "INSERT INTO t VALUES (1, 'Zoë'), (2, NULL), (3, '日本 😀 100%')",
        database=database,
    )
    table = f"{database}.public.t" if kind == "snowflake" else "t"
    return Place(kind, server, database, server.source(database), table)


def some(*kinds: str) -> pytest.MarkDecorator:
    """Run a test with these kinds only."""
    return pytest.mark.parametrize("place", kinds, indirect=True)


def test_rows_come_as_they_are_with_and_without_parameters(place: Place) -> None:
    databases = place.databases()
    assert databases.health["s"].up is None
    with databases.open("s") as session:
        assert session.kind == place.kind
        rows = session.all(f"SELECT id, name FROM {place.table} ORDER BY id")
        assert rows == [(1, "Zoë"), (2, None), (3, "日本 😀 100%")]
        assert list(session.stream(f"SELECT id FROM {place.table} ORDER BY id")) == [(1,), (2,), (3,)]
        found = f"SELECT id FROM {place.table} WHERE name = {place.mark}"
        assert session.all(found, ("Zoë",)) == list(session.stream(found, ("Zoë",))) == [(1,)]
        percent = "%" if place.mark == "?" else "%%"
        like = f"SELECT id FROM {place.table} WHERE name LIKE '{percent}ë'"
        assert session.all(like) == list(session.stream(like)) == [(1,)]
        assert session.all(f"SELECT id FROM {place.table} WHERE id > {place.mark}", [99]) == []
    assert databases.health["s"].queries == 7
    assert databases.health["s"].up is True
    assert place.nothing_left()


@some("mariadb", "postgresql", "sqlite")
@pytest.mark.parametrize("how", ["all", "stream"])
def test_a_session_cannot_write(place: Place, how: str) -> None:
    with place.databases().open("s") as session:
        for statement in ("INSERT INTO t VALUES (4, 'x')", "DROP TABLE t", "CREATE TABLE u (a int)", "DELETE FROM t"):
            with pytest.raises(CollectorError) as caught:
                list(getattr(session, how)(statement))
            assert caught.value.reason == "query"
            assert "only read" in str(caught.value), statement
        assert session.all("SELECT count(*) FROM t") == [(3,)]


@some("mariadb", "postgresql", "sqlite")
def test_each_statement_sees_what_was_committed_before_it(place: Place) -> None:
    """No transaction stays open, which would show old rows and keep old versions alive in the server."""
    with place.databases().open("s") as session:
        assert session.all("SELECT count(*) FROM t") == [(3,)]
        place.server.sql("INSERT INTO t VALUES (4, 'x')", database=place.database)
        assert list(session.stream("SELECT count(*) FROM t")) == [(4,)]
        place.server.sql("INSERT INTO t VALUES (5, 'x')", database=place.database)
        assert session.all("SELECT count(*) FROM t") == [(5,)]


@some("mariadb", "postgresql", "sqlite")
@pytest.mark.parametrize("how", ["all", "stream"])
def test_a_statement_past_its_timeout_is_ended(place: Place, how: str) -> None:
    databases = place.databases()
    started = time.monotonic()
    with databases.open("s", timeout=0.5) as session:
        with pytest.raises(CollectorError) as caught:
            list(getattr(session, how)(ENDLESS[place.kind]))
        assert time.monotonic() - started < 3
        assert caught.value.reason == "timeout"
        assert "timeout" in str(caught.value)
        assert session.all("SELECT 1") == [(1,)], "only the statement has ended"
    assert databases.health["s"].up is True
    assert place.nothing_left()


@some("snowflake")
def test_a_statement_of_snowflake_past_its_timeout_is_given_up(place: Place) -> None:
    with place.server.faults(statements=[{"text": "endless", "seconds": 8}]):
        started = time.monotonic()
        with place.databases().open("s", timeout=1) as session, pytest.raises(CollectorError) as caught:
            session.all(ENDLESS["snowflake"])
        assert time.monotonic() - started < 4
    assert caught.value.reason == "timeout"
    assert "000014" in str(caught.value)
    assert place.nothing_left()


@pytest.mark.parametrize("how", ["all", "stream"])
def test_a_statement_is_cancelled_from_another_thread(place: Place, how: str) -> None:
    errors: list[BaseException] = []
    with place.databases().open("s", timeout=60) as session:

        def work() -> None:
            try:
                list(getattr(session, how)(ENDLESS[place.kind]))
            except CollectorError as error:
                errors.append(error)

        faults = [{"text": "endless", "seconds": 8}]
        with place.server.faults(statements=faults) if place.kind == "snowflake" else threading.Lock():
            thread = threading.Thread(target=work)
            thread.start()
            time.sleep(0.3)
            assert thread.is_alive()
            if place.kind in ("mariadb", "postgresql"):
                assert running(place)
            started = time.monotonic()
            session.cancel()
            assert time.monotonic() - started < 0.05, "an event loop may call it"
            thread.join(2)
            assert not thread.is_alive()
        with pytest.raises(CollectorError):
            list(session.stream(f"SELECT id FROM {place.table}"))
    assert [error.reason for error in errors if isinstance(error, CollectorError)] == ["timeout"]
    reaper.settle(5)
    assert place.nothing_left()
    if place.kind in ("mariadb", "postgresql"):
        assert eventually(lambda: not running(place)), "the server goes on computing"


def running(place: Place) -> Any:
    if place.kind == "mariadb":
        return place.server.sql("SELECT id FROM information_schema.processlist WHERE info LIKE '%1000000 b'")
    return place.server.sql("SELECT pid FROM pg_stat_activity WHERE query LIKE '%1000000) b' AND state = 'active'")


@some("mariadb", "postgresql", "sqlite")
def test_a_long_result_is_streamed(place: Place) -> None:
    with place.databases().open("s") as session:
        rows = session.stream(LONG[place.kind])
        next(rows)
        tracemalloc.start()
        try:
            for _ in range(20_000):
                next(rows)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2_000_000
    assert place.nothing_left()


@some("mariadb", "postgresql", "sqlite")
def test_rows_that_are_given_up_leave_nothing_behind(place: Place) -> None:
    started = time.monotonic()
    with place.databases().open("s") as session:
        rows = session.stream(LONG[place.kind])
        next(rows)
    assert place.nothing_left()
    with place.databases().open("s") as session:
        for _ in session.stream(LONG[place.kind]):
            break
        if place.kind == "mariadb":
            with pytest.raises(CollectorError):
                session.all("SELECT 1")
        else:
            assert session.all("SELECT 1") == [(1,)]
    assert place.nothing_left()
    assert time.monotonic() - started < 3, "the rest of the rows was fetched"


def test_closing_twice_and_using_what_is_closed_raises_nothing_else(place: Place) -> None:
    session = place.databases().open("s")
    session.close()
    session.close()
    session.cancel()
    with pytest.raises(CollectorError):
        session.all("SELECT 1")
    reaper.settle(5)
    assert place.nothing_left()


def test_text_does_not_depend_on_the_servers_settings(place: Place) -> None:
    values: dict[str, Callable[[Session], list[Any]]] = {
        "mariadb": lambda session: session.all(
            "SELECT @@time_zone, @@tx_read_only, @@character_set_connection, @@sql_mode LIKE '%%PAD%%',"
            " CAST(FROM_UNIXTIME(0) AS CHAR), 'a' || 'b'"
        ),
        "postgresql": lambda session: session.all(
            "SELECT '2020-02-01 10:00+03'::timestamptz::text, '2020-02-01'::date::text, (1::float8 / 3)::text,"
            " '\\x00ff'::bytea::text, '1 day 2 hours'::interval::text, 1234.5::money::text,"
            " current_setting('application_name')"
        ),
        "sqlite": lambda session: session.all("PRAGMA query_only"),
        "snowflake": lambda _: [],
    }
    if place.kind == "mariadb":
        place.server.sql("SET GLOBAL sql_mode = 'PAD_CHAR_TO_FULL_LENGTH,PIPES_AS_CONCAT', GLOBAL time_zone = '+05:00'")
    if place.kind == "postgresql":
        for setting in (
            "TimeZone = 'Asia/Tokyo'",
            "DateStyle = 'German'",
            "IntervalStyle = 'iso_8601'",
            "bytea_output = 'escape'",
            "extra_float_digits = -5",
        ):
            place.server.sql(f"ALTER DATABASE {place.database} SET {setting}")
    try:
        with place.databases().open("s") as session:
            rows = values[place.kind](session)
    finally:
        if place.kind == "mariadb":
            place.server.sql("SET GLOBAL sql_mode = DEFAULT, GLOBAL time_zone = DEFAULT")
    assert (
        rows
        == {
            "mariadb": [("+00:00", 1, "utf8mb4", 0, "1970-01-01 00:00:00", 0)],
            "postgresql": [
                (
                    "2020-02-01 07:00:00+00",
                    "2020-02-01",
                    "0.3333333333333333",
                    "\\x00ff",
                    "1 day 02:00:00",
                    "$1,234.50",
                    "rounds",
                )
            ],
            "sqlite": [(1,)],
            "snowflake": [],
        }[place.kind]
    )
