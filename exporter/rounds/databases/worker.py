"""Calls of a driver that cannot be interrupted, in a thread that can be left to itself."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


class Worker:
    """One daemon thread that makes one call after the other.

    Args:
        name: the thread's name.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._given_up = threading.Event()
        self._waiting: Future[Any] | None = None
        threading.Thread(target=self._main, name=name, daemon=True).start()

    def call(self, work: Callable[[], Result], within: float) -> Result:
        """Make a call and wait for it.

        Raises:
            TimeoutError: it took longer than so many seconds, or :meth:`give_up` was called; it may still go on.
        """
        future: Future[Result] = Future()
        self._waiting = future
        if self._given_up.is_set():
            raise TimeoutError
        self._calls.put((future, work))
        return future.result(within)

    def give_up(self) -> None:
        """From another thread: make the call that is waited for, and every later one, raise TimeoutError."""
        self._given_up.set()
        waiting = self._waiting
        if waiting is not None:
            _settle(waiting, None, TimeoutError())

    def end(self) -> None:
        """End the thread once it has done what it was told to do."""
        self._calls.put(None)

    def _main(self) -> None:
        while (call := self._calls.get()) is not None:
            future, work = call
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  # handed to whoever waits for it
                _settle(future, None, error)
            else:
                _settle(future, result, None)


def _settle(future: Future[Any], result: Any, error: BaseException | None) -> None:
    try:
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
    except Exception:  # noqa: BLE001, S110  # it was given up, or ended, in the meantime
        pass
