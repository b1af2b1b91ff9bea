"""The log of the simulated clinics: its table, what it holds from before, and rows of programs without SyncRun."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    DateTime,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import JSON

#: Days before today that there are from the start, and that are kept.
PAST_DAYS = 3

_SEED = 12780
#: One run of so many failed.
_FAILS = 23
_COUNTS = ("records_processed", "records_success", "records_failed")
_TOUCH = (
    (
        "CREATE OR REPLACE FUNCTION sync_logs_touch() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.updated_at = now(); RETURN NEW; END'"
    ),
    "CREATE TRIGGER sync_logs_touch BEFORE UPDATE ON sync_logs FOR EACH ROW EXECUTE FUNCTION sync_logs_touch()",
)


class Log:
    """The log's table. Nobody else makes it, so it is made anew.

    Args:
        engine: of a PostgreSQL database or a SQLite file; may write, and make tables.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._table = _shape(simple=self._is_sqlite)

    def prepare(self, clinics: Iterable[tuple[str, str, int]]) -> None:
        """Make the table, and fill it with runs of each hour since some days ago. The last ones have just ended.

        Args:
            clinics: organisation, operation and number of patients of each.
        """
        with self.engine.begin() as connection:
            self._table.drop(connection, checkfirst=True)
            self._table.create(connection)
            for statement in () if self._is_sqlite else _TOUCH:
                connection.execute(text(statement))
            connection.execute(insert(self._table), [row for clinic in clinics for row in self._past(*clinic)])

    def check(self) -> None:
        """Find out whether the table is still there, which SyncRun would not tell.

        Raises:
            SQLAlchemyError: it is not.
        """
        with self.engine.connect() as connection:
            connection.execute(select(self._table).limit(0))

    def tidy(self) -> None:
        """Delete what is old, and close what was left running, as somebody does now and then."""
        columns = self._table.c
        closed = {"status": "failed", "completed_at": _now(), "metadata": {"error": "Closed as stale"}}
        with self.engine.begin() as connection:
            connection.execute(delete(self._table).where(columns.started_at < _now() - timedelta(days=PAST_DAYS)))
            connection.execute(update(self._table).where(columns.status == "running").values(closed))

    def begin(self, organization: str, operation: str, document: Mapping[str, Any]) -> Any:
        """Write the row of a run that begins. Returns its id."""
        row = self._row(organization, operation, _now(), document)
        with self.engine.begin() as connection:
            return connection.execute(insert(self._table).values(row).returning(self._table.c.id)).scalar_one()

    def end(self, row: Any, status: str, document: Mapping[str, Any], *, records: int = 0, timed: bool = True) -> None:
        """Write the end of a run.

        Args:
            row: its id.
            status: how it ended.
            document: its metadata.
            records: processed, and stored.
            timed: whether it is written when that was.
        """
        values = {
            "status": status,
            "metadata": _stamped(document, _now()),
            "completed_at": _now() if timed else None,
            "records_processed": records,
            "records_success": records,
        }
        with self.engine.begin() as connection:
            connection.execute(update(self._table).where(self._table.c.id == row).values(values))

    def _past(self, organization: str, operation: str, patients: int) -> Iterator[dict[str, Any]]:
        chance = random.Random(f"{_SEED} {organization}")
        for back in reversed(range(24 * PAST_DAYS)):
            failed = back % _FAILS == _FAILS - 1
            took = 2.0 if failed else 4 + patients * chance.uniform(0.05, 0.07)
            found = 0 if failed else patients
            ended = _now() - timedelta(hours=back, seconds=5)
            began = ended - timedelta(seconds=took)
            document: dict[str, Any] = {"step": "completed", "sync_type": operation, "patients_found": patients}
            document |= {"patients_stored": patients, "patients_deleted": 0, "success_rate": 100.0}
            yield {
                **self._row(organization, operation, began, {"error": "401 Unauthorized"} if failed else document),
                "status": "failed" if failed else "completed",
                "completed_at": ended,
                "updated_at": ended,
                "records_processed": found,
                "records_success": found,
            }

    @staticmethod
    def _row(organization: str, operation: str, began: datetime, document: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "organization_id": organization,
            "source_system": "cliniko",
            "operation_type": operation,
            "status": "running",
            "started_at": began,
            "metadata": _stamped(document, began),
            "updated_at": began,
        }


def _shape(*, simple: bool) -> Table:
    """The log as installations have it; or a simple one, with numbers as ids, texts, and times without a zone."""
    document = JSON() if simple else JSONB()
    moment = DateTime(timezone=not simple)
    return Table(
        "sync_logs",
        MetaData(),
        Column("id", Integer, primary_key=True)
        if simple
        else Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
        Column("organization_id", Text),
        Column("source_system", String(50), nullable=False),
        Column("operation_type", String(50), nullable=False),
        Column("status", String(20), nullable=False),
        *(Column(name, Integer, server_default="0") for name in _COUNTS),
        Column("error_details", document, server_default="{}"),
        Column("started_at", moment, server_default=func.now(), index=True),
        Column("completed_at", moment),
        Column("metadata", document, server_default="{}"),
        # Elsewhere it is the trigger that does it.
        Column("updated_at", moment, server_default=func.now(), onupdate=_now if simple else None),
    )


def _stamped(document: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    return {**document, "timestamp": at.isoformat()}


def _now() -> datetime:
    return datetime.now(UTC)
