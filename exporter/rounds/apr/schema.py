"""What ``apr`` keeps in the ledger besides counters and cursors. No name of a client is among it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, String, Table

from rounds.ledger.schema import Schema

#: Ids in one row of OPEN_RECORDS; a power of two.
CHUNK_BITS = 10
CHUNK = 1 << CHUNK_BITS

_METADATA = MetaData()
_EXPORTED = {"exported": True}

#: Invalid records that were open at the last run, as a set of ids.
OPEN_RECORDS = Table(
    "apr_open_records",
    _METADATA,
    Column("chunk", BigInteger, primary_key=True, autoincrement=False),
    # A bit for each id, the lowest id's last, in hexadecimal digits.
    Column("bits", String(CHUNK // 4), nullable=False),
    info=_EXPORTED,
)

#: The latest known status of each proposal.
PROPOSALS = Table(
    "apr_proposals",
    _METADATA,
    # A keyed hash of business date, number and client.
    Column("proposal", BigInteger, primary_key=True, autoincrement=False),
    Column("business_day", Integer, nullable=False),
    Column("history_id", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("changed_at", Double),
    Index("apr_proposals_status", "status", "changed_at"),
    Index("apr_proposals_day", "business_day"),
    Index("apr_proposals_history", "history_id"),
    info=_EXPORTED,
)

#: A few rows by which a table is known again.
ANCHORS = Table(
    "apr_anchors",
    _METADATA,
    Column("table_name", String(64), primary_key=True),
    Column("slot", BigInteger, primary_key=True, autoincrement=False),
    Column("place", String(8), primary_key=True),
    Column("row_id", BigInteger, nullable=False),
    Column("mark", String(16), nullable=False),
    info=_EXPORTED,
)

#: When the last run looked, by the source's clock.
LOOKS = Table(
    "apr_looks",
    _METADATA,
    Column("name", String(16), primary_key=True),
    Column("at", Double, nullable=False),
    info=_EXPORTED,
)

SCHEMA = Schema("apr", _METADATA)
