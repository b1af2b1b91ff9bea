"""Watches one table: opens what a check needs, runs it, and says what it found."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Lock

import structlog

from rounds.databases.session import Session
from rounds.ledger.ledger import Ledger
from rounds.metrics import Family
from rounds.resources import Resources
from rounds.tables import record
from rounds.tables.check import check
from rounds.tables.config import WatchedTable
from rounds.tables.metrics import families
from rounds.tables.record import CHANGES, Record

log = structlog.get_logger()


class Watcher:
    """One watched table. ``collect`` runs in a thread; ``cancel`` may come from another.

    Args:
        watched: its configuration.
        resources: what the core lends.
        ledger: where its record is.
        alone: held during a check. A check that a reload gave up may still be at its commit when the next begins, and
            one of them would count as overtaken by another exporter.
    """

    def __init__(self, watched: WatchedTable, resources: Resources, ledger: Ledger, alone: Lock) -> None:
        self.watched = watched
        self._alone = alone
        self._databases = resources.databases
        self._ledger = ledger
        self._session: Session | None = None
        with ledger.reading() as connection:
            self._record = record.load(connection, watched.name)

    def collect(self) -> Sequence[Family]:
        """Check the table.

        Raises:
            CollectorError: nothing was counted; the next check finds the same changes.
        """
        before = self._record
        with self._alone, self._databases.open(self.watched.source, timeout=self.watched.timeout) as session:
            self._session = session
            try:
                self._record = check(self.watched, session, self._ledger, time.time())
            finally:
                self._session = None
        self._tell(before, self._record)
        return self.families()

    def cancel(self) -> None:
        """Make a check under way end early."""
        session = self._session
        if session is not None:
            session.cancel()

    def families(self) -> list[Family]:
        """What was found so far."""
        return families(self.watched, self._record)

    def found(self) -> str:
        """What the last check found, in a few words."""
        known = self._record
        if known is None:
            return ""
        return f"{known.row_count} rows, {_described(known) or 'no changes'}"

    def _tell(self, before: Record | None, after: Record) -> None:
        about = {"table": self.watched.name, "rows": after.row_count}
        if before is None:
            log.info("table recorded for the first time; changes are counted from now on", **about)
        elif after.rebaselines != before.rebaselines:
            reason = next(
                reason for reason, count in after.rebaselines.items() if count != before.rebaselines.get(reason)
            )
            log.warning("table recorded anew, as it could not be compared with its record", reason=reason, **about)
        if before and _described(after):
            log.info("table changed", **about, **{change: rows for change in CHANGES if (rows := _now(after, change))})


def _now(record: Record, change: str) -> int:
    """Rows that the last check itself found so changed."""
    at, rows = getattr(record, f"{change}_at"), getattr(record, f"{change}_rows")
    return (rows or 0) if at == record.checked_at else 0


def _described(record: Record) -> str:
    return ", ".join(f"{rows} {change}" for change in CHANGES if (rows := _now(record, change)))
