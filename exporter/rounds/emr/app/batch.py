"""What the writer puts into the store in one transaction."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TypeAlias

from rounds.emr.layout import SLOT_SECONDS

Labels: TypeAlias = tuple[str, ...]

#: What waits for a store that cannot be written to: single operations, groups of errors, alerts. More is dropped.
MOST_TIMINGS = 20_000
MOST_GROUPS = 2_000
MOST_ALERTS = 10_000
MOST_SAMPLES = 20_000


def dropped(reason: str) -> tuple[str, Labels]:
    """The counter of what is not in the store for this reason, one of :data:`rounds.emr.names.DROPS`."""
    return "telemetry_dropped_total", (reason,)


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
class Sample:
    """What was counted or set under a name within a slot of five minutes."""

    count: int
    sum: float
    min: float
    max: float

    def add(self, later: Sample) -> None:
        """Take what was said later."""
        self.count += later.count
        self.sum += later.sum
        self.min = min(self.min, later.min)
        self.max = max(self.max, later.max)


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
    samples: dict[tuple[int, str, str], Sample] = field(default_factory=dict)
    """By slot, kind (count, gauge) and name: what events and gauges were when."""

    def __bool__(self) -> bool:
        return bool(self.counters or self.gauges or self.timings or self.groups or self.alerts or self.samples)

    def sample(self, at: float, kind: str, name: str, value: float) -> None:
        """Take a count or a gauge's value into its slot."""
        slot = int(at // SLOT_SECONDS), kind, name
        known = self.samples.get(slot)
        if known is None:
            self.samples[slot] = Sample(1, value, value, value)
        else:
            known.count += 1
            known.sum += value
            known.min = min(known.min, value)
            known.max = max(known.max, value)

    def add(self, later: Batch) -> None:
        """Take what was said later. What is too much is left out, and counted as dropped."""
        self.counters.update(later.counters)
        self.gauges.update(later.gauges)
        room = max(0, MOST_TIMINGS - len(self.timings))
        self.timings += later.timings[:room]
        left_out = len(later.timings[room:])
        for fingerprint, group in later.groups.items():
            known = self.groups.get(fingerprint)
            if known is not None:
                known.first = min(known.first, group.first)
                known.last = max(known.last, group.last)
                known.slots.update(group.slots)
            elif len(self.groups) < MOST_GROUPS:
                self.groups[fingerprint] = group
            else:
                left_out += group.slots.total()
        for slot, sample in later.samples.items():
            before = self.samples.get(slot)
            if before is not None:
                before.add(sample)
            elif len(self.samples) < MOST_SAMPLES:
                self.samples[slot] = sample
            else:
                left_out += sample.count
        room = max(0, MOST_ALERTS - len(self.alerts))
        self.alerts += later.alerts[:room]
        left_out += len(later.alerts[room:])
        if left_out:
            self.counters[dropped("size")] += left_out
