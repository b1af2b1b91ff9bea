"""Reading a log out of databases."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from rounds.databases.alchemy import AlchemySession
from rounds.errors import CollectorError
from rounds.syncs.config import Sync
from rounds.syncs.log import Log, Record
from rounds.syncs.reading import Reading
from support.databases import databases_for
from support.syncs import Kind, Shape, SyncTable
from support.waiting import eventually

NOW = 1_780_000_000.0
HOUR = 3600.0
MakeTable = Callable[..., SyncTable]


def sync_of(**keys: Any) -> Sync:
    return Sync.model_validate({"name": "cliniko", "source": "s", **keys})


def reading_of(place: SyncTable, /, **keys: Any) -> Reading:
    return Reading(sync_of(**keys), databases_for({"s": place.source}))


@contextmanager
def opened(place: SyncTable, /, **keys: Any) -> Iterator[Log]:
    with reading_of(place, **keys).open() as log:
        yield log


def read(place: SyncTable, /, *ids: str, **keys: Any) -> list[Record]:
    with opened(place, **keys) as log:
        return list(log.records(ids))


def seen(place: SyncTable, /, since: float, **keys: Any) -> list[str]:
    """Ids in the order in which they are glimpsed."""
    with opened(place, **keys) as log:
        return [each.id for each in log.glimpses(since)]


def test_a_row_is_read_whole(table: SyncTable) -> None:
    metadata = {"step": "storing_patients", "n": [1, None]}
    identity = table.put(
        organization_id=123,
        status=" Completed ",
        started_at=NOW - 60.5,
        completed_at=NOW,
        updated_at=NOW + 1,
        records_processed=648,
        records_success=640,
        records_failed=8,
        metadata=metadata,
        error_details={"errors": ["x"]},
    )
    expected = Record(
        id=identity,
        organization="123",
        operation="full_patients",
        status="completed",
        started=NOW - 60.5,
        completed=NOW,
        updated=NOW + 1 if table.shape == "real" else None,
        processed=648,
        succeeded=640,
        failed=8,
        metadata=metadata,
        details={"errors": ["x"]},
    )
    with opened(table) as log:
        assert list(log.records([identity])) == [expected]
        assert list(log.recent(NOW - 100, 10)) == [expected]
        [glimpse] = log.glimpses(NOW - 100)
        assert (glimpse.id, glimpse.started, glimpse.status) == (identity, NOW - 60.5, "completed")
        assert [*log.glimpses(NOW), *log.recent(NOW, 10)] == []
        assert abs(log.now() - time.time()) < 60
        assert log.problems == set(), "either shape is complete"


# --- what is in a row ----------------------------------------------------------------------------------------------


def test_documents_come_as_objects_texts_or_not_at_all(table: SyncTable) -> None:
    given = [{}, None, {"step": "completed"}, {"error": "\\u00e9 \U0001f600 ' \" \\ %s ? :x"}]
    ids = [table.put(metadata=each, error_details=each) for each in given]
    found = {each.id: each for each in read(table, *ids)}
    assert [found[each].metadata for each in ids] == [each or {} for each in given]
    assert [found[each].details for each in ids] == given
    assert not any(each.problems for each in found.values())


def test_documents_of_another_form_are_told(table: SyncTable) -> None:
    found = read(table, *table.put_all({"metadata": document} for document in ("[1]", "7", '"text"')))
    assert [each.metadata for each in found] == [{}] * 3
    assert [each.problems for each in found] == [{"bad_metadata"}] * 3


def test_documents_in_columns_of_text(kind: Kind, make_table: MakeTable) -> None:
    long = "LONGTEXT" if kind == "mariadb" else "TEXT"
    table = make_table(kind, "real", types={"metadata": long, "error_details": long})
    texts = ['{"step": "fetching_patients"}', "", '{"cut', r'{"half": "\ud800 \u0000"}', '{"a": ' + "9" * 5000 + "}"]
    ids = [table.put(metadata=each, error_details=each) for each in texts]
    found = {each.id: each for each in read(table, *ids)}
    metadata = [found[each].metadata for each in ids]
    assert metadata == [{"step": "fetching_patients"}, {}, {}, {"half": "\ud800 \0"}, {}]
    assert [bool(found[each].problems) for each in ids] == [False, False, True, False, True]
    assert found[ids[2]].details == '{"cut'


def test_a_document_of_megabytes_hurts_nobody(table: SyncTable) -> None:
    names = {"deactivated_patients": ["Somebody"] * 400_000}
    details = names if table.shape == "real" else None
    identity = table.put(metadata=names, error_details=details, records_failed=3)
    began = time.monotonic()
    [found] = read(table, identity)
    assert time.monotonic() - began < 2
    assert found.metadata == {}
    assert found.problems == {"bad_metadata"}
    assert found.failed == 3
    assert len(found.details or "") < 100_000


def test_numbers_that_the_database_can_read_and_the_driver_cannot(make_table: MakeTable) -> None:
    table = make_table("postgresql", "real", types={"records_failed": "numeric"})
    huge = '{"step": "completed", "n": 1' + "0" * 6000 + "}"
    identity = table.put(metadata=huge, records_failed="NaN")
    [found] = read(table, identity)
    assert found.metadata == {}
    assert found.problems == {"bad_metadata", "bad_count"}


def test_sqlite_holds_whatever_it_is_given(make_table: MakeTable) -> None:
    table = make_table("sqlite", "real")
    good = table.put()
    table.sql(
        "INSERT INTO sync_logs (id, organization_id, source_system, operation_type, status, started_at, completed_at,"
        " updated_at, records_processed, records_failed, metadata, error_details) VALUES (CAST(x'61EDA08062' AS TEXT),"
        " CAST(x'FF00FF' AS TEXT), 'cliniko', x'00FF', CAST(x'C3' AS TEXT), CAST(x'FF' AS TEXT), x'FF', 1e400,"
        " CAST(x'FF' AS TEXT), 'many', CAST(x'7BFF7D' AS TEXT), x'FFFE')"
    )
    with opened(table) as log:
        first, *rest = log.glimpses(0)
        assert first.started is None
        assert [each.id for each in rest] == [good]
        assert {each.id for each in log.recent(0, 10)} == {good}
    identity = table.sql("SELECT CAST(id AS BLOB) FROM sync_logs WHERE status <> 'completed'")[0][0]
    assert first.id == identity.decode("utf-8", "replace")
    assert read(table, first.id) == [], "it has no name by which it could be asked for; and nothing is hurt"


# --- ids -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "type_", "value"),
    [
        ("postgresql", "uuid PRIMARY KEY", "0a0b0c0d-0000-4000-8000-00000000000f"),
        ("postgresql", "bigint PRIMARY KEY", 2**62),
        ("postgresql", "smallint PRIMARY KEY", 7),
        ("postgresql", "numeric(30) PRIMARY KEY", 10**25),
        ("postgresql", "varchar(80) PRIMARY KEY", "it's 100% \\ \" ?"),
        ("postgresql", "char(40) PRIMARY KEY", "padded"),
        ("mariadb", "uuid PRIMARY KEY", "0a0b0c0d-0000-4000-8000-00000000000f"),
        ("mariadb", "bigint unsigned PRIMARY KEY", 2**64 - 1),
        ("mariadb", "decimal(30) PRIMARY KEY", 10**25),
        ("mariadb", "varchar(80) PRIMARY KEY", "it's 100% \\ \" ?"),
        ("sqlite", "INTEGER PRIMARY KEY", 2**62),
        ("sqlite", "PRIMARY KEY", 7),
        ("sqlite", "UUID PRIMARY KEY", "0a0b0c0d-0000-4000-8000-00000000000f"),
        ("sqlite", "TEXT PRIMARY KEY", "007"),
    ],
)
def test_rows_are_found_by_ids_of_every_kind(kind: Kind, type_: str, value: Any, make_table: MakeTable) -> None:
    table = make_table(kind, "real", types={"id": type_})
    table.put(id=value)
    with opened(table) as log:
        [glimpse] = log.glimpses(0)
        assert glimpse.id == str(value)
        [found] = log.records([glimpse.id, glimpse.id])
        assert found.id == str(value)
        odd = ["", "x", "-1", "99999999999999999999", "9" * 100, "1e3", " 7", "7 ", "\0", "a\0b", "\ud800", "é" * 300]
        odd += [str(uuid.uuid4()), f"{{{uuid.uuid4()}}}", "1.0", "'; --", "%s", "?", "NULL", "infinity"]
        assert list(log.records(odd)) == []
        assert [each.id for each in log.records([*odd, str(value)])] == [str(value)]
        assert list(log.records([])) == []


def test_a_text_is_not_another_one_that_compares_as_equal(make_table: MakeTable) -> None:
    table = make_table("mariadb", "real", types={"id": "varchar(80) PRIMARY KEY"})
    table.put(id="Run")
    assert read(table, "run", "Run ") == []
    assert [each.id for each in read(table, "run", "Run")] == ["Run"]


def test_thousands_of_ids_are_asked_for_at_once(table: SyncTable) -> None:
    ids = table.put_all({"organization_id": number, "started_at": NOW + number} for number in range(5000))
    with opened(table) as log:
        assert {each.id for each in log.records(ids)} == set(ids)
        assert [each.id for each in log.glimpses(NOW + 10)] == ids[10:]
        assert [each.organization for each in log.recent(NOW, 3)] == ["4999", "4998", "4997"]


# --- times ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["Australia/Melbourne", "America/Los_Angeles", "Pacific/Kiritimati", "Etc/GMT+12"])
def test_times_without_a_zone_are_of_the_configured_one(kind: Kind, zone: str, make_table: MakeTable) -> None:
    table = make_table(kind, "seed", zone=ZoneInfo(zone))
    ids = table.put_all({"started_at": NOW + minutes * 60, "status": "running"} for minutes in range(-30, 30))
    with opened(table, time_zone=zone) as log:
        assert [each.started for each in log.glimpses(NOW)] == [NOW + minutes * 60 for minutes in range(30)]
        assert {each.id for each in log.recent(NOW, 100)} == set(ids[30:])


@pytest.mark.parametrize("zone", ["Australia/Melbourne", "Australia/Lord_Howe", "America/Los_Angeles"])
def test_no_row_is_missed_where_clocks_are_put_back(kind: Kind, zone: str, make_table: MakeTable) -> None:
    table = make_table(kind, "seed", zone=ZoneInfo(zone))
    # The instants of a night in which each zone puts its clocks back, five minutes apart.
    night = datetime(2026, 11, 1, 8, tzinfo=UTC) if "America" in zone else datetime(2026, 4, 4, 14, tzinfo=UTC)
    instants = [night.timestamp() + 300 * number for number in range(40)]
    table.put_all({"started_at": each} for each in instants)
    with opened(table, time_zone=zone) as log:
        for since in instants:
            # Of an hour that comes twice, the text does not say which; it is taken for the first.
            known = [_as_read(each, zone) for each in instants]
            assert sorted(each.started or 0 for each in log.glimpses(since)) == sorted(x for x in known if x >= since)


def test_a_time_in_the_hour_that_never_comes_is_found(kind: Kind, make_table: MakeTable) -> None:
    table = make_table(kind, "seed")
    identity = table.put(started_at="2026-03-08 02:30:00")
    since = datetime(2026, 3, 8, 10, 15, tzinfo=UTC).timestamp()
    with opened(table, time_zone="America/Los_Angeles") as log:
        assert [(each.id, each.started) for each in log.glimpses(since)] == [(identity, since + 900)]


def _as_read(instant: float, zone: str) -> float:
    return datetime.fromtimestamp(instant, ZoneInfo(zone)).replace(fold=0).timestamp()


@pytest.mark.parametrize("hours", [0, -3, 14, -12, 10.5])
def test_a_row_is_found_whatever_offset_its_time_has(kind: Kind, hours: float, make_table: MakeTable) -> None:
    """Also where it is kept as a text, in which another offset sorts elsewhere."""
    table = make_table(kind, "real", types={"started_at": "VARCHAR(40)"})
    zone = timezone(timedelta(hours=hours))
    hours_ago = [datetime.fromtimestamp(NOW + number * HOUR, zone) for number in range(-40, 40)]
    texts = [(each.isoformat(separator), each.timestamp()) for each in hours_ago for separator in " T"]
    texts.append((datetime.fromtimestamp(NOW, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), NOW))
    given = table.put_all({"started_at": text} for text, _ in texts)
    ids = [(identity, started) for identity, (_, started) in zip(given, texts, strict=True)]
    with opened(table) as log:
        for number in (-20, 0, 13):
            since = NOW + number * HOUR
            glimpses = list(log.glimpses(since))
            assert {each.id for each in glimpses} == {each for each, started in ids if started >= since}
            assert [each.started for each in glimpses] == sorted(each.started or 0 for each in glimpses)
            assert {each.id for each in log.recent(since, 1000)} == {each.id for each in glimpses}


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        *(("postgresql", type_) for type_ in ("double precision", "bigint", "numeric")),
        *(("mariadb", type_) for type_ in ("double", "bigint", "numeric")),
        *(("sqlite", type_) for type_ in ("REAL", "INTEGER")),
    ],
)
def test_times_may_be_numbers(kind: Kind, type_: str, make_table: MakeTable) -> None:
    table = make_table(kind, "real", types=dict.fromkeys(["started_at", "completed_at"], type_))
    ids = table.put_all({"started_at": int(NOW) + number, "completed_at": -5} for number in range(20))
    with opened(table) as log:
        assert [each.id for each in log.glimpses(NOW + 5)] == ids[5:]
        assert [each.id for each in log.recent(NOW + 5, 2)] == [ids[-1], ids[-2]]
        [found] = log.records(ids[:1])
    assert (found.started, found.completed) == (NOW, None)
    assert found.problems == {"bad_time"}


def test_sqlite_may_mix_texts_and_numbers(make_table: MakeTable) -> None:
    table = make_table("sqlite", "seed")
    number, text = table.put(), table.put(started_at=NOW + 2)
    table.sql(f"UPDATE sync_logs SET started_at = {NOW + 3} WHERE id = {number}")
    assert seen(table, NOW + 2) == [text, number]
    assert seen(table, NOW + 2.5) == [number]
    with opened(table) as log:
        assert {each.id for each in log.recent(NOW, 2)} == {text, number}
        assert len(list(log.recent(NOW, 1))) == 1


@pytest.mark.parametrize(
    ("kind", "shape", "value"),
    [
        *(
            ("postgresql", shape, value)
            for shape in ("seed", "real")
            for value in ("infinity", "0044-03-15 00:00:00 BC")
        ),
        *(("mariadb", shape, "0000-00-00 00:00:00") for shape in ("seed", "real")),
        *(("sqlite", shape, value) for shape in ("seed", "real") for value in ("yesterday", "", "0000-00-00 00:00:00")),
        ("postgresql", "real", "12026-01-01 00:00:00+00"),
    ],
)
def test_times_that_make_no_sense(kind: Kind, shape: Shape, value: str, make_table: MakeTable) -> None:
    table = make_table(kind, shape)
    if kind == "mariadb":
        table.url = table.url.update_query_dict({"init_command": "SET sql_mode = ''"})
    good, bad = table.put(started_at=NOW), table.put(started_at=value, completed_at=value, updated_at=value)
    with opened(table) as log:
        glimpses = {each.id: each.started for each in log.glimpses(NOW)}
        assert glimpses[good] == NOW
        assert glimpses.get(bad) is None
        [found] = log.records([bad])
        assert (found.started, found.completed, found.updated) == (None, None, None)
        assert found.problems == ({"bad_time"} if value else set())
        assert [each.id for each in log.recent(NOW, 10) if each.started] == [good]


def test_rows_without_a_time_come_along_but_not_all(kind: Kind, make_table: MakeTable) -> None:
    table = make_table(kind, "real")
    dated = table.put(started_at=NOW)
    undated = table.put_all({"started_at": None, "status": "running"} for _ in range(1100))
    with opened(table) as log:
        glimpses = list(log.glimpses(NOW))
        assert len(glimpses) == 1001
        assert glimpses[-1].id == dated
        assert {each.id for each in glimpses[:-1]} < set(undated)
        assert {each.started for each in glimpses[:-1]} == {None}
        assert [each.id for each in log.recent(NOW, 2000)] == [dated]


def test_no_bound_is_too_early_or_too_late(table: SyncTable) -> None:
    identity = table.put(started_at=NOW)
    for zone in ("Pacific/Kiritimati", "Etc/GMT+12"):
        for since in (0, -1e12, 86_400, NOW - 366 * 86_400):
            assert seen(table, since, time_zone=zone) == [identity]
        assert seen(table, 4e9, time_zone=zone) == []


# --- what the table has ----------------------------------------------------------------------------------------------


def test_only_rows_about_the_system_are_read(kind: Kind, make_table: MakeTable) -> None:
    table = make_table(kind, "real")
    ours, theirs = table.put(source_system="cliniko"), table.put(source_system="clerk")
    assert seen(table, 0) == [ours]
    assert seen(table, 0, source_system="clerk") == [theirs]
    assert set(seen(table, 0, source_system=None)) == {ours, theirs}
    with opened(table) as log:
        assert [each.id for each in log.recent(0, 10)] == [ours]


OPTIONAL = (
    *("organization_id", "completed_at", "updated_at", "records_processed", "records_success", "records_failed"),
    *("error_details", "metadata", "source_system"),
)


def test_columns_that_are_missing_are_told(kind: Kind, make_table: MakeTable) -> None:
    table = make_table(kind, "real", without=OPTIONAL)
    identity = table.put(started_at=NOW, status="running")
    with opened(table) as log:
        assert log.problems == {f"no column {name}" for name in OPTIONAL if name != "source_system"}
        assert log.remedies == {}
        assert list(log.recent(NOW, 10)) == [Record(identity, "", "full_patients", "running", NOW)]


def test_a_column_is_not_missed_where_another_tells_the_same(kind: Kind, make_table: MakeTable) -> None:
    with opened(make_table(kind, "real", without=["updated_at"])) as log:
        assert log.problems == set()
    with opened(make_table(kind, "real", without=["updated_at", "metadata"])) as log:
        assert log.problems == {"no column updated_at", "no column metadata"}


@pytest.mark.parametrize("column", ["id", "started_at", "status", "operation_type"])
def test_columns_that_cannot_be_done_without(kind: Kind, column: str, make_table: MakeTable) -> None:
    table = make_table(kind, "real", without=[column])
    with pytest.raises(CollectorError, match=f"table sync_logs: it has no column {column}") as caught, opened(table):
        pass
    assert caught.value.reason == "query"
    assert "docs/syncs.md" in str(caught.value)


def test_a_table_that_is_not_there(kind: Kind, make_table: MakeTable) -> None:
    table = make_table(kind, "real")
    for name in ("nowhere", "elsewhere.sync_logs", "a.b.c", "..", "sync_logs; --", "%s"):
        with pytest.raises(CollectorError, match=re.escape(f"table {name}: th")) as caught, opened(table, table=name):
            pass
        assert caught.value.reason == "query"


HOSTILE = "a'\"`; DROP %s ?%\\-- é"


def test_names_may_be_anything(kind: Kind, make_table: MakeTable) -> None:
    table = make_table(kind, "real", index=False)
    identity = table.put(started_at=NOW, metadata={"step": "x"})
    mark = "`" if kind == "mariadb" else '"'

    def quoted(name: str) -> str:
        return mark + name.replace(mark, mark * 2).replace("%", "%%" if kind != "sqlite" else "%") + mark

    with table.engine.begin() as connection:
        for column in ("id", "started_at", "metadata", "source_system"):
            renamed = quoted(f"{HOSTILE} {column}")
            connection.exec_driver_sql(f"ALTER TABLE sync_logs RENAME COLUMN {column} TO {renamed}")
        connection.exec_driver_sql(f"ALTER TABLE sync_logs RENAME TO {quoted(HOSTILE)}")
    columns = {column: f"{HOSTILE} {column}" for column in ("id", "started_at", "metadata", "source_system")}
    name = '"' + HOSTILE.replace('"', '""') + '"'
    with opened(table, table=name, columns=columns) as log:
        assert [each.id for each in log.glimpses(NOW)] == [identity]
        assert [each.metadata for each in log.recent(NOW, 1)] == [{"step": "x"}]
        assert [each.started for each in log.records([identity])] == [NOW]
        remedy = log.remedies["no index on started_at"]
    with table.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(remedy.replace("%", "%%") if kind != "sqlite" else remedy)
    with opened(table, table=name, columns=columns) as log:
        assert log.problems == set()


def test_a_schema_may_stand_before_the_name_and_case_may_differ(kind: Kind, make_table: MakeTable) -> None:
    table = make_table(kind, "real")
    identity = table.put()
    schema = {"postgresql": "public", "mariadb": table.url.database, "sqlite": "main"}[kind]
    for name in (f"{schema}.sync_logs", f'"{schema}"."sync_logs"', "sync_logs"):
        assert seen(table, 0, table=name, columns={"id": "ID", "status": "Status"}) == [identity]
    if kind != "mariadb":  # on some systems its names are spelt as files are
        assert seen(table, 0, table="Sync_Logs") == [identity]


def test_what_may_not_be_read_is_not_there(make_table: MakeTable, request: pytest.FixtureRequest) -> None:
    """A user needs no privilege on error_details."""
    table, server = make_table("postgresql", "real"), request.getfixturevalue("postgresql")
    identity, user = table.put(error_details={"a": 1}), f"reader_{table.url.database}"
    columns = ", ".join(name for name in table.columns if name != "error_details")
    table.sql(f"CREATE USER {user} PASSWORD 'pass'", f"GRANT SELECT ({columns}) ON sync_logs TO {user}")
    table.source = server.source(table.url.database, user=user, password="pass")
    with opened(table) as log:
        assert log.problems == {"no column error_details"}
        assert [each.details for each in log.records([identity])] == [None]


def test_a_view_can_be_read(kind: Kind, make_table: MakeTable) -> None:
    table = make_table(kind, "real", index=False)
    identity = table.put()
    table.sql("CREATE VIEW runs AS SELECT * FROM sync_logs")
    with opened(table, table="runs") as log:
        assert log.problems == set()
        assert [each.id for each in log.glimpses(0)] == [identity]


def test_a_missing_index_is_told_with_the_statement_that_makes_it(kind: Kind, make_table: MakeTable) -> None:
    table = make_table(kind, "real", index=False, types={"id": "CHAR(36)"})
    table.sql("CREATE INDEX of_two ON sync_logs (status, started_at)")
    if kind != "mariadb":
        table.sql("CREATE INDEX of_some ON sync_logs (started_at) WHERE status = 'running'")
        table.sql("CREATE INDEX of_what_it_means ON sync_logs (lower(id))")
    reading = reading_of(table)
    with reading.open() as log:
        assert log.problems == set(log.remedies) == {"no index on id", "no index on started_at"}
        remedies = dict(log.remedies)
    assert remedies["no index on started_at"].startswith(
        'CREATE INDEX CONCURRENTLY "' if kind == "postgresql" else "CREATE INDEX "
    )
    with table.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in remedies.values():
            connection.exec_driver_sql(statement)
    with opened(table) as log:
        assert log.problems == set()
    with reading.open() as log:
        assert log.problems, "what is known is not asked for at each look"
    reading._looked -= 301
    with reading.open() as log:
        assert log.problems == set()


@pytest.mark.parametrize(
    "make", ["CREATE UNIQUE INDEX i ON sync_logs (id, status)", "CREATE INDEX i ON sync_logs (id)"]
)
def test_any_index_on_id_will_do(kind: Kind, make: str, make_table: MakeTable) -> None:
    table = make_table(kind, "real", types={"id": "CHAR(36)"})
    table.sql(make)
    with opened(table) as log:
        assert log.problems == set()


def test_a_table_that_changes_is_looked_at_anew(kind: Kind, make_table: MakeTable) -> None:
    table = make_table(kind, "real")
    table.put()
    reading = reading_of(table)
    with reading.open() as log:
        assert len(list(log.recent(0, 10))) == 1
    table.sql("ALTER TABLE sync_logs DROP COLUMN metadata")
    with pytest.raises(CollectorError) as caught, reading.open() as log:
        list(log.recent(0, 10))
    assert caught.value.reason == "query"
    with reading.open() as log:
        assert log.problems == {"no column metadata"}
        assert len(list(log.recent(0, 10))) == 1


# --- how it is asked -------------------------------------------------------------------------------------------------


class Sent:
    """The statements that sessions were sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements: list[tuple[str, Sequence[object]]] = []
        stream = AlchemySession.stream

        def record(session: AlchemySession, sql: str, parameters: Sequence[object] = ()) -> Any:
            self.statements.append((sql, parameters))
            return stream(session, sql, parameters)

        monkeypatch.setattr(AlchemySession, "stream", record)


