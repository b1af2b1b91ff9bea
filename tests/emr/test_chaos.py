"""What can happen to an application and its store, all at once: the application notices nothing of it."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from rounds.emr.app import files
from rounds.emr.app.monitor import Monitor
from support.emr_writing import Application, counter, events, rows, start, timings
from support.waiting import eventually

PROCESSES = 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "monitoring.db"


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.long)])
def test_what_was_acknowledged_survives_a_kill(path: Path, kills: int) -> None:
    luck = random.Random(kills)
    running: list[tuple[str, subprocess.Popen[str]]] = []
    acknowledged: dict[str, int] = {}

    def begin() -> None:
        name = f"p{len(acknowledged)}"
        acknowledged[name] = 0
        running.append((name, start(path, "count_forever", name)))

    def kill() -> None:
        name, victim = running.pop(luck.randrange(len(running)))
        assert victim.stdout is not None
        first = victim.stdout.readline()
        # At any moment, of a write too.
        time.sleep(luck.random() / 50)
        victim.kill()
        said = [line for line in [first, *victim.stdout] if line.endswith("\n")]
        victim.wait()
        victim.communicate()
        acknowledged[name] = int(said[-1])

    try:
        for _ in range(PROCESSES):
            begin()
        for _ in range(kills):
            kill()
            begin()
        while running:
            kill()
    finally:
        for _, process in running:
            process.kill()
            process.communicate()
    found = {name: events(path, name) for name in acknowledged}
    assert not {name: (number, found[name]) for name, number in acknowledged.items() if found[name] < number}
    # Whoever begins next finds each of them, and whoever comes then none.
    for _ in range(2):
        last = Application(path).start()
        assert last.writer.close(30)
        assert counter(path, "crashes_total", '["unclean"]') == kills + PROCESSES
    assert rows(path, "PRAGMA quick_check") == [("ok",)]
    assert not list(path.parent.glob("*.corrupt-*"))


class Misfortune:
    """What happens to a store in use."""

    def __init__(self, path: Path, now: list[float]) -> None:
        self.path = path
        self.now = now
        self.luck = random.Random(7)
        self.kinds: list[Callable[[], None]] = [
            self.remove,
            self.remove_all,
            self.fill_with_garbage,
            self.break_pages,
            self.cut,
            self.put_a_folder_there,
            self.put_a_backup_there,
            self.leave_a_mutex,
            self.set_the_clock,
        ]

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def remove_all(self) -> None:
        for file in list(self.path.parent.iterdir()):
            if file.is_file():
                file.unlink(missing_ok=True)

    def fill_with_garbage(self) -> None:
        self._clear()
        self.path.write_bytes(os.urandom(50_000))

    def break_pages(self) -> None:
        with self.path.open("r+b") as file:
            file.seek(self.luck.randrange(0, 30_000))
            file.write(os.urandom(20_000))

    def cut(self) -> None:
        with self.path.open("r+b") as file:
            file.truncate(self.luck.randrange(0, 20_000))

    def put_a_folder_there(self) -> None:
        self._clear()
        self.path.mkdir()

    def put_a_backup_there(self) -> None:
        backup = self.path.with_name("backup.db")
        backup.unlink(missing_ok=True)
        with closing(sqlite3.connect(backup)) as connection, connection:
            connection.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY)")
        self._clear()
        backup.replace(self.path)

    def leave_a_mutex(self) -> None:
        self.path.with_name(f"{self.path.name}-making").touch()

    def set_the_clock(self) -> None:
        self.now[0] += self.luck.choice((-1e9, -100.0, 100.0))

    def end(self) -> None:
        """Let it be possible again."""
        if self.path.is_dir():
            self.path.rmdir()
        self.path.with_name(f"{self.path.name}-making").unlink(missing_ok=True)

    def _clear(self) -> None:
        if self.path.is_dir():
            self.path.rmdir()
        self.path.unlink(missing_ok=True)


def test_whatever_happens_to_the_store_the_application_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(files, "_MUTEX_SECONDS", 0.05)
    now = [1_800_000_000.0]
    application = Application(path, clock=lambda: now[0]).start()
    misfortune = Misfortune(path, now)
    for round_ in range(10 * len(misfortune.kinds)):
        for _ in range(misfortune.luck.randrange(1, 3)):
            # Not all of them are possible behind others, and the writer is at it too.
            with suppress(OSError):
                misfortune.luck.choice(misfortune.kinds)()
            application.said.say(timings(100, at=now[0]))
            application.said.count(f"before{round_}")
            application.writer.flush(misfortune.luck.choice((0.0, 10.0)))
        misfortune.end()
        application.said.count(f"after{round_}")
        # What is damaged may be noticed late, by who reads it; that is the next start.
        if not application.writer.flush(10):
            assert application.writer.call(lambda store: store.close(), 10)
            assert application.writer.flush(10)
    assert application.writer.alive
    assert application.writer.close(10)
    again = Application(path).start()
    again.said.count("again")
    assert again.writer.close(10)
    assert events(path, "again") == 1
    assert rows(path, "PRAGMA quick_check") == [("ok",)]


def test_threads_that_say_and_flush_beside_each_other(path: Path) -> None:
    application = Application(path).start()

    def work() -> None:
        for _ in range(100):
            application.said.count("visits_saved")
            application.writer.wake()
            if not application.writer.flush(30):
                application.said.count("not_flushed")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert application.writer.close(30)
    assert events(path, "visits_saved") == 800
    assert events(path, "not_flushed") == 0


def test_who_says_something_never_waits_for_a_locked_store_and_drops_are_counted_exactly(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BUSY_SECONDS", 60.0)
    monitor = Monitor("clinic", store=path)
    assert monitor.flush(30)
    writer = monitor.writer
    assert writer is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monitor.timing("save_visit", 0.5)
        assert eventually(lambda: writer._busy.locked() and not len(monitor.intake))
        begun = time.monotonic()
        for _ in range(30_000):
            monitor.timing("save_visit", 0.5)
        for _ in range(5):
            monitor.alert("critical", "no caller waits, and none is lost")
        # The thread waits all the while.
        assert time.monotonic() - begun < 30
        assert writer._busy.locked()
        assert not monitor.flush(0.05)
        other.execute("ROLLBACK")
    assert monitor.flush(30)
    assert monitor.flush(30)
    dropped = counter(path, "telemetry_dropped_total", '["queue_full"]')
    assert dropped == 30_000 - 20_000
    assert counter(path, "operations_total", '["save_visit","ok"]') == 30_001 - dropped
    assert rows(path, "SELECT count(*) FROM rounds_timing") == [(20_001,)]
    assert rows(path, "SELECT count(*) FROM rounds_alert") == [(5,)]
    monitor.close(30)
