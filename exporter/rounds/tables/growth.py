"""More hash buckets for a table that has grown, so that a change of one row still reads few others.

The pairs hold the keys' hashes, so the ledger can cut them anew by itself: the source is not asked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rounds.ledger.ledger import Ledger
from rounds.tables import buckets, record
from rounds.tables.layout import Pairs
from rounds.tables.plan import hash_buckets
from rounds.tables.record import Record
from rounds.tables.spool import Packed

#: How many times more rows than they were made for buckets may hold.
_TOO_FULL = 8


def enlarge(ledger: Ledger, known: Record) -> Record:
    """The record, cut into more buckets where it has too few.

    Raises:
        CollectorError: the ledger fails, or another exporter has checked the table meanwhile.
        DamagedError: the record cannot be read.
    """
    wanted = hash_buckets(known.row_count)
    if known.layout.kind != "hash" or wanted < _TOO_FULL * known.layout.size:
        return known
    larger = dataclasses.replace(known, layout=dataclasses.replace(known.layout, size=wanted))
    with ledger.writing() as connection:
        stored = record.store(connection, larger)
        for bucket in buckets.digests(connection, known.name):
            for _, pairs in buckets.read(connection, known.name, [bucket]):
                parts = _cut(pairs, wanted)
                # One of the parts has the number of the whole, the others have numbers that there were not.
                buckets.replace(connection, known.name, (Packed.of(number, part) for number, part in parts.items()))
                if bucket not in parts:
                    buckets.remove(connection, known.name, [bucket])
    return stored


def _cut(pairs: Pairs, size: int) -> dict[int, Pairs]:
    parts: dict[int, Pairs] = {}
    labels: Sequence[str | None] = pairs.labels or [None] * len(pairs)
    for key, row_hash, label in zip(pairs.keys, pairs.hashes, labels, strict=True):
        parts.setdefault(key & (size - 1), Pairs()).add(key, row_hash, label)
    return parts
