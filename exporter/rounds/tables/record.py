"""What the ledger knows of a watched table besides its buckets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from sqlalchemy import Connection, insert, select, update

from rounds.errors import CollectorError, ConfigError
from rounds.tables.layout import Layout
from rounds.tables.schema import WATCHED

Change: TypeAlias = Literal["inserted", "deleted", "modified"]
#: Why a record was begun anew.
Reason: TypeAlias = Literal["schema", "hashes", "keys", "table", "lost", "reset"]

CHANGES: tuple[Change, ...] = get_args(Change)
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True)
class Identity:
    """What a table's record depends on. The texts are compared, not read.

    Attributes:
        relation: the source and the table.
        key_identity: the key's columns, how they are hashed, and how they are kept.
        column_identity: the compared columns with their types.
        canary: hashes of constants.
        settings: what else the configuration says of a scan.
    """

    relation: str
    key_identity: str
    column_identity: str
    canary: str
    settings: str


@dataclass(frozen=True)
class Record:
    """One row of ``tables_watched``. Times are Unix seconds; None where there was none yet.

    Attributes:
        token: what the database said of the last commit just before the last scan.
        check_id: the number of committed checks, which also tells one exporter that another was quicker.
        previous_rows: rows before the last check that found changes.
        rebaselines: how often the record was begun anew, by reason.
    """

    name: str
    identity: Identity
    layout: Layout
    token: str | None
    row_count: int
    key_max: float | None
    baseline_at: float
    checked_at: float
    scanned_at: float
    check_id: int = 0
    previous_rows: int | None = None
    inserted_total: int = 0
    deleted_total: int = 0
    modified_total: int = 0
    inserted_at: float | None = None
    deleted_at: float | None = None
    modified_at: float | None = None
    inserted_rows: int | None = None
    deleted_rows: int | None = None
    modified_rows: int | None = None
    scanned_total: int = 0
    unchanged_total: int = 0
    rows_read_total: int = 0
    schema_changes_total: int = 0
    rebaselines: dict[str, int] = field(default_factory=dict)

    def total(self, change: Change) -> int:
        """Rows that were found so changed since the first baseline."""
        found: int = getattr(self, f"{change}_total")
        return found

    def last(self, change: Change) -> tuple[float | None, int | None]:
        """When such changes were last found, and how many rows."""
        return getattr(self, f"{change}_at"), getattr(self, f"{change}_rows")

    def counted(self, counts: dict[Change, int], now: float) -> Record:
        """With these changes counted."""
        news: dict[str, Any] = {}
        for change, rows in counts.items():
            if rows:
                news |= {f"{change}_total": self.total(change) + rows, f"{change}_at": now, f"{change}_rows": rows}
                news["previous_rows"] = self.row_count
        return dataclasses.replace(self, **news)

    def rebaselined(self, reason: Reason, now: float) -> Record:
        """Begun anew."""
        return dataclasses.replace(
            self,
            baseline_at=now,
            rebaselines={**self.rebaselines, reason: self.rebaselines.get(reason, 0) + 1},
            schema_changes_total=self.schema_changes_total + (reason == "schema"),
        )


def load(connection: Connection, name: str) -> Record | None:
    """The record of a table, None before its first check."""
    row = connection.execute(select(WATCHED).where(WATCHED.c.name == name)).mappings().one_or_none()
    if row is None:
        return None
    values = dict(row)
    identity = Identity(**{each.name: values.pop(each.name) for each in dataclasses.fields(Identity)})
    layout = Layout(**{each.name: values.pop(f"layout_{each.name}") for each in dataclasses.fields(Layout)})
    return Record(identity=identity, layout=layout, **values)


def store(connection: Connection, record: Record) -> Record:
    """Keep the record as its next check, unless another exporter has checked the table since it was loaded.

    Raises:
        CollectorError: ``internal`` when one has; nothing must be committed then.
    """
    values = (
        vars(record) | vars(record.identity) | {f"layout_{key}": value for key, value in vars(record.layout).items()}
    )
    values["check_id"] = record.check_id + 1
    del values["identity"], values["layout"]
    if record.check_id:
        statement = update(WATCHED).where(WATCHED.c.name == record.name, WATCHED.c.check_id == record.check_id)
        stored = connection.execute(statement.values(values)).rowcount == 1
    else:
        known = connection.execute(select(WATCHED.c.name).where(WATCHED.c.name == record.name)).first()
        stored = known is None
        if stored:
            connection.execute(insert(WATCHED).values(values))
    if not stored:
        raise CollectorError(
            "internal",
            "another exporter or a command changed the record of this table meanwhile; run one exporter on a ledger",
        )
    return dataclasses.replace(record, check_id=record.check_id + 1)


def reset(connection: Connection, name: str) -> None:
    """Make the next check record the table anew, with the reason ``reset``. A check under way commits nothing.

    Raises:
        ConfigError: the table has no record yet.
    """
    statement = update(WATCHED).where(WATCHED.c.name == name)
    # No hashes are those of an empty canary, and no token lets the scan be left out.
    forgotten = {"canary": "", "token": None, "check_id": WATCHED.c.check_id + 1}
    if connection.execute(statement.values(forgotten)).rowcount != 1:
        raise ConfigError([f"tables: {name}: has no record yet; its first check makes one"])
