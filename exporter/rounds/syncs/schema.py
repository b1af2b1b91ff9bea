"""What ``syncs`` keeps in the ledger besides counters. Organisations are among it, patients are not."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, MetaData, String, Table, Text

from rounds.ledger.schema import Schema

_METADATA = MetaData()
_EXPORTED = {"exported": True}

#: How far each log is known.
LOOKS = Table(
    "syncs_looks",
    _METADATA,
    Column("sync", String(64), primary_key=True),
    Column("version", BigInteger, nullable=False),
    # Rows that began before it are not looked for any more.
    Column("since", Double, nullable=False),
    info=_EXPORTED,
)

#: Rows that have been seen: those that began lately, so that none is counted twice, and all that have not ended.
ROWS = Table(
    "syncs_rows",
    _METADATA,
    Column("sync", String(64), primary_key=True),
    # A hash of id and start: a table that is emptied may give out its ids again.
    Column("row_hash", BigInteger, primary_key=True, autoincrement=False),
    Column("started", Double),
    Column("status", String(32), nullable=False),
    # Only of rows that have not ended, as they must be asked for again.
    Column("row_id", String(255)),
    Column("ended", Boolean, nullable=False),
    info=_EXPORTED,
)

#: What is known of the newest runs of each organisation and operation.
NEWEST = Table(
    "syncs_newest",
    _METADATA,
    # A hash of sync, organisation and operation, which may be of any length and compare in any way.
    Column("key_hash", BigInteger, primary_key=True, autoincrement=False),
    Column("sync", String(64), nullable=False),
    Column("organization", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("started", Double, nullable=False),
    # Whether the organisation has series of its own.
    Column("labelled", Boolean, nullable=False),
    Column("facts", Text, nullable=False),
    Index("syncs_newest_sync", "sync"),
    info=_EXPORTED,
)

SCHEMA = Schema("syncs", _METADATA)
