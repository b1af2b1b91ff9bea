"""The store: its file, and what it does when that is not what it should be."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rounds.emr.app import files
from rounds.emr.app import store as stores
from rounds.emr.app.batch import Alert, Batch, Group, Labels
from rounds.emr.app.store import Limits, Store
from rounds.emr.layout import TABLES
from support.emr_writing import counter, events, group, rows, timings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "monitoring.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path, "clinic", version="1.2")
    yield store
    store.close()


def saved(number: int = 1) -> Batch:
    return Batch(counters=Counter({("events_total", ("visits_saved",)): number}))


def aside(path: Path) -> list[Path]:
    return sorted(file for file in path.parent.iterdir() if ".corrupt-" in file.name)


# --- a file that is as it should be -----------------------------------------------------------------------------------


def test_makes_folders_file_and_tables(path: Path, store: Store) -> None:
    assert store.open()
    names = {name for (name,) in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert set(TABLES) <= names
    facts = dict(rows(path, "SELECT key, value FROM rounds_store"))
    assert facts["version"] == "1"
    assert facts["app"] == "clinic"
    assert len(facts["id"]) == 32
    assert float(facts["created"]) > 1_600_000_000
    assert rows(path, "PRAGMA auto_vacuum") == [(2,)]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


@pytest.mark.skipif(os.name != "posix", reason="modes are of Unix")
def test_only_the_owner_may_read_what_it_makes(path: Path, store: Store) -> None:
    os.umask(os.umask(0o022))
    assert store.write(saved())
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(("monitoring.db", "monitoring.db-wal", "monitoring.db-shm"), 384)


def test_a_second_start_finds_the_same_file(path: Path, store: Store) -> None:
    assert store.write(saved())
    other = Store(path, "clinic")
    assert other.write(saved(2))
    other.close()
    assert events(path, "visits_saved") == 3
    assert len(rows(path, "SELECT * FROM rounds_store")) == 4


def test_stays_where_it_is_when_the_application_changes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(Path("here.db"), "clinic")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert store.write(saved())
    store.close()
    assert events(tmp_path / "here.db", "visits_saved") == 1


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_becomes_rows(path: Path, store: Store) -> None:
    batch = Batch(
        counters=Counter({("operations_total", ("save_visit", "ok")): 2, ("errors_total", ("ValueError", "main")): 0}),
        gauges={"active_consultations": (3.0, 1_000.0)},
        timings=[(1_000.0, "save_visit", 0.5, "ok"), (1_001.0, "save_visit", 0.25, "error")],
        groups={"ab": group(900.0, 1_000.0, {3: 2, 4: 1})},
        alerts=[
            Alert(1_000.0, "error", "failure:save_visit", ("notification",)),
            Alert(1_001.0, "info", "", (), "t", "m"),
        ],
    )
    batch.sample(900.0, "gauge", "active_consultations", 5.0)
    batch.sample(1_000.0, "gauge", "active_consultations", 3.0)
    assert store.write(batch)
    assert store.write(batch)
    assert rows(path, "SELECT * FROM rounds_sample") == [(3, "gauge", "active_consultations", 4, 16.0, 3.0, 5.0)]
    assert counter(path, "operations_total", '["save_visit","ok"]') == 4
    assert rows(path, "SELECT value FROM rounds_counter WHERE name = 'errors_total'") == [(0.0,)]
    assert rows(path, "SELECT * FROM rounds_gauge") == [("active_consultations", 3.0, 1_000.0)]
    assert rows(path, "SELECT at, operation, seconds, outcome FROM rounds_timing") == batch.timings * 2
    assert rows(path, "SELECT * FROM rounds_error_group") == [
        ("ab", "ValueError", "app:save", "app:save:1", None, 900.0, 1_000.0, 6, "1.2", 0)
    ]
    assert rows(path, "SELECT * FROM rounds_error_slot") == [(3, "ab", 4), (4, "ab", 2)]
    assert rows(path, "SELECT at, severity, key, title, message, channels FROM rounds_alert LIMIT 2") == [
        (1_000.0, "error", "failure:save_visit", None, None, '["notification"]'),
        (1_001.0, "info", "", "t", "m", "[]"),
    ]
    assert counter(path, "error_groups_seen_total") == 1


def test_a_group_keeps_its_first_trace_and_opens_again(path: Path, store: Store) -> None:
    assert store.write(Batch(groups={"ab": group(500.0, 600.0)}))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE rounds_error_group SET resolved = 1")
    later = Group("ValueError", "elsewhere", "other", None, 400.0, 550.0, Counter({1: 1}))
    assert store.write(Batch(groups={"ab": later}))
    assert rows(path, "SELECT culprit, trace, first_seen, last_seen, count, resolved FROM rounds_error_group") == [
        ("app:save", "app:save:1", 400.0, 600.0, 2, 0)
    ]


def test_more_rows_than_one_statement_takes(path: Path, store: Store) -> None:
    groups = {f"{number:016x}": group() for number in range(600)}
    counters: Counter[tuple[str, Labels]] = Counter({("events_total", (f"event{n}",)): n for n in range(600)})
    assert store.write(Batch(counters, {}, timings(5_000).timings, groups, []))
    assert store.write(Batch(groups={**groups, "new": group()}))
    assert rows(path, "SELECT count(*), sum(at) FROM rounds_timing") == [(5_000, sum(range(1_000, 6_000)))]
    assert rows(path, "SELECT sum(value) FROM rounds_counter WHERE name = 'events_total'") == [(sum(range(600)),)]
    assert counter(path, "error_groups_seen_total") == 601


@pytest.mark.parametrize(
    "bad",
    [
        Batch(timings=[(1.0, "x", float("nan"), "ok")]),
        Batch(timings=[(1.0, object(), 1.0, "ok")]),  # type: ignore[list-item]
        Batch(timings=[(2**70, "x", 1.0, "ok")]),
        Batch(timings=[(1.0, "\udc80", 1.0, "ok")]),
        Batch(gauges={"x": (float("nan"), 1.0)}),
        Batch(groups={"bad\ud800": group()}),
        Batch(groups={"ab": Group("E", "c", object(), None, 1.0, 1.0, Counter({1: 1}))}),  # type: ignore[arg-type]
        Batch(counters=Counter({("events_total", ("x",)): float("inf")})),
        Batch(counters=Counter({("events_total\ud800", ("x",)): 1})),
        Batch(alerts=[Alert(1.0, None, "", ())]),  # type: ignore[arg-type]
    ],
)
def test_a_bad_value_is_left_out_and_counted(path: Path, store: Store, bad: Batch) -> None:
    good = Batch(counters=Counter({("events_total", ("visits_saved",)): 1}), timings=timings(20).timings)
    good.add(bad)
    good.add(Batch(groups={"cd": group()}, gauges={"g": (1.0, 1.0)}))
    assert store.write(good)
    assert counter(path, "telemetry_dropped_total", '["error"]') == 1
    assert events(path, "visits_saved") == 1
    assert rows(path, "SELECT count(*) FROM rounds_timing WHERE operation = 'search_latency'") == [(20,)]
    assert rows(path, "SELECT count(*) FROM rounds_error_group") == [(1,)]
    assert counter(path, "error_groups_seen_total") == 1
    assert ("g", 1.0, 1.0) in rows(path, "SELECT * FROM rounds_gauge")
    assert not rows(path, "SELECT * FROM rounds_counter WHERE value > 1e300")


def test_what_waits_is_bounded_and_what_is_too_much_is_counted() -> None:
    waiting = Batch()
    for number in range(5):
        waiting.add(timings(5_000))
        waiting.add(Batch(groups={f"{number}-{n}": group() for n in range(500)}))
        waiting.add(Batch(alerts=[Alert(1.0, "info", "", ())] * 2_500))
    assert (len(waiting.timings), len(waiting.groups), len(waiting.alerts)) == (20_000, 2_000, 10_000)
    assert waiting.counters == {("telemetry_dropped_total", ("size",)): 5_000 + 500 + 2_500}


# --- a file that is damaged -------------------------------------------------------------------------------------------


def corrupt(path: Path) -> None:
    """Break pages in the middle, as a bad disk does."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode = DELETE")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 4)
        file.write(os.urandom(size // 2))


def test_a_garbage_file_is_set_aside(path: Path, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all " * 1_000)
    assert store.write(saved())
    assert events(path, "visits_saved") == 1
    assert counter(path, "store_corruptions_total") == 1
    assert aside(path)[0].read_bytes() == b"no database at all " * 1_000
    assert "damaged" in caplog.text
    assert str(path.parent) not in caplog.text
    assert store.write(saved())
    assert counter(path, "store_corruptions_total") == 1


def test_broken_pages_are_found_at_the_start(path: Path) -> None:
    first = Store(path, "clinic")
    assert first.write(timings(5_000))
    first.close()
    before = dict(rows(path, "SELECT key, value FROM rounds_store"))
    corrupt(path)
    second = Store(path, "clinic")
    # Without a look at all pages, rows could still be added.
    assert second.write(saved())
    second.close()
    assert len(aside(path)) == 1
    assert counter(path, "store_corruptions_total") == 1
    assert dict(rows(path, "SELECT key, value FROM rounds_store"))["id"] != before["id"]
    assert rows(path, "PRAGMA quick_check") == [("ok",)]


@pytest.mark.parametrize("found", [True, False])
def test_damage_while_it_is_in_use(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, found: bool) -> None:
    if not found:
        # As where the look at all pages would last too long.
        monkeypatch.setattr(files, "_check", lambda connection: None)
    # In the future, as maintaining it removes what is old.
    assert store.write(timings(20_000, at=4e9))
    store.maintain()
    assert store._connection is not None
    # Or pages that it still knows are not read again.
    store._connection.execute("PRAGMA cache_size = 1")
    store._connection.execute("PRAGMA shrink_memory")
    size = path.stat().st_size
    with path.open("r+b") as file:
        # Where operations are, and nothing that is read when it is opened.
        file.seek(size // 2)
        file.write(b"\xff" * (size - size // 2))
    for _ in range(3):
        assert store.write(timings(5_000, at=4e9))
    assert rows(path, "PRAGMA quick_check") == [("ok",)]
    assert len(aside(path)) == 1
    assert counter(path, "store_corruptions_total") == 1


def test_damage_that_the_look_does_not_find(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.write(timings(5_000))
    store.close()
    corrupt(path)
    monkeypatch.setattr(files, "_check", lambda connection: None)
    with path.open("r+b") as file:
        # The page of the tables' names.
        file.seek(100)
        file.write(os.urandom(3_000))
    assert store.write(saved())
    assert events(path, "visits_saved") == 1
    assert len(aside(path)) == 1


def test_keeps_the_last_damaged_files_only(path: Path) -> None:
    path.parent.mkdir()
    for number in range(6):
        path.write_bytes(b"garbage %d" % number * 100)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        store = Store(path, "clinic")
        assert store.open()
        store.close()
    kept = [file for file in aside(path) if not file.name.endswith(("-wal", "-shm"))]
    assert {file.read_bytes()[:9] for file in kept} == {b"garbage 3", b"garbage 4", b"garbage 5"}


def test_another_process_that_was_first_is_not_set_aside(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"garbage" * 1_000)
    seen = files.identity(path)
    first = Store(path, "clinic")
    assert first.write(saved())
    # The second had found the garbage before the first set it aside.
    assert seen is not None
    assert not files._set_aside(path, seen)
    second = Store(path, "clinic")
    assert second.write(saved())
    second.close()
    first.close()
    assert events(path, "visits_saved") == 2
    assert len(aside(path)) == 1


def test_one_that_died_while_it_made_the_file_is_not_waited_for(path: Path, store: Store) -> None:
    path.parent.mkdir()
    mutex = path.with_name("monitoring.db-making")
    mutex.touch()
    os.utime(mutex, (1_000, 1_000))
    assert store.write(saved())
    assert not mutex.exists()


# --- a file that goes away --------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a file in use cannot be removed")
def test_a_removed_file_is_made_anew(path: Path, store: Store) -> None:
    assert store.write(saved())
    path.unlink()
    assert store.write(saved(5))
    assert events(path, "visits_saved") == 5
    assert store.write(saved(1))
    assert events(path, "visits_saved") == 6


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a file in use cannot be removed")
def test_those_that_still_use_a_removed_file_do_no_harm_to_the_next(path: Path, store: Store) -> None:
    assert store.write(timings(2_000))
    path.unlink()
    other = Store(path, "clinic")
    assert other.open()
    for _ in range(5):
        assert other.write(timings(2_000))
        assert store.write(timings(2_000))
    other.close()
    assert rows(path, "SELECT count(*) FROM rounds_timing") == [(20_000,)]
    assert rows(path, "PRAGMA quick_check") == [("ok",)]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a file in use cannot be removed")
def test_a_removed_folder_is_made_anew(path: Path, store: Store) -> None:
    assert store.write(saved())
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    assert store.write(saved(5))
    assert events(path, "visits_saved") == 5


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a file in use cannot be replaced")
def test_a_file_put_in_its_place_is_taken(path: Path, store: Store, tmp_path: Path) -> None:
    backup = Store(tmp_path / "backup.db", "clinic")
    assert backup.write(saved(100))
    backup.close()
    assert store.write(saved())
    (tmp_path / "backup.db").replace(path)
    assert store.write(saved(5))
    assert events(path, "visits_saved") == 105


# --- a file that cannot be used ---------------------------------------------------------------------------------------


def test_a_newer_version_is_left_alone(path: Path, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    newer = Store(path, "clinic")
    assert newer.open()
    newer.transaction(
        lambda connection: connection.execute("UPDATE rounds_store SET value = '2' WHERE key = 'version'")
    )
    newer.close()
    before = path.read_bytes()
    for _ in range(3):
        assert not store.write(saved())
    store.close()
    assert path.read_bytes() == before
    assert not aside(path)
    assert caplog.text.count("newer version") == 1


def test_a_folder_in_its_place(path: Path, store: Store) -> None:
    path.mkdir(parents=True)
    assert not store.open()
    assert not store.write(saved())
    assert not store.maintain()
    path.rmdir()
    assert store.write(saved())


def test_a_folder_that_nobody_can_make(caplog: pytest.LogCaptureFixture) -> None:
    for place in ("/sys/rounds/monitoring.db", "/dev/null/monitoring.db", "/dev/null"):
        store = Store(Path(place), "clinic")
        assert not store.open()
        assert not store.write(saved())
        store.close()
    assert "/sys" not in caplog.text


def test_locked_by_another_program(
    path: Path, store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BUSY_SECONDS", 0.01)
    assert store.write(saved())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            assert not store.write(saved())
        other.execute("ROLLBACK")
    assert store.write(saved())
    assert events(path, "visits_saved") == 2
    assert caplog.text.count("SQLITE_BUSY") == 1


def test_locked_before_it_is_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BUSY_SECONDS", 0.01)
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE errors (id)")
        other.execute("BEGIN EXCLUSIVE")
        store = Store(path, "clinic")
        assert not store.write(saved())
        other.execute("ROLLBACK")
    assert store.write(saved())
    store.close()
    assert not aside(path)


def test_no_room(path: Path, store: Store) -> None:
    assert store.write(saved())
    connection = store._connection
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    batch = timings(20_000)
    batch.add(saved())
    assert not store.write(batch)
    assert events(path, "visits_saved") == 1
    # A new connection has no such limit.
    assert store.write(batch)
    assert events(path, "visits_saved") == 2
    assert rows(path, "SELECT count(*) FROM rounds_timing") == [(20_000,)]


NO_ROOM = """
import resource, sys
from pathlib import Path
from rounds.emr.app.store import Store
from support.emr_writing import timings
store = Store(Path(sys.argv[1]), "clinic")
assert store.write(timings(10))
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
written = [store.write(timings(5_000)) for _ in range(4)]
assert written[-1] is False, written
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert store.write(timings(5_000))
store.close()
print(written.count(True))
"""

NO_RIGHT = """
import os, sys
from pathlib import Path
from rounds.emr.app.store import Store
from support.emr_writing import timings
if os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)
store = Store(Path(sys.argv[1]), "clinic")
print(store.write(timings(10)), store.open(), store.maintain())
store.close()
"""


def run(script: str, path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="limits of files are of Unix")
def test_no_room_on_the_disk(path: Path) -> None:
    written = int(run(NO_ROOM, path))
    assert rows(path, "SELECT count(*) FROM rounds_timing") == [(10 + 5_000 * (written + 1),)]
    assert rows(path, "PRAGMA quick_check") == [("ok",)]


@pytest.mark.skipif(os.name != "posix", reason="rights are of Unix")
@pytest.mark.parametrize("there", [True, False])
def test_no_right_to_write(path: Path, there: bool) -> None:
    store = Store(path, "clinic")
    assert store.write(saved())
    store.close()
    content = path.read_bytes()
    if not there:
        path.unlink()
    path.parent.chmod(0o500)
    path.chmod(0o400) if there else None
    try:
        assert run(NO_RIGHT, path) == "False False False\n"
    finally:
        path.parent.chmod(0o700)
    assert not there or path.read_bytes() == content


def test_a_reader_that_does_not_stop(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_LOG_BYTES", 500_000)
    store = Store(path, "clinic", Limits(max_bytes=500_000))
    assert store.write(saved())
    wal = path.with_name("monitoring.db-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM rounds_counter").fetchall()
        written = [store.write(timings(2_000)) for _ in range(20)]
        assert written[-1] is False
        assert wal.stat().st_size < 1_000_000
    assert store.write(timings(2_000))
    assert rows(path, "SELECT count(*) FROM rounds_timing")[0][0] >= 2_000
    store.maintain()
    assert wal.stat().st_size == 0
    store.close()


# --- an existing file -------------------------------------------------------------------------------------------------


def existing(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE errors (id INTEGER PRIMARY KEY, error_type TEXT)")
        connection.executemany("INSERT INTO errors (error_type) VALUES (?)", [("ValueError",)] * 1_000)


def test_an_existing_file_is_taken_over(path: Path, store: Store) -> None:
    existing(path)
    assert store.write(saved())
    assert events(path, "visits_saved") == 1
    assert rows(path, "SELECT count(*) FROM errors") == [(1_000,)]
    assert rows(path, "PRAGMA auto_vacuum") == [(2,)]
    assert not aside(path)


def test_values_that_a_table_forbids_are_no_damage(path: Path, store: Store) -> None:
    existing(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO errors (error_type) VALUES (NULL)")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'error_type TEXT', 'error_type TEXT NOT NULL')")
    assert "NULL value" in rows(path, "PRAGMA quick_check")[0][0]
    assert store.write(saved())
    assert not aside(path)


def test_a_look_at_its_pages_that_is_given_up_is_no_damage(path: Path, store: Store) -> None:
    assert store.write(timings(5_000))
    connection = store._connection
    assert connection is not None
    # As an interrupt does, but surely in time.
    connection.set_progress_handler(lambda: 1, 1)
    files._check(connection)
    connection.set_progress_handler(None, 0)
    files._interrupt(connection)
    store.close()
    files._interrupt(connection)


def test_a_large_one_is_not_rewritten(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "REWRITE_BYTES", 1_000)
    existing(path)
    assert store.write(saved())
    assert events(path, "visits_saved") == 1
    assert rows(path, "PRAGMA auto_vacuum") == [(0,)]


def test_one_that_another_program_reads_is_used_as_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BUSY_SECONDS", 0.01)
    existing(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM errors").fetchone()
        store = Store(path, "clinic")
        assert not store.write(saved())
        reader.execute("COMMIT")
        assert store.write(saved())
        assert reader.execute("SELECT count(*) FROM errors").fetchone() == (1_000,)
    store.close()


def test_clocks_that_are_set_back(path: Path) -> None:
    now = [2_000_000_000.0]
    store = Store(path, "clinic", clock=lambda: now[0])
    assert store.write(timings(10, at=now[0]))
    now[0] = 1_000_000_000.0
    assert store.write(timings(10, at=now[0]))
    assert not store.maintain()
    store.close()
    assert rows(path, "SELECT count(*) FROM rounds_timing") == [(20,)]


def test_says_nothing_of_values_or_paths(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path.mkdir(parents=True)
    store = Store(path / "Ram Kumar", "clinic")
    (path / "Ram Kumar").mkdir()
    assert not store.write(Batch(timings=[(1.0, "Ram Kumar", float("nan"), "ok")]))
    assert caplog.text
    assert "Ram Kumar" not in caplog.text
