"""What was said and is not written yet: many threads put it in, the writer takes it out."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

#: A record's first item says what it is; :mod:`rounds.emr.app.aggregate` knows what follows.
Record: TypeAlias = tuple[Any, ...]

#: An operation that ended: begin, end (both of ``perf_counter``), operation, outcome, threshold in seconds or None.
TIMING = 0
#: The same with outcome ``error``: begin, end, operation, threshold, the error's kind, and its frames one after the
#: other as in a :data:`rounds.emr.app.errors.Sight`.
FAILURE = 1
#: The same where there is more to say of the error: begin, end, operation, threshold, sight, message or None.
ODD_FAILURE = 2
#: An error: when (of ``perf_counter``), source, sight, message or None, fingerprint or None.
ERROR = 3
#: A counter's name, its labels, and by how much it grew; by 0 where it is to be known before it grows.
COUNT = 4
#: A :class:`rounds.emr.app.instruments.Count`, which may still turn out to be a decorator.
COUNTED = 5
#: A :class:`rounds.emr.app.batch.Alert`.
ALERT = 6

#: Records that are held at most.
LIMIT = 20_000


class Intake:
    """A bounded queue without locks, so that neither a signal's handler nor a thread that dies can block another.

    ``wake`` is called whenever it is more than half full: it is to be cheap, and to wait for nothing.

    Records beyond the limit are dropped and counted. Threads that put at the same moment may exceed it by one each.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        # From here on the writer is woken, so that the common way needs one comparison.
        self._crowd = limit // 2
        self._records: deque[Record] = deque()
        # Adding to a number is not one step; taking the next of an iterator is.
        self._drops = itertools.count()
        self._looks = 0
        self.wake: Callable[[], object] = _nobody

    def put(self, record: Record) -> None:
        """Keep a record until the writer takes it, or count it as dropped."""
        if len(self._records) < self._crowd:
            self._records.append(record)
        elif self._crowd:
            self._press(record, self._limit)

    def must(self, record: Record) -> None:
        """Keep a record for which there is room when there is none for others: as much again."""
        if self._crowd:
            self._press(record, 2 * self._limit)

    def _press(self, record: Record, limit: int) -> None:
        if len(self._records) < limit:
            self._records.append(record)
        else:
            next(self._drops)
        self.wake()

    def drain(self, most: int = LIMIT) -> list[Record]:
        """Take out the oldest ones. For one thread."""
        take = self._records.popleft
        return [take() for _ in range(min(most, len(self._records)))]

    def dropped(self) -> int:
        """How many were dropped since this was last asked. For the same thread."""
        drops = next(self._drops) - self._looks
        self._looks += drops + 1
        return drops

    def close(self) -> None:
        """Take nothing any more, and count nothing: nobody is left to write it."""
        self._crowd = 0
        self._records.clear()

    def __len__(self) -> int:
        return len(self._records)


def _nobody() -> None:
    """There is no writer yet."""
