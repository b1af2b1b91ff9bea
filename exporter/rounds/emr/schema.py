"""What ``emr`` keeps in the ledger besides counters. No text about a patient is among it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, LargeBinary, MetaData, String, Table

from rounds.ledger.schema import Schema

_METADATA = MetaData()
_EXPORTED = {"exported": True}

#: How far each application's store is known.
LOOKS = Table(
    "emr_looks",
    _METADATA,
    Column("app", String(64), primary_key=True),
    Column("version", BigInteger, nullable=False),
    # Device and number of the file: a file in its place is another one.
    Column("file", String(64), nullable=False),
    # A hash of the library's id for its store; 0 where it has none.
    Column("store_hash", BigInteger, nullable=False),
    # The last look at all its pages.
    Column("integrity_ok", Boolean),
    Column("integrity_at", Double),
    info=_EXPORTED,
)

#: How far each table of an existing store was read.
TABLES = Table(
    "emr_tables",
    _METADATA,
    Column("app", String(64), primary_key=True),
    Column("name", String(32), primary_key=True),
    # All rows up to this id have been read.
    Column("position", BigInteger, nullable=False),
    # The highest id that the file says it has ever given out.
    Column("sequence", BigInteger, nullable=False),
    # Whether its end was reached once: what is read before then happened before anybody looked.
    Column("complete", Boolean, nullable=False),
    # Of how many pieces its marks are; those of the oldest rows were forgotten up to this id and time.
    Column("pieces", Integer, nullable=False),
    Column("forgotten_id", BigInteger, nullable=False),
    Column("forgotten_until", String(40), nullable=False),
    info=_EXPORTED,
)

#: Marks of rows that have been read: for each id four bytes of a hash, in pieces; see :mod:`rounds.emr.marks`.
MARKS = Table(
    "emr_marks",
    _METADATA,
    Column("app", String(64), primary_key=True),
    Column("name", String(32), primary_key=True),
    Column("piece", BigInteger, primary_key=True, autoincrement=False),
    # Rows of files that took each other's place have the same ids: each has a layer of its own there.
    Column("layer", Integer, primary_key=True, autoincrement=False),
    # The last time in any of its rows.
    Column("until", String(40), nullable=False),
    Column("marks", LargeBinary(2**16), nullable=False),
)

#: What has been seen and has no number: groups of errors, and crash reports.
SEEN = Table(
    "emr_seen",
    _METADATA,
    Column("app", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("item_hash", BigInteger, primary_key=True, autoincrement=False),
    info=_EXPORTED,
)

#: What the library's store said last of each of its counters: what is more than that is new.
SAID = Table(
    "emr_said",
    _METADATA,
    Column("app", String(64), primary_key=True),
    Column("store_hash", BigInteger, primary_key=True, autoincrement=False),
    # A hash of the counter's name and its labels.
    Column("counter_hash", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Double, nullable=False),
    # The same, but for where an older copy of the store was put in its place: what was said before that.
    Column("most", Double, nullable=False),
    info=_EXPORTED,
)

#: The library's stores that were seen, by the newest process that they knew; see :mod:`rounds.emr.own_store`.
STORES = Table(
    "emr_stores",
    _METADATA,
    Column("app", String(64), primary_key=True),
    Column("store_hash", BigInteger, primary_key=True, autoincrement=False),
    # The number of the look at which it was first found in its place: the oldest are forgotten.
    Column("since", BigInteger, nullable=False),
    Column("run_hash", BigInteger, nullable=False),
    Column("heartbeat", Double, nullable=False),
    # The same of the newest state, where an older copy is in its place.
    Column("newest_run_hash", BigInteger, nullable=False),
    Column("newest_heartbeat", Double, nullable=False),
    info=_EXPORTED,
)

#: Names that have series of their own, in the order in which they were first seen.
NAMES = Table(
    "emr_names",
    _METADATA,
    Column("app", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("place", Integer, nullable=False),
    info=_EXPORTED,
)

#: When something was last noticed: a metric's name without ``rounds_emr_``, and its label.
NOTICED = Table(
    "emr_noticed",
    _METADATA,
    Column("app", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("label", String(32), primary_key=True),
    Column("at", Double, nullable=False),
    info=_EXPORTED,
)

#: Gauges of an existing store, as of the newest row that was read.
GAUGES = Table(
    "emr_gauges",
    _METADATA,
    Column("app", String(64), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("value", Double, nullable=False),
    Column("at", Double, nullable=False),
    info=_EXPORTED,
)

SCHEMA = Schema("emr", _METADATA)
