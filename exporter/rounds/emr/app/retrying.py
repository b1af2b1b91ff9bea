"""Calls that are made again after an error."""

from __future__ import annotations

import functools
import inspect
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

#: Seconds that nothing waits longer than: a sleep of a huge number would raise.
_LONGEST_PAUSE = 86_400.0


class Tell(Protocol):
    """Is told of a sequence of attempts."""

    def __call__(self, said: str, error: BaseException | None = None) -> None:
        """One of :data:`rounds.emr.names.RETRIES`, with the error that the last attempt failed with. Never raises."""


class Plan:
    """How often something is attempted, and what is waited between.

    Args:
        attempts: at most; less than 1 is 1.
        delay: seconds after the first one.
        backoff: by how much longer each wait is than the one before.
        jitter: up to which part longer still, by chance, so that not all programs come back at the same moment.
        on: errors after which it is attempted again; what is no Exception is none of them.
    """

    def __init__(
        self,
        attempts: int,
        delay: float,
        backoff: float,
        jitter: float,
        on: tuple[type[BaseException], ...] | type[BaseException],
    ) -> None:
        self._attempts = attempts
        self._delay = delay
        self._backoff = backoff
        self._jitter = jitter
        self._on = on if isinstance(on, tuple) else (on,)

    def pauses(self) -> Iterator[float | None]:
        """Seconds to wait after each attempt that failed; None after the last."""
        for attempt in range(self._attempts - 1):
            yield self._pause(attempt)
        yield None

    def repeats(self, error: Exception) -> bool:
        """Whether this is an error to attempt again after."""
        return isinstance(error, self._on)

    def _pause(self, attempt: int) -> float:
        try:
            seconds = self._delay * self._backoff**attempt * (1 + self._jitter * _chance())
        except (ArithmeticError, TypeError):
            return _LONGEST_PAUSE
        return min(max(0.0, seconds), _LONGEST_PAUSE) if math.isfinite(seconds) else _LONGEST_PAUSE


def _chance() -> float:
    # Between programs it is by chance, and needs no generator of random numbers.
    return time.perf_counter_ns() % 1000 / 1000


def retrying(target: Any, plan: Plan, tell: Tell) -> Any:
    """Decorate a function or a coroutine function. The last error leaves it as it is."""
    if isinstance(target, classmethod | staticmethod):
        return type(target)(retrying(target.__func__, plan, tell))
    decorate = _coroutine if inspect.iscoroutinefunction(target) else _function
    return functools.wraps(target)(decorate(target, plan, tell))


def _function(target: Callable[..., Any], plan: Plan, tell: Tell) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        attempts = _Attempts(plan, tell)
        while True:
            try:
                result = target(*args, **kwargs)
            except Exception as error:
                if attempts.end_with(error):
                    raise
            else:
                attempts.succeed()
                return result
            # Not where the error is being handled, or it would be the context of the next one.
            time.sleep(attempts.pause)

    return call


def _coroutine(target: Callable[..., Any], plan: Plan, tell: Tell) -> Callable[..., Any]:
    import asyncio  # noqa: PLC0415 - a third of what the library would need of memory, where nothing is asynchronous

    async def call(*args: Any, **kwargs: Any) -> Any:
        attempts = _Attempts(plan, tell)
        while True:
            try:
                result = await target(*args, **kwargs)
            except Exception as error:
                if attempts.end_with(error):
                    raise
            else:
                attempts.succeed()
                return result
            await asyncio.sleep(attempts.pause)

    return call


class _Attempts:
    """Those of one call."""

    __slots__ = ("_failed", "_pauses", "_plan", "_tell", "pause")

    def __init__(self, plan: Plan, tell: Tell) -> None:
        self._plan = plan
        self._tell = tell
        self._pauses = plan.pauses()
        self._failed = False
        self.pause = 0.0

    def end_with(self, error: Exception) -> bool:
        """Whether this error is the last; each is told once, those that are none to attempt again after are not."""
        repeats = self._plan.repeats(error)
        pause = next(self._pauses, None) if repeats else None
        if repeats:
            self._tell("attempt")
        if pause is None:
            # One of another kind ends what was begun.
            if repeats or self._failed:
                self._tell("failed", error)
            return True
        self._failed = True
        self.pause = pause
        return False

    def succeed(self) -> None:
        """An attempt succeeded, which is told if others did not."""
        if self._failed:
            self._tell("success")
