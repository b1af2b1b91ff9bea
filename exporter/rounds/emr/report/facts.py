"""What a store says of a stretch of time."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from rounds.emr.report.figures import Sample

#: How many alerts and crashes are listed.
ALERTS, CRASHES = 10, 5


class Timing(NamedTuple):
    """An operation. The outcome is one of :data:`rounds.emr.names.OUTCOMES`."""

    at: float
    operation: str
    seconds: float
    outcome: str


class Timings:
    """Operations, of which there may be a million: in 16 bytes each."""

    def __init__(self) -> None:
        self._columns: dict[tuple[str, str], tuple[array[float], array[float]]] = {}

    def add(self, at: float, operation: str, seconds: float, outcome: str) -> None:
        """Add one."""
        key = operation, outcome
        columns = self._columns.get(key)
        if columns is None:
            columns = self._columns[key] = (array("d"), array("d"))
        columns[0].append(at)
        columns[1].append(seconds)

    @property
    def operations(self) -> set[str]:
        """Their names."""
        return {operation for operation, _ in self._columns}

    def seconds(self, operation: str | None = None) -> array[float]:
        """How long they took: those of an operation, or all."""
        found = array("d")
        for (name, _), (_, seconds) in self._columns.items():
            if operation in (name, None):
                found.extend(seconds)
        return found

    def of(self, operations: Collection[str]) -> Iterator[Timing]:
        """Those of some operations, one by one."""
        return (timing for key in self._columns if key[0] in operations for timing in self._each(*key))

    def __iter__(self) -> Iterator[Timing]:
        return (timing for key in self._columns for timing in self._each(*key))

    def __len__(self) -> int:
        return sum(len(seconds) for _, seconds in self._columns.values())

    def _each(self, operation: str, outcome: str) -> Iterator[Timing]:
        for at, seconds in zip(*self._columns[operation, outcome], strict=True):
            yield Timing(at, operation, seconds, outcome)


class Alert(NamedTuple):
    """An alert that the application raised; of what it said, only what it was about."""

    at: float
    severity: str
    key: str


class Crash(NamedTuple):
    """An end by an exception, a signal, or without a word."""

    at: float
    error_type: str
    kind: str
    submitted: bool


@dataclass
class Group:
    """Errors of one kind within the time asked for."""

    error_type: str
    count: int
    last: float


@dataclass(frozen=True)
class Run:
    """A process of the application."""

    started: float
    heartbeat: float
    ended: float | None
    version: str
    python: str
    os: str
    resident_bytes: int | None
    cpu_seconds: float | None


@dataclass
class Facts:
    """What was found. Names have passed :func:`rounds.emr.names.label`."""

    timings: Timings = field(default_factory=Timings)
    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)
    """By kind (count, gauge) and name: one name may have both, and they are never mixed."""
    errors: dict[str, Group] = field(default_factory=dict)
    """By fingerprint."""
    error_samples: list[Sample] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    """The newest ones of all, newest first."""
    crashes: list[Crash] = field(default_factory=list)
    """The same."""
    crashes_held: int = 0
    """How many the store has, of whatever age."""
    crashes_since: int = 0
    runs: list[Run] = field(default_factory=list)
    """Processes that were alive at some time asked for, newest first, and the newest of all."""

    def error(self, fingerprint: str, error_type: str, count: int, last: float) -> None:
        """Add errors of a kind."""
        group = self.errors.setdefault(fingerprint, Group(error_type, 0, last))
        group.count += count
        group.last = max(group.last, last)

    def sample(self, kind: str, name: str, sample: Sample) -> None:
        """Add what was recorded under a name."""
        self.samples.setdefault((kind, name), []).append(sample)
