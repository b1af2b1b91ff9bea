"""The health score: what checks and store found, in one number that explains itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rounds.emr.config import App
from rounds.emr.health.result import Health, worst
from rounds.emr.metrics import DEDUCTION, REASONS, SCORE
from rounds.metrics import Family

_FULL = 100


@dataclass
class Board:
    """What is known of an application at the moment: filled by its jobs, which run on threads of their own.

    ``results`` are the checks' last ones, by the check's name, replaced as a whole each time.
    """

    results: Mapping[str, Health]


def score_families(app: App, board: Board, errors_per_hour: float, slow_operations: int) -> Sequence[Family]:
    """The score and its deductions; together they are 100.

    A check of which nothing is known takes nothing. What would take the score below 0 is cut off, the later deductions
    first.

    Args:
        app: says what is taken.
        board: what the checks found.
        errors_per_hour: in the last 24 hours.
        slow_operations: in the last hour.
    """
    weights = app.score
    taken = {
        "checks": _of_checks(app, board),
        "errors": weights.errors if errors_per_hour > weights.errors_per_hour else 0,
        "slow_operations": weights.slow_operations if slow_operations > weights.slow_per_hour else 0,
        "memory": weights.memory if _is_memory_full(app, board) else 0,
    }
    left = _FULL
    deductions = []
    for reason in REASONS:
        points = min(left, taken[reason])
        left -= points
        deductions.append(((app.name, reason), points))
    return SCORE.family([((app.name,), left)]), DEDUCTION.family(deductions)


def _of_checks(app: App, board: Board) -> int:
    found = worst(board.results.values())
    points = {"unhealthy": app.score.unhealthy, "degraded": app.score.degraded}
    return points.get(found.state, 0) if found is not None else 0


def _is_memory_full(app: App, board: Board) -> bool:
    check, found = app.checks.memory, board.results.get("memory")
    if check is None or found is None:
        return False
    size, available = (found.figures.get((f"memory_{name}_bytes",)) for name in ("size", "available"))
    if not size or available is None:
        return False
    return 1 - available / size > check.degraded_used_ratio
