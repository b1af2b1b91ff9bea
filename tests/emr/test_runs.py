"""The mark of a process that lives, and what the next one makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rounds.emr.app import process
from rounds.emr.app.runs import SILENT_SECONDS, Dead, Fatal, Run
from rounds.emr.app.store import Store, StoreUnavailable
from support.emr_writing import Application, counter, rows, start

OPEN = "SELECT pid FROM rounds_run WHERE ended IS NULL"


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "monitoring.db"


@pytest.fixture
def clock() -> Clock:
    return Clock(1_800_000_000.0)


@pytest.fixture
def begin(path: Path, clock: Clock) -> Iterator[Callable[..., Run]]:
    stores: list[Store] = []

    def begin(examine: Callable[[Dead], Fatal | None] = lambda _: None) -> Run:
        stores.append(Store(path, "clinic", version="1.2", clock=clock))
        run = Run(stores[-1], examine)
        run.beat()
        return run

    yield begin
    for store in stores:
        store.close()


def leave(path: Path, clock: Clock, *, pid: int, boot: str | None = None, start: str | None = None) -> None:
    """A mark of another process."""
    store = Store(path, "clinic")
    store.transaction(
        lambda connection: connection.execute(
            "INSERT INTO rounds_run (pid, boot_id, process_start, started, heartbeat, version, python, os)"
            " VALUES (?, ?, ?, ?, ?, '1.1', '3.11', 'Linux')",
            (pid, process.boot_id() if boot is None else boot, "1" if start is None else start, clock.now, clock.now),
        )
    )
    store.close()


def gone() -> int:
    """The number of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_a_run_from_beginning_to_end(path: Path, clock: Clock, begin: Callable[..., Run]) -> None:
    run = begin()
    clock.now += 15
    sum(range(3_000_000))
    run.beat()
    [(pid, started, heartbeat, ended, version, python, system, resident, cpu)] = rows(
        path,
        "SELECT pid, started, heartbeat, ended, version, python, os, resident_bytes, cpu_seconds FROM rounds_run",
    )
    assert (pid, started, heartbeat, ended) == (os.getpid(), clock.now - 15, clock.now, None)
    assert (version, python) == ("1.2", sys.version.split()[0])
    assert system.split()[0] in ("Linux", "Darwin", "Windows")
    assert sys.platform != "linux" or resident > 5_000_000
    assert cpu > 0.01
    assert 0 < counter(path, "process_cpu_seconds_total") < cpu
    clock.now += 5
    run.end("sigterm")
    run.end("clean")
    run.beat()
    assert rows(path, "SELECT ended, ending FROM rounds_run") == [(clock.now, "sigterm")]
    assert counter(path, "crashes_total", '["unclean"]') == 0


