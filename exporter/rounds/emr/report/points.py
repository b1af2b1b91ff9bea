"""What is taken from the health score's 100 points, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from rounds.emr.health.result import Health, worst

FULL = 100


class Weights(Protocol):
    """How many points each reason takes, and from when on."""

    @property
    def unhealthy(self) -> int: ...
    @property
    def degraded(self) -> int: ...
    @property
    def errors(self) -> int: ...
    @property
    def slow_operations(self) -> int: ...
    @property
    def memory(self) -> int: ...
    @property
    def errors_per_hour(self) -> float: ...
    @property
    def slow_per_hour(self) -> int: ...


@dataclass(frozen=True)
class DefaultWeights:
    """As the existing program has them."""

    unhealthy: int = 50
    degraded: int = 20
    errors: int = 10
    slow_operations: int = 10
    memory: int = 10
    errors_per_hour: float = 1
    slow_per_hour: int = 10


def deductions(
    weights: Weights,
    results: Mapping[str, Health],
    errors_per_hour: float,
    slow_operations: int,
    *,
    used_ratio: float = 0.9,
) -> dict[str, int]:
    """Points by reason, in the order of :data:`rounds.emr.metrics.REASONS`; never more than 100 together.

    A check of which nothing is known takes nothing. What would take the score below 0 is cut off, the later deductions
    first.

    Args:
        weights: what each reason takes.
        results: what the checks found.
        errors_per_hour: in the last 24 hours.
        slow_operations: in the last hour.
        used_ratio: with more of the computer's memory in use, from 0 to 1, points are taken.
    """
    found = worst(results.values())
    by_state = {"unhealthy": weights.unhealthy, "degraded": weights.degraded}
    used = memory_used(results)
    wanted = {
        "checks": by_state.get(found.state, 0) if found is not None else 0,
        "errors": weights.errors if errors_per_hour > weights.errors_per_hour else 0,
        "slow_operations": weights.slow_operations if slow_operations > weights.slow_per_hour else 0,
        "memory": weights.memory if used is not None and used > used_ratio else 0,
    }
    left = FULL
    taken = {}
    for reason, points in wanted.items():
        taken[reason] = min(left, points)
        left -= taken[reason]
    return taken


def memory_used(results: Mapping[str, Health]) -> float | None:
    """The part of the computer's memory that is in use, from 0 to 1; None where the check does not say."""
    found = results.get("memory")
    if found is None:
        return None
    size, available = (found.figures.get((f"memory_{name}_bytes",)) for name in ("size", "available"))
    return None if not size or available is None else 1 - available / size
