"""One run of a sync, as its program tells it."""

from __future__ import annotations

import atexit
import logging
import math
import os
import threading
import time
from copy import deepcopy
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, Engine

from rounds.syncs.states import ERROR_CLASSES, STEPS, ErrorClass, Step
from rounds.syncs.writing.failures import ending, error_class
from rounds.syncs.writing.said import Said
from rounds.syncs.writing.scribe import Scribe

#: Seconds that a sync waits for its row: to be there, to be final, and to be final where the log never answered.
START_WITHIN, END_WITHIN, END_WITHIN_IF_DOWN = 2.0, 5.0, 1.0
#: Seconds that a program which ends waits for all of its runs.
EXIT_WITHIN = 5.0
#: Progress is written after so many records, or a tenth of the run's where that is more.
RECORDS, PARTS = 50, 10
#: A run has at most so many statements, heartbeats aside: where what comes before the records has taken many, they are
#: written in fewer parts, but at least so many. Three statements are left for what comes after them.
STATEMENTS, FEWEST_PARTS, AFTER_RECORDS = 20, 5, 3
#: Progress is written at the first page and then at each fifth.
PAGES = 5

_FETCHING, _FETCHED, _STORING = map(STEPS.index, ("fetching_patients", "patients_fetched", "storing_patients"))

log = logging.getLogger("rounds.syncs")

#: The runs of this process of which something is still to be written.
_open: set[SyncRun] = set()


