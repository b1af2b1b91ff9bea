"""A SQLite database that is checked: with real files, real locks of other processes, and real damage."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rounds.emr.health import database as module
from rounds.emr.health.background import AGAIN
from rounds.emr.health.database import REASONS, Database
from rounds.emr.health.opening import read
from rounds.emr.health.result import Health
from support.emr_health import database_as_nobody, holding
from support.forking import CONTEXT
from support.processes import folder
from support.waiting import eventually

MODES = ("wal", "delete")
OK = ("database_integrity_ok",)
CHECKED = ("database_integrity_check_timestamp_seconds",)
LOCKED = ("database_locked",)


def make(path: Path, mode: str, rows: int = 1) -> Path:
    """A file that nobody has open."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(f"PRAGMA journal_mode = {mode}").fetchone() == (mode,)
        connection.execute("CREATE TABLE patients (number)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO patients VALUES (?)", [(f"{row:0500}",) for row in range(rows)])
        connection.execute("COMMIT")
    return path


def damage(path: Path, page: int) -> None:
    """Overwrite most of a page."""
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096 + 100)
        file.write(b"\xa5" * 3000)


def put(path: Path) -> None:
    """Write to the file, which nobody may be in the way of."""
    with closing(sqlite3.connect(path, timeout=0)) as connection:
        connection.execute("INSERT INTO patients VALUES (1)")
        connection.commit()


def beside(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir() if each != path)


def check(path: Path, **keys: float) -> Health:
    return Database(path, **{"timeout": 0.3, **keys}).run()


@pytest.mark.parametrize("mode", MODES)
def test_a_file_that_nobody_has_open_is_healthy_and_nothing_is_left_beside_it(tmp_path: Path, mode: str) -> None:
    path = make(tmp_path / "clinic.db", mode)
    health = check(path)
    assert (health.state, health.reason) == ("healthy", ""), health
    figures = {name: value for (name,), value in health.figures.items()}
    assert figures["database_bytes"] == path.stat().st_size
    assert figures["database_locked"] == 0
    assert figures["database_integrity_ok"] == 1
    assert abs(figures["database_integrity_check_timestamp_seconds"] - time.time()) < 60
    assert 0 < figures["database_response_seconds"] < 60
    assert beside(path) == []


@pytest.mark.parametrize("name", ["a?b=c&mode=rwc.db", "50%25 #1.db", "médica.db", "-wal"])
def test_a_name_that_is_no_plain_text_of_a_url(tmp_path: Path, name: str) -> None:
    assert check(make(tmp_path / name, "wal")).state == "healthy"
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "SELECT 1 FROM patients"])
def test_a_file_that_is_used_is_healthy(tmp_path: Path, mode: str, statement: str) -> None:
    """Whoever has begun to write keeps nobody from reading; a check that takes a write lock would be refused."""
    path = make(tmp_path / "clinic.db", mode)
    with holding(path, "INSERT INTO patients VALUES (2)", statement):
        if statement == "BEGIN IMMEDIATE":
            with closing(sqlite3.connect(path, timeout=0)) as other, pytest.raises(sqlite3.OperationalError):
                other.execute("BEGIN IMMEDIATE")
        health = check(path)
    assert (health.state, health.figures[LOCKED], health.figures[OK]) == ("healthy", 0, 1), health


@pytest.mark.parametrize(
    ("mode", "statements"),
    [
        ("delete", ["BEGIN EXCLUSIVE"]),
        ("delete", ["PRAGMA locking_mode = EXCLUSIVE", "INSERT INTO patients VALUES (2)"]),
        ("wal", ["PRAGMA locking_mode = EXCLUSIVE", "INSERT INTO patients VALUES (2)"]),
    ],
)
def test_a_file_that_another_process_locks_is_degraded(tmp_path: Path, mode: str, statements: list[str]) -> None:
    path = make(tmp_path / "clinic.db", mode)
    with holding(path, *statements):
        began = time.monotonic()
        health = check(path)
        assert time.monotonic() - began >= 0.3, "it waits for a lock as long as it may"
    assert (health.state, health.reason, health.figures[LOCKED]) == ("degraded", "locked", 1), health
    assert ("database_response_seconds",) not in health.figures
    assert check(path).state == "healthy"


