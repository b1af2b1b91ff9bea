"""Notices what nobody catches: exceptions of the main thread, threads, executors, asyncio and destructors, fatal
signals and SIGTERM.

What was there before is called as before, and comes back when the hooks are removed, where nobody else has put
something in their place meanwhile; where somebody has, the hook stays and does nothing but call what was there.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import wraps
from types import FrameType, TracebackType
from typing import Any, Literal, Protocol

from rounds.emr.app.fatal import FatalFile
from rounds.emr.app.futures import Futures

#: Ends and cancellations that are no errors.
_WANTED = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)


class Notices(Protocol):
    """Who is told. None of it may raise; what does is swallowed."""

    def error(self, error: BaseException, source: str) -> None:
        """An exception that nobody caught, which did not end the process."""

    def crash(self, error: BaseException) -> None:
        """An exception that ends the process."""

    def terminated(self) -> None:
        """SIGTERM has come and is about to end the process. Called in the signal's handler: it may wait for no lock."""

    def resumed(self) -> None:
        """It did not: the application has a handler of its own, which has returned."""


class Hooks:
    """The hooks of one monitor.

    Args:
        notices: who is told.
        fatal: what faulthandler writes to.
    """

    def __init__(self, notices: Notices, fatal: FatalFile | None) -> None:
        self._notices: Notices | None = notices
        self._fatal = fatal
        self._pid = os.getpid()
        self._futures = Futures(lambda error: self._error(error, "executor"))
        self._installed: dict[str, Callable[[], None]] = {}

    def install(self, *names: str) -> None:
        """Set these: sys, threads, executors, asyncio, unraisable, faulthandler, sigterm. Each at most once."""
        setters: dict[str, Callable[[], Callable[[], None] | None]] = {
            "sys": self._set_sys,
            "threads": self._set_threads,
            "executors": self._set_executors,
            "asyncio": self._set_asyncio,
            "unraisable": self._set_unraisable,
            "faulthandler": self._set_faulthandler,
            "sigterm": self._set_sigterm,
        }
        for name in names:
            if name in self._installed:
                continue
            # What cannot be set here is not set: no file, no main thread, no such system.
            with contextlib.suppress(Exception):
                undo = setters[name]()
                if undo is not None:
                    self._installed[name] = undo

    def remove(self) -> None:
        """Put back what is still ours."""
        # Those that the application still holds: it ends, and has not asked them.
        self._futures.tell_all()
        self._notices = None
        for undo in self._installed.values():
            with contextlib.suppress(Exception):
                undo()
        self._installed.clear()

    def _error(self, error: BaseException | None, source: str) -> None:
        notices = self._notices
        if notices is None or error is None or isinstance(error, _WANTED):
            return
        try:
            notices.error(error, source)
        except Exception:
            return

    def _set_sys(self) -> Callable[[], None]:
        previous = sys.excepthook

        def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            try:
                if _under_way(sys._getframe()):  # noqa: SLF001
                    # Called by a program that goes on, as Qt does for an exception in a slot.
                    self._error(error, "main")
                elif self._notices is not None and not isinstance(error, _WANTED):
                    self._notices.crash(error)
            except Exception:  # noqa: S110
                pass
            finally:
                previous(kind, error, trace)

        sys.excepthook = excepthook

        def undo() -> None:
            if sys.excepthook is excepthook:
                sys.excepthook = previous

        return undo

    def _set_threads(self) -> Callable[[], None]:
        previous = threading.excepthook

        def excepthook(args: threading.ExceptHookArgs) -> None:
            try:
                self._error(args.exc_value, "thread")
            finally:
                previous(args)

        threading.excepthook = excepthook

        def undo() -> None:
            if threading.excepthook is excepthook:
                threading.excepthook = previous

        return undo

    def _set_unraisable(self) -> Callable[[], None]:
        previous = sys.unraisablehook

        def unraisablehook(args: sys.UnraisableHookArgs, /) -> None:
            try:
                self._error(args.exc_value, "unraisable")
            finally:
                previous(args)

        sys.unraisablehook = unraisablehook

        def undo() -> None:
            if sys.unraisablehook is unraisablehook:
                sys.unraisablehook = previous

        return undo

    def _set_executors(self) -> Callable[[], None]:
        pool: Any = ThreadPoolExecutor
        previous = pool.submit

        @wraps(previous)
        def submit(executor: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = previous(executor, fn, *args, **kwargs)
            if self._notices is not None and type(future) is Future:
                self._futures.watch(future)
            return future

        pool.submit = submit

        def undo() -> None:
            if pool.submit is submit:
                pool.submit = previous

        return undo

    def _set_asyncio(self) -> Callable[[], None]:
        # Of the class, so that it holds for all loops, those made later too, and whatever handler they are given.
        loops: Any = asyncio.BaseEventLoop
        previous = loops.call_exception_handler

        @wraps(previous)
        def call_exception_handler(loop: asyncio.BaseEventLoop, context: dict[str, Any]) -> None:
            try:
                self._error(context.get("exception"), "asyncio")
            finally:
                previous(loop, context)

        loops.call_exception_handler = call_exception_handler

        def undo() -> None:
            if loops.call_exception_handler is call_exception_handler:
                loops.call_exception_handler = previous

        return undo

    def _set_faulthandler(self) -> Callable[[], None] | None:
        if self._fatal is None or faulthandler.is_enabled():
            return None  # It writes to one file only, and that is the application's then.
        fatal, pid = self._fatal, os.getpid()
        file = fatal.open()
        faulthandler.enable(file)
        # faulthandler keeps it as long as it writes to it: it is gone once somebody has enabled another one.
        ours = weakref.ref(file)
        del file

        def undo() -> None:
            if os.getpid() != pid:
                return
            if (still := ours()) is not None:
                faulthandler.disable()
                still.close()
            fatal.remove()

        def forked() -> None:
            # What ends a child is no word about its parent.
            if ours() is not None:
                faulthandler.disable()

        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=forked)
        return undo

    def _set_sigterm(self) -> Callable[[], None] | None:
        previous = signal.getsignal(signal.SIGTERM)
        if previous is None or previous == signal.SIG_IGN:
            return None  # A handler that is not Python's cannot be called; who ignores it goes on doing so.
        if previous == signal.SIG_DFL and os.getpid() == 1:
            return None  # The first process of a container is not ended by it.

        def handler(number: int, frame: FrameType | None) -> None:
            self._tell("terminated")
            if callable(previous):
                previous(number, frame)
                self._tell("resumed")
                return
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

        signal.signal(signal.SIGTERM, handler)

        def undo() -> None:
            if signal.getsignal(signal.SIGTERM) is handler:
                signal.signal(signal.SIGTERM, previous)

        return undo

    def _tell(self, what: Literal["terminated", "resumed"]) -> None:
        notices = self._notices
        if notices is None or os.getpid() != self._pid:
            return
        try:
            getattr(notices, what)()
        except Exception:
            return


def _under_way(frame: FrameType | None) -> bool:
    """Whether the program goes on below: the interpreter calls the hook when nothing of the program is left."""
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            return True
        frame = frame.f_back
    return False
