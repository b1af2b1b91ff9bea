"""Sets of whole numbers that mostly come in unbroken runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence


class Intervals:
    """A set of whole numbers, kept as disjoint runs in ascending order that do not touch each other."""

    def __init__(self, runs: Iterable[Sequence[int]] = ()) -> None:
        self._set(runs)

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._starts, number) - 1
        return index >= 0 and number <= self._ends[index]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The runs, each as its first and its last number."""
        return iter(zip(self._starts, self._ends, strict=True))

    @property
    def first(self) -> int | None:
        """The lowest number; None where there is none."""
        return self._starts[0] if self._starts else None

    @property
    def last(self) -> int | None:
        """The highest number; None where there is none."""
        return self._ends[-1] if self._ends else None

    def add(self, number: int) -> bool:
        """Put a number in. Returns whether it was not in."""
        index = bisect_right(self._starts, number) - 1
        if index >= 0 and number <= self._ends[index]:
            return False
        follows = index >= 0 and self._ends[index] == number - 1
        precedes = index + 1 < len(self._starts) and self._starts[index + 1] == number + 1
        if follows and precedes:
            self._ends[index] = self._ends.pop(index + 1)
            del self._starts[index + 1]
        elif follows:
            self._ends[index] = number
        elif precedes:
            self._starts[index + 1] = number
        else:
            self._starts.insert(index + 1, number)
            self._ends.insert(index + 1, number)
        return True

    def drop_through(self, limit: int) -> int:
        """Take out all numbers up to and including this one. Returns how many there were."""
        runs = list(self)
        self._set((max(start, limit + 1), end) for start, end in runs if end > limit)
        return sum(min(end, limit) - start + 1 for start, end in runs if start <= limit)

    def drop_above(self, limit: int) -> None:
        """Take out all numbers above this one."""
        self._set([(start, min(end, limit)) for start, end in self if start <= limit])

    def _set(self, runs: Iterable[Sequence[int]]) -> None:
        pairs = [(start, end) for start, end in runs]
        self._starts = [start for start, _ in pairs]
        self._ends = [end for _, end in pairs]