class SyncRun:
    """Keeps a row of the log up to date while a sync runs; a context manager, plain and async.

    ::

        with SyncRun(engine, organization="org_1", operation="full_patients") as run:
            run.step("fetching_patients")
            for number, page in enumerate(pages, 1):
                run.page(number, of=13, loaded=len(patients))
            run.found(len(patients))
            run.step("storing_patients")
            for patient in patients:
                ...
                run.stored()          # or run.failed("constraint")
            run.deleted(3)

    Nothing that goes wrong with the log reaches the sync: it goes on, and the log gets what it can. The row is written
    by a thread of its own, through connections of its own. Methods may be called by any thread; a count that makes no
    sense is left out. Where a step is not told, pages, ``found`` and records tell it.

    The row ends as ``completed``, or by the exception that leaves the block: ``timeout`` by a TimeoutError,
    ``cancelled`` by what is no Exception (Ctrl-C, a cancelled task), else ``failed``. The exception goes on unchanged,
    and only the class that its kind stands for is written, never its text.

    Args:
        engine: of the database that has the log. Or its URL.
        organization: whose data is synchronised.
        operation: what is synchronised.
        table: the log's name.
        source_system: what the row is about, where the log has such a column.

    Raises:
        TypeError: ``engine`` is neither; an AsyncEngine cannot be used.
    """

    def __init__(
        self,
        engine: Engine | URL | str,
        *,
        organization: str | int,
        operation: str,
        table: str = "sync_logs",
        source_system: str = "cliniko",
    ) -> None:
        if not isinstance(engine, Engine | URL | str):
            raise TypeError(f"engine should be an Engine or a URL, not {type(engine).__name__}")
        self._engine, self._table = engine, table
        self._said = Said(organization, operation, source_system, started=_now())
        self._final: Said | None = None
        self._scribe: Scribe | None = None
        self._entered = self._skipped = self._odd = False
        self._failure: ErrorClass | None = None
        # Records from here to the next statement, and in how many parts they are written.
        self._left, self._parts = 1, 0
        # A handler of signals may come in between.
        self._lock = threading.RLock()

    def step(self, step: Step) -> None:
        """The run has come so far."""
        with self._lock:
            self._go(step if step in STEPS else "other")

    def page(self, page: int, *, of: int | None = None, loaded: int | None = None) -> None:
        """A page was fetched, of so many, and so many patients are loaded by now."""
        with self._lock:
            said = self._said
            self._go_on_to(_FETCHING)
            said.page = self._count(page, said.page)
            said.pages = said.pages if of is None else self._count(of, said.pages)
            said.loaded = said.loaded if loaded is None else self._count(loaded, said.loaded)
            if said.page == 1 or (said.page and said.page % PAGES == 0):
                self._wake()

    def found(self, patients: int) -> None:
        """So many patients were found, which are to be stored."""
        with self._lock:
            self._go_on_to(_FETCHED)
            self._said.found = self._count(patients, self._said.found)
            if self._parts:
                self._left = self._to_next()
            self._wake()

    def stored(self, records: int = 1) -> None:
        """So many more records were stored."""
        count = records if records.__class__ is int and records > 0 else self._count(records, 0)
        with self._lock:
            self._said.stored += count
            self._left -= count
            if self._left <= 0:
                self._records()

    def failed(self, error: ErrorClass = "other", records: int = 1) -> None:
        """So many more records could not be stored, which does not end the run."""
        count = self._count(records, 0)
        with self._lock:
            failures = self._said.failures
            known: ErrorClass = error if error in ERROR_CLASSES else "other"
            failures[known] = failures.get(known, 0) + count
            self._left -= count
            if self._left <= 0:
                self._records()

    def deleted(self, patients: int) -> None:
        """So many patients were deleted."""
        with self._lock:
            self._said.deleted = self._count(patients, self._said.deleted)

    def skip(self) -> None:
        """There was nothing to do; the run ends as skipped."""
        self._skipped = True

    def fail(self, error: ErrorClass) -> None:
        """The run ends as failed, though no exception leaves the block."""
        self._failure = error if error in ERROR_CLASSES else "other"

    def __enter__(self) -> Self:
        """Write the row.

        Raises:
            RuntimeError: it was entered before.
        """
        self._start().begun.wait(START_WITHIN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Complete it, or fail it where an exception leaves the block."""
        if scribe := self._end(error):
            scribe.ended.wait(_patience(scribe))

    async def __aenter__(self) -> Self:
        """Write the row, beside the event loop.

        Raises:
            RuntimeError: it was entered before.
        """
        await self._start().begun.wait_beside(START_WITHIN)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Complete or fail it, beside the event loop."""
        if scribe := self._end(error):
            await scribe.ended.wait_beside(_patience(scribe))

    def _start(self) -> Scribe:
        if self._entered:
            raise RuntimeError("a SyncRun is one run, and was entered before")
        self._entered = True
        self._said.started = _now()
        self._scribe = scribe = Scribe(self._engine, self._table, self._row, lambda: _open.discard(self))
        _open.add(self)
        scribe.start()
        return scribe

    def _end(self, error: BaseException | None) -> Scribe | None:
        """The run is over; what writes that, unless this is not the process to do so."""
        with self._lock:
            if self._scribe is None or self._final:
                return None
            said = self._said
            said.ended = max(said.started, _now())
            said.status = ending(error)
            if self._failure:
                said.status, said.error = "failed", self._failure
            elif error is not None and said.status in ("failed", "timeout"):
                said.error = error_class(error)
            elif said.status == "completed":
                said.status, said.step = ("skipped", said.step) if self._skipped else ("completed", "completed")
            # What is told from now on changes nothing any more.
            self._final, self._said = said, deepcopy(said)
            self._scribe.end()
            return self._scribe

    def _row(self) -> dict[str, Any]:
        with self._lock:
            return (self._final or self._said).row(_now())

    def _records(self) -> None:
        """So many records are through that the next statement is due, or the first one is."""
        first = not self._parts
        if first:
            before = self._scribe.statements + 1 if self._scribe else 0
            self._parts = min(PARTS, max(FEWEST_PARTS, STATEMENTS - AFTER_RECORDS - before))
            self._go_on_to(_STORING)
        self._left = self._to_next()
        # The first one is told with its step, unless many come at once.
        if not first or self._said.processed >= RECORDS:
            self._wake()

    def _to_next(self) -> int:
        """Records from here to the next statement."""
        found, processed = self._said.found, self._said.processed
        if found is None:
            return max(RECORDS, processed // PARTS)
        every = max(RECORDS, math.ceil(found / self._parts))
        # The last one is written too, as something may come after it that takes long.
        return min(every, found - processed) if found > processed else every

    def _go(self, step: Step) -> None:
        if step != self._said.step:
            self._said.step = step
            self._wake()

    def _go_on_to(self, step: int) -> None:
        """The run is at this step at least."""
        if STEPS.index(self._said.step) < step:
            self._go(STEPS[step])

    def _wake(self) -> None:
        if self._scribe and not self._final:
            self._scribe.wake()

    def _count(self, value: Any, otherwise: Any) -> Any:
        """A count, or something else where it makes none."""
        try:
            count = int(value)
        except (TypeError, ValueError, OverflowError):
            count = -1
        if count >= 0:
            return count
        if not self._odd:
            self._odd = True
            log.warning("a count that a sync tells is no number, or below 0, and is left out")
        return otherwise

    def _forget(self) -> None:
        """Another process goes on with it, of which this one is a copy."""
        self._scribe = None
        self._lock = threading.RLock()


def _now() -> datetime:
    return datetime.now(UTC)


def _patience(scribe: Scribe) -> float:
    return END_WITHIN if scribe.inserted else END_WITHIN_IF_DOWN


def _at_exit() -> None:
    """Runs that never left their blocks have failed; of the others something may still be under way."""
    end = time.monotonic() + EXIT_WITHIN
    for run in list(_open):
        run.fail("other")
        run._end(None)  # noqa: SLF001  # this module's own
    for run in list(_open):
        if scribe := run._scribe:  # noqa: SLF001
            scribe.ended.wait(min(_patience(scribe), max(0.0, end - time.monotonic())))


def _after_fork() -> None:
    for run in list(_open):
        run._forget()  # noqa: SLF001
    _open.clear()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
