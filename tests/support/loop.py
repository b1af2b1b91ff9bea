"""An event loop whose clock jumps: it never waits for a timer, it moves the clock to it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is not None:
            self.now += timeout
        elif not ready:
            return super().select(1)  # only a thread can wake the loop now
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """Its :meth:`time` starts at 1000 and moves only when nothing is left to do."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """The loop's own time in seconds."""
        return self._jumping.now


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """``asyncio.run`` on a loop whose clock jumps."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)
