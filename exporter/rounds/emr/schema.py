"""What ``emr`` keeps in the ledger besides counters. No text about a patient is among it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, MetaData, String, Table

from rounds.ledger.schema import Schema

_METADATA = MetaData()
_EXPORTED = {"exported": True}

#: How far each application's store is known.
LOOKS = Table(
    "emr_looks",
    _METADATA,
    Column("app", String(64), primary_key=True),
    Column("version", BigInteger, nullable=False),
    info=_EXPORTED,
)

#: What the library's store said last of each of its counters: what is more than that is new.
SAID = Table(
    "emr_said",
    _METADATA,
    Column("app", String(64), primary_key=True),
    # A hash of the store's id, the counter's name and its labels.
    Column("counter_hash", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Double, nullable=False),
    info=_EXPORTED,
)

SCHEMA = Schema("emr", _METADATA)