def test_an_exclusive_transaction_with_a_log_keeps_nobody_from_reading(tmp_path: Path) -> None:
    path = make(tmp_path / "clinic.db", "wal")
    with holding(path, "BEGIN EXCLUSIVE", "INSERT INTO patients VALUES (2)"):
        health = check(path)
    assert (health.state, health.figures[LOCKED]) == ("healthy", 0), health


@pytest.mark.parametrize("mode", MODES)
def test_this_process_keeps_its_own_locks(tmp_path: Path, mode: str) -> None:
    """Where a file is closed that was not opened by SQLite, its locks in the same process are lost (POSIX)."""
    path = make(tmp_path / "clinic.db", mode)
    with closing(sqlite3.connect(path, isolation_level=None)) as own:
        own.execute("BEGIN IMMEDIATE")
        own.execute("INSERT INTO patients VALUES (2)")
        assert check(path).state == "healthy"
        script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
        assert "database is locked" in done.stderr
        own.execute("COMMIT")


def test_a_slow_answer_is_degraded(tmp_path: Path) -> None:
    health = check(make(tmp_path / "clinic.db", "delete"), slow_after=1e-9)
    assert (health.state, health.reason) == ("degraded", "slow")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "missing"), (b"", "empty"), (b"garbage" * 1000, "not_a_database"), (os.urandom(8192), "not_a_database")],
    ids=["missing", "empty", "garbage", "encrypted"],
)
def test_what_is_no_database_is_unhealthy(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "clinic.db"
    if content is not None:
        path.write_bytes(content)
    health = check(path)
    assert (health.state, health.reason) == ("unhealthy", reason)
    assert beside(path) == []
    assert path.exists() is (content is not None), "it is never made"


def test_what_is_no_file_is_unhealthy_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        assert (check(path).state, check(path).reason) == ("unhealthy", "unreadable")
    assert check(tmp_path / "pipe" / "clinic.db").reason == "missing"


# --- where nothing may be written -------------------------------------------------------------------------------------


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others may read."""
    with folder("health-") as path:
        path.chmod(0o755)
        yield path
        path.chmod(0o755)


def as_nobody(path: Path) -> Health:
    """The check's result in a folder that may not be written to."""
    path.parent.chmod(0o555)
    pipe, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=database_as_nobody, args=(path, theirs), daemon=True)
    process.start()
    theirs.close()
    assert pipe.poll(30)
    health = pipe.recv()
    process.join()
    assert isinstance(health, Health)
    return health


@pytest.mark.parametrize("mode", MODES)
def test_a_reader_who_may_not_write_finds_it_healthy(place: Path, mode: str) -> None:
    path = make(place / "clinic.db", mode)
    assert as_nobody(path).state == "healthy"
    with holding(path, "INSERT INTO patients VALUES (2)"):
        health = as_nobody(path)
    assert (health.state, health.figures[OK]) == ("healthy", 1), health


def test_a_file_that_may_not_be_read_is_unhealthy(place: Path) -> None:
    path = make(place / "clinic.db", "delete")
    path.chmod(0)
    assert (as_nobody(path).state, as_nobody(path).reason) == ("unhealthy", "unreadable")


def test_a_log_that_was_left_behind_is_told(place: Path) -> None:
    path = make(place / "clinic.db", "wal")
    log = place / "clinic.db-wal"
    with holding(path, "INSERT INTO patients VALUES (2)"):
        content = log.read_bytes()
    # As after a restart of the computer, without the index that is in shared memory.
    (place / "clinic.db-shm").unlink()
    log.write_bytes(content)
    log.chmod(0o444)
    health = as_nobody(path)
    assert (health.state, health.reason) == ("degraded", "recovery"), health


def test_a_transaction_that_was_broken_off_is_told(place: Path) -> None:
    path = make(place / "clinic.db", "delete", rows=5000)
    spill = ["PRAGMA cache_size = 5", "BEGIN", "UPDATE patients SET number = number || '0'"]
    with holding(path, *spill) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert beside(path) == ["clinic.db-journal"]
    (place / "clinic.db-journal").chmod(0o444)
    health = as_nobody(path)
    assert (health.state, health.reason) == ("degraded", "recovery"), health
    assert OK not in health.figures, "amid a change its pages say nothing"


# --- all of its pages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("used", [True, False])
def test_a_damaged_page_is_found(tmp_path: Path, mode: str, used: bool) -> None:
    path = make(tmp_path / "clinic.db", mode, rows=500)
    damage(path, 40)
    if used:
        with holding(path, "INSERT INTO patients VALUES (2)"):
            health = check(path)
    else:
        health = check(path)
    assert (health.state, health.reason, health.figures[OK]) == ("unhealthy", "damaged", 0), health


def test_pages_are_looked_at_at_their_own_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "clinic.db", "delete", rows=500)
    checked = Database(path)
    first = checked.run().figures[CHECKED]
    damage(path, 40)
    again = checked.run()
    assert (again.state, again.figures[CHECKED]) == ("healthy", first), "not every time"
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + 86_401)
    assert checked.run().reason == "damaged"


def test_a_repaired_file_is_found_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "clinic.db", "delete", rows=500)
    shutil.copy(path, tmp_path / "backup.db")
    damage(path, 40)
    checked = Database(path)
    assert checked.run().reason == "damaged"
    path.write_bytes((tmp_path / "backup.db").read_bytes())
    assert checked.run().reason == "damaged", "the same file, not looked at again yet"
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + AGAIN + 1)
    assert checked.run().state == "healthy"
    damage(path, 40)
    (tmp_path / "backup.db").replace(path)
    assert checked.run().figures[OK] == 1, "another file is looked at at once"


def test_a_look_that_is_not_done_in_time_says_nothing(tmp_path: Path) -> None:
    path = make(tmp_path / "clinic.db", "delete", rows=20_000)
    health = check(path, integrity_timeout=1e-6)
    assert health.state == "healthy"
    assert OK not in health.figures
    assert CHECKED not in health.figures


def test_a_look_does_not_keep_the_application_from_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "clinic.db", "delete")
    real = module._quick_check

    def amid(connection: sqlite3.Connection, end: float) -> bool | None:
        put(path)
        return real(connection, end)

    monkeypatch.setattr(module, "_quick_check", amid)
    assert check(path).figures[OK] == 1


@pytest.mark.parametrize(("writes", "sound"), [(1, 0.0), (9, None)])
def test_damage_counts_only_in_a_file_that_did_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int, sound: float | None
) -> None:
    """Without locks, a page that is being written may look damaged."""
    path = make(tmp_path / "clinic.db", "delete")
    left = itertools.count(writes, -1)

    def amid(connection: sqlite3.Connection, _: float) -> bool | None:
        connection.close()
        if next(left) > 0:
            put(path)
        return False

    monkeypatch.setattr(module, "_quick_check", amid)
    assert check(path).figures.get(OK) == sound


def test_a_slow_look_does_not_hold_up_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "clinic.db", "delete")
    go_on = tmp_path / "go on"
    monkeypatch.setattr(Database, "_sound", lambda *_: eventually(go_on.exists))
    checked = Database(path)
    for _ in range(2):
        health = checked.run()
        assert (health.state, OK in health.figures) == ("healthy", False)
    go_on.touch()
    assert eventually(lambda: OK in checked.run().figures)


# --- reading without locks --------------------------------------------------------------------------------------------


def test_what_was_read_without_locks_is_read_again_if_the_file_changed(tmp_path: Path) -> None:
    path = make(tmp_path / "clinic.db", "wal")
    counts: list[int] = []
    with closing(sqlite3.connect(path)) as application:

        def work(connection: sqlite3.Connection) -> int:
            if not counts:
                application.execute("INSERT INTO patients VALUES (2)")
                application.commit()
            counts.append(connection.execute("SELECT count(*) FROM patients").fetchone()[0])
            return counts[-1]

        assert read(path, 1, work) == 2
    assert len(counts) == 2
    assert counts[0] == 1, "the log was not there yet"


@pytest.fixture(autouse=True)
def _reasons_are_of_the_closed_list(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[Database], Health] = Database.run

    def run(self: Database) -> Health:
        health = real(self)
        assert health.reason in ("", *REASONS)
        assert bool(health.reason) is (health.state != "healthy")
        assert health.text
        assert str(self._path) not in health.text
        return health

    monkeypatch.setattr(Database, "run", run)
