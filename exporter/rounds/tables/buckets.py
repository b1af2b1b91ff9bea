"""A table's buckets in the ledger."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

from sqlalchemy import Connection, delete, insert, select

from rounds.tables.layout import Pairs
from rounds.tables.schema import BUCKET
from rounds.tables.spool import Packed

Item = TypeVar("Item")

#: Buckets in one statement: a few MiB.
_BATCH = 100


class DamagedError(Exception):
    """A bucket in the ledger is not what was stored."""


def digests(connection: Connection, table: str) -> dict[int, tuple[int, int]]:
    """Number of rows and digest of each bucket."""
    columns = select(BUCKET.c.bucket, BUCKET.c.row_count, BUCKET.c.digest).where(BUCKET.c.table_name == table)
    return {bucket: (rows, digest) for bucket, rows, digest in connection.execute(columns)}


def read(connection: Connection, table: str, buckets: Iterable[int]) -> Iterator[tuple[int, Pairs]]:
    """These buckets, in any order; one that is not there is left out.

    Raises:
        DamagedError: one is not what was stored.
    """
    for batch in batched(buckets):
        statement = select(BUCKET).where(BUCKET.c.table_name == table, BUCKET.c.bucket.in_(batch))
        for row in connection.execute(statement):
            try:
                pairs = Pairs.unpack(row.pairs)
            except ValueError:
                raise DamagedError from None
            if (len(pairs), pairs.digest) != (row.row_count, row.digest):
                raise DamagedError
            yield row.bucket, pairs


def replace(connection: Connection, table: str, packed: Iterable[Packed]) -> None:
    """Put buckets in the place of those with the same numbers."""
    for batch in batched(packed):
        remove(connection, table, (each.bucket for each in batch))
        connection.execute(insert(BUCKET), [{"table_name": table, **vars(each)} for each in batch])


def remove(connection: Connection, table: str, buckets: Iterable[int] | None = None) -> None:
    """Drop these buckets, or all."""
    whole = delete(BUCKET).where(BUCKET.c.table_name == table)
    if buckets is None:
        connection.execute(whole)
        return
    for batch in batched(buckets):
        connection.execute(whole.where(BUCKET.c.bucket.in_(batch)))


def batched(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Lists of as many buckets as are handled at once."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch
