"""What ``syncs`` keeps in the ledger besides counters. Organisations are among it, patients are not."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, String, Table, Text

from rounds.ledger.schema import Schema

_METADATA = MetaData()
_EXPORTED = {"exported": True}

#: How far each log is known.
LOOKS = Table(
    "syncs_looks",
    _METADATA,
    Column("sync", String(64), primary_key=True),
    Column("version", BigInteger, nullable=False),
    # A hash of where the log is and how it is read; another one is another log.
    Column("log_hash", BigInteger, nullable=False),
    # Rows that began before it are not looked for any more.
    Column("since", Double, nullable=False),
    info=_EXPORTED,
)

#: Rows that have been seen: those that began lately, so that none is counted twice, and those that are followed.
ROWS = Table(
    "syncs_rows",
    _METADATA,
    Column("sync", String(64), primary_key=True),
    # A hash of id and start: a table that is emptied may give out its ids again.
    Column("row_hash", BigInteger, primary_key=True, autoincrement=False),
    Column("started", Double),
    # When it was first seen, by the source's clock.
    Column("seen", Double, nullable=False),
    Column("status", String(32), nullable=False),
    # Only of rows that are followed: those that have not ended, which must be asked for again.
    Column("row_id", String(255)),
    # Whether its end was counted, or was there before the first look.
    Column("counted", Boolean, nullable=False),
    # What of it was rejected and counted as such, as bits.
    Column("problems", Integer, nullable=False),
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
    # When the newest run began.
    Column("newest", Double, nullable=False),
    # Whether the organisation has series of its own.
    Column("labelled", Boolean, nullable=False),
    Column("facts", Text, nullable=False),
    Index("syncs_newest_sync", "sync"),
    info=_EXPORTED,
)

SCHEMA = Schema("syncs", _METADATA)
