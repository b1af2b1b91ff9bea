"""One run: look at the pipeline's database, count what happened, say what holds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from rounds.apr import metrics, tally
from rounds.apr.calendar import is_working_day
from rounds.apr.config import AprSection
from rounds.apr.events import Events
from rounds.apr.gauges import Gauges, Span, span
from rounds.apr.layout import HISTORY, INVALID, LOG, Layout, examine
from rounds.apr.reader import reader_for
from rounds.databases.session import Session
from rounds.errors import CollectorError
from rounds.ledger.ledger import Ledger
from rounds.metrics import Family, Metric
from rounds.resources import Resources

log = structlog.get_logger()

#: The tables that counters and histograms are counted from.
_COUNTED_FROM = {
    metrics.DETECTED: INVALID,
    metrics.RESOLVED: INVALID,
    metrics.RESOLUTION: INVALID,
    metrics.STATUS_CHANGES: HISTORY,
    metrics.RUNS: LOG,
    metrics.RUN_DURATION: LOG,
    metrics.RECORDS: LOG,
    metrics.ALERTS_SENT: LOG,
}


@dataclass(frozen=True)
class _Look:
    """What a run found in the source."""

    layout: Layout
    dates: Span
    events: Events
    gauges: list[Family]


class Collector:
    """Reads one pipeline. ``collect`` runs in a thread; ``cancel`` may come from another."""

    def __init__(self, section: AprSection, resources: Resources, ledger: Ledger) -> None:
        self._section = section
        self._databases = resources.databases
        self._ledger = ledger
        self._session: Session | None = None
        self._problems: frozenset[tuple[str, str]] = frozenset()
        self._found = ""

    def collect(self) -> Sequence[Family]:
        """Read the database, and keep what was counted.

        Raises:
            CollectorError: nothing was counted; the next run finds the same events.
        """
        with self._databases.open(self._section.source, timeout=self._section.timeout) as session:
            self._session = session
            try:
                look = self._look(session)
            finally:
                self._session = None
        return self._keep(look)

    def cancel(self) -> None:
        """Make a run under way end early."""
        session = self._session
        if session is not None:
            session.cancel()

    def initial(self) -> list[Family]:
        """What can be said before the first run: limits, and counters as the ledger has them."""
        try:
            with self._ledger.reading() as connection:
                counted = list(tally.families(connection).values())
        except CollectorError:  # a ledger that does not answer yet; runs say so
            counted = []
        return [*counted, *self._configured()]

    def found(self) -> str:
        """What the last run found, in a few words."""
        return self._found

    def _look(self, session: Session) -> _Look:
        reader = reader_for(session)
        layout = examine(reader)
        self._tell(layout)
        began = time.time()
        reader.begin()
        now = reader.now()
        dates = span(reader, layout)
        with self._ledger.reading() as connection:
            events = Events(connection, layout, self._section, self._ledger.salt)
        events.read(reader, began, now)
        return _Look(layout, dates, events, list(Gauges(reader, layout, self._section, dates, now).families()))

    def _keep(self, look: _Look) -> list[Family]:
        with self._ledger.writing() as connection:
            look.events.save(connection, look.dates, time.time())
            counted = tally.families(connection)
            stuck = look.events.stuck(connection)
        self._found = _described(look)
        return [
            *look.gauges,
            *(family for metric, family in counted.items() if look.layout.has(_COUNTED_FROM[metric])),
            *_stuck(stuck),
            *self._configured(),
        ]

    def _configured(self) -> list[Family]:
        section = self._section
        return [
            metrics.THRESHOLD.family(((name,), getattr(section, name)) for name in metrics.THRESHOLDS),
            metrics.WORKING_DAY.family([((), int(is_working_day(time.time(), section)))]),
        ]

    def _tell(self, layout: Layout) -> None:
        before, self._problems = self._problems, layout.problems
        for table, problem in sorted(layout.problems - before):
            log.warning("what needs it is not exported", source=self._section.source, table=table, problem=problem)
        for table, problem in sorted(before - layout.problems):
            log.info("the database has it now", source=self._section.source, table=table, problem=problem)


def _stuck(counts: dict[str, int] | None) -> list[Family]:
    if counts is None:
        return []
    unfinished = [status for status in metrics.STATUSES if status not in metrics.FINAL_STATUSES]
    return [metrics.STUCK.family(((status,), counts.get(status, 0)) for status in unfinished)]


def _described(look: _Look) -> str:
    def total(metric: Metric) -> int | None:
        family = next((each for each in look.gauges if each.metric is metric), None)
        return None if family is None else int(sum(value for _, value in family.samples if isinstance(value, int)))

    told = {"proposals": total(metrics.CURRENT), "open invalid records": total(metrics.INVALID)}
    day = look.dates.current.isoformat() if look.dates.current else "no business date"
    return ", ".join([day, *(f"{count} {what}" for what, count in told.items() if count is not None)])
