"""Makes a batch of records: adds up, groups errors, limits names. For the writer's thread alone."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from rounds.emr.app.batch import Alert, Batch, Group, Labels, dropped
from rounds.emr.app.errors import Portraits
from rounds.emr.app.instruments import Count as Counted
from rounds.emr.app.instruments import Gauge, amount
from rounds.emr.app.intake import Intake, Record
from rounds.emr.layout import SLOT_SECONDS
from rounds.emr.names import DURATION_BOUNDS, DURATION_BUCKETS, OTHER, label

#: Different names of operations and of events that an application may have, and kinds of errors.
NAMES, ERROR_TYPES = 500, 50
#: Records that are added up in one go, and seconds of rest after each: other threads wait meanwhile.
PIECE, REST = 500, 0.0005

Key = tuple[str, Labels]


class Aggregate:
    """What was said, as it goes into the store.

    Args:
        intake: where it comes from.
        gauges: those of the application, by name; it may have more of them later.
        clock: seconds since 1970.
    """

    def __init__(
        self, intake: Intake, gauges: dict[str, Gauge], portraits: Portraits, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._intake = intake
        self._gauges = gauges
        self._portraits = portraits
        self._clock = clock
        self._names: dict[str, _Names] = {
            kind: _Names(limit) for kind, limit in (("operation", NAMES), ("event", NAMES), ("error", ERROR_TYPES))
        }
        self._tallies: dict[tuple[object, str], _Tally] = {}
        self._touched: set[_Tally] = set()
        # In the order of the kinds.
        self._add: tuple[Callable[..., None], ...] = (
            self._timing,
            self._failure,
            self._odd_failure,
            self._error,
            self._count,
            self._counted,
            self._alert,
        )
        # From perf_counter to the time of day, which may be set at any moment.
        self._offset = 0.0

    def collect(self, batch: Batch) -> None:
        """Add to a batch what was said until now, what was dropped, and gauges that were set."""
        left = len(self._intake)
        while left > 0:
            records = self._intake.drain(min(left, PIECE))
            left -= len(records)
            self.add(records, batch)
            if not records:
                break
            if left > 0:
                time.sleep(REST)
        if lost := self._intake.dropped():
            batch.counters[dropped("queue_full")] += lost
        now = self._clock()
        for name, gauge in list(self._gauges.items()):
            value = gauge.changed()
            if value is not None:
                batch.gauges[name] = (value, now)
                batch.sample(now, "gauge", name, value)

    def add(self, records: Iterable[Record], batch: Batch) -> None:
        """Add records to a batch. One that makes no sense is counted as dropped."""
        self._offset = self._clock() - time.perf_counter()
        for record in records:
            try:
                self._add[record[0]](batch, record)
            except Exception:
                batch.counters[dropped("error")] += 1
        for tally in self._touched:
            tally.pour(batch.counters)
        self._touched.clear()

    def _timing(self, batch: Batch, record: Record) -> None:
        _, begin, end, operation, outcome, slow = record
        self._time(batch, begin, end, operation, outcome, slow)

    def _time(self, batch: Batch, begin: float, end: float, *said: Any) -> None:
        operation, outcome, slow = said
        tally = self._tallies.get((operation, outcome)) or self._tally(operation, outcome)
        self._touched.add(tally)
        seconds = end - begin if end > begin else 0.0
        tally.buckets[bisect_left(DURATION_BOUNDS, seconds)] += 1
        tally.sum += seconds
        if slow is not None and seconds > slow:
            tally.slow += 1
        batch.timings.append((end + self._offset, tally.operation, seconds, outcome))

    def _tally(self, operation: object, outcome: str) -> _Tally:
        name = self._names["operation"](operation)
        tally = self._tallies.get((name, outcome))
        if tally is None:
            tally = self._tallies[name, outcome] = _Tally(name, outcome)
        return tally

    def _failure(self, batch: Batch, record: Record) -> None:
        _, begin, end, operation, slow, kind, *frames = record
        self._time(batch, begin, end, operation, "error", slow)
        self._sight(batch, end, "captured", (kind, frames, (), operation), None, None)

    def _odd_failure(self, batch: Batch, record: Record) -> None:
        _, begin, end, operation, slow, sight, message = record
        self._time(batch, begin, end, operation, "error", slow)
        self._sight(batch, end, "captured", sight, message, None)

    def _error(self, batch: Batch, record: Record) -> None:
        self._sight(batch, *record[1:])

    def _sight(self, batch: Batch, at: float, *said: Any) -> None:
        source, sight, message, fingerprint = said
        portrait = self._portraits.of(sight)
        error_type = self._names["error"](portrait.error_type)
        batch.counters["errors_total", (error_type, source)] += 1
        when = at + self._offset
        key = fingerprint or portrait.fingerprint
        group = batch.groups.get(key)
        if group is None:
            group = batch.groups[key] = Group(error_type, portrait.culprit, portrait.trace, message, when, when)
        if when > group.last:
            group.last = when
        elif when < group.first:
            group.first = when
        group.slots[int(when // SLOT_SECONDS)] += 1

    def _count(self, batch: Batch, record: Record) -> None:
        _, name, labels, value = record
        batch.counters[name, labels] += value

    def _counted(self, batch: Batch, record: Record) -> None:
        count: Counted = record[1]
        count.taken = True
        value = amount(count.value)
        if value is None or value < 0:
            batch.counters[dropped("error")] += 1
        else:
            event = self._names["event"](count.name)
            batch.counters["events_total", (event,)] += value  # type: ignore[assignment]
            batch.sample(self._clock(), "count", event, value)

    def _alert(self, batch: Batch, record: Record) -> None:
        alert: Alert = record[1]
        batch.alerts.append(alert)
        for channel in alert.channels or ("none",):
            batch.counters["alerts_total", (alert.severity, channel)] += 1


class _Names:
    """Makes labels of names, so many different ones at most."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._labels: dict[str, str] = {}

    def __call__(self, name: object) -> str:
        if not isinstance(name, str):
            return OTHER
        # A member of an enumeration has a value that is a text.
        text = str.__str__(name)
        known = self._labels.get(text)
        if known is None:
            known = label(text) if len(self._labels) < self._limit else OTHER
            if known != OTHER:
                self._labels[text] = known
        return known


class _Tally:
    """Calls of an operation that had the same outcome, until they are poured into the counters."""

    __slots__ = ("_names", "buckets", "operation", "slow", "sum")

    def __init__(self, operation: str, outcome: str) -> None:
        self.operation = operation
        self._names: tuple[Key, Key, Key, tuple[Key, ...]] = (
            ("operations_total", (operation, outcome)),
            ("operation_duration_seconds_sum", (operation,)),
            ("slow_operations_total", (operation,)),
            tuple(("operation_duration_seconds_bucket", (operation, bucket)) for bucket in DURATION_BUCKETS),
        )
        self._empty()

    def pour(self, counters: Counter[Key]) -> None:
        """Add to the counters, and begin anew."""
        total, seconds, slow, buckets = self._names
        counters[total] += sum(self.buckets)
        counters[seconds] += self.sum  # type: ignore[assignment]
        if self.slow:
            counters[slow] += self.slow
        for key, count in zip(buckets, self.buckets, strict=True):
            if count:
                counters[key] += count
        self._empty()

    def _empty(self) -> None:
        self.buckets = [0] * len(DURATION_BUCKETS)
        self.sum = 0.0
        self.slow = 0