def test_processor_time_is_counted_once(path: Path, begin: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    used = [10.0]
    monkeypatch.setattr(process, "cpu_seconds", lambda: used[0])
    run = begin()
    for seconds in (1.0, 0.5):
        used[0] += seconds
        run.beat()
    used[0] += 0.25
    run.end("clean")
    assert counter(path, "process_cpu_seconds_total") == 1.75


@pytest.mark.parametrize(
    ("boot", "begun"),
    [(None, None), (None, "1"), ("another start of the computer", None), ("", None)],
)
def test_one_that_is_gone_did_not_end_well(
    path: Path, clock: Clock, begin: Callable[..., Run], boot: str | None, begun: str | None
) -> None:
    leave(path, clock, pid=os.getpid() if boot or begun else gone(), boot=boot, start=begun)
    before = clock.now
    clock.now += 1
    begin().end("clean")
    begin().end("clean")
    assert rows(path, "SELECT ended, ending FROM rounds_run ORDER BY id LIMIT 1") == [(before, "unclean")]
    assert rows(path, "SELECT at, kind, error_type, report, submitted FROM rounds_crash") == [
        (before, "unclean", "", "", 0)
    ]
    assert counter(path, "crashes_total", '["unclean"]') == 1


def test_one_that_lives_is_left_alone(path: Path, clock: Clock, begin: Callable[..., Run]) -> None:
    begin()
    clock.now += 1_000_000
    begin()
    assert len(rows(path, OPEN)) == 2
    assert not rows(path, "SELECT * FROM rounds_crash")


def test_one_that_nobody_can_ask_for_is_gone_when_it_is_silent(
    path: Path, clock: Clock, begin: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "start_of", lambda pid: "")
    leave(path, clock, pid=1)
    clock.now += SILENT_SECONDS - 1
    run = begin()
    assert len(rows(path, OPEN)) == 2
    clock.now += 2
    run.beat()
    assert rows(path, OPEN) == [(os.getpid(),)]


@pytest.mark.skipif(sys.platform != "linux", reason="only there containers are known")
def test_one_in_another_container_is_gone_when_it_is_silent(
    path: Path, clock: Clock, begin: Callable[..., Run]
) -> None:
    leave(path, clock, pid=gone(), boot=f"{process.boot_id().partition(' ')[0]} pid:[1]")
    run = begin()
    assert len(rows(path, OPEN)) == 2
    clock.now += SILENT_SECONDS + 1
    run.beat()
    assert rows(path, OPEN) == [(os.getpid(),)]


@pytest.mark.skipif(sys.platform != "linux", reason="as /proc shows it")
def test_one_that_ended_and_was_not_asked_how_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process.start_of(child.pid)
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process.start_of(child.pid) is None
    child.wait()


def test_a_fatal_signal_is_known_by_what_it_left(path: Path, clock: Clock, begin: Callable[..., Run]) -> None:
    leave(path, clock, pid=gone())
    asked: list[Dead] = []

    def examine(dead: Dead) -> Fatal:
        asked.append(dead)
        return Fatal("SIGSEGV", "fault_1.txt", "ab")

    begin(examine)
    assert [dead.id for dead in asked] == [1]
    assert rows(path, "SELECT ending FROM rounds_run WHERE id = 1") == [("fatal_signal",)]
    assert rows(path, "SELECT kind, error_type, fingerprint, report FROM rounds_crash") == [
        ("fatal_signal", "SIGSEGV", "ab", "fault_1.txt")
    ]
    assert counter(path, "crashes_total", '["fatal_signal"]') == 1
    assert counter(path, "crashes_total", '["unclean"]') == 0


def test_an_error_of_who_is_asked_changes_nothing(path: Path, clock: Clock, begin: Callable[..., Run]) -> None:
    leave(path, clock, pid=gone())

    def examine(dead: Dead) -> Fatal:
        raise OSError

    begin(examine)
    assert counter(path, "crashes_total", '["unclean"]') == 1


def test_the_mark_is_made_anew_in_a_new_file(path: Path, clock: Clock, begin: Callable[..., Run]) -> None:
    run = begin()
    path.unlink()
    clock.now += 15
    run.beat()
    assert rows(path, "SELECT started, heartbeat FROM rounds_run") == [(clock.now - 15, clock.now)]
    run.end("clean")
    assert rows(path, "SELECT ending FROM rounds_run") == [("clean",)]


def test_a_clock_that_is_set_back(path: Path, clock: Clock, begin: Callable[..., Run]) -> None:
    run = begin()
    started = clock.now
    clock.now -= 1_000_000
    run.beat()
    assert rows(path, "SELECT heartbeat FROM rounds_run") == [(clock.now,)]
    begin().end("clean")
    assert len(rows(path, OPEN)) == 1
    run.end("clean")
    assert rows(path, "SELECT ended, ending FROM rounds_run WHERE id = 1") == [(started, "clean")]


def test_what_cannot_be_said_is_said_later(path: Path, clock: Clock) -> None:
    path.mkdir()
    store = Store(path, "clinic", clock=clock)
    run = Run(store)
    with pytest.raises(StoreUnavailable):
        run.beat()
    with pytest.raises(StoreUnavailable):
        run.end("clean")
    path.rmdir()
    run.end("clean")
    store.close()
    assert rows(path, "SELECT ending FROM rounds_run") == [("clean",)]


def test_a_forked_child_leaves_no_mark(path: Path, begin: Callable[..., Run]) -> None:
    run = begin()
    run.forked()
    run.beat()
    run.end("clean")
    assert len(rows(path, OPEN)) == 1


def test_a_killed_process_is_counted_once_however_many_begin_then(path: Path) -> None:
    victim = start(path, "wait")
    assert victim.stdout is not None
    assert victim.stdout.readline() == "began\n"
    assert rows(path, OPEN) == [(victim.pid,)]
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    others = [start(path, "begin_together") for _ in range(4)]
    for other in others:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
    for other in others:
        assert other.stdin is not None
        other.stdin.write("go\n")
        other.stdin.flush()
    for other in others:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
    assert counter(path, "crashes_total", '["unclean"]') == 1
    assert len(rows(path, "SELECT * FROM rounds_crash")) == 1
    for other in others:
        other.kill()
        other.communicate()
    victim.communicate()


def test_one_that_ends_well_is_no_crash(path: Path) -> None:
    done = start(path, "wait")
    assert done.communicate("go on\n")[0] == "began\nTrue\n"
    later = Application(path)
    later.run.beat()
    later.store.close()
    assert rows(path, "SELECT ending FROM rounds_run WHERE pid = ?", done.pid) == [("clean",)]
    assert not rows(path, "SELECT * FROM rounds_crash")
