"""Blocking work beside an event loop, in daemon threads: one that hangs can neither starve others nor hold up the exit.

The standard executors have a fixed number of threads and are joined when the interpreter ends.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from rounds.metrics import Family

Result = TypeVar("Result")


def in_daemon_thread(work: Callable[[], Result], name: str) -> asyncio.Future[Result]:
    """Run ``work`` in a thread of its own. The future may be given up; the thread then ends unheard."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only where Result has it

    def main() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as caught:  # noqa: BLE001  # handed to whoever awaits the future
            error = caught
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=main, name=name, daemon=True).start()
    return future


class StillRunning(Exception):  # noqa: N818  # not an error: the run is skipped
    """The run before has not come back yet, though its deadline is over."""


class BlockingCollect:
    """A blocking collector as a job's ``collect``: own thread, one run at a time, cancelled at the deadline.

    Args:
        collect: runs in the thread.
        cancel: called when the run is given up, to make ``collect`` return: closes its connection.
        name: the thread's name.
    """

    def __init__(self, collect: Callable[[], Sequence[Family]], cancel: Callable[[], None], name: str) -> None:
        self._collect = collect
        self._cancel = cancel
        self._name = name
        self._thread: asyncio.Future[Sequence[Family]] | None = None

    def __call__(self) -> Awaitable[Sequence[Family]]:
        """Start a run.

        Raises:
            StillRunning: the last one has not ended.
        """
        return self._run()

    async def _run(self) -> Sequence[Family]:
        if self._thread is not None and not self._thread.done():
            raise StillRunning
        self._thread = in_daemon_thread(self._collect, self._name)
        # Once given up, its outcome is of no interest, but must be looked at or asyncio complains.
        self._thread.add_done_callback(lambda thread: thread.cancelled() or thread.exception())
        try:
            return await asyncio.shield(self._thread)
        except asyncio.CancelledError:
            self._cancel()
            raise
