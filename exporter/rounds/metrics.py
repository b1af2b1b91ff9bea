"""What a metric is: its definition (one entry of the catalogue) and the samples that one run found for it.

A :class:`Metric` is declared once, at import, by the module that exports it. A :class:`Family` is immutable: a run
makes a whole new one, so that rows which vanished from a source vanish from the exposition too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from rounds.errors import CollectorError

_NOT_FINITE = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

#: Base units by name suffix, longest first (Prometheus naming practices: base units only).
_UNITS = ("timestamp_seconds", "seconds", "bytes", "ratio", "celsius", "brl")


@dataclass(frozen=True)
class Histogram:
    """A histogram's value: for each upper bound the number of observations at or below it, and their sum.

    ``bounds`` has no +Inf; ``counts`` has one more entry than ``bounds`` and is not cumulative.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


Value: TypeAlias = float | Histogram
Sample: TypeAlias = tuple[tuple[str, ...], Value]


@dataclass(frozen=True)
class Metric:
    """One entry of the catalogue: everything about a metric but its samples.

    ``help`` names the origin of the value; ``values`` lists the known values of closed labels, for documentation.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    values: tuple[tuple[str, tuple[str, ...]], ...] = field(default=(), kw_only=True)

    @property
    def unit(self) -> str:
        """The base unit, read from the name; empty where there is none."""
        stem = self.name.removesuffix("_total")
        return next((unit for unit in _UNITS if stem.endswith("_" + unit)), "")

    def family(self, samples: Iterable[tuple[Sequence[str | None], Value | None]]) -> Family:
        """Make a family of ``(label values, value)`` pairs, label values in the order of ``labels``.

        A NULL value is no sample; a NULL label is the empty string.

        Raises:
            CollectorError: ``value`` when a label set comes twice or has the wrong length.
        """
        found: dict[tuple[str, ...], Value] = {}
        for labels, value in samples:
            if value is None:
                continue
            key = tuple("" if label is None else str(label) for label in labels)
            if len(key) != len(self.labels):
                raise CollectorError("value", f"{self.name} takes the labels {self.labels}, not {len(key)} values")
            if key in found:
                pairs = ", ".join(f"{name}={text!r}" for name, text in zip(self.labels, key, strict=True))
                raise CollectorError("value", f"{self.name} has two samples for {{{pairs}}}")
            found[key] = value
        return Family(self, tuple(found.items()))


@dataclass(frozen=True)
class Family:
    """A metric with the samples that one run found."""

    metric: Metric
    samples: tuple[Sample, ...]

    @property
    def series(self) -> int:
        """How many time series the samples are: a histogram is one for each bucket, its sum and its count."""
        return sum(len(value.counts) + 2 if isinstance(value, Histogram) else 1 for _, value in self.samples)


class HistogramCounter:
    """Accumulates observations into a :class:`Histogram`. Not thread-safe: one writer."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        index = next((i for i, bound in enumerate(self.bounds) if value <= bound), len(self.bounds))
        self.counts[index] += 1
        self.sum += value

    def value(self) -> Histogram:
        """The histogram as it stands."""
        return Histogram(self.bounds, tuple(self.counts), self.sum)


def format_value(value: float) -> str:
    """A sample's value as both exposition formats spell it: the shortest text that is read back as the same number."""
    text = repr(float(value))
    if text.endswith(".0"):
        return text[:-2]
    return _NOT_FINITE.get(text, text)
