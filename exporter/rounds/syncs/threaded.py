"""Asynchronous work in a thread that has no event loop, which another thread can end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from rounds.threads import in_daemon_thread

Result = TypeVar("Result")


class _Loop(asyncio.SelectorEventLoop):
    """Looks names up in threads that hold up neither the end of the work nor the process's."""

    async def getaddrinfo(self, host: Any, port: Any, **how: Any) -> Any:
        return await in_daemon_thread(lambda: socket.getaddrinfo(host, port, **how), "resolve")


class ThreadedLoop:
    """An event loop for one piece of work. :meth:`cancel` may come from another thread at any time."""

    def __init__(self) -> None:
        self._loop = _Loop()
        self._cancelled = False
        self._task: asyncio.Task[Any] | None = None

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do the work. Only once.

        Raises:
            CancelledError: it was cancelled.
        """
        try:
            self._task = self._loop.create_task(work)
            if self._cancelled:
                self._task.cancel()
            result: Result = self._loop.run_until_complete(self._task)
            return result
        finally:
            try:
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            finally:
                self._loop.close()

    def cancel(self) -> None:
        """End the work, now or as soon as it begins."""
        self._cancelled = True
        if self._task is not None:
            with suppress(RuntimeError):  # it has ended in the meantime
                self._loop.call_soon_threadsafe(self._task.cancel)
