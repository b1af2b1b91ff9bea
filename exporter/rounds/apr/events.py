"""Counts what happened: rows of the three tables that only grow, each once, and records that were resolved."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import Connection, delete, insert, select

from rounds.apr import metrics, progress
from rounds.apr.calendar import today
from rounds.apr.config import AprSection
from rounds.apr.feed import Feed, Followed
from rounds.apr.gauges import Span
from rounds.apr.layout import HISTORY, INVALID, LOG, Layout, type_of
from rounds.apr.metrics import SOURCES, VALIDATION_TYPES
from rounds.apr.open_records import OpenRecords, Resolved
from rounds.apr.progress import Progress, Step
from rounds.apr.reader import Reader, to_date
from rounds.apr.schema import LOOKS
from rounds.apr.statuses import bucket_of
from rounds.apr.tally import BOOK
from rounds.databases.session import Row
from rounds.ledger.tally import Tally

_bucket = functools.lru_cache(maxsize=1024)(bucket_of)
_LOOK = "resolved"


class Events:
    """What one run finds. Loaded in one transaction of the ledger, read from the source, saved in another.

    Args:
        connection: of a transaction that reads the ledger.
        layout: what the source has; what needs more is not counted.
        section: the configuration.
        salt: the installation's.
    """

    def __init__(self, connection: Connection, layout: Layout, section: AprSection, salt: str) -> None:
        self._layout = layout
        self._section = section
        self._tally = Tally(BOOK)
        self._open = OpenRecords(connection)
        self._progress = Progress(salt)
        self._feeds: Mapping[str, Feed] = {
            table: Feed(connection, followed, salt)
            for table, followed in _followed(layout).items()
            if layout.has(table)
        }
        self._highest: dict[str, int | None] = {}
        query = select(LOOKS.c.at).where(LOOKS.c.name == _LOOK)
        self._looked: float | None = connection.execute(query).scalar_one_or_none()
        self._now = 0.0

    def read(self, reader: Reader, began: float, now: float) -> None:
        """Read what is new.

        Args:
            reader: of the source, in a transaction of its own.
            began: before that transaction began, by this machine's clock, in Unix seconds.
            now: the source's clock.

        Raises:
            CollectorError: the source fails.
        """
        self._now = now
        for table, feed in self._feeds.items():
            self._highest[table] = feed.begin(reader, began)
            if table == INVALID:
                self._read_invalid(reader, feed)
            else:
                count = self._change if table == HISTORY else self._run
                for row in feed.fresh(reader):
                    count(row)

    def save(self, connection: Connection, dates: Span, now: float) -> None:
        """Keep all of it.

        Args:
            connection: of a writing transaction.
            dates: the business dates that the source has.
            now: this machine's clock, in Unix seconds.

        Raises:
            CollectorError: ``internal`` when another run was quicker; nothing must be committed then.
        """
        for feed in self._feeds.values():
            feed.save(connection, now)
        if INVALID in self._feeds:
            self._open.save(connection)
            connection.execute(delete(LOOKS).where(LOOKS.c.name == _LOOK))
            connection.execute(insert(LOOKS).values(name=_LOOK, at=self._now))
        if HISTORY in self._feeds:
            if self._feeds[HISTORY].restarted:
                progress.forget(connection)
            since = today(self._now, self._section) - timedelta(seconds=self._section.look_back)
            since = max(since, dates.oldest.get(HISTORY, since))
            self._progress.save(connection, since=since, highest=self._highest[HISTORY] or 0)
        self._tally.store(connection)

    def stuck(self, connection: Connection) -> dict[str, int] | None:
        """Stuck proposals by status; None where that is not known, such as while a long history is read at first."""
        if HISTORY not in self._feeds or not self._feeds[HISTORY].complete:
            return None
        return progress.stuck(connection, self._now - self._section.stuck_after)

    # --- invalid records ------------------------------------------------------------------------------------------

    def _read_invalid(self, reader: Reader, feed: Feed) -> None:
        if feed.restarted:
            self._open.clear()
        for row in feed.fresh(reader):
            record, _, _, detected, kind, is_resolved, resolved = row
            self._tally.count(metrics.DETECTED, type_of(kind))
            if is_resolved:
                # It was resolved before it was seen, so there is nothing to check its times by.
                self._resolved(Resolved(type_of(kind), detected, resolved), None)
            else:
                self._open.add(record)
        for found in self._open.resolved(reader, feed.read_through):
            self._resolved(found, self._looked)

    def _resolved(self, found: Resolved, open_at: float | None) -> None:
        """Count a resolution.

        Args:
            found: the record.
            open_at: when it was still open, None where that was not seen.
        """
        self._tally.count(metrics.RESOLVED, found.validation_type)
        at = found.resolved_at
        if open_at is not None:
            # The pipeline may have written it by a clock of its own. It was open then and is resolved now.
            at = self._now if at is None else min(max(at, open_at), self._now)
        if at is not None and found.detected_at is not None and at >= found.detected_at:
            self._tally.observe(metrics.RESOLUTION, float(at - found.detected_at), found.validation_type)

    # --- history --------------------------------------------------------------------------------------------------

    def _change(self, row: Row) -> None:
        number, at, changed_at, client, source, old, new = row[0], to_date(row[1]), row[3], *row[4:]
        status = _bucket(new)
        if at is not None:
            self._progress.add(at, row[2], client, Step(number, at.toordinal(), status, changed_at))
        if old != new:  # else only values have changed
            known = str(source or "").strip().upper()
            self._tally.count(metrics.STATUS_CHANGES, known if known in SOURCES else "other", status)

    # --- runs -----------------------------------------------------------------------------------------------------

    def _run(self, row: Row) -> None:
        mode, failed, duration, queried, valid, stored, *more = row[4:]
        found, sent = more[: len(VALIDATION_TYPES)], more[len(VALIDATION_TYPES) :]
        # A column that an older program left out has its default.
        mode = mode if mode in metrics.RUN_MODES else metrics.RUN_MODES[0]
        self._tally.count(metrics.RUNS, mode, "failed" if failed else "succeeded")
        if mode != metrics.RUN_MODES[0]:
            return
        if duration is not None and duration >= 0:
            self._tally.observe(metrics.RUN_DURATION, float(duration))
        for result, count in zip(metrics.RESULTS, (queried, valid, sum(map(_natural, found)), stored), strict=True):
            self._tally.count(metrics.RECORDS, result, by=_natural(count))
        for kind, count in zip(VALIDATION_TYPES, sent, strict=True):
            self._tally.count(metrics.ALERTS_SENT, kind, by=_natural(count))


def _followed(layout: Layout) -> dict[str, Followed]:
    def there(column: str) -> str:
        return column if layout.has(LOG, column) else "0"

    kinds = [kind.lower() for kind in VALIDATION_TYPES]
    return {
        INVALID: Followed(
            INVALID, "DATA", "PROPOSTA", "detected_at", ("VALIDATION_TYPE", "is_resolved"), ("resolved_at",)
        ),
        HISTORY: Followed(
            HISTORY, "DATA", "PROPOSTA", "changed_at", ("CEDENTE", "CHANGE_SOURCE", "OLD_STATUS", "NEW_STATUS")
        ),
        LOG: Followed(
            LOG,
            "target_date",
            "total_records_queried",
            "run_timestamp",
            (
                "run_mode",
                "COALESCE(error_message, '') <> ''",
                "execution_time_seconds",
                "total_records_queried",
                "valid_records",
                "records_stored",
                *(there(f"invalid_{kind}") for kind in kinds),
                *(there(f"alerts_sent_{kind}") for kind in kinds),
            ),
        ),
    }


def _natural(count: object) -> int:
    """A count as the log has it, which may be missing."""
    return max(0, int(str(count))) if count is not None else 0
