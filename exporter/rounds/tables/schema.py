"""The ledger's tables of watched tables. The journal's two are what Grafana may read, and hold no hash of a row."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from rounds.ledger.schema import Schema

_METADATA = MetaData()
#: SQLite numbers rows by itself in a column of exactly this type only.
_SERIAL = BigInteger().with_variant(Integer, "sqlite")
#: MariaDB's plain blobs end at 64 KiB.
_LARGE = LargeBinary(2**24)

WATCHED = Table(
    "tables_watched",
    _METADATA,
    Column("name", String(63), primary_key=True),
    Column("check_id", BigInteger, nullable=False),
    # What the hashes depend on: when one changes, they cannot be compared with those before.
    Column("relation", Text, nullable=False),
    Column("key_identity", Text, nullable=False),
    Column("column_identity", Text, nullable=False),
    Column("canary", Text, nullable=False),
    Column("layout_kind", String(8), nullable=False),
    Column("layout_size", BigInteger, nullable=False),
    Column("layout_labels", Boolean, nullable=False),
    Column("settings", Text, nullable=False),
    Column("token", Text),
    Column("row_count", BigInteger, nullable=False),
    Column("previous_rows", BigInteger),
    Column("key_max", Double),
    Column("baseline_at", Double, nullable=False),
    Column("checked_at", Double, nullable=False),
    Column("scanned_at", Double, nullable=False),
    *(Column(f"{change}_total", BigInteger, nullable=False) for change in ("inserted", "deleted", "modified")),
    *(Column(f"{change}_at", Double) for change in ("inserted", "deleted", "modified")),
    *(Column(f"{change}_rows", BigInteger) for change in ("inserted", "deleted", "modified")),
    Column("scanned_total", BigInteger, nullable=False),
    Column("unchanged_total", BigInteger, nullable=False),
    Column("rows_read_total", BigInteger, nullable=False),
    Column("schema_changes_total", BigInteger, nullable=False),
    Column("rebaselines", JSON, nullable=False),
)

BUCKET = Table(
    "tables_bucket",
    _METADATA,
    Column("table_name", String(63), primary_key=True),
    Column("bucket", BigInteger, primary_key=True, autoincrement=False),
    Column("row_count", Integer, nullable=False),
    Column("digest", BigInteger, nullable=False),
    Column("pairs", _LARGE, nullable=False),
)

CHANGE = Table(
    "tables_change",
    _METADATA,
    Column("id", _SERIAL, primary_key=True),
    Column("table_name", String(63), nullable=False),
    Column("check_id", BigInteger, nullable=False),
    Column("at", Double, nullable=False),
    Column("change", String(8), nullable=False),
    Column("row_count", BigInteger, nullable=False),
    Column("unlisted", BigInteger, nullable=False),
    Index("tables_change_at", "at"),
)

CHANGED_KEY = Table(
    "tables_changed_key",
    _METADATA,
    Column("id", _SERIAL, primary_key=True),
    Column("change_id", _SERIAL, ForeignKey("tables_change.id"), nullable=False, index=True),
    Column("label", Text, nullable=False),
)

SCHEMA = Schema("tables", _METADATA)
