"""The health score and its deductions, which are 100 together."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from rounds.emr.config import App
from rounds.emr.health.result import Health, worst
from rounds.emr.score import Board, score_families

UNHEALTHY, DEGRADED, HEALTHY = Health.unhealthy("x"), Health.degraded("x"), Health.ok()
UNKNOWN = Health("unknown")


def app(**keys: Any) -> App:
    return App.model_validate({"name": "clinic", "source": "s", **keys})


def memory(used: float, state: str = "healthy") -> Health:
    figures: dict[tuple[str, ...], float] = {
        ("memory_size_bytes",): 1000.0,
        ("memory_available_bytes",): 1000.0 * (1 - used),
    }
    return Health(state, "" if state == "healthy" else "used", "", figures)


def score(
    results: Mapping[str, Health], errors: float = 0.0, slow: int = 0, of: App | None = None
) -> tuple[int, dict[str, int]]:
    """The score, and the deductions by reason."""
    total, deductions = score_families(of or app(), Board(results), errors, slow)
    assert total.metric.name == "rounds_emr_health_score"
    assert deductions.metric.name == "rounds_emr_health_score_deduction"
    ((labels, value),) = total.samples
    assert labels == ("clinic",)
    assert isinstance(value, int)
    taken = {reason: points for (_, reason), points in deductions.samples if isinstance(points, int)}
    assert list(taken) == ["checks", "errors", "slow_operations", "memory"]
    return value, taken


@pytest.mark.parametrize(
    ("results", "errors", "slow", "expected"),
    [
        ({}, 0, 0, (0, 0, 0, 0)),
        ({"disk": HEALTHY, "llm": HEALTHY}, 1.0, 10, (0, 0, 0, 0)),
        ({"disk": HEALTHY, "llm": DEGRADED}, 1.1, 10, (20, 10, 0, 0)),
        ({"disk": UNHEALTHY, "llm": DEGRADED, "database": UNHEALTHY}, 0, 11, (50, 0, 10, 0)),
        ({"disk": UNKNOWN, "llm": HEALTHY}, 0, 0, (0, 0, 0, 0)),
        ({"disk": UNKNOWN, "llm": DEGRADED}, 0, 0, (20, 0, 0, 0)),
    ],
)
def test_what_is_taken(
    results: dict[str, Health], errors: float, slow: int, expected: tuple[int, int, int, int]
) -> None:
    value, taken = score(results, errors, slow)
    assert tuple(taken.values()) == expected
    assert value == 100 - sum(expected)


@pytest.mark.parametrize(("used", "points"), [(0.9, 0), (0.91, 10)])
def test_memory_is_the_computers(used: float, points: int) -> None:
    watched = app(checks={"memory": {}})
    assert score({"memory": memory(used)}, of=watched)[1]["memory"] == points
    assert score({"memory": memory(used, "degraded")}, of=watched)[0] == 100 - 20 - points
    assert score({"memory": memory(used)}, of=app(checks={"memory": {"degraded_used_ratio": 0.95}}))[0] == 100
    assert score({"memory": Health("unknown")}, of=watched)[0] == 100
    assert score({"memory": memory(used)}, of=app())[0] == 100, "it is not watched"


@pytest.mark.parametrize("weights", list(itertools.product((0, 10, 60, 100), repeat=3)))
def test_both_are_a_hundred_together(weights: tuple[int, int, int]) -> None:
    checks, errors, rest = weights
    of = app(
        checks={"memory": {}},
        score={"unhealthy": checks, "errors": errors, "slow_operations": rest, "memory": rest},
    )
    value, taken = score({"disk": UNHEALTHY, "memory": memory(0.99)}, 5, 50, of)
    assert value + sum(taken.values()) == 100
    assert value >= 0
    assert taken["checks"] == checks, "the later ones are cut off first"
    assert taken["errors"] == min(errors, 100 - checks)


def test_thresholds_are_configured() -> None:
    of = app(score={"errors_per_hour": 5, "slow_per_hour": 50})
    assert score({}, 5, 50, of)[0] == 100
    assert score({}, 5.1, 51, of)[0] == 80


def test_the_worst_of_several() -> None:
    assert worst([]) is None
    for order in itertools.permutations([HEALTHY, UNKNOWN, DEGRADED, UNHEALTHY]):
        assert worst(order) is UNHEALTHY
    assert worst([UNKNOWN, HEALTHY]) is UNKNOWN, "it is not healthy"
    assert worst([UNKNOWN, DEGRADED]) is DEGRADED