def plan(table: SyncTable, sql: str, parameters: Sequence[object]) -> str:
    """How the database would go through the table, as it says itself."""
    explain = {"postgresql": "EXPLAIN", "mariadb": "EXPLAIN", "sqlite": "EXPLAIN QUERY PLAN"}[table.kind]
    with table.engine.connect() as connection:
        return "\n".join(map(str, connection.exec_driver_sql(f"{explain} {sql}", tuple(parameters)).mappings()))


_SCANS = {"postgresql": "Seq Scan", "mariadb": "'type': '(ALL|index)'", "sqlite": "SCAN|TEMP B-TREE"}


@pytest.mark.parametrize("id_", ["the shape's", "text"])
def test_an_index_serves_every_statement(table: SyncTable, id_: str, make_table: MakeTable, monkeypatch: Any) -> None:
    if id_ == "text":
        table = make_table(table.kind, table.shape, types={"id": "VARCHAR(36) PRIMARY KEY"})
    _fill(table, 10_000)
    ids = [str(row[0]) for row in table.sql("SELECT id FROM sync_logs LIMIT 20")]
    sent = Sent(monkeypatch)
    with opened(table) as log:
        newest = NOW - HOUR * 4
        assert 200 < len(list(log.glimpses(newest))) < 2000
        assert len(list(log.records(ids))) == 20
        assert len(list(log.recent(newest, 100))) == 100
    assert 4 <= len(sent.statements) <= 8
    for sql, parameters in sent.statements:
        found = plan(table, sql, parameters)
        assert not re.search(_SCANS[table.kind], found), f"{sql[-200:]}\n{found[:2000]}"
        assert " OVER " not in sql


