"""What is removed from a store, by itself and by hand."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rounds.emr.app import retention
from rounds.emr.app.batch import Alert, Batch, Group
from rounds.emr.app.retention import OWN, PIECE, give_back, remove_older
from rounds.emr.app.runs import Run
from rounds.emr.app.store import Limits, Store
from support.emr_writing import counter, group, rows, timings

NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "monitoring.db"


@pytest.fixture
def clock() -> list[float]:
    return [NOW]


@pytest.fixture
def store(path: Path, clock: list[float]) -> Iterator[Store]:
    store = Store(path, "clinic", Limits(max_bytes=4_000_000, retention_days=90), clock=lambda: clock[0])
    yield store
    store.close()


def everything(at: float) -> Batch:
    """A row for each table that ages."""
    slots = Counter({int(at // 300): 2})
    batch = Batch(
        Counter({("events_total", ("visits_saved",)): 1}),
        {f"gauge{at}": (1.0, at)},
        [(at, "save_visit", 0.5, "ok")],
        {f"{at}": Group("ValueError", "c", "t", None, at, at, slots)},
        [Alert(at, "error", "", ())],
    )
    batch.sample(at, "count", "visits_saved", 1.0)
    return batch


def crash(store: Store, at: float) -> None:
    values = (f"{at}", at)
    store.transaction(
        lambda connection: connection.execute(
            "INSERT INTO rounds_crash (id, at, kind, error_type, fingerprint, report)"
            " VALUES (?, ?, 'python', '', '', '')",
            values,
        )
    )


def counts(path: Path) -> dict[str, int]:
    return {kept.table: rows(path, f"SELECT count(*) FROM {kept.table}")[0][0] for kept in OWN}


def fill(store: Store, clock: list[float]) -> None:
    """Something old, something that is just not old, something new."""
    for at in (NOW - 91 * DAY, NOW - 89 * DAY, NOW):
        clock[0] = at
        assert store.write(everything(at))
        crash(store, at)
        Run(store).end("clean")


def test_what_is_old_goes_from_all_tables(path: Path, store: Store, clock: list[float]) -> None:
    fill(store, clock)
    assert counts(path) == {kept.table: 3 for kept in OWN}
    assert not store.maintain()
    assert counts(path) == {kept.table: 2 for kept in OWN}
    assert rows(path, "SELECT min(at) FROM rounds_timing") == [(NOW - 89 * DAY,)]
    # What only grows stays.
    assert counter(path, "events_total", '["visits_saved"]') == 3
    assert counter(path, "error_groups_seen_total") == 3


def test_a_process_that_lives_is_never_old(path: Path, store: Store, clock: list[float]) -> None:
    run = Run(store)
    run.beat()
    clock[0] += 1_000 * DAY
    store.maintain()
    assert len(rows(path, "SELECT * FROM rounds_run")) == 1


def test_a_clock_that_was_wrong_removes_nothing_that_is_new(path: Path, store: Store, clock: list[float]) -> None:
    clock[0] = NOW + 1_000 * DAY
    store.write(everything(clock[0]))
    clock[0] = NOW
    store.write(everything(clock[0]))
    assert not store.maintain()
    assert counts(path)["rounds_timing"] == 2


def test_pieces_are_small_and_pages_are_given_back(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(4):
        assert store.write(timings(PIECE, at=NOW - (95 - day) * DAY))
    assert store.write(timings(10, at=NOW))
    removed: list[int] = []
    transaction = store.transaction

    def watch(work: Callable[[sqlite3.Connection], int]) -> int:
        removed.append(transaction(work))
        return removed[-1]

    monkeypatch.setattr(store, "transaction", watch)
    size = path.stat().st_size + path.with_name("monitoring.db-wal").stat().st_size
    while store.maintain():
        pass
    assert max(removed) == PIECE
    assert sum(removed) == 4 * PIECE
    assert rows(path, "SELECT count(*) FROM rounds_timing") == [(10,)]
    assert rows(path, "PRAGMA freelist_count") == [(0,)]
    assert path.stat().st_size < size / 5
    assert path.with_name("monitoring.db-wal").stat().st_size == 0


def test_many_pages_are_given_back_at_once(store: Store) -> None:
    assert store.write(timings(20_000))
    connection = store._connection
    assert connection is not None
    connection.execute("DELETE FROM rounds_timing")
    (before,) = connection.execute("PRAGMA freelist_count").fetchone()
    assert before > 100
    assert not give_back(connection)
    assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)


def test_a_full_store_gives_up_its_oldest_operations(path: Path, store: Store) -> None:
    written = 0
    for _ in range(30):
        before = counter(path, "telemetry_dropped_total", '["size"]') if written else 0
        assert store.write(timings(PIECE, at=NOW + written))
        written += PIECE
        assert counter(path, "telemetry_dropped_total", '["size"]') == before
        while store.maintain():
            pass
        assert path.stat().st_size <= 4_000_000
    assert path.stat().st_size > 3_000_000
    [(kept, oldest, newest)] = rows(path, "SELECT count(*), min(at), max(at) FROM rounds_timing")
    assert newest == NOW + written - 1
    assert oldest == NOW + written - kept
    assert not store.crowded


def test_the_oldest_are_those_that_came_first_whatever_the_clock_said(path: Path, store: Store) -> None:
    for at in (NOW, NOW - 50 * DAY):
        for _ in range(8):
            assert store.write(timings(PIECE, at=at))
    while store.maintain():
        pass
    assert rows(path, "SELECT count(*) FROM rounds_timing WHERE at < ?", NOW - DAY) == [(8 * PIECE,)]
    assert rows(path, "SELECT count(*) FROM rounds_timing WHERE at > ?", NOW - DAY)[0][0] < 8 * PIECE


def test_what_is_written_faster_than_room_is_made_is_dropped_and_counted(path: Path, store: Store) -> None:
    for _ in range(40):
        batch = timings(PIECE)
        batch.counters["events_total", ("visits_saved",)] += PIECE
        assert store.write(batch)
    assert store.crowded
    [(kept,)] = rows(path, "SELECT count(*) FROM rounds_timing")
    assert kept + counter(path, "telemetry_dropped_total", '["size"]') == 40 * PIECE
    assert counter(path, "events_total", '["visits_saved"]') == 40 * PIECE
    [(pages,)] = rows(path, "PRAGMA page_count")
    assert pages * 4_096 < 1.3 * 4_000_000
    while store.maintain():
        pass
    assert not store.crowded
    assert store.write(timings(10))
    assert counter(path, "telemetry_dropped_total", '["size"]') == 40 * PIECE - kept


def test_groups_and_alerts_make_room_last(path: Path, store: Store) -> None:
    for piece in range(10):
        groups = {
            f"{piece}-{number}": Group("E", "c", "x" * 900, None, 1.0, NOW + piece, Counter({number: 1}))
            for number in range(600)
        }
        alerts = [Alert(NOW, "error", "", (), "t", "m" * 300)] * 200
        assert store.write(Batch(groups=groups, alerts=alerts, timings=timings(100, at=NOW).timings))
    while store.maintain():
        pass
    kept = counts(path)
    assert (kept["rounds_timing"], kept["rounds_error_slot"]) == (0, 0)
    assert kept["rounds_alert"] >= 1_000
    assert counter(path, "error_groups_seen_total") == 6_000
    assert path.stat().st_size <= 4_000_000


def test_another_programs_tables_take_none_of_the_room(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, message TEXT)")
        connection.executemany("INSERT INTO messages (message) VALUES (?)", [("x" * 100,)] * 20_000)
    store = Store(path, "clinic", Limits(max_bytes=1_000_000), clock=lambda: NOW)
    assert store.write(timings(PIECE, at=NOW))
    if not store._foreign:
        pytest.skip("this SQLite cannot tell the size of a table")
    while store.maintain():
        pass
    assert rows(path, "SELECT count(*) FROM rounds_timing") == [(PIECE,)]
    for _ in range(6):
        assert store.write(timings(PIECE, at=NOW))
    while store.maintain():
        pass
    assert 0 < rows(path, "SELECT count(*) FROM rounds_timing")[0][0] < 7 * PIECE
    assert rows(path, "SELECT count(*) FROM messages") == [(20_000,)]
    store.close()


# --- by hand ----------------------------------------------------------------------------------------------------------

_COLUMNS = "id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL, text TEXT, created_at TIMESTAMP"


def existing(path: Path, days: range, *, created: bool = True) -> None:
    """A row a day in each table of the existing program, in a zone far from UTC."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in ("errors", "messages", "transactions", "metrics", "alerts", "crash_reports"):
            connection.execute(f"CREATE TABLE {table} ({_COLUMNS})")
        connection.execute("CREATE TABLE metrics_hourly (id INTEGER PRIMARY KEY, hour TEXT NOT NULL)")
        for day in days:
            utc = datetime.fromtimestamp(NOW, UTC) - timedelta(days=day, hours=12)
            local = (utc + timedelta(hours=5, minutes=45)).replace(tzinfo=None).isoformat()
            values = (local, "x" * 1_000, utc.strftime("%Y-%m-%d %H:%M:%S") if created else None)
            for table in ("errors", "messages", "transactions", "metrics", "alerts", "crash_reports"):
                connection.execute(f"INSERT INTO {table} (timestamp, text, created_at) VALUES (?, ?, ?)", values)
            connection.execute("INSERT INTO metrics_hourly (hour) VALUES (?)", (local,))


