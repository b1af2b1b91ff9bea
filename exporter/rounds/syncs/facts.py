"""What is known of the runs of one organisation and operation: as much as its metrics tell. Pure values."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from rounds.syncs.runs import Counts, Run
from rounds.syncs.states import SUCCESSFUL, State

#: Longest id by which a row is asked for again.
LONGEST_ID = 255
#: Successful runs that are kept: the newest and the one before.
_SUCCESSES = 2


@dataclass(frozen=True)
class Past:
    """What is kept of a run, see :class:`rounds.syncs.runs.Run`, and when its deletions were first seen."""

    row: int
    id: str | None
    at: float
    state: State
    ended: bool
    said: float
    duration: float | None
    counts: Counts | None
    found: int | None
    deleted: int | None
    mark: int
    deletion_seen: float | None

    @classmethod
    def of(cls, run: Run, now: float) -> Past:
        """What is to be kept of a run that is seen now."""
        return cls(
            run.row,
            storable(run.id),
            run.at,
            run.state,
            run.ended,
            run.said,
            run.duration,
            run.counts,
            run.found,
            run.deleted,
            run.mark,
            now if run.deleted else None,
        )

    @property
    def order(self) -> tuple[float, int, str]:
        """Newer runs have a greater one. Ids that are numbers grow, whatever their length."""
        return self.at, len(self.id or ""), self.id or ""


@dataclass(frozen=True)
class Facts:
    """What is known of the runs of one organisation and operation.

    Attributes:
        first: when the oldest known one began.
        newest: when the newest one began, whatever its state.
        started: when the newest one began that was not skipped; None where there is none.
        runs: those that metrics tell of.
    """

    first: float
    newest: float
    started: float | None = None
    runs: tuple[Past, ...] = ()

    @classmethod
    def read(cls, text: str, newest: float) -> Facts:
        """From what :meth:`written` made."""
        document = json.loads(text)
        runs = (
            Past(**{**each, "counts": None if each["counts"] is None else Counts(**each["counts"])})
            for each in document["runs"]
        )
        return cls(document["first"], newest, document["started"], tuple(runs))

    def written(self) -> str:
        """As text, for the ledger."""
        # Not by asdict, which copies values and takes ten times as long.
        runs = [{**vars(each), "counts": each.counts and vars(each.counts)} for each in self.runs]
        return json.dumps({"first": self.first, "started": self.started, "runs": runs}, separators=(",", ":"))

    @property
    def last(self) -> Past | None:
        """The newest run that has ended; skipped ones are none."""
        return max((each for each in self.runs if _is_last(each)), key=_order, default=None)

    @property
    def successes(self) -> list[Past]:
        """The newest successful runs, the newest first."""
        return sorted((each for each in self.runs if _is_success(each)), key=_order, reverse=True)[:_SUCCESSES]

    @property
    def deletion(self) -> Past | None:
        """The newest run that deleted patients, ended or not."""
        return max((each for each in self.runs if each.deleted), key=_order, default=None)

    def of(self, row: int) -> Past | None:
        """What is kept of a row."""
        return next((each for each in self.runs if each.row == row), None)

    def with_run(self, run: Run, now: float) -> Facts:
        """The facts once this run is seen, perhaps again. A run is older than none of its own.

        Args:
            run: the run.
            now: what tells of its deletions counts from then. Its own times may be of any clock, and it may have ended
                while nobody looked.
        """
        past = Past.of(run, now)
        before = self.of(run.row)
        if before is not None:
            if before.mark == past.mark:
                return self  # times that made no sense when it ended make none because they lie in the past now
            if past.deleted is None:  # the document that said so is replaced when a run fails
                past = replace(past, deleted=before.deleted)
            if before.deleted:
                past = replace(past, deletion_seen=before.deletion_seen)
            if past.found is None:
                past = replace(past, found=before.found)
        started = self.started
        if run.state != "skipped" and run.started is not None:
            started = run.started if started is None else max(started, run.started)
        known = Facts(
            min(self.first, run.at),
            max(self.newest, run.at),
            started,
            (*(each for each in self.runs if each.row != run.row), past),
        )
        kept = {each.row for each in (known.last, *known.successes, known.deletion) if each is not None}
        return replace(known, runs=tuple(sorted((each for each in known.runs if each.row in kept), key=_order)))


def storable(identity: str) -> str | None:
    """An id as the ledger can keep it exactly; None where it cannot."""
    return identity if len(identity) <= LONGEST_ID and identity.isprintable() else None


def _order(past: Past) -> tuple[float, int, str]:
    return past.order


def _is_last(past: Past) -> bool:
    return past.ended and past.state != "skipped"


def _is_success(past: Past) -> bool:
    return past.ended and past.state in SUCCESSFUL
