"""Compares the rows of a bucket as they were with those that are, as multisets, and counts what changed."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TypeAlias

from rounds.tables.layout import NULL_BUCKET, Layout, Pairs
from rounds.tables.record import Change

_Pair: TypeAlias = tuple[int, int]


class Changes:
    """The changes of one check: exact numbers, and the first ``most`` keys in all.

    Attributes:
        counts: rows by kind of change.
        keys: labels of changed keys by kind; a key that stands for several rows is there once for each.
    """

    def __init__(self, layout: Layout, most: int) -> None:
        self._layout = layout
        self._room = most
        self.counts: dict[Change, int] = {"inserted": 0, "deleted": 0, "modified": 0}
        self.keys: dict[Change, list[str]] = {"inserted": [], "deleted": [], "modified": []}

    def compare(self, bucket: int, old: Pairs, new: Pairs, *, keys_only: bool = False) -> None:
        """Add what changed in a bucket.

        A key may stand for several rows. Of those that are gone and those that came, as many as there are of both
        count as modified.

        Args:
            bucket: which one.
            old: its rows as the ledger has them.
            new: its rows as the database has them.
            keys_only: the row hashes say nothing, so no row counts as modified.
        """
        gone, came = _differences(old, new, keys_only=keys_only)
        labels = _labels(old, new) if self._layout.labels and (gone or came) else {}
        for key in gone.keys() | came.keys():
            lost, found = gone.get(key, 0), came.get(key, 0)
            modified = min(lost, found)
            label = labels.get(key) or self._label(bucket, key)
            self._add("modified", modified, label)
            self._add("deleted", lost - modified, label)
            self._add("inserted", found - modified, label)

    def _add(self, change: Change, rows: int, label: str) -> None:
        if not rows:
            return
        self.counts[change] += rows
        listed = min(rows, self._room)
        self.keys[change] += [label] * listed
        self._room -= listed

    def _label(self, bucket: int, key: int) -> str:
        if self._layout.kind == "hash":
            return f"{key:016x}"
        return "NULL" if bucket == NULL_BUCKET else str(key)


def _differences(old: Pairs, new: Pairs, *, keys_only: bool) -> tuple[dict[int, int], dict[int, int]]:
    """For each key, how many of its rows are gone and how many came."""
    before, after = list(_pairs(old, keys_only=keys_only)), list(_pairs(new, keys_only=keys_only))
    former, latter = set(before), set(after)
    if len(former) == len(before) and len(latter) == len(after):
        return _by_key((pair, 1) for pair in former - latter), _by_key((pair, 1) for pair in latter - former)
    many, more = Counter(before), Counter(after)
    return _by_key((many - more).items()), _by_key((more - many).items())


def _pairs(pairs: Pairs, *, keys_only: bool) -> Iterable[_Pair]:
    return zip(pairs.keys, array("q", bytes(8 * len(pairs))) if keys_only else pairs.hashes, strict=True)


def _by_key(pairs: Iterable[tuple[_Pair, int]]) -> dict[int, int]:
    rows: defaultdict[int, int] = defaultdict(int)
    for (key, _), count in pairs:
        rows[key] += count
    return rows


def _labels(old: Pairs, new: Pairs) -> dict[int, str]:
    found: dict[int, str] = {}
    for pairs in (old, new):
        if pairs.labels:
            found.update(zip(pairs.keys, pairs.labels, strict=True))
    return found