def _fill(table: SyncTable, rows: int) -> None:
    """Rows a minute apart, the last of them now; and what databases know of them."""
    table.put_all({"started_at": NOW - 60 * number, "id": _id(table, number)} for number in range(rows))
    table.sql("ANALYZE TABLE sync_logs" if table.kind == "mariadb" else "ANALYZE sync_logs")


def _id(table: SyncTable, number: int) -> Any:
    if table.columns["id"].startswith("VARCHAR"):
        return f"run {number}"
    return number + 1 if table.shape == "seed" else str(uuid.UUID(int=number * 7919))


def slow_table(kind: Kind, make_table: MakeTable) -> SyncTable:
    """A table that takes hours to read, without an index."""
    table = make_table(kind, "real", index=False)
    table.put_all({"started_at": NOW, "status": "running"} for _ in range(1000))
    where = {
        "postgresql": "WHERE pg_sleep(0.01) IS NOT NULL",
        "mariadb": "WHERE SLEEP(0.01) = 0",
        "sqlite": "WHERE (SELECT count(*) FROM sync_logs a, sync_logs b, sync_logs c WHERE a.status = l.status) > 0",
    }[kind]
    table.sql(f"CREATE VIEW slow AS SELECT l.* FROM sync_logs AS l {where}")
    return table


