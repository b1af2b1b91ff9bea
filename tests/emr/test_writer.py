"""The writer's thread, and those who wait for it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rounds.emr.app import files, writer
from rounds.emr.app.batch import Batch
from rounds.emr.app.store import Store
from support.emr_writing import Application, counter, events, rows, start, timings
from support.waiting import eventually


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "monitoring.db"


@pytest.fixture
def application(path: Path) -> Iterator[Application]:
    application = Application(path).start()
    yield application
    application.writer.close()


def test_writes_by_itself(path: Path, application: Application) -> None:
    assert application.writer.flush()
    application.said.count("visits_saved", 3)
    assert eventually(lambda: events(path, "visits_saved") == 3)


def test_flush_waits_until_it_is_written(path: Path, application: Application) -> None:
    for number in range(1, 20):
        application.said.count("visits_saved")
        assert application.writer.flush()
        assert events(path, "visits_saved") == number


def test_waking_writes_sooner(path: Path, application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    assert application.writer.flush()
    monkeypatch.setattr(writer, "TICK_SECONDS", 600)
    assert application.writer.flush()
    application.said.count("visits_saved")
    for _ in range(1_000):
        application.writer.wake()
    assert eventually(lambda: events(path, "visits_saved") == 1)
    assert application.writer._requests.qsize() <= 1


def test_calls_are_made_on_the_thread_after_what_was_said(path: Path, application: Application) -> None:
    seen: list[object] = []

    def look(store: Store) -> None:
        seen.append((threading.current_thread().name, events(path, "visits_saved")))

    application.said.count("visits_saved")
    assert application.writer.call(look)
    assert seen == [("rounds-emr-writer", 1.0)]

    def fail(store: Store) -> None:
        raise ZeroDivisionError

    assert not application.writer.call(fail)
    assert application.writer.flush()


def test_who_calls_from_the_thread_itself_does_not_wait_for_itself(application: Application) -> None:
    answers: list[bool] = []
    assert application.writer.call(lambda store: answers.append(application.writer.flush(60)))
    assert answers == [False]


def test_close_writes_all_and_ends_well(path: Path) -> None:
    application = Application(path).start()
    thread = application.writer._thread
    application.said.count("visits_saved")
    assert application.writer.close()
    assert application.writer.close()
    assert [file.name for file in path.parent.iterdir()] == ["monitoring.db"]
    assert events(path, "visits_saved") == 1
    assert rows(path, "SELECT ending FROM rounds_run") == [("clean",)]
    assert thread is not None
    thread.join(10)
    assert not application.writer.alive
    assert not application.writer.flush(60)


def test_an_ending_that_was_said_first_holds(path: Path) -> None:
    application = Application(path).start()
    assert application.writer.call(lambda store: application.run.end("python"))
    assert application.writer.close()
    assert rows(path, "SELECT ending FROM rounds_run") == [("python",)]


def test_a_fault_in_collecting_or_in_a_task_stops_nothing(path: Path) -> None:
    application = Application(path)
    collect, faults = application.writer._collect, [True]

    def faulty() -> Batch:
        if faults.pop():
            raise ZeroDivisionError
        faults.append(False)
        return collect()

    application.writer._collect = faulty
    ticks: list[int] = []

    def task(store: Store) -> None:
        ticks.append(1)
        raise ZeroDivisionError

    application.writer.every(0, task)
    application.start()
    faults.insert(0, False)
    application.said.count("visits_saved")
    application.writer.flush()
    application.writer.flush()
    assert events(path, "visits_saved") == 1
    assert len(ticks) >= 2
    application.writer.close()


def test_without_a_thread_nobody_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    application = Application(path)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        assert not application.writer.start()
    assert not application.writer.flush(60)
    assert not application.writer.close(60)


def test_a_locked_store_holds_up_nobody_and_drops_are_counted_exactly(
    path: Path, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BUSY_SECONDS", 0.01)
    application.store.close()
    assert application.writer.flush()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(5):
            application.said.say(timings(5_000))
            application.said.count("visits_saved", 5_000)
            assert not application.writer.flush(10)
        other.execute("ROLLBACK")
    assert application.writer.flush(10)
    assert events(path, "visits_saved") == 25_000
    assert rows(path, "SELECT count(*) FROM rounds_timing") == [(20_000,)]
    assert counter(path, "telemetry_dropped_total", '["size"]') == 5_000


def test_who_waits_for_a_locked_store_waits_no_longer_than_told(path: Path, application: Application) -> None:
    assert application.writer.flush()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        application.said.count("visits_saved")
        begun = time.monotonic()
        assert not application.writer.flush(0.05)
        assert not application.writer.close(0.05)
        # The store itself is waited for longer.
        assert time.monotonic() - begun < files.BUSY_SECONDS
        other.execute("ROLLBACK")


def test_a_store_that_cannot_be_used_is_tried_ever_more_seldom(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    path.mkdir()
    application = Application(path)
    tried: list[float] = []
    monkeypatch.setattr(application.run, "beat", lambda: None)
    monkeypatch.setattr(application.store, "write", lambda batch: tried.append(now[0]))
    for tick in range(60):
        now[0] = tick / 2
        application.said.count("visits_saved")
        application.writer._tick(urgent=False)
    assert tried == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 25.5]
    assert application.writer._pending.counters.total() == 60
    application.writer._tick(urgent=True)
    assert len(tried) == 8


def test_all_that_could_not_be_written_is_written_later(path: Path) -> None:
    path.mkdir()
    application = Application(path).start()
    application.said.count("visits_saved")
    assert not application.writer.flush(10)
    application.said.count("visits_saved")
    assert not application.writer.flush(10)
    path.rmdir()
    assert application.writer.close(10)
    assert events(path, "visits_saved") == 2


def test_a_signals_handler_may_flush_whatever_it_interrupts(path: Path, application: Application) -> None:
    handled: list[bool] = []

    def handle(number: int, frame: object) -> None:
        application.said.count("signals")
        handled.append(application.writer.flush(10))

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.003)
    try:
        while len(handled) < 30:
            application.said.count("visits_saved")
            application.writer.wake()
            application.writer.flush(10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert all(handled)
    assert application.writer.flush(10)
    assert events(path, "signals") == len(handled)


# --- other processes --------------------------------------------------------------------------------------------------

FORK = """
import os, sys, warnings
from pathlib import Path
from support.emr_writing import Application, rows
warnings.simplefilter("ignore")
application = Application(Path(sys.argv[1])).start()
application.said.count("before", 2)
application.writer.flush(30)
# Said, and not written when it forks: the parent's to write.
application.said.count("before", 3)
children = []
for child in range(4):
    pid = os.fork()
    if pid == 0:
        application.said.count("child", 10)
        written = application.writer.flush(30)
        again = os.fork()
        if again == 0:
            application.said.count("grandchild")
            # An end of which the interpreter is told, so that it clears up what it had from its parents.
            sys.exit(0 if application.writer.close(30) else 1)
        ended = os.waitpid(again, 0)[1]
        sys.exit(0 if written and ended == 0 and application.writer.close(30) else 1)
    children.append(pid)
    application.said.count("parent")
    application.writer.flush(30)
