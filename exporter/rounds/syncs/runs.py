"""What a row of a log means. Pure functions; nothing of a row's texts gets through but what is mapped to a closed set."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rounds.syncs.failures import classify
from rounds.syncs.log import Record
from rounds.syncs.states import ENDED, FAILED, STEPS, ErrorClass, Problem, State, Step
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
#: What SyncRun writes as ``metadata.writer``: pages and counts of such a run are what they are called.
_WRITER = "rounds"
_COUNT_LIMIT = 2**53
_BEFORE_STORING = STEPS[: STEPS.index("storing_patients")]
_LONGEST_NUMBER = 20


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
    metadata, problems = record.metadata, set(record.problems)

    def past(moment: float | None) -> float | None:
        if moment is None or moment <= now + _AHEAD:
            return moment
        problems.add("bad_time")
        return None

    def natural(value: object) -> int | None:
        count = _natural(value)
        if count is None and value is not None:
            problems.add("bad_count")
        return count

    started, completed, updated = past(record.started), past(record.completed), past(record.updated)
    stamp = _moment(metadata.get("timestamp"))
    if stamp is None and metadata.get("timestamp") is not None:
        problems.add("bad_time")
    stamp = past(stamp)

    status = state_of(record.status)
    ended = status in ENDED and (status != "other" or record.completed is not None)
    if status == "other":
        problems.add("unknown_status")
    if completed is not None and started is not None and completed < started:
        # One of them is of another clock, and nobody knows which.
        problems.add("negative_duration")
        completed = None

    processed, succeeded, failed = natural(record.processed), natural(record.succeeded), natural(record.failed)
    if status == "completed" and failed:
        status = "partial"
    own = metadata.get("writer") == _WRITER
    found = natural(metadata.get("patients_found"))
    if found is None:
        found = natural(metadata.get("total_patients"))
    deleted = natural(metadata.get("patients_deleted"))
    if deleted is None:
        deleted = natural(metadata.get("patients_deactivated"))
    counted = own or record.operation not in running_totals
    counts = Counts(processed, succeeded, failed) if ended and counted else None
    live = None if ended else _live(metadata, natural, Counts(processed, succeeded), counted=counted, own=own)
    times = [stamp, updated, started, seen] if not ended else [completed, stamp, updated, started, seen]
    return Run(
        row=row_hash(record.id, record.started),
        id=record.id,
        organization=record.organization,
        operation=record.operation,
        state=status,
        ended=ended,
        at=next(each for each in (started, completed, updated, seen) if each is not None),
        started=started,
        said=min(now, next(each for each in times if each is not None)),
        duration=completed - started if ended and completed is not None and started is not None else None,
        counts=counts,
        found=found,
        deleted=deleted,
        error=_error(status, record),
        live=live,
        problems=frozenset(problems),
        mark=hashed(*map(repr, (status, record.completed, processed, succeeded, failed, found, deleted))),
    )


def _error(status: State, record: Record) -> ErrorClass | None:
    if status not in FAILED:
        return None
    return "timeout" if status == "timeout" else classify(record.metadata, record.details)


def _live(
    metadata: Mapping[str, Any], natural: Callable[[object], int | None], counts: Counts, *, counted: bool, own: bool
) -> Live:
    step = step_of(metadata.get("step"))
    reported = _number(metadata.get("progress_percent"))
    reported = reported / 100 if reported is not None else None
    if step is None:  # such a row has counts alone: what was found, and what is stored
        return (
            Live(reported=reported, total=counts.processed or None, processed=counts.succeeded) if counted else Live()
        )
    page, pages = natural(metadata.get("current_page")), natural(metadata.get("total_pages"))
    if page is None or pages is None or not (pages > page or own):
        # The existing program writes the current page there, as it looks for a field that the API does not send.
        pages = None
    total = natural(metadata.get("total_patients"))
    if total is None:
        total = natural(metadata.get("patients_found"))
    # The columns hold something else in each step.
    processed = natural(metadata.get("patients_processed")) if step == "storing_patients" else None
    if counted and step in _BEFORE_STORING:
        processed = 0
    return Live(step, reported, page, pages, total, processed)


def _natural(value: object) -> int | None:
    """A count, however JSON has it; None where it is none."""
    number = _number(value)
    return int(number) if number is not None and number == int(number) and 0 <= number < _COUNT_LIMIT else None


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


def _moment(value: object) -> float | None:
    """A time as programs write it into ``metadata``: in UTC, unless it says otherwise."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
