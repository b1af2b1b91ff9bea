"""What is measured of calls, and that a call stays what it was."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import json
import logging
import pickle
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from rounds.emr import Monitor
from support.emr_monitor import Monitored, monitored


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Monitored]:
    with monitored(tmp_path) as made:
        yield made


@pytest.fixture
def monitor(app: Monitored) -> Monitor:
    return app.monitor


def nothing() -> None:
    """What is called."""


def timings(app: Monitored, operation: str) -> list[float]:
    return [
        seconds
        for (seconds,) in app.rows(f"SELECT seconds FROM rounds_timing WHERE operation = '{operation}' ORDER BY id")
    ]


# --- functions --------------------------------------------------------------------------------------------------------


def test_a_function_is_measured_with_and_without_parentheses(app: Monitored, monitor: Monitor) -> None:
    @monitor.operation
    def plain(value: int) -> int:
        return value + 1

    @monitor.operation()
    def with_parentheses(value: int) -> int:
        return value + 2

    @monitor.operation("save_visit", slow=0.0)
    def named(value: int, *, more: int = 0) -> int:
        """Saves."""
        return value + more

    assert (plain(1), with_parentheses(1), named(1, more=5)) == (2, 3, 6)
    assert app.outcomes == {("plain", "ok"): 1, ("with_parentheses", "ok"): 1, ("save_visit", "ok"): 1}
    assert app.grown("slow_operations_total") == {("save_visit",): 1}
    assert named.__name__ == "named"
    assert named.__doc__ == "Saves."
    assert str(inspect.signature(named)) == "(value: 'int', *, more: 'int' = 0) -> 'int'"


def test_counters_are_known_before_the_first_call(app: Monitored, monitor: Monitor) -> None:
    monitor.operation("save_visit", slow=1.0)(lambda: None)
    monitor.count("patients_created")(lambda: None)
    monitor.retry(name="send")(lambda: None)
    assert app.counter("operations_total") == {
        ("save_visit", outcome): 0 for outcome in ("ok", "error", "cancelled", "skipped")
    }
    assert app.counter("operation_duration_seconds_sum") == {("save_visit",): 0}
    assert app.counter("slow_operations_total") == {("save_visit",): 0}
    assert app.counter("events_total") == {("patients_created",): 0}
    assert app.counter("retries_total") == {("send", said): 0 for said in ("attempt", "success", "failed")}


def test_a_time_falls_into_its_bucket_and_into_the_sum(app: Monitored, monitor: Monitor) -> None:
    for seconds in (0.0005, 0.001, 0.2, 59.0, 61.0):
        monitor.timing("llm_response", seconds)
    buckets = app.grown("operation_duration_seconds_bucket")
    names = ("0.001", "0.25", "60", "+Inf")
    assert buckets == {("llm_response", name): count for name, count in zip(names, (2, 1, 1, 1), strict=True)}
    assert app.counter("operation_duration_seconds_sum")["llm_response",] == pytest.approx(120.2015)
    assert sorted(timings(app, "llm_response")) == pytest.approx([0.0005, 0.001, 0.2, 59.0, 61.0])


def test_what_is_no_time_is_left_out(app: Monitored, monitor: Monitor) -> None:
    for seconds in (-1.0, float("nan"), float("inf"), "soon", None, 10**400):
        monitor.timing("llm_response", seconds)  # type: ignore[arg-type]
    monitor.timing("llm_response", 1, outcome="splendid")
    assert app.outcomes == {("llm_response", "ok"): 1}


def test_an_exception_leaves_as_it_came(app: Monitored, monitor: Monitor) -> None:
    failure = ValueError("for the application alone")

    def raises() -> None:
        raise failure

    def lines(call: Callable[[], None]) -> list[str]:
        failure.__traceback__ = None
        with pytest.raises(ValueError, match="for the application alone") as caught:
            call()
        assert caught.value is failure
        return [frame.name for frame in traceback.extract_tb(failure.__traceback__)]

    bare = lines(raises)
    # One frame more, the decorator's own, and no line twice.
    assert lines(monitor.operation(raises)) == [bare[0], "call", *bare[1:]]
    assert failure.__context__ is None
    assert failure.__cause__ is None
    assert app.outcomes == {("raises", "error"): 1}
    assert app.errors == {("ValueError", "captured"): 1}


def test_a_cause_and_a_context_stay(monitor: Monitor) -> None:
    @monitor.operation
    def raises() -> None:
        try:
            json.loads("{")
        except ValueError as error:
            raise KeyError("key") from error

    with pytest.raises(KeyError) as caught:
        raises()
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.__context__ is caught.value.__cause__
    assert caught.value.__cause__.__context__ is None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_an_end_that_was_wanted_is_no_error(app: Monitored, monitor: Monitor, kind: type[BaseException]) -> None:
    @monitor.operation
    def ends() -> None:
        raise kind

    with pytest.raises(kind):
        ends()
    assert app.outcomes == {("ends", "cancelled"): 1}
    assert app.errors == {}


def test_an_expected_exception_is_an_error_that_is_not_captured(app: Monitored, monitor: Monitor) -> None:
    @monitor.operation(expected=LookupError)
    def looks(error: Exception) -> None:
        raise error

    for error in (KeyError(), IndexError(), OSError()):
        with pytest.raises(type(error)):
            looks(error)
    assert app.outcomes == {("looks", "error"): 3}
    assert app.errors == {("OSError", "captured"): 1}


def test_capture_can_be_left_to_others(app: Monitored, monitor: Monitor) -> None:
    with pytest.raises(OSError, match="x"), monitor.operation("quiet", capture=False):
        raise OSError("x")
    assert app.outcomes == {("quiet", "error"): 1}
    assert app.errors == {}


def test_a_result_may_be_an_error(app: Monitored, monitor: Monitor) -> None:
    @monitor.operation(error_if=lambda result: result["status"] >= 500)
    def asks(result: Any) -> Any:
        return result

    for result in ({"status": 200}, {"status": 503}, {}, None):
        assert asks(result) is result
    # What cannot be judged is no error, and nothing of it reaches the caller.
    assert app.outcomes == {("asks", "ok"): 3, ("asks", "error"): 1}
    assert app.errors == {}


def test_the_end_of_an_iterator_is_no_error(app: Monitored, monitor: Monitor) -> None:
    class Pages:
        def __init__(self) -> None:
            self.left = 2

        def __iter__(self) -> Pages:
            return self

        @monitor.operation("page")
        def __next__(self) -> int:
            if not self.left:
                raise StopIteration
            self.left -= 1
            return self.left

    assert list(Pages()) == [1, 0]
    assert app.outcomes == {("page", "ok"): 3}


def test_nested_operations_capture_an_exception_once(app: Monitored, monitor: Monitor) -> None:
    @monitor.operation
    @monitor.operation("inner")
    def raises() -> None:
        raise OSError("x")

    with pytest.raises(OSError, match="x") as caught, monitor.operation("block"):
        raises()
    fingerprint = monitor.capture(caught.value)
    assert app.outcomes == {("raises", "error"): 1, ("inner", "error"): 1, ("block", "error"): 1}
    assert app.errors == {("OSError", "captured"): 1}
    assert [group[0] for group in app.groups()] == [fingerprint]
    # What it was marked with does not keep it from going to another process.
    assert type(pickle.loads(pickle.dumps(caught.value))) is OSError


def test_recursion_is_measured_at_each_level(app: Monitored, monitor: Monitor) -> None:
    @monitor.operation
    def factorial(number: int) -> int:
        return 1 if number == 0 else number * factorial(number - 1)

    assert factorial(20) == functools.reduce(lambda a, b: a * b, range(1, 21))
    assert app.outcomes == {("factorial", "ok"): 21}


def test_recursion_without_end_stays_the_error_that_it_is(app: Monitored, monitor: Monitor) -> None:
    @monitor.operation
    def endless() -> None:
        endless()

    with pytest.raises(RecursionError):
        endless()
    assert app.errors == {("RecursionError", "captured"): 1}


def test_at_the_limit_of_recursion_a_result_is_not_taken_away(monitor: Monitor) -> None:
    ran: list[int] = []

    @monitor.operation
    def work() -> str:
        ran.append(1)
        return "done"

    def below(levels: int) -> str:
        return below(levels - 1) if levels else work()

    done = []
    for levels in range(sys.getrecursionlimit() - 200, sys.getrecursionlimit()):
        ran.clear()
        try:
            done.append(below(levels) == "done")
        except RecursionError:
            # It was not called at all.
            assert ran == []
    assert done
    assert len(done) < 200
    assert all(done)


# --- methods and other things that can be called ----------------------------------------------------------------------


def test_methods_of_all_kinds(app: Monitored, monitor: Monitor) -> None:
    class Patients:
        @monitor.operation
        def save(self, value: int) -> tuple[object, int]:
            return self, value

        @monitor.operation
        @classmethod
        def load(cls, value: int) -> tuple[object, int]:
            return cls, value

        @classmethod
        @monitor.operation
        def load_inside(cls, value: int) -> tuple[object, int]:
            return cls, value

        @monitor.operation
        @staticmethod
        def check(value: int) -> int:
            return value

        @monitor.operation  # type: ignore[prop-decorator]
        @property
        def size(self) -> int:
            return 7

    patients = Patients()
    assert patients.save(1) == (patients, 1)
    assert Patients.load(2) == (Patients, 2)
    assert patients.load_inside(3) == (Patients, 3)
    assert Patients.check(4) == patients.check(4) == 4
    assert patients.size == 7
    names = ("save", "load", "load_inside", "check", "size")
    assert app.outcomes == {(f"Patients.{name}", "ok"): 2 if name == "check" else 1 for name in names}


def test_what_is_no_function_but_can_be_called(app: Monitored, monitor: Monitor) -> None:
    class Caller:
        def __call__(self, value: int) -> int:
            return value

    assert monitor.operation(Caller())(3) == 3
    assert monitor.operation("partial")(functools.partial(int, base=2))("11") == 3
    assert monitor.operation(len)([1]) == 1
    assert app.outcomes == {("Caller", "ok"): 1, ("partial", "ok"): 1, ("len", "ok"): 1}


def test_what_cannot_be_decorated_stays_as_it_is(monitor: Monitor, caplog: pytest.LogCaptureFixture) -> None:
    class Record:
        pass

    with caplog.at_level(logging.WARNING, "rounds.emr"):
        assert monitor.operation(Record) is Record
        assert monitor.operation("number")(5) == 5  # type: ignore[type-var]
    assert len(caplog.records) == 2


def test_a_name_that_is_no_name_is_other(app: Monitored, monitor: Monitor) -> None:
    class Names(StrEnum):
        SAVE = "save_visit"

    with monitor.operation("Maria da Silva, 1970"):
        pass
    with monitor.operation(Names.SAVE):
        pass
    for name in ("Maria da Silva, 1970", None, ["a"]):
        monitor.timing(name, 1)
        monitor.count(name)  # type: ignore[arg-type]
        monitor.gauge(name).set(1)  # type: ignore[arg-type]
    assert app.outcomes == {("_other", "ok"): 4, ("save_visit", "ok"): 1}
    assert app.grown("events_total") == {("_other",): 3}
    assert app.rows("SELECT name FROM rounds_gauge") == [("_other",)]
    assert b"Maria" not in app.store.read_bytes()


def test_names_without_end_become_one(app: Monitored, monitor: Monitor) -> None:
    for number in range(700):
        with monitor.operation(f"load_{number}"):
            monitor.count(f"event_{number}")
            monitor.gauge(f"gauge_{number}").set(number)
    assert sum(app.outcomes.values()) == 700
    assert sum(app.grown("events_total").values()) == 700
    for statement in (
        "SELECT count(DISTINCT operation) FROM rounds_timing",
        "SELECT count(*) FROM rounds_counter WHERE name = 'events_total'",
        "SELECT count(*) FROM rounds_gauge",
    ):
        assert app.stored(statement) == [(501,)]


# --- coroutines and generators ----------------------------------------------------------------------------------------


async def test_a_coroutine_is_measured_until_it_ends(app: Monitored, monitor: Monitor) -> None:
    @monitor.operation
    async def waits(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    assert inspect.iscoroutinefunction(waits)
    assert await waits(0.05) == "done"
    task = asyncio.create_task(waits(60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert app.outcomes == {("waits", "ok"): 1, ("waits", "cancelled"): 1}
    assert max(timings(app, "waits")) >= 0.05
    assert app.errors == {}


async def test_an_async_call_of_an_object_is_a_coroutine_too(app: Monitored, monitor: Monitor) -> None:
    class Caller:
        async def __call__(self) -> None:
            await asyncio.sleep(0)
            raise OSError("x")

    with pytest.raises(OSError, match="x"):
        await monitor.operation("call")(Caller())()
    assert app.outcomes == {("call", "error"): 1}


def test_a_generator_is_measured_to_its_end(app: Monitored, monitor: Monitor) -> None:
    @monitor.operation
    def pages(number: int) -> Generator[int, object, list[object]]:
        got: list[object] = []
        for page in range(number):
            try:
                got.append((yield page))
            except KeyError:
                got.append("thrown")
        return got

    assert inspect.isgeneratorfunction(pages)
    pages(3)
    generator: Any = pages(3)
    assert next(generator) == 0
    assert generator.send("sent") == 1
    assert generator.throw(KeyError()) == 2
    with pytest.raises(StopIteration) as caught:
        next(generator)
    assert caught.value.value == ["sent", "thrown", None]
    left: Any = pages(3)
    next(left)
    left.close()
    failed: Any = pages(3)
    next(failed)
    with pytest.raises(OSError, match="x"):
        failed.throw(OSError("x"))
    # One that was never begun took no time.
    assert app.outcomes == {("pages", "ok"): 1, ("pages", "cancelled"): 1, ("pages", "error"): 1}
    assert app.errors == {("OSError", "captured"): 1}


def test_a_generator_can_be_a_context(app: Monitored, monitor: Monitor) -> None:
    @contextlib.contextmanager
    @monitor.operation("transaction")
    def transaction() -> Iterator[int]:
        try:
            yield 5
        except KeyError:
            return

    with transaction() as value:
        assert value == 5
        raise KeyError
    with pytest.raises(OSError, match="x"), transaction():
        raise OSError("x")
    assert app.outcomes == {("transaction", "ok"): 1, ("transaction", "error"): 1}


async def test_an_async_generator_is_measured_and_passes_everything_on(app: Monitored, monitor: Monitor) -> None:
    closed = []

    @monitor.operation
    async def pages(number: int) -> AsyncIterator[Any]:
        page: Any = 0
        try:
            while page < number:
                try:
                    sent = yield page
                except KeyError:
                    sent = "thrown"
                page += 1
                if sent:
                    yield sent
        finally:
            closed.append(page)

    assert inspect.isasyncgenfunction(pages)
    assert [page async for page in pages(3)] == [0, 1, 2]
    generator: Any = pages(3)
    assert await anext(generator) == 0
    assert await generator.asend("sent") == "sent"
    assert await anext(generator) == 1
    assert await generator.athrow(KeyError()) == "thrown"
    await generator.aclose()
    assert closed == [3, 2]
    failing: Any = pages(3)
    await anext(failing)
    error = OSError("x")
    with pytest.raises(OSError, match="x") as caught:
        await failing.athrow(error)
    assert caught.value is error
    assert error.__context__ is None
    assert app.outcomes == {("pages", "ok"): 1, ("pages", "cancelled"): 1, ("pages", "error"): 1}


async def test_what_an_async_generator_raises_has_no_context_of_the_decorators(monitor: Monitor) -> None:
    @monitor.operation
    async def recovers() -> AsyncIterator[int]:
        with contextlib.suppress(KeyError):
            yield 1
        raise OSError("x")

    generator: Any = recovers()
    await anext(generator)
    with pytest.raises(OSError, match="x") as caught:
        await generator.athrow(KeyError())
    assert caught.value.__context__ is None


# --- blocks -----------------------------------------------------------------------------------------------------------


async def test_a_block_is_measured(app: Monitored, monitor: Monitor) -> None:
    with monitor.operation("import") as operation:
        operation.outcome("skipped")
    with monitor.operation("import") as operation:
        operation.outcome("splendid")
    async with monitor.operation("import", slow=0.0) as operation:
        operation.outcome("error")
    with pytest.raises(OSError, match="x"), monitor.operation("import") as operation:  # noqa: PT012
        operation.outcome("skipped")
        raise OSError("x")
    assert app.outcomes == {("import", "skipped"): 1, ("import", "ok"): 1, ("import", "error"): 2}
    assert app.errors == {("OSError", "captured"): 1}
    assert app.grown("slow_operations_total") == {("import",): 1}


async def test_blocks_of_one_operation_may_overlap(app: Monitored, monitor: Monitor) -> None:
    operation = monitor.operation("shared")
    with operation, operation:
        pass
    entered, left = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with operation:
            await asyncio.sleep(0.1)
            entered.set()
            await left.wait()

    async def second() -> None:
        await entered.wait()
        async with operation:
            left.set()
            await asyncio.sleep(0.1)

    await asyncio.gather(first(), second())
    assert app.outcomes == {("shared", "ok"): 4}
    # Each ends its own block: else the first one would have begun when the second one did.
    assert min(timings(app, "shared")[2:]) >= 0.1


# --- the monitor itself -----------------------------------------------------------------------------------------------


def test_threads_measure_at_the_same_time(app: Monitored, monitor: Monitor) -> None:
    @monitor.operation("work")
    def work(number: int) -> int:
        monitor.count("done")
        gauge.add(1)
        gauge.add(-1)
        if number % 10 == 0:
            raise ValueError
        return number

    gauge = monitor.gauge("active")

    def run() -> None:
        for number in range(400):
            with contextlib.suppress(ValueError):
                assert work(number) == number

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert app.outcomes == {("work", "ok"): 8 * 360, ("work", "error"): 8 * 40}
    assert app.errors == {("ValueError", "captured"): 8 * 40}
    assert app.grown("events_total") == {("done",): 8 * 400}
    assert app.rows("SELECT name, value FROM rounds_gauge") == [("active", 0)]


def test_a_handler_of_signals_and_one_of_logs_may_use_it(app: Monitored, monitor: Monitor) -> None:
    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            monitor.message(record.levelname.lower())
            with monitor.operation("log"):
                pass

    handled = []

    def handle(*_: object) -> None:
        monitor.count("signals")
        monitor.capture(OSError())
        handled.append(1)

    former = signal.signal(signal.SIGUSR1, handle)
    handler = Counting()
    logging.getLogger().addHandler(handler)
    try:
        for _ in range(50):
            with monitor.operation("work"):
                signal.raise_signal(signal.SIGUSR1)
                logging.getLogger("app").warning("text of the application's own")
    finally:
        logging.getLogger().removeHandler(handler)
        signal.signal(signal.SIGUSR1, former)
    assert len(handled) == 50
    assert app.grown("events_total") == {("signals",): 50}
    assert app.grown("messages_total") == {("warning",): 50}
    assert app.outcomes == {("work", "ok"): 50, ("log", "ok"): 50}


def test_nothing_that_was_raised_or_given_is_kept_alive(app: Monitored, monitor: Monitor) -> None:
    class Held:
        pass

    @monitor.operation
    def raises(held: Held) -> None:
        raise OSError

    @monitor.operation
    def returns() -> Held:
        return Held()

    held = Held()
    watched = [weakref.ref(held), weakref.ref(returns())]
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(OSError):
            raises(held)
        del held
        # Without the garbage collector, and before the writer has looked.
        assert [reference() for reference in watched] == [None, None]
    finally:
        gc.enable()
    assert app.outcomes == {("raises", "error"): 1, ("returns", "ok"): 1}


def test_a_closed_monitor_lets_calls_through(tmp_path: Path) -> None:
    with monitored(tmp_path) as app:
        monitor = app.monitor
        work: Callable[[int], int] = monitor.operation("work")(lambda value: 10 // value)
        assert work(5) == 2
    assert work(5) == 2
    with pytest.raises(ZeroDivisionError):
        work(0)
    with monitor.operation("work"):
        monitor.count("x")
        monitor.gauge("x").set(1)
        monitor.timing("x", 1)
        monitor.message()
        monitor.alert("critical", "title")
    assert monitor.count("y")(work)(5) == 2
    assert len(monitor.capture(OSError())) == 16
    assert monitor.flush(1) is False
    monitor.close()
    assert len(monitor.intake) == 0
    assert app.stored("SELECT labels, value FROM rounds_counter WHERE name = 'operations_total' AND value > 0") == [
        ('["work","ok"]', 1)
    ]


def test_a_monitor_that_cannot_start_lets_calls_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monitor = Monitor("docassist", store=tmp_path / "monitoring.db", listen="127.0.0.1:0")
    assert monitor.operation("work")(lambda value: value + 1)(1) == 2
    with pytest.raises(OSError, match="x"), monitor.operation("work"):
        raise OSError("x")
    monitor.check("own")(lambda: True)
    assert monitor.health()["own"].state == "unknown"
    assert monitor.flush(1) is False
    monitor.close(1)
    assert len(monitor.intake) == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]


# --- what is counted and set ------------------------------------------------------------------------------------------


def test_events_are_counted_by_calls_and_by_calls_of_a_function(app: Monitored, monitor: Monitor) -> None:
    monitor.count("visits_saved")
    monitor.count("visits_saved", 2)

    @monitor.count("patients_created")
    def creates() -> int:
        return 1

    assert [creates(), creates(), creates()] == [1, 1, 1]
    for value in (-1, float("nan"), "many", None):
        monitor.count("visits_saved", value)  # type: ignore[arg-type]
    assert app.grown("events_total") == {("visits_saved",): 3, ("patients_created",): 3}
    assert app.grown("telemetry_dropped_total") == {("error",): 4}


def test_a_decorator_counts_rightly_though_the_writer_was_quicker(app: Monitored, monitor: Monitor) -> None:
    decorate = monitor.count("patients_created")
    assert monitor.flush(10)
    creates = decorate(nothing)
    for _ in range(3):
        creates()
    assert app.grown("events_total") == {("patients_created",): 3}


def test_a_gauge_is_what_it_was_set_to_last(app: Monitored, monitor: Monitor) -> None:
    gauge = monitor.gauge("active_consultations")
    gauge.set(3)
    gauge.add()
    gauge.add(-2.5)
    for value in (float("nan"), float("inf"), "many", None):
        gauge.set(value)  # type: ignore[arg-type]
        gauge.add(value)  # type: ignore[arg-type]
    assert app.rows("SELECT name, value FROM rounds_gauge") == [("active_consultations", 1.5)]
    assert monitor.gauge("active_consultations") is gauge


def test_messages_are_counted_by_level(app: Monitored, monitor: Monitor) -> None:
    levels: tuple[object, ...] = ("debug", "info", "warning", "warn", "error", "critical", "shout", 5, [])
    for level in levels:
        monitor.message(level)
    monitor.message()
    assert app.grown("messages_total") == {("debug",): 1, ("info",): 5, ("warning",): 2, ("error",): 2}
