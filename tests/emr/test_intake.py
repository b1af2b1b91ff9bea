"""What was said and is not written yet: how much of it there may be, and that none of it is lost without a word."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sqlite3
import sys
import threading
from pathlib import Path

import pytest

from rounds.emr import Monitor
from rounds.emr.app.aggregate import Aggregate
from rounds.emr.app.batch import Alert, Batch
from rounds.emr.app.errors import Portraits
from rounds.emr.app.intake import ALERT, COUNT, LIMIT, Intake
from rounds.emr.app.store import Store
from support.emr_monitor import monitored
from support.waiting import eventually

FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")


def test_what_does_not_fit_is_counted_exactly() -> None:
    intake = Intake(100)
    for number in range(250):
        intake.put((number,))
    assert len(intake) == 100
    assert intake.dropped() == 150
    assert intake.dropped() == 0
    assert intake.drain(30) == [(number,) for number in range(30)]
    for number in range(50):
        intake.put((number,))
    assert intake.dropped() == 20
    assert len(intake.drain()) == 100
    assert intake.drain() == []


def test_the_writer_is_woken_when_it_is_half_full() -> None:
    intake = Intake(100)
    woken = []
    intake.wake = lambda: woken.append(len(intake))
    for number in range(50):
        intake.put((number,))
    assert woken == []
    intake.put((50,))
    assert woken == [51]


def test_what_must_not_be_dropped_is_not() -> None:
    intake = Intake(10)
    for number in range(20):
        intake.put((number,))
    intake.must((ALERT, Alert(1.0, "critical", "", ())))
    assert len(intake) == 11
    assert intake.dropped() == 10
    intake.close()
    intake.must((ALERT,))
    intake.put((1,))
    assert (len(intake), intake.dropped()) == (0, 0)


def test_nothing_is_lost_between_threads() -> None:
    intake = Intake(2000)
    each, threads = 20_000, 6

    def put() -> None:
        for number in range(each):
            intake.put((number,))

    writers = [threading.Thread(target=put) for _ in range(threads)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    taken = dropped = most = 0
    try:
        for thread in writers:
            thread.start()
        while any(thread.is_alive() for thread in writers):
            most = max(most, len(intake))
            taken += len(intake.drain(500))
            dropped += intake.dropped()
    finally:
        sys.setswitchinterval(interval)
    taken += len(intake.drain())
    dropped += intake.dropped()
    assert taken + dropped == each * threads
    # By one for each thread that looked before another had put.
    assert most <= 2000 + threads


def test_what_was_said_more_than_can_be_written_is_counted(tmp_path: Path) -> None:
    with monitored(tmp_path) as app:
        writer = app.monitor.writer
        assert writer is not None
        # As if the store took long.
        go_on = threading.Event()
        held = threading.Event()

        def hold(_: Store) -> None:
            held.set()
            go_on.wait(30)

        writer.call(hold, 0)
        assert held.wait(30)
        for _ in range(LIMIT + 1234):
            app.monitor.count("visits_saved")
        go_on.set()
        assert app.grown("events_total") == {("visits_saved",): LIMIT}
        assert app.grown("telemetry_dropped_total") == {("queue_full",): 1234}


def test_a_record_that_makes_no_sense_spoils_no_other() -> None:
    intake = Intake()
    aggregate = Aggregate(intake, {}, Portraits())
    for record in ((99,), (), (COUNT,), ("COUNT", "x", (), 1), (COUNT, "messages_total", ("info",), 1)):
        intake.put(record)
    batch = Batch()
    aggregate.collect(batch)
    assert batch.counters == {("messages_total", ("info",)): 1, ("telemetry_dropped_total", ("error",)): 4}


def test_times_are_those_of_the_clock_as_it_is(tmp_path: Path) -> None:
    now = [1_000_000.0]
    intake = Intake()
    aggregate = Aggregate(intake, {}, Portraits(), clock=lambda: now[0])
    monitor = Monitor("docassist", store=None)
    monitor.close()
    batch = Batch()
    # Set back by a day in between.
    for day in (1_000_000.0, 913_600.0):
        now[0] = day
        intake.put((0, 5.0, 5.5, "work", "ok", None))
        aggregate.collect(batch)
    first, second = (at for at, *_ in batch.timings)
    assert second - first == pytest.approx(-86_400, abs=5)


@FORKS
def test_a_forked_child_begins_with_nothing_and_writes_its_own(tmp_path: Path) -> None:
    with monitored(tmp_path) as app:
        monitor = app.monitor
        work = monitor.operation("work")(nothing)
        # What the parent has not written yet is the parent's alone.
        assert monitor.flush(20)
        for _ in range(3000):
            work()
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                empty = len(monitor.intake) == 0
                for _ in range(7):
                    work()
                code = 0 if empty and monitor.flush(20) else 2
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        work()
        assert app.outcomes == {("work", "ok"): 3008}


@FORKS
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_workers_of_a_pool_are_measured(tmp_path: Path) -> None:
    with monitored(tmp_path) as app:
        count.monitor = app.monitor  # type: ignore[attr-defined]
        assert app.monitor.flush(20)
        context = multiprocessing.get_context("fork")
        with context.Pool(3) as pool:
            assert pool.map(count, range(30)) == list(range(30))
            pool.close()
            pool.join()
        assert app.grown("events_total") == {("visits_saved",): 30}


def nothing() -> None:
    """What is called."""


def count(number: int) -> int:
    """Counted in a worker."""
    monitor: Monitor = count.monitor  # type: ignore[attr-defined]
    monitor.count("visits_saved")
    return number


def test_the_store_gets_everything_while_it_is_said(tmp_path: Path) -> None:
    """The writer does not wait to be asked."""
    with monitored(tmp_path) as app:
        app.monitor.count("visits_saved")

        def written() -> bool:
            statement = "SELECT value FROM rounds_counter WHERE name = 'events_total'"
            with contextlib.suppress(sqlite3.Error):
                return app.stored(statement) == [(1,)]
            return False

        assert eventually(written)
