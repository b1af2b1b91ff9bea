"""Calls that are made again after an error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rounds.emr import Monitor
from rounds.emr.app.retrying import Plan
from support.emr_monitor import Monitored, monitored


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Monitored]:
    with monitored(tmp_path) as made:
        yield made


@pytest.fixture
def monitor(app: Monitored) -> Monitor:
    return app.monitor


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited; nothing is."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


class Sender:
    """Fails some times."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.calls = 0

    def send(self, value: int) -> int:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return value


def test_a_success_at_once_counts_nothing(app: Monitored, monitor: Monitor) -> None:
    assert monitor.retry()(Sender().send)(5) == 5
    assert app.grown("retries_total") == {}


def test_each_attempt_is_counted_once(app: Monitored, monitor: Monitor) -> None:
    sender = Sender(OSError(), OSError())
    assert monitor.retry(attempts=3, delay=0, name="send")(sender.send)(5) == 5
    assert sender.calls == 3
    assert app.grown("retries_total") == {("send", "attempt"): 2, ("send", "success"): 1}
    assert app.errors == {}


def test_the_last_error_leaves_and_is_captured_once(app: Monitored, monitor: Monitor) -> None:
    failures = [OSError(number) for number in range(4)]
    sender = Sender(*failures)

    @monitor.operation("outer")
    @monitor.retry(attempts=3, delay=0, name="send")
    @monitor.operation("inner", capture=False)
    def send(value: int) -> int:
        return sender.send(value)

    with pytest.raises(OSError, match="2") as caught:
        send(5)
    assert caught.value is failures[2]
    # Not the one before, though it was handled by the same call.
    assert caught.value.__context__ is None
    assert app.grown("retries_total") == {("send", "attempt"): 3, ("send", "failed"): 1}
    assert app.outcomes == {("inner", "error"): 3, ("outer", "error"): 1}
    assert app.errors == {("OSError", "captured"): 1}


@pytest.mark.parametrize("attempts", [1, 0, -5])
def test_there_is_one_attempt_at_least(app: Monitored, monitor: Monitor, attempts: int) -> None:
    sender = Sender(OSError("x"), OSError())
    with pytest.raises(OSError, match="x"):
        monitor.retry(attempts=attempts, name="send")(sender.send)(5)
    assert sender.calls == 1
    assert app.grown("retries_total") == {("send", "attempt"): 1, ("send", "failed"): 1}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_an_end_that_was_wanted_ends_at_once(app: Monitored, monitor: Monitor, kind: type[BaseException]) -> None:
    sender = Sender(kind())
    with pytest.raises(kind):
        monitor.retry(delay=0, on=BaseException)(sender.send)(5)
    assert sender.calls == 1
    assert app.grown("retries_total") == {}


def test_other_errors_leave_at_once(app: Monitored, monitor: Monitor) -> None:
    sender = Sender(KeyError())
    with pytest.raises(KeyError):
        monitor.retry(delay=0, on=OSError, name="send")(sender.send)(5)
    assert app.grown("retries_total") == {}
    sender = Sender(OSError(), KeyError())
    with pytest.raises(KeyError):
        monitor.retry(delay=0, on=(OSError,), name="send")(sender.send)(5)
    # What was begun has failed.
    assert app.grown("retries_total") == {("send", "attempt"): 1, ("send", "failed"): 1}


def test_pauses_grow(monitor: Monitor, pauses: list[float]) -> None:
    sender = Sender(*(OSError() for _ in range(4)))
    assert monitor.retry(attempts=5, delay=1, backoff=2, jitter=0)(sender.send)(5) == 5
    assert pauses == [1, 2, 4, 8]


def test_a_pause_is_longer_by_chance_and_never_impossible(pauses: list[float], monitor: Monitor) -> None:
    for _ in range(20):
        monitor.retry(attempts=2, delay=10, jitter=0.5)(Sender(OSError()).send)(5)
    assert all(10 <= pause <= 15 for pause in pauses)
    assert len(set(pauses)) > 1
    strange: list[Any] = [-1, float("nan"), float("inf"), 1e308, "soon", 10**400]
    for delay in strange:
        found = list(Plan(3, delay, 1e10, 0.1, (OSError,)).pauses())
        assert all(0 <= pause <= 86_400 for pause in found[:-1] if pause is not None)
        assert found[-1] is None


async def test_a_coroutine_sleeps_beside_the_others(app: Monitored, monitor: Monitor) -> None:
    sender = Sender(OSError(), OSError())
    others = []

    @monitor.retry(attempts=3, delay=0.05, name="send")
    async def send(value: int) -> int:
        await asyncio.sleep(0)
        return sender.send(value)

    async def other() -> None:
        while sender.calls < 3:
            others.append(sender.calls)
            await asyncio.sleep(0.005)

    assert (await asyncio.gather(send(5), other()))[0] == 5
    assert {1, 2} <= set(others)
    assert app.grown("retries_total") == {("send", "attempt"): 2, ("send", "success"): 1}


async def test_a_cancelled_coroutine_attempts_no_more(app: Monitored, monitor: Monitor) -> None:
    sender = Sender(OSError(), OSError())

    @monitor.retry(attempts=3, delay=60, name="send")
    async def send(value: int) -> int:
        await asyncio.sleep(0)
        return sender.send(value)

    task = asyncio.create_task(send(5))
    while sender.calls < 1:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sender.calls == 1
    assert app.grown("retries_total") == {("send", "attempt"): 1}


def test_methods_are_attempted_again(monitor: Monitor) -> None:
    class Sending:
        left = 1

        @monitor.retry(delay=0)
        @classmethod
        def send(cls) -> type:
            if cls.left:
                cls.left -= 1
                raise OSError
            return cls

    assert Sending.send() is Sending
