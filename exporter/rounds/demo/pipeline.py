"""A synthetic pipeline of proposals: what it stores, by the functions that real programs use, and its past."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text

from rounds.apr import (
    auto_resolve_invalid_records,
    cleanup_old_monitoring_data,
    log_invalid_records,
    log_program_execution,
    tables,
    track_proposal_products,
    track_run,
    track_status_changes,
    update_daily_summary,
)
from rounds.apr.writing.history import backfill_history
from rounds.demo.proposals import HANDLED, PAID, REASONS, Day, Proposal

#: Whose day is a business date; as the exporter's configuration has it.
ZONE = "America/Sao_Paulo"
#: Days before today that there are from the start, and that are kept.
PAST_DAYS = 6

#: Runs on each of them: enough for all that comes in to be paid.
_PAST_RUNS = 22

#: Those at the beginning of a day in which proposals come in.
_BUSY_RUNS = 5

_FAULTS = tuple(REASONS)
#: The group of what is left of earlier rounds.
_OLD = "old"
#: Columns that have the time at which a row was written.
_STAMPS = {
    "apr_invalid_records": ("detected_at", "alerted_at", "resolved_at"),
    "apr_status_history": ("changed_at",),
    "apr_processing_log": ("run_timestamp",),
    "apr_proposal_products": ("created_at", "updated_at"),
    "apr_daily_summary": ("last_updated",),
    "apr_valid_records": ("first_seen", "last_updated"),
    tables.MARKS.name: ("marked_at",),
}
_OF_PROPOSALS = ("apr_valid_records", "apr_invalid_records", "apr_status_history", "apr_proposal_products")
_KEY = "DATA = :day AND PROPOSTA = :number AND CEDENTE = :client"
_SEEN = (
    "UPDATE apr_valid_records SET STATUS = :status, QTD_APROVADOS = :titles, VLR_APROVADOS = :approved,"
    " VALOR_TITULOS = :value, QTD_TITULOS = :titles, update_count = update_count + 1, last_updated = CURRENT_TIMESTAMP"
    f" WHERE {_KEY} AND RAMO = :branch"
)
_FIRST_SEEN = (
    "INSERT INTO apr_valid_records (DATA, PROPOSTA, CEDENTE, RAMO, GERENTE, EMPRESA, STATUS, QTD_APROVADOS,"
    " VLR_APROVADOS, VALOR_TITULOS, QTD_TITULOS) VALUES (:day, :number, :client, :branch, :manager, :company, :status,"
    " :titles, :approved, :value, :titles)"
)
_HANDLED = (
    "UPDATE apr_valid_records SET is_processado = 1, is_bot_processed = 1, rating_selecionado = 'B',"
    " usuario_processar = 'robo.exemplo', STATUS = :status, update_count = update_count + 1,"
    f" last_updated = CURRENT_TIMESTAMP WHERE {_KEY}"
)
_CONFIRMED = (
    "UPDATE apr_valid_records SET is_confirmado = 1, usuario_confirmar = 'robo.exemplo',"
    f" last_updated = CURRENT_TIMESTAMP WHERE {_KEY}"
)


class SourceUnavailable(Exception):  # noqa: N818  # says what happened
    """What the synthetic pipeline reads from did not answer."""


class Pipeline:
    """The pipeline, writing over one connection. Nobody else writes there, so it begins with empty tables.

    Args:
        connection: may write, and make tables.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.date = date.min
        self.day = Day("")

    def prepare(self) -> None:
        """Make the tables, or empty them, and fill them with the past: some days, and today so far."""
        for table in tables.missing_tables(self._connection):
            for statement in tables.statements(table, self._connection.dialect):
                self._connection.execute(text(statement))
        for name in _STAMPS:
            self._connection.execute(text(f"DELETE FROM {name}"))
        self._connection.commit()
        now = self._now()
        today = _business_date(now)
        for back in range(PAST_DAYS, 0, -1):
            day = today - timedelta(days=back)
            began = datetime.combine(day, time(9), ZoneInfo(ZONE)).astimezone(UTC)
            self._live_through(day, began, timedelta(minutes=25), now)
        # The last one was just now.
        pause = timedelta(minutes=12)
        self._live_through(today, now - (_PAST_RUNS - 1) * pause - timedelta(seconds=5), pause, now)

    def begin_round(self) -> None:
        """The script begins anew: a new day, if it is one, or the day without what came before the last round."""
        today = _business_date(self._now())
        if today != self.date:
            self._close()
            self.date, self.day = today, Day(today.isoformat())
        self._forget([each for each in self.day.of(_OLD) if each.done])
        for each in self.day.proposals:
            each.group, each.asleep = _OLD, False
        cleanup_old_monitoring_data(self._connection, PAST_DAYS)

    def run(self, read: Callable[[], object]) -> None:
        """Run as the real program does, and log that.

        Args:
            read: takes as long as the run, which fails if this raises :class:`SourceUnavailable`.
        """
        self.day.move()
        try:
            with track_run(self._connection, self.date) as run:
                read()
                run.stats.update(self._store())
        except SourceUnavailable:
            pass

    def try_out(self) -> None:
        """A dry run: it writes nothing but that it was one."""
        log_program_execution(self._connection, self.date, self._counts(), 1.0, "DRY_RUN")

    def confirm(self, group: str) -> None:
        """Somebody confirms what the bot has done."""
        for each in self.day.of(group):
            self._confirm(each)

    def _store(self) -> dict[str, object]:
        connection, day, shown = self._connection, self.date, self._shown()
        stats = self._counts()
        for fault in _FAULTS:
            found = [self._record(each) for each in shown if each.fault == fault]
            new = log_invalid_records(connection, found, fault, alerted_count=len(found))
            stats[f"alerts_sent_{fault.lower()}"] = new
        valid = [each for each in shown if not each.fault]
        self._sighted(valid)
        track_status_changes(connection, day, "SYSTEM")
        self._bot()
        track_proposal_products(connection, [record for each in valid for record in self._products(each)])
        auto_resolve_invalid_records(connection, day)
        update_daily_summary(connection, day)
        return stats

    def _shown(self) -> list[Proposal]:
        """What the pipeline's own source shows."""
        return [each for each in self.day.proposals if not each.done]

    def _counts(self) -> dict[str, object]:
        shown = self._shown()
        valid = [each for each in shown if not each.fault]
        counts: dict[str, object] = {
            "total_records_queried": sum(each.titles for each in shown),
            "valid_records": sum(each.titles for each in valid),
            "records_stored": len(valid),
        }
        for fault in _FAULTS:
            # One title of such a proposal has it; of cheques it is all of them.
            titles = [each.titles if fault == "CHEQUE" else 1 for each in shown if each.fault == fault]
            counts[f"invalid_{fault.lower()}"] = sum(titles)
        return counts

    def _sighted(self, proposals: Sequence[Proposal]) -> None:
        for statement, some in (
            (_SEEN, [each for each in proposals if each.stored]),
            (_FIRST_SEEN, [each for each in proposals if not each.stored]),
        ):
            if some:
                self._connection.execute(text(statement), [self._row(each) for each in some])
        self._connection.commit()
        for each in proposals:
            each.stored, each.done = True, each.place == PAID

    def _bot(self) -> None:
        """It opens what is released and finishes it, and confirms what it did before."""
        for each in self.day.proposals:
            if each.handled and not each.confirmed and not each.neglected:
                self._confirm(each)
        taken = self.day.ready_for_bot()
        for each in taken:
            each.place, each.handled, each.rest, each.done = HANDLED, True, 2, each.neglected
        if taken:
            self._connection.execute(text(_HANDLED), [self._row(each) for each in taken])
            self._connection.commit()
            track_status_changes(self._connection, self.date, "BOT")

    def _confirm(self, proposal: Proposal) -> None:
        if proposal.handled and not proposal.confirmed:
            self._connection.execute(text(_CONFIRMED), self._row(proposal))
            self._connection.commit()
            proposal.confirmed = True

    def _row(self, proposal: Proposal) -> dict[str, Any]:
        return {
            "day": self.date.isoformat(),
            "number": proposal.number,
            "client": proposal.client,
            "branch": proposal.branch,
            "manager": proposal.manager,
            "company": proposal.company,
            "status": proposal.status,
            "titles": proposal.titles,
            "value": _money(proposal.cents),
            "approved": _money(proposal.cents * 9 // 10),
        }

    def _record(self, proposal: Proposal) -> dict[str, Any]:
        return {
            "DATA": self.date,
            "PROPOSTA": proposal.number,
            "CEDENTE": proposal.client,
            "RAMO": proposal.branch,
            "GERENTE": proposal.manager,
            "EMPRESA": proposal.company,
            "STATUS": proposal.status,
            "PRODUTO": proposal.products[0].name,
            "MOTIVO_INVALIDO": REASONS[proposal.fault],
        }

    def _products(self, proposal: Proposal) -> list[dict[str, Any]]:
        key = {"DATA": self.date, "PROPOSTA": proposal.number, "CEDENTE": proposal.client}
        return [
            {**key, "PRODUTO": each.name, "QTD_TITULOS": each.titles, "VALOR_TITULOS": _money(each.cents)}
            for each in proposal.products
        ]

    def _forget(self, proposals: Sequence[Proposal]) -> None:
        """Else a demo that runs for a day would have thousands of proposals."""
        for table in _OF_PROPOSALS if proposals else ():
            self._connection.execute(
                text(f"DELETE FROM {table} WHERE {_KEY}"),
                [self._row(each) for each in proposals],
            )
        self._connection.commit()
        self.day.proposals = [each for each in self.day.proposals if each not in proposals]

    # --- the past -------------------------------------------------------------------------------------------------

    def _live_through(self, today: date, began: datetime, pause: timedelta, now: datetime) -> None:
        """A day on which all went its way: each run as ever, and then written as if it had been at its time.

        Args:
            today: the business date.
            began: the first run, in UTC.
            pause: from one run to the next.
            now: when all this began: rows with later times are of the run just made.
        """
        self.date = today
        self.day = day = Day(today.isoformat(), rest=(1, 1))
        for number in range(_PAST_RUNS):
            _arrive(day, number)
            day.move()
            stats = self._store()
            if number == 0:
                backfill_history(self._connection, today)
            failed = number == _BUSY_RUNS + today.day % 5
            log_program_execution(
                self._connection,
                today,
                {} if failed else stats,
                1 + number % 4 / 4,  # not slow, however fast the script is played
                error_message=SourceUnavailable.__name__ if failed else None,
            )
            self._put_back(began + number * pause, now)
        day.rest = Day.rest

    def _close(self) -> None:
        """A day is over: nothing of it stays unfinished, which nobody would finish any more."""
        for each in self._shown():
            each.fault, each.place = "", PAID
        # Cheques are resolved by a second sighting, and histories begin with one.
        for _ in range(2):
            for each in self.day.proposals:
                each.done = each.neglected and each.handled
            self._store()
        for each in self.day.proposals:
            self._confirm(each)

    def _put_back(self, at: datetime, now: datetime) -> None:
        times = {"at": _stamp(at), "now": _stamp(now)}
        for table, columns in _STAMPS.items():
            changes = ", ".join(f"{name} = CASE WHEN {name} >= :now THEN :at ELSE {name} END" for name in columns)
            which = " OR ".join(f"{name} >= :now" for name in columns)
            self._connection.execute(text(f"UPDATE {table} SET {changes} WHERE {which}"), times)
        self._connection.commit()

    def _now(self) -> datetime:
        """By the database's clock, which stamps the rows."""
        now = str(self._connection.execute(text("SELECT CURRENT_TIMESTAMP")).scalar_one())
        self._connection.rollback()
        return datetime.fromisoformat(f"{now}+00:00")


def _arrive(day: Day, number: int) -> None:
    """What comes in on a day of the past, and what is mended: all of it, in the end."""
    if number < _BUSY_RUNS:
        day.come("valid", 2)
    if number < len(_FAULTS):
        day.come(_FAULTS[number], fault=_FAULTS[number])
    for each in day.proposals:
        if each.fault and number >= 3 + each.number % 5:
            each.fault = ""


def _business_date(moment: datetime) -> date:
    return moment.astimezone(ZoneInfo(ZONE)).date()


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"