def test_a_look_ends_at_its_timeout(kind: Kind, make_table: MakeTable) -> None:
    table = slow_table(kind, make_table)
    began = time.monotonic()
    with pytest.raises(CollectorError) as caught, opened(table, table="slow", timeout="0.5s") as log:
        list(log.glimpses(NOW - 1))
    assert caught.value.reason == "timeout"
    assert time.monotonic() - began < 4


def test_a_look_of_many_statements_ends_at_its_timeout_too(make_table: MakeTable) -> None:
    table = make_table("sqlite", "real", index=False)
    table.put(started_at=NOW)
    reading = reading_of(table, timeout="200ms")

    def again_and_again(log: Log) -> None:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            list(log.glimpses(NOW))

    with pytest.raises(CollectorError, match="longer than its timeout") as caught, reading.open() as log:
        again_and_again(log)
    assert caught.value.reason == "timeout"
    assert "run: CREATE INDEX" in str(caught.value)


def test_the_timeout_names_the_index(kind: Kind, make_table: MakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    table = slow_table(kind, make_table)
    monkeypatch.setattr("rounds.syncs.layout.examine", None)
    reading = reading_of(table, timeout="0.5s")
    with reading.open() as log:
        known = log.remedies["no index on started_at"]
    layout = reading._layout
    assert layout is not None
    reading._layout = type(layout)(
        layout.table.replace("sync_logs", "slow"), layout.columns, layout.storage, layout.problems, layout.remedies
    )
    with pytest.raises(CollectorError, match=re.escape(f"no index on started_at; run: {known}")), reading.open() as log:
        list(log.glimpses(NOW - 1))


def test_a_look_is_cancelled_from_another_thread(kind: Kind, make_table: MakeTable) -> None:
    table = slow_table(kind, make_table)
    reading = reading_of(table, table="slow", timeout="60s")
    errors: list[str] = []

    def look() -> None:
        try:
            with reading.open() as log:
                list(log.glimpses(NOW - 1))
        except CollectorError as error:
            errors.append(error.reason)

    reading.cancel()
    thread = threading.Thread(target=look)
    thread.start()
    assert eventually(lambda: reading._layout is not None)
    time.sleep(0.2)
    reading.cancel()
    thread.join(5)
    assert errors == ["timeout"]
    reading.cancel()


def test_a_source_that_does_not_answer(kind: Kind, make_table: MakeTable) -> None:
    table = make_table(kind, "real")
    keys = {"port": 1} if kind != "sqlite" else {"path": table.source.path.with_name("gone")}
    table.source = table.source.model_copy(update=keys)
    with pytest.raises(CollectorError) as caught, opened(table):
        pass
    assert caught.value.reason == "connect"
