"""How far the active runs are, with the memory that their rows have not: progress never falls within a run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rounds.syncs.runs import Live, Run
from rounds.syncs.states import Step
from rounds.syncs.steps import PAGE, progress


@dataclass(frozen=True)
class Point:
    """How far a run is.

    Attributes:
        ratio: the part of the whole that is done.
        changed: when step, page or records were last seen to change, in Unix seconds.
        live: what it says; what only an earlier step said is kept.
        idle: when it was last seen to have stored nothing, in Unix seconds; None where it had stored something already
            when it was seen first.
    """

    ratio: float
    changed: float
    live: Live
    idle: float | None = None

    @property
    def storing_since(self) -> float | None:
        """When it began to store, at the latest a look before; None while it does not, or where that is not known."""
        return self.idle if self.live.processed else None


class Progress:
    """Remembers active runs from look to look."""

    def __init__(self) -> None:
        self._points: dict[int, Point] = {}

    def point(self, run: Run, now: float, expected: int | None) -> Point:
        """How far a run is.

        Args:
            run: one that has not ended.
            now: the source's clock.
            expected: patients that the last successful run found, None where that is not known.
        """
        before = self._points.get(run.row)
        point = _next(run, now, expected, before)
        self._points[run.row] = point
        return point

    def keep(self, rows: Iterable[int]) -> None:
        """Forget all others."""
        self._points = {row: self._points[row] for row in rows if row in self._points}


def _next(run: Run, now: float, expected: int | None, before: Point | None) -> Point:
    live = run.live or Live()
    done, of = _part(live, expected)
    ratio = progress(live.step, done, of)
    if before is None:
        changed = run.said if run.started is None else max(run.started, run.said)
        return Point(ratio or 0.0, changed, live, None if live.processed else now)
    old = before.live
    if live.step is None and old.step is not None:
        # The document was cleared or cannot be read at this moment; the columns alone would mislead.
        return Point(before.ratio, before.changed, old, before.idle)
    kept = Live(
        live.step,
        live.reported,
        old.page if live.page is None else live.page,
        old.pages if live.pages is None else live.pages,
        old.total if live.total is None else live.total,
        old.processed if live.processed is None else live.processed,
    )
    changed = (kept.step, kept.page, kept.processed) != (old.step, old.page, old.processed)
    idle = before.idle if kept.processed else now
    return Point(max(ratio or 0.0, before.ratio), now if changed else before.changed, kept, idle)


def _part(live: Live, expected: int | None) -> tuple[float | None, float | None]:
    """What the step is through with, and of how much."""
    step: Step | None = live.step
    if step == "fetching_patients":
        return live.page, live.pages or (math.ceil(expected / PAGE) if expected else None)
    return live.processed, live.total