@pytest.mark.parametrize("created", [True, False])
def test_cleanup_of_an_existing_store_removes_and_shrinks(path: Path, created: bool) -> None:
    # Where the existing program deletes, and then is refused VACUUM in the same transaction, all comes back.
    existing(path, range(200), created=created)
    size = path.stat().st_size
    removed = remove_older(path, 90, now=NOW)
    assert removed == {
        "errors": 110,
        "messages": 110,
        "transactions": 110,
        "metrics": 110,
        "metrics_hourly": 20,
        "alerts": 170,
        "crash_reports": 110,
    }
    for table, number in removed.items():
        assert rows(path, f"SELECT count(*) FROM {table}") == [(200 - number,)]
    assert path.stat().st_size < 0.6 * size
    assert remove_older(path, 90, now=NOW) == dict.fromkeys(removed, 0)


def test_cleanup_of_both_in_one_file(path: Path, store: Store, clock: list[float]) -> None:
    existing(path, range(100))
    fill(store, clock)
    # While the application runs.
    removed = remove_older(path, 30, now=NOW)
    assert {kept.table: removed[kept.table] for kept in OWN} == {kept.table: 2 for kept in OWN}
    assert removed["errors"] == 70
    assert counts(path) == {kept.table: 1 for kept in OWN}
    assert rows(path, "PRAGMA freelist_count") == [(0,)]
    assert store.write(timings(10))


def test_cleanup_of_many_rows_goes_in_pieces(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        assert store.write(timings(PIECE, at=1_000.0))
    assert store.write(Batch(groups={"a": group(), "b": group(NOW, NOW)}))
    assert remove_older(path, 90, now=NOW)["rounds_timing"] == 3 * PIECE
    assert rows(path, "SELECT fingerprint FROM rounds_error_group") == [("b",)]


def test_cleanup_makes_no_file_and_tells_what_is_wrong(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        remove_older(path)
    assert not path.exists()
    monkeypatch.setattr(retention, "_CLEANUP_BUSY_SECONDS", 0.01)
    existing(path, range(200))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError):
            remove_older(path, 90, now=NOW)
    path.write_bytes(b"garbage" * 1_000)
    with pytest.raises(sqlite3.DatabaseError):
        remove_older(path, 90, now=NOW)
