"""Futures of executors whose exception nobody asks for."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class Futures:
    """Tells each exception that a watched future holds, once, when the future goes and nobody has asked it.

    Args:
        tell: told the exception, by whichever thread lets go of the future. Does not raise.
    """

    def __init__(self, tell: Callable[[BaseException], None]) -> None:
        self._tell = tell
        self._failed: dict[int, weakref.ref[Watched]] = {}

    def watch(self, future: Future[Any]) -> None:
        """Watch a future that is none of another class. It behaves as before."""
        watched: Any = future
        watched._rounds_futures = self  # noqa: SLF001
        watched.__class__ = Watched
        if watched._exception is not None:  # noqa: SLF001
            self.failed(watched)

    def failed(self, future: Watched) -> None:
        """It has an exception now."""
        self._failed[id(future)] = weakref.ref(future)

    def asked(self, future: Watched) -> None:
        """Somebody knows what it holds."""
        self._failed.pop(id(future), None)

    def gone(self, future: Watched, error: BaseException) -> None:
        """Nobody will ever ask it."""
        self._failed.pop(id(future), None)
        self._tell(error)

    def tell_all(self) -> None:
        """Tell what those hold that are still there and have not been asked."""
        for reference in list(self._failed.values()):
            future = reference()
            if future is not None:
                future.give_up()


class Watched(Future[Any]):
    """What a watched future becomes."""

    _rounds_futures: Futures | None

    def result(self, timeout: float | None = None) -> Any:
        try:
            return Future.result(self, timeout)
        finally:
            self._rounds_asked()
            # The exception has this frame, and must not have this future by it: it would never go.
            del self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        try:
            return Future.exception(self, timeout)
        finally:
            self._rounds_asked()
            del self

    def set_exception(self, exception: BaseException | None) -> None:
        Future.set_exception(self, exception)
        futures = self._rounds_futures
        if futures is not None and exception is not None:
            futures.failed(self)

    def give_up(self) -> None:
        """Tell what it holds, now."""
        futures, self._rounds_futures = self._rounds_futures, None
        if futures is not None and self._exception is not None:
            futures.gone(self, self._exception)

    def _rounds_asked(self) -> None:
        futures = self._rounds_futures
        if futures is not None and self.done():
            self._rounds_futures = None
            futures.asked(self)

    def __del__(self) -> None:
        self.give_up()


# As its representation has it.
Watched.__name__ = Future.__name__
Watched.__qualname__ = Future.__qualname__
Watched.__module__ = Future.__module__
