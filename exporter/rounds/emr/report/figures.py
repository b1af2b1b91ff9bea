"""Percentiles, summaries and buckets of what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

#: The stretches of time that are reported of, in hours.
PERIODS = {"1h": 1, "24h": 24, "7d": 168, "30d": 720}
#: As the existing program takes what it does not know.
DEFAULT_PERIOD = "24h"
PERCENTILES = (50, 90, 95, 99)
#: Widths of buckets in seconds.
BUCKETS = {"5m": 300, "15m": 900, "1h": 3_600, "6h": 21_600, "1d": 86_400}
_HOUR = 3600


class Sample(NamedTuple):
    """Something that was recorded, or several of them put together."""

    at: float
    times: int
    total: float
    low: float
    high: float


def single(at: float, value: float) -> Sample:
    """One value."""
    return Sample(at, 1, value, value, value)


def hours(period: str) -> int:
    """How long a period is; an unknown one is a day."""
    return PERIODS.get(period, PERIODS[DEFAULT_PERIOD])


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Interpolated between the two values next to rank (n - 1) * p; 0 where there are none.

    Args:
        ordered: values, smallest first.
        percent: 0 to 100.
    """
    if not ordered:
        return 0.0
    rank = (len(ordered) - 1) * percent / 100
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """The usual ones, by names such as ``p50``."""
    ordered = sorted(values)
    return {f"p{percent}": percentile(ordered, percent) for percent in PERCENTILES}


def summary(samples: Iterable[Sample]) -> dict[str, float]:
    """``count``, ``sum``, ``mean``, ``min``, ``max``; zeros where nothing was recorded."""
    whole: Sample | None = None
    for sample in samples:
        whole = sample if whole is None else _joined(whole, sample)
    if whole is None:
        return {"count": 0, "sum": 0.0, "mean": 0.0, "min": 0.0, "max": 0.0}
    _, times, total, low, high = whole
    return {"count": times, "sum": total, "mean": total / times if times else 0.0, "min": low, "max": high}


def series(samples: Iterable[Sample], interval: str, zone: tzinfo | None = None) -> list[Sample]:
    """Samples put together by the buckets that they fall into, each as of its bucket's start, oldest first.

    Buckets begin at midnight of the zone, so that a day is a day there, also one of 23 or 25 hours. Empty ones are
    left out.

    Args:
        samples: in any order.
        interval: one of :data:`BUCKETS`.
        zone: the computer's when None.

    Raises:
        ValueError: it is none of them.
    """
    if interval not in BUCKETS:
        raise ValueError(f"interval should be one of {', '.join(BUCKETS)}")
    start_of = _starts(BUCKETS[interval], zone)
    found: dict[float, Sample] = {}
    for sample in samples:
        start = start_of(sample.at)
        known = found.get(start)
        found[start] = sample._replace(at=start) if known is None else _joined(known, sample)
    return [found[start] for start in sorted(found)]


def _joined(one: Sample, other: Sample) -> Sample:
    return Sample(
        one.at, one.times + other.times, one.total + other.total, min(one.low, other.low), max(one.high, other.high)
    )


def _starts(width: int, zone: tzinfo | None) -> Callable[[float], float]:
    def within_an_hour(at: float) -> float:
        local = _local(at, zone)
        # In the terms of that moment, so that an hour which autumn repeats is two.
        return at - (local.hour * _HOUR + local.minute * 60 + local.second + local.microsecond / 1e6) % width

    def of_hours(at: float) -> float:
        local = _local(at, zone)
        return _moment(local.replace(hour=local.hour * _HOUR // width * width // _HOUR), zone)

    return within_an_hour if width <= _HOUR else of_hours


def day_before(at: float, days: int, zone: tzinfo | None) -> float:
    """Midnight so many days before the one that this time is on."""
    return _moment(_local(at, zone).replace(hour=0) - timedelta(days=days), zone)


def _local(at: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone(zone)


def _moment(local: datetime, zone: tzinfo | None) -> float:
    naive = local.replace(minute=0, second=0, microsecond=0, fold=0, tzinfo=None)
    # What ``astimezone`` gives for the computer's zone has one moment's difference: it is asked anew.
    return (naive.astimezone() if zone is None else naive.replace(tzinfo=zone)).timestamp()
