"""What the writer puts into the store in one transaction."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TypeAlias

Labels: TypeAlias = tuple[str, ...]


@dataclass
class Group:
    """What is new of a group of errors.

    ``trace`` and ``culprit`` are those of a first sight and are kept; ``slots`` are counts by slots of five minutes.
    """

    error_type: str
    culprit: str
    trace: str
    message: str | None
    first: float
    last: float
    slots: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class Alert:
    """An alert that the application raised."""

    at: float
    severity: str
    key: str
    channels: tuple[str, ...]
    title: str | None = None
    message: str | None = None


@dataclass
class Batch:
    """Everything that was said since the last write.

    ``counters`` are by the metric's name and labels as in :data:`rounds.emr.layout.COUNTER`, histograms included.
    """

    counters: Counter[tuple[str, Labels]] = field(default_factory=Counter)
    gauges: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By name: value and time."""
    timings: list[tuple[float, str, float, str]] = field(default_factory=list)
    """End, operation, seconds, outcome."""
    groups: dict[str, Group] = field(default_factory=dict)
    """By fingerprint."""
    alerts: list[Alert] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.counters or self.gauges or self.timings or self.groups or self.alerts)
