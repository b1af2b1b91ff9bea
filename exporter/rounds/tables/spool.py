"""Buckets on their way from the source to the ledger.

Reading them may take as long as the source likes, while a transaction of the ledger must be short, or other collectors
wait for it. So they are gathered outside of it first: in memory, and in an unnamed file once they are large.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rounds.tables.layout import Pairs

#: Bytes that are kept in memory.
_IN_MEMORY = 2 * 1024 * 1024


@dataclass(frozen=True)
class Packed:
    """A bucket as the ledger keeps it."""

    bucket: int
    row_count: int
    digest: int
    pairs: bytes


class Spool:
    """Gathers buckets.

    Args:
        folder: where a large spool lies, None for the system's own place. It has no name there and is gone with the
            process.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(folder) if folder else None)  # noqa: SIM115  # closed by close
        self._index: list[tuple[int, int, int, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, bucket: int, pairs: Pairs) -> None:
        """Append a bucket."""
        data = pairs.pack()
        self._file.write(data)
        self._index.append((bucket, len(pairs), pairs.digest, len(data)))

    def clear(self) -> None:
        """Begin anew."""
        self._file.seek(0)
        self._file.truncate()
        self._index.clear()

    def __iter__(self) -> Iterator[Packed]:
        """The buckets, in the order in which they came. One iteration at a time."""
        self._file.seek(0)
        for bucket, rows, digest, size in self._index:
            yield Packed(bucket, rows, digest, self._file.read(size))

    @property
    def buckets(self) -> list[int]:
        """Which they are."""
        return [bucket for bucket, *_ in self._index]

    @property
    def rows(self) -> int:
        """How many rows they have in all."""
        return sum(rows for _, rows, *_ in self._index)
