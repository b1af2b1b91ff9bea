"""What writes a run into the log: a thread of its own, so that the program that syncs never waits for a statement."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine
from sqlalchemy.pool import AssertionPool, NullPool, StaticPool

from rounds.syncs.writing.table import Table

#: Seconds between two statements about progress.
PAUSE = 1.0
#: Seconds after which a run that has nothing new says that it still runs.
HEARTBEAT = 60.0
#: Seconds to the next attempt after one that failed: twice as many each time, up to the longest.
RETRY_AFTER, RETRY_LONGEST = 0.2, 30.0
#: Seconds for which the end of a run is tried to be written, as long as the program lives.
GIVE_UP_AFTER = 600.0

Row = dict[str, Any]

log = logging.getLogger("rounds.syncs")


class ConnectionShared(Exception):  # noqa: N818  # says what is wrong
    """The engine has one connection for all threads: a commit of the log's would be one of the sync's."""


class Milestone:
    """Something that the thread reaches once, and others wait for."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._calls: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def reach(self) -> None:
        """It is reached; again is nothing."""
        with self._lock:
            self._event.set()
            calls, self._calls = self._calls, []
        for call in calls:
            call()

    def wait(self, seconds: float) -> None:
        """Wait for it, but no longer than this."""
        self._event.wait(seconds)

    async def wait_beside(self, seconds: float) -> None:
        """The same without holding up the event loop."""
        loop, reached = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
                loop.call_soon_threadsafe(reached.set)

        with self._lock:
            waiting = not self._event.is_set()
            if waiting:
                self._calls.append(tell)
        if waiting:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await reached.wait()


class Scribe:
    """Writes one run: its row when it begins, what is new while it runs, and how it ended.

    Args:
        engine: of the log's database, or its URL.
        table: the log's name.
        row: gives the row as it should be now; called in the thread that writes.
        over: is called in that thread when there is nothing left to do.
    """

    def __init__(
        self, engine: Engine | URL | str, table: str, row: Callable[[], Row], over: Callable[[], object]
    ) -> None:
        self._given, self._name, self._row, self._over = engine, table, row, over
        # Its put neither waits nor fails, not even in a handler of signals.
        self._calls: SimpleQueue[None] = SimpleQueue()
        self._engine: Engine | None = None
        self._table: Table | None = None
        # Of the row that is there; and what this program would have it identified by, where it is to choose.
        self._id: object = None
        self._new_id: object = None
        # As it was when it was perhaps inserted: the answer was lost.
        self._perhaps: Row | None = None
        self._ending = False
        self._told = False
        #: Whether the row is there.
        self.inserted = False
        #: Statements that have done something for the run so far.
        self.statements = 0
        #: The row is there, or could not be written.
        self.begun = Milestone()
        #: The row says how the run ended, or cannot be made to for the time being.
        self.ended = Milestone()

    def start(self) -> None:
        """Begin to write."""
        try:
            threading.Thread(target=self._work, name="rounds-sync-run", daemon=True).start()
        except RuntimeError as error:  # no more threads, or the program is at its end
            self._tell(error)
            self._finish()

    def wake(self) -> None:
        """There is something new to write."""
        self._calls.put(None)

    def end(self) -> None:
        """The row will not change any more."""
        self._ending = True
        self.wake()

    def _work(self) -> None:
        try:
            self._write_until_the_end()
        finally:
            self._finish()

    def _finish(self) -> None:
        self.begun.reach()
        self.ended.reach()
        self._over()

    def _write_until_the_end(self) -> None:
        retry, give_up = RETRY_AFTER, float("inf")
        while time.monotonic() < give_up:
            # Before the row is taken: what ends meanwhile is written the next time.
            ending = self._ending
            if ending and give_up == float("inf"):
                retry, give_up = RETRY_AFTER, time.monotonic() + GIVE_UP_AFTER
            written = self._attempt()
            self.begun.reach()
            if written:
                if ending:
                    return
                retry = RETRY_AFTER
                self._wait(PAUSE, HEARTBEAT, ending=False)
                continue
            if ending and not self.inserted:
                # It never answered; nobody need wait for it to do so now.
                self.ended.reach()
            self._wait(retry, retry, ending=ending)
            retry = min(2 * retry, RETRY_LONGEST)

    def _wait(self, pause: float, quiet: float, *, ending: bool) -> None:
        """Wait until there is something new, for ``pause`` at least, or for ``quiet``; but not for the end of the run.

        Args:
            pause: seconds.
            quiet: seconds.
            ending: it has ended before.
        """
        begin, new = time.monotonic(), False
        while not (self._ending and not ending):
            left = (pause if new else quiet) - (time.monotonic() - begin)
            if left <= 0:
                return
            with suppress(Empty):
                self._calls.get(timeout=left)
                new = True

    def _attempt(self) -> bool:
        """Write, and tell whether that succeeded."""
        try:
            if self._engine is None:
                self._engine = _engine(self._given)
            with self._engine.begin() as connection:
                self._write(connection)
            self.inserted = True
        except Exception as error:  # noqa: BLE001  # the sync goes on, whatever the log does
            self._tell(error)
            # It may be another table when the database is back.
            self._table = None
            return False
        self._perhaps = None
        return True

    def _write(self, connection: Connection) -> None:
        if self._table is None:
            self._table = Table(connection, self._name)
            self.statements += 1
        with suppress(Empty):
            while True:  # what was called for until now is in the row
                self._calls.get_nowait()
        row = self._row()
        if self._perhaps:
            self._id = self._table.find(connection, self._new_id, self._perhaps)
        if self._id is None:
            self._insert(connection, self._table, row)
        else:
            self._table.update(connection, self._id, row)
        self.statements += 1

    def _insert(self, connection: Connection, table: Table, row: Row) -> None:
        if self._new_id is None:
            self._new_id = table.new_id()
        self._perhaps = row
        try:
            self._id = table.insert(connection, self._new_id, row)
        except Exception as error:
            if not getattr(error, "connection_invalidated", False):
                self._perhaps = None
            raise

    def _tell(self, error: Exception) -> None:
        """Once, and without the text of the error, which may quote values or credentials."""
        if not self._told:
            self._told = True
            kind = type(getattr(error, "orig", None) or error).__name__
            log.warning("a run is not written to the log of syncs for now: %s", kind)


def _engine(given: Engine | URL | str) -> Engine:
    if not isinstance(given, Engine):
        return create_engine(given, poolclass=NullPool, hide_parameters=True)
    if isinstance(given.pool, StaticPool | AssertionPool):
        raise ConnectionShared
    return given
