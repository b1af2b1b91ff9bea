"""Which invalid records are open, to notice when they are resolved.

A row is changed when it is resolved, long after it was counted, and by what clock its ``resolved_at`` is written nobody
knows. So the ledger keeps the ids of the records that were open at the last run. The database sums up those that are
open now in chunks of ids, by the index on ``is_resolved`` alone; only chunks whose sums differ are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import Connection, delete, insert, select

from rounds.apr.layout import INVALID, type_of
from rounds.apr.reader import Reader
from rounds.apr.schema import CHUNK, CHUNK_BITS, OPEN_RECORDS

#: Number of ids, sum of their places in the chunk, sum of the squares of these.
_Sums: TypeAlias = tuple[int, int, int]
_MASK = CHUNK - 1


@dataclass(frozen=True)
class Resolved:
    """A record that was open at the last run and is resolved now. Times are Unix seconds of the tables."""

    validation_type: str
    detected_at: float | None
    resolved_at: float | None


class OpenRecords:
    """The ids of open records."""

    def __init__(self, connection: Connection) -> None:
        rows = connection.execute(select(OPEN_RECORDS.c.chunk, OPEN_RECORDS.c.bits))
        self._chunks = {row.chunk: int(row.bits, 16) for row in rows}
        self._changed: set[int] = set()

    def add(self, record: int) -> None:
        """A record that was found open."""
        self._set(record >> CHUNK_BITS, self._chunks.get(record >> CHUNK_BITS, 0) | 1 << (record & _MASK))

    def clear(self) -> None:
        """The table was replaced: nothing of it is known."""
        for chunk in list(self._chunks):
            self._set(chunk, 0)

    def resolved(self, reader: Reader, through: int) -> Iterator[Resolved]:
        """Take out what is open no longer, and give what is resolved. What was deleted while it was open is dropped.

        Args:
            reader: of the source.
            through: the highest id that was read.
        """
        open_now = self._sums_of_source(reader, through)
        differing = sorted(
            chunk for chunk, bits in self._chunks.items() if bits and _sums(bits) != open_now.get(chunk, (0, 0, 0))
        )
        for first, last in _runs(differing):
            yield from self._compare(reader, first, last)

    def save(self, connection: Connection) -> None:
        """Keep what changed, in the transaction that counts it."""
        if not self._changed:
            return
        rows = []
        for chunk in sorted(self._changed):
            connection.execute(delete(OPEN_RECORDS).where(OPEN_RECORDS.c.chunk == chunk))
            if bits := self._chunks.get(chunk):
                rows.append({"chunk": chunk, "bits": f"{bits:x}"})
        if rows:
            connection.execute(insert(OPEN_RECORDS), rows)

    def _sums_of_source(self, reader: Reader, through: int) -> Mapping[int, _Sums]:
        place = f"(id & {_MASK})"
        rows = reader.all(
            f"SELECT id >> {CHUNK_BITS}, COUNT(*), SUM({place}), SUM({place} * {place}) FROM {INVALID}"
            f" WHERE is_resolved = 0 AND id <= ? GROUP BY id >> {CHUNK_BITS}",
            through,
        )
        return {int(row[0]): (int(row[1]), int(row[2]), int(row[3])) for row in rows}

    def _compare(self, reader: Reader, first: int, last: int) -> Iterator[Resolved]:
        there: dict[int, int] = {}
        for record, kind, is_resolved, detected, resolved in reader.stream(
            f"SELECT id, VALIDATION_TYPE, is_resolved, {reader.unix('detected_at')}, {reader.unix('resolved_at')}"
            f" FROM {INVALID} WHERE id BETWEEN ? AND ?",
            first << CHUNK_BITS,
            (last << CHUNK_BITS) | _MASK,
        ):
            chunk, bit = record >> CHUNK_BITS, 1 << (record & _MASK)
            if not self._chunks.get(chunk, 0) & bit:
                continue
            if is_resolved:
                yield Resolved(type_of(kind), detected, resolved)
            else:
                there[chunk] = there.get(chunk, 0) | bit
        for chunk in range(first, last + 1):
            self._set(chunk, there.get(chunk, 0))

    def _set(self, chunk: int, bits: int) -> None:
        if self._chunks.get(chunk, 0) != bits:
            self._changed.add(chunk)
            self._chunks[chunk] = bits


def _sums(bits: int) -> _Sums:
    places = [place for place, digit in enumerate(reversed(f"{bits:b}")) if digit == "1"]
    return len(places), sum(places), sum(place * place for place in places)


def _runs(chunks: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Chunks, in ascending order, as runs of neighbours."""
    first = last = None
    for chunk in chunks:
        if first is None or last is None:
            first = last = chunk
        elif chunk == last + 1:
            last = chunk
        else:
            yield first, last
            first = last = chunk
    if first is not None and last is not None:
        yield first, last
