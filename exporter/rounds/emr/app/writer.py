"""The thread that takes what the application said to the store."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from rounds.emr.app.batch import Batch
from rounds.emr.app.runs import HEARTBEAT_SECONDS, Ending, Run
from rounds.emr.app.store import Store, StoreUnavailable

log = logging.getLogger("rounds.emr")

#: From one write to the next, where nobody asks for one.
TICK_SECONDS = 0.5
#: What a fork waits for a write to end.
_FORK_SECONDS = 0.05
#: A store that cannot be used is tried again after this, and then more and more seldom.
_RETRY_SECONDS = (0.5, 10.0)
_MAINTAIN_SECONDS = 60.0
_FIRST_MAINTAIN_SECONDS = 5.0
_CROWDED_SECONDS = 1.0


@dataclass(eq=False)
class _Request:
    """What somebody waits for. The lock is held until it is done: waiting and telling work in signal handlers too."""

    work: Callable[[Store], object] | None = None
    close: Ending | None = None
    done: bool | None = None
    waiting: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.waiting.acquire()

    def finish(self, *, done: bool) -> None:
        if self.done is None:
            self.done = done
            self.waiting.release()


@dataclass(eq=False)
class _Task:
    work: Callable[[Store], object]
    seconds: float
    due: float


class Writer:
    """A daemon thread that owns the store, the run's mark and what is done now and then.

    Nothing here raises, and nothing waits for the store but :meth:`flush`, :meth:`call` and :meth:`close`, and those
    not longer than they were told. All of them may be called in signal handlers.

    Args:
        collect: gives what was said since the last call; called on the thread only. In a forked child it is called
            once before, and what it gives is thrown away: the parent has it too.
    """

    def __init__(self, store: Store, run: Run, collect: Callable[[], Batch]) -> None:
        self.store = store
        self.run = run
        self._collect = collect
        self._tasks: list[_Task] = []
        self._closed = False
        self._renew()

    def _renew(self) -> None:
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._woken = False
        self._busy = threading.Lock()
        self._pending = Batch()
        self._beat_due = float("-inf")
        # Soon, as there are applications that are not open for a minute.
        self._maintained = time.monotonic() - _MAINTAIN_SECONDS + _FIRST_MAINTAIN_SECONDS
        self._retry = 0.0
        self._retry_due = float("-inf")

    def every(self, seconds: float, work: Callable[[Store], object]) -> None:
        """Also do this on the thread, about so often; not in forked children. What it raises is swallowed."""
        self._tasks.append(_Task(work, seconds, time.monotonic() + seconds))

    def start(self) -> bool:
        """Begin. Gives whether there is a thread now."""
        _writers.add(self)
        thread = threading.Thread(target=self._run, name="rounds-emr-writer", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # No threads are to be had, or the interpreter ends.
            return False
        self._thread = thread
        return True

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def wake(self) -> None:
        """Write soon rather than at the next tick. Costs next to nothing when it is called again before that."""
        if not self._woken:
            self._woken = True
            self._requests.put(None)

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until what was said so far is in the store; gives whether it is."""
        return self._ask(_Request(), timeout)

    def call(self, work: Callable[[Store], object], timeout: float = 2.0) -> bool:
        """Have something done on the thread, after what was said so far was written.

        Gives whether it was done in time without raising. It may still be done later.
        """
        return self._ask(_Request(work), timeout)

    def close(self, timeout: float = 2.0, ending: Ending = "clean") -> bool:
        """Write what was said, and how the process ends; the thread ends then. Gives whether all of it is written."""
        if self._closed:
            return True
        self._closed = True
        done = self._ask(_Request(close=ending), timeout)
        _writers.discard(self)
        return done

    def hold(self) -> bool:
        """Before a fork: keep the thread from the store, unless that takes long.

        What a thread of the parent has locked, SQLite's own among it, nobody in the child will ever give back.
        """
        return self._busy.acquire(timeout=_FORK_SECONDS)

    def release(self) -> None:
        """After it, in the parent."""
        self._busy.release()

    def forked(self) -> None:
        """Now in a child: begin anew, with nothing of the parent's."""
        began = self._thread is not None
        self.store.forsake()
        self.run.forked()
        self._renew()
        # What is done now and then, such as sending, is the parent's.
        self._tasks = []
        # The parent has it too.
        with suppress(Exception):
            self._collect()
        if not began or self._closed:
            return
        self.start()
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            # Its workers end without what is registered at exit. What is registered now would be forgotten.
            util.register_after_fork(self, _close_at_end_of_worker)

    def _ask(self, request: _Request, timeout: float) -> bool:
        if not self.alive or threading.current_thread() is self._thread:
            return False
        self._requests.put(request)
        request.waiting.acquire(timeout=max(0.0, timeout))
        return bool(request.done)

    def _run(self) -> None:
        requests: list[_Request] = []
        while True:
            self._wait(requests)
            try:
                with self._busy:
                    if self._serve(requests):
                        return
            except Exception as error:
                log.debug("cannot write: %s", type(error).__name__)
            for request in requests:
                request.finish(done=False)
            requests.clear()

    def _serve(self, requests: list[_Request]) -> bool:
        """Whether the thread is to end."""
        # Those that came until now are about what was said until now.
        done = self._tick(urgent=bool(requests))
        ending = None
        for request in requests:
            if request.close is not None:
                ending = request.close
            elif request.work is None:
                request.finish(done=done)
            else:
                request.finish(done=self._do(request.work))
        if ending is None:
            return False
        done = self._end(ending) and done
        for request in requests:
            request.finish(done=done)
        return True

    def _wait(self, requests: list[_Request]) -> None:
        with suppress(queue.Empty):
            first = self._requests.get(timeout=TICK_SECONDS)
            while True:
                if first is not None:
                    requests.append(first)
                first = self._requests.get_nowait()
        self._woken = False

    def _tick(self, *, urgent: bool) -> bool:
        """Whether all that was said is in the store."""
        try:
            self._pending.add(self._collect())
        except Exception as error:
            # Not its text, which may be the application's.
            log.debug("cannot collect: %s", type(error).__name__)
        now = time.monotonic()
        if now < self._retry_due and not urgent:
            return False
        if not self._write(now):
            return False
        if now >= self._maintained + (_CROWDED_SECONDS if self.store.crowded else _MAINTAIN_SECONDS):
            self._maintained = float("-inf") if self._maintain() else now
        for task in self._tasks:
            if now >= task.due:
                task.due = now + task.seconds
                self._do(task.work)
        return True

    def _write(self, now: float) -> bool:
        if not self._beat(now) or (self._pending and not self.store.write(self._pending)):
            low, high = _RETRY_SECONDS
            self._retry = min(high, max(low, 2 * self._retry))
            self._retry_due = time.monotonic() + self._retry
            return False
        self._pending = Batch()
        self._retry = 0.0
        return True

    def _beat(self, now: float) -> bool:
        """Whether the store can be used, as far as is known."""
        if now < self._beat_due:
            return True
        try:
            self.run.beat()
        except StoreUnavailable:
            return False
        except Exception as error:
            log.debug("cannot leave a mark: %s", type(error).__name__)
        self._beat_due = now + HEARTBEAT_SECONDS
        return True

    def _end(self, ending: Ending) -> bool:
        done = self._do(lambda _: self.run.end(ending))
        self.store.close()
        return done

    def _maintain(self) -> bool:
        try:
            return self.store.maintain()
        except Exception:
            return False

    def _do(self, work: Callable[[Store], object]) -> bool:
        try:
            work(self.store)
        except Exception:
            return False
        return True


def _close_at_end_of_worker(writer: Writer) -> None:
    sys.modules["multiprocessing.util"].Finalize(None, writer.close, exitpriority=0)


_writers: weakref.WeakSet[Writer] = weakref.WeakSet()
_held = threading.local()


def _before_fork() -> None:
    _held.writers = []
    with suppress(Exception):
        _held.writers += [writer for writer in list(_writers) if writer.hold()]


def _after_fork_in_parent() -> None:
    for writer in _held.writers:
        writer.release()


def _after_fork_in_child() -> None:
    for writer in list(_writers):
        with suppress(Exception):
            writer.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
