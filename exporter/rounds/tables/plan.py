"""From the configuration and the table's columns to a plan, and what tells whether an older record fits it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from rounds.errors import CollectorError
from rounds.tables.config import WatchedTable
from rounds.tables.dialects.dialect import Column, Dialect, Plan
from rounds.tables.layout import Layout
from rounds.tables.record import Identity, Record

#: Rows that a bucket has on average: the more, the more is read for one change; the fewer, the more sums there are.
_BUCKET_ROWS = 2048
#: In a small table, narrow ranges are cheap.
_SMALL_TABLE, _SMALL_BUCKET = 50_000, 256
#: So many hash buckets at least.
_LEAST_BUCKETS = 16
#: Keys so thinly spread that ranges would hold less than this share of what they could are cut by a hash instead.
_THINNEST = 1 / 8


def identify(watched: WatchedTable, dialect: Dialect, key: Sequence[Column], columns: Sequence[Column]) -> Identity:
    """The identity of what is watched now, without the canary, which costs a statement that computes.

    Its settings make a scan follow a change of the configuration at once.
    """
    # Tells one salt from another without telling the salt.
    salt_id = hashlib.sha256(b"salt of rounds" + dialect.salt.encode()).hexdigest()[:16]
    about = [dialect.session.kind, dialect.version, salt_id, watched.keys]
    return Identity(
        relation=json.dumps([watched.source, watched.table]),
        key_identity=json.dumps([*about, [(column.name, column.type) for column in key]]),
        column_identity=json.dumps([(column.name, column.type) for column in columns]),
        canary="",
        settings=json.dumps([watched.columns, watched.key_max]),
    )


def resolve(watched: WatchedTable, columns: Sequence[Column]) -> tuple[tuple[Column, ...], tuple[Column, ...]]:
    """The key's columns and the compared ones.

    Raises:
        CollectorError: ``query`` when a configured column is not there.
    """
    if not columns:
        raise CollectorError("query", f"{watched.table} does not exist, has no columns, or may not be read")
    key = tuple(_column(watched, name, columns) for name in watched.key)
    if watched.columns is None:
        return key, tuple(column for column in columns if column not in key)
    return key, tuple(_column(watched, name, columns) for name in watched.columns)


def _column(watched: WatchedTable, name: str, columns: Sequence[Column]) -> Column:
    exact = [column for column in columns if column.name == name]
    folded = exact or [column for column in columns if column.name.casefold() == name.casefold()]
    if len(folded) != 1:
        there = ", ".join(column.name for column in columns)
        raise CollectorError("query", f"{watched.table} has no column {name}; it has {there}")
    return folded[0]


def make_plan(watched: WatchedTable, dialect: Dialect, key: tuple[Column, ...], columns: tuple[Column, ...]) -> Plan:
    """A plan for a first record of a table, by its size and its keys."""
    single = len(key) == 1 and key[0].integer
    rows, low, high = dialect.extent(key[0]) if single else (dialect.count(), None, None)
    layout = choose_layout(watched, rows, low or 0, high or 0, single=single)
    return Plan(key, columns, layout, watched.key_max and single)


def known_plan(watched: WatchedTable, record: Record, key: tuple[Column, ...], columns: tuple[Column, ...]) -> Plan:
    """The plan that a table's record was made with."""
    return Plan(key, columns, record.layout, watched.key_max and len(key) == 1 and key[0].integer)


def choose_layout(watched: WatchedTable, rows: int, low: int, high: int, *, single: bool) -> Layout:
    """The layout for a table of that many rows.

    Args:
        watched: its configuration.
        rows: how many rows it has.
        low: the smallest value of a single integer key.
        high: the largest.
        single: whether the key is one.
    """
    raw = watched.keys == "raw"
    width = _SMALL_BUCKET if rows <= _SMALL_TABLE else _BUCKET_ROWS
    dense = rows >= (high - low) * _THINNEST - width * _LEAST_BUCKETS
    if raw and single and dense and _fits(low) and _fits(high):
        return Layout("range", width)
    buckets = max(_LEAST_BUCKETS, 1 << (rows // _BUCKET_ROWS).bit_length())
    return Layout("hash", buckets, labels=raw)


def _fits(key: int) -> bool:
    """Whether a bucket's bounds around the key fit 64 bits too."""
    return abs(key) < 2**62