ended = [os.waitpid(pid, 0)[1] for pid in children]
application.said.count("parent")
application.writer.flush(30)
open_runs = rows(Path(sys.argv[1]), "SELECT pid FROM rounds_run WHERE ended IS NULL") == [(os.getpid(),)]
print(ended, open_runs, application.writer.close(30))
"""

PENDING = """
import os, sys, warnings
from pathlib import Path
from support.emr_writing import Application
warnings.simplefilter("ignore")
application = Application(Path(sys.argv[1])).start()
application.writer.flush(30)
print("began", flush=True)
sys.stdin.readline()
# Locked by another program, so that it waits in memory.
application.said.count("before")
application.writer.flush(0.5)
child = os.fork()
if child == 0:
    application.said.count("child")
    while not application.writer.flush(30):
        pass
    sys.exit(0 if application.writer.close(30) else 1)
print("forked", flush=True)
print(os.waitpid(child, 0)[1], application.writer.close(30))
"""

WORKERS = """
import multiprocessing, sys, warnings
from pathlib import Path
from support.emr_writing import Application
warnings.simplefilter("ignore")
application = Application(Path(sys.argv[1]))

def work(number):
    # What a worker says last is written when it ends, though nobody closes the writer.
    application.said.count("worked")
    return number

if __name__ == "__main__":
    application.start()
    application.writer.flush(30)
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        assert pool.map(work, range(20)) == list(range(20))
        pool.close()
        pool.join()
    process = context.Process(target=work, args=(1,))
    process.start()
    process.join()
    print(application.writer.close(30))
"""


SPAWNED = """
import multiprocessing, sys
from rounds.emr import Monitor
from support.emr_writing import work

if __name__ == "__main__":
    monitor = Monitor("clinic", store=sys.argv[1])
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(sys.argv[1], number)) for number in (1, 10)]
    for worker in workers:
        worker.start()
    monitor.count("worked", 100)
    for worker in workers:
        worker.join()
    print([worker.exitcode for worker in workers])
"""


def begin(script: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(script: str, path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_forked_children_write_for_themselves(path: Path) -> None:
    assert run(FORK, path) == "[0, 0, 0, 0] True True\n"
    assert [events(path, name) for name in ("before", "child", "grandchild", "parent")] == [5, 40, 4, 5]
    assert rows(path, "SELECT ending FROM rounds_run") == [("clean",)]
    assert rows(path, "PRAGMA quick_check") == [("ok",)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_what_waits_for_a_locked_store_is_not_written_by_a_child_too(path: Path) -> None:
    parent = begin(PENDING, path)
    assert parent.stdout is not None
    assert parent.stdin is not None
    assert parent.stdout.readline() == "began\n"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        parent.stdin.write("locked\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == "forked\n"
        other.execute("ROLLBACK")
    assert parent.communicate()[0] == "0 True\n"
    assert (events(path, "before"), events(path, "child")) == (1, 1)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork")
def test_what_workers_said_last_is_written(path: Path) -> None:
    assert run(WORKERS, path) == "True\n"
    assert events(path, "worked") == 21
    assert rows(path, "SELECT ending FROM rounds_run") == [("clean",)]


def test_workers_that_are_started_afresh(path: Path) -> None:
    assert run(SPAWNED, path) == "[0, 0]\n"
    assert events(path, "worked") == 111
    assert rows(path, "SELECT ending FROM rounds_run") == [("clean",)] * 3


def test_a_fork_does_not_wait_for_a_store_that_is_locked(path: Path, application: Application) -> None:
    assert application.writer.flush()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        application.said.count("visits_saved")
        application.writer.wake()
        assert eventually(application.writer._busy.locked)
        begun = time.monotonic()
        writer._before_fork()
        writer._after_fork_in_parent()
        assert time.monotonic() - begun < files.BUSY_SECONDS
        other.execute("ROLLBACK")
    assert application.writer.flush(10)


def test_a_parents_connection_is_never_closed_by_its_child(path: Path) -> None:
    store = Store(path, "clinic")
    assert store.open()
    connection = store._connection
    assert connection is not None
    held = sys.getrefcount(connection)
    store.forsake()
    # The store's own is gone, and one is there for good.
    assert store._connection is None
    assert sys.getrefcount(connection) == held
    connection.close()


def test_processes_beside_each_other(path: Path) -> None:
    applications = [start(path, "count", f"p{number}", "2000") for number in range(4)]
    assert [application.communicate()[0] for application in applications] == ["True\n"] * 4
    assert [events(path, f"p{number}") for number in range(4)] == [2_000] * 4
    assert rows(path, "SELECT count(*) FROM rounds_timing") == [(8_000,)]
    assert rows(path, "SELECT DISTINCT ending FROM rounds_run") == [("clean",)]
    assert rows(path, "SELECT count(*) FROM rounds_store") == [(4,)]
