"""Work that takes longer than a check may: beside it, at a pace of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")

#: Seconds after which work that found something bad is done again, where its own pace is slower; so a repair shows.
AGAIN = 300.0
#: Seconds that a check waits for the work it has just begun; what is done by then is told at once.
_MOMENT = 1.0


class Background(Generic[Result]):
    """One piece of work, in a daemon thread, never twice at a time.

    Args:
        work: gives its result; has an end of its own, and raises nothing.
        name: the thread's name.
    """

    def __init__(self, work: Callable[[], Result], name: str) -> None:
        self._work = work
        self._name = name
        self._thread: threading.Thread | None = None
        self._began: float | None = None
        self._result: Result | None = None

    @property
    def result(self) -> Result | None:
        """What it gave last; None before that."""
        return self._result

    def start(self, every: float) -> None:
        """Begin anew, unless it is still under way or last began less than so many seconds ago."""
        if self._thread is not None and self._thread.is_alive():
            return
        now = time.monotonic()
        if self._began is not None and now - self._began < every:
            return
        self._began = now
        self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
        self._thread.start()
        self._thread.join(_MOMENT)

    def _main(self) -> None:
        self._result = self._work()
