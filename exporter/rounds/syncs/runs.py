"""What a row of a log means. Nothing of its texts gets through but what is mapped to a closed set."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, TypeVar

from rounds.syncs.failures import classify
from rounds.syncs.log import Record
from rounds.syncs.rows import unix
from rounds.syncs.states import ENDED, FAILED, STEPS, WRITER, ErrorClass, Problem, State, Step
from rounds.syncs.steps import step_of

#: A time may be this many seconds ahead of the source's clock.
_AHEAD = 300.0
_STATES: Mapping[str, State] = {
    "running": "running",
    "completed": "completed",
    "success": "completed",
    "warning": "partial",
    "failed": "failed",
    "error": "failed",
    "timeout": "timeout",
    "skipped": "skipped",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}
_COUNT_LIMIT = 2**53
_BEFORE_STORING = STEPS[: STEPS.index("storing_patients")]
_LONGEST_NUMBER = 20

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Counts:
    """Records of a run that has ended; None where its row does not tell."""

    processed: int | None = None
    succeeded: int | None = None
    failed: int | None = None


@dataclass(frozen=True)
class Live:
    """What a run says while it has not ended; None where it does not tell.

    Attributes:
        step: where it is. Without one its row tells by its counts alone.
        reported: its ``progress_percent``, divided by 100.
        page: the page that it has fetched.
        pages: how many there are, where that can be believed.
        total: records that it has to store.
        processed: records that it is through with.
    """

    step: Step | None = None
    reported: float | None = None
    page: int | None = None
    pages: int | None = None
    total: int | None = None
    processed: int | None = None


@dataclass(frozen=True)
class Run:
    """A row, interpreted. Times are Unix seconds by the source's clock.

    Attributes:
        row: what the row is known by: a hash of its id and its start, as a table that was emptied may give out its ids
            again.
        id: the row's id.
        organization: as the row has it.
        operation: as the row has it.
        state: how it stands.
        ended: whether it has.
        at: when it began, or the next best that its row tells.
        started: when it began.
        said: when it last said something: its end, if it has ended.
        duration: seconds that it took, of a run that has ended.
        counts: of a run that has ended; None where its program writes something else there.
        found: patients that it found.
        deleted: patients that it deleted.
        error: why it failed, if it did.
        live: of a run that has not ended.
        problems: what makes no sense and is left out.
        mark: differs when what the row says of an ended run does.
    """

    row: int
    id: str
    organization: str
    operation: str
    state: State
    ended: bool
    at: float
    started: float | None
    said: float
    duration: float | None = None
    counts: Counts | None = None
    found: int | None = None
    deleted: int | None = None
    error: ErrorClass | None = None
    live: Live | None = None
    problems: frozenset[Problem] = frozenset()
    mark: int = 0


def state_of(status: str) -> State:
    """The state that a status means."""
    return _STATES.get(status.strip(), "other")


def is_status(status: str) -> bool:
    """Whether it is one of those that programs are known to write."""
    return status in _STATES


def row_hash(identity: str, started: float | None) -> int:
    """What a row is known by."""
    return hashed(identity, "" if started is None else str(round(started * 1e6)))


def hashed(*texts: str) -> int:
    """A hash that the ledger can hold."""
    digest = hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def interpret(record: Record, now: float, *, seen: float, running_totals: Container[str]) -> Run:
    """What a row means.

    Args:
        record: the row.
        now: the source's clock, in Unix seconds.
        seen: when the row was first seen, which stands for times that it does not have.
        running_totals: operations whose programs write counts of all their runs together.
    """
    metadata, check = record.metadata, _Check(record, now)
    own = metadata.get("writer") == WRITER
    counted = own or record.operation not in running_totals
    started, completed, updated = map(check.past, (record.started, record.completed, record.updated))
    stamp = check.stamp(metadata.get("timestamp"))
    status = state_of(record.status)
    ended = status in ENDED and (status != "other" or record.completed is not None)
    if status == "other":
        check.problems.add("unknown_status")
    if completed is not None and started is not None and completed < started:
        # One of them is of another clock, and nobody knows which.
        check.problems.add("negative_duration")
        completed = None
    counts = Counts(*map(check.natural, (record.processed, record.succeeded, record.failed)))
    if status == "completed" and counts.failed:
        status = "partial"
    found = _first(*(check.natural(metadata.get(name)) for name in ("patients_found", "total_patients")))
    deleted = _first(*(check.natural(metadata.get(name)) for name in ("patients_deleted", "patients_deactivated")))
    said = _first(stamp, updated, started, seen) if not ended else _first(completed, stamp, updated, started, seen)
    return Run(
        row=row_hash(record.id, record.started),
        id=record.id,
        organization=record.organization,
        operation=record.operation,
        state=status,
        ended=ended,
        at=_first(started, completed, updated, seen) or 0.0,
        started=started,
        said=min(now, said or 0.0),
        duration=completed - started if ended and completed is not None and started is not None else None,
        counts=counts if ended and counted else None,
        found=found,
        deleted=deleted,
        error=_error(status, record),
        live=None if ended else _live(metadata, check, counts, counted=counted, own=own),
        problems=frozenset(check.problems),
        mark=hashed(*map(repr, (status, record.completed, counts, found, deleted))),
    )


class _Check:
    """Lets through what makes sense, and notes what does not."""

    def __init__(self, record: Record, now: float) -> None:
        self.problems: set[Problem] = set(record.problems)
        self._now = now

    def past(self, moment: float | None) -> float | None:
        if moment is None or moment <= self._now + _AHEAD:
            return moment
        self.problems.add("bad_time")
        return None

    def stamp(self, value: object) -> float | None:
        """A time as programs write it into ``metadata``: in UTC, unless it says otherwise."""
        moment = unix(value, UTC) if isinstance(value, str) else None
        if moment is None and value is not None:
            self.problems.add("bad_time")
        return self.past(moment)

    def natural(self, value: object) -> int | None:
        """A count, however JSON has it."""
        number = _number(value)
        if number is not None and number == int(number) and 0 <= number < _COUNT_LIMIT:
            return int(number)
        if value is not None:
            self.problems.add("bad_count")
        return None


def _error(status: State, record: Record) -> ErrorClass | None:
    if status not in FAILED:
        return None
    return "timeout" if status == "timeout" else classify(record.metadata, record.details)


def _live(metadata: Mapping[str, Any], check: _Check, counts: Counts, *, counted: bool, own: bool) -> Live:
    step = step_of(metadata.get("step"))
    reported = _number(metadata.get("progress_percent"))
    reported = reported / 100 if reported is not None else None
    if step is None:  # such a row has counts alone: what was found, and what is stored
        return (
            Live(reported=reported, total=counts.processed or None, processed=counts.succeeded) if counted else Live()
        )
    page, pages = check.natural(metadata.get("current_page")), check.natural(metadata.get("total_pages"))
    if page is None or pages is None or not (pages > page or own):
        # The existing program writes the current page there, as it looks for a field that the API does not send.
        pages = None
    total = _first(*(check.natural(metadata.get(name)) for name in ("total_patients", "patients_found")))
    # The columns hold something else in each step.
    processed = check.natural(metadata.get("patients_processed")) if step == "storing_patients" else None
    if step in _BEFORE_STORING:
        processed = 0
    return Live(step, reported, page, pages, total, processed) if counted else Live(step, reported, page, pages)


def _first(*values: Number | None) -> Number | None:
    return next((value for value in values if value is not None), None)


def _number(value: object) -> float | None:
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
