"""The health score: what checks and store found, in one number that explains itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rounds.emr.config import App
from rounds.emr.health.result import Health
from rounds.emr.metrics import DEDUCTION, SCORE
from rounds.emr.report.points import FULL, deductions
from rounds.metrics import Family


@dataclass
class Board:
    """What is known of an application at the moment: filled by its jobs, which run on threads of their own.

    ``results`` are the checks' last ones, by the check's name, replaced as a whole each time.
    """

    results: Mapping[str, Health]


def score_families(app: App, board: Board, errors_per_hour: float, slow_operations: int) -> Sequence[Family]:
    """The score and its deductions; together they are 100.

    Args:
        app: says what is taken.
        board: what the checks found.
        errors_per_hour: in the last 24 hours.
        slow_operations: in the last hour.
    """
    check = app.checks.memory
    # Where memory is not checked, what another check may say of it is of no interest.
    ratio = 1.0 if check is None else check.degraded_used_ratio
    taken = deductions(app.score, board.results, errors_per_hour, slow_operations, used_ratio=ratio)
    shown = (((app.name, reason), points) for reason, points in taken.items())
    return SCORE.family([((app.name,), FULL - sum(taken.values()))]), DEDUCTION.family(shown)
