"""One look at an application's store: what is new is counted, what holds is said."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from rounds.emr import metrics
from rounds.emr.config import App
from rounds.emr.existing_rows import Interpreter
from rounds.emr.existing_store import ExistingStore
from rounds.emr.findings import Findings
from rounds.emr.gauges import Gauges, schema_problems, thresholds
from rounds.emr.knowledge import Knowledge
from rounds.emr.labels import Labels
from rounds.emr.names import EVENTS, OPERATIONS
from rounds.emr.own_store import OwnStore, newer
from rounds.emr.reading import Reading, Store
from rounds.emr.score import Board, score_families
from rounds.emr.tally import Counted, book_of
from rounds.errors import CollectorError
from rounds.ledger.ledger import Ledger
from rounds.ledger.tally import Tally
from rounds.metrics import Family
from rounds.resources import Resources

#: The share of a look's time-out in which rows are read; then it is the ledger's turn.
_READING = 0.5
#: Seconds to the next look where there are rows that this one had no time for.
_HURRY = 1.0
#: Seconds until an integrity check that was broken off is tried again.
_AGAIN = 3600.0

log = structlog.get_logger()


class Collector:
    """Follows one store. ``collect`` runs in a thread; ``cancel`` may come from another.

    Args:
        app: the configuration.
        resources: shared means.
        ledger: keeps what is counted.
        board: what the application's checks found.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        app: App,
        resources: Resources,
        ledger: Ledger,
        board: Board,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.app = app
        self._reading = Reading(app, resources.databases)
        self._ledger = ledger
        self._board = board
        self._clock = clock
        #: What the ledger has, as of the last look; None where that is not sure.
        self._kept: tuple[Knowledge, Counted] | None = None
        self._gauges = Gauges(app)
        self._problems: frozenset[str] = frozenset()
        self._behind = False
        self._check_again = 0.0
        self._found = ""

    def collect(self) -> Sequence[Family]:
        """Look at the store, and keep what was counted.

        Raises:
            CollectorError: nothing was counted; the next look finds the same.
        """
        began = time.monotonic()
        known, counted = self._known()
        # Whatever goes wrong from here on, what is known is not what the ledger has.
        self._kept = None
        labels, tally, now = Labels(self.app, known.names), Tally(book_of(self.app.name)), self._clock()
        findings = Findings(self.app, known, labels, tally, now)
        with self._reading.open() as store:
            failed = self._read(store, findings, began)
            families = list(self._gauges.families(store, findings, failed=failed))
            problems = store.layout.problems | {f"cannot read {table}" for table in failed}
            if newer(store):
                problems |= {"newer version"}
        self._tell(problems)
        self._check(known, now, damaged=bool(failed), began=began)
        if known.changed or tally:
            with self._ledger.writing() as connection:
                known.save(connection)
                tally.store(connection)
                counted = Counted.load(connection, self.app.name)
        self._kept = known, counted
        lately = self._gauges.lately
        self._found = self._described()
        return [
            *families,
            *counted.families(labels),
            *self._gauges.noticed(findings),
            *self._gauges.integrity(known.look),
            thresholds(self.app, labels),
            schema_problems(self.app, problems),
            *score_families(self.app, self._board, lately.errors / 24, lately.slow),
        ]

    def cancel(self) -> None:
        """Make a look under way end early."""
        self._reading.cancel()

    def pace(self) -> float:
        """Seconds from this look to the next: fewer while there are rows that have not been read."""
        return min(_HURRY, self.app.interval) if self._behind else self.app.interval

    def initial(self) -> list[Family]:
        """What can be said before the first look: limits, and counters as the ledger has them."""
        try:
            known, counted = self._known()
        except CollectorError:  # a ledger that does not answer yet; looks say so
            return []
        labels = Labels(self.app, known.names)
        return [*counted.families(labels), thresholds(self.app, labels)]

    def found(self) -> str:
        """What the last look found, in a few words."""
        return self._found

    def _known(self) -> tuple[Knowledge, Counted]:
        """What the ledger has: read only where another one has written meanwhile."""
        with self._ledger.reading() as connection:
            if self._kept is None or not self._kept[0].is_current(connection):
                known = Knowledge.load(connection, self.app.name, self._ledger)
                self._kept = known, Counted.load(connection, self.app.name)
        return self._kept

    def _read(self, store: Store, findings: Findings, began: float) -> frozenset[str]:
        """Count what is new; gives tables that cannot be read."""
        known, failed, replaced = findings.known, frozenset[str](), False
        self._behind = False
        again = known.look.file not in ("", store.file)
        if store.layout.existing:
            if "metrics" in store.layout.existing:
                for name in OPERATIONS:
                    findings.labels.of("operation", name)
                for name in EVENTS:
                    findings.labels.of("event", name)
            interpreter = Interpreter(findings, frozenset(self.app.gauges), self.app.zone)
            existing = ExistingStore(store, findings, interpreter, began + _READING * self.app.timeout)
            existing.read(again=again)
            failed, replaced = existing.outcome.failed, existing.outcome.replaced
            self._behind = existing.outcome.behind
        store_hash = known.look.store_hash
        if store.layout.own:
            own = OwnStore(store, findings)
            try:
                store_hash = own.read()
                replaced = replaced or own.replaced
            except CollectorError as error:
                if error.reason != "query":
                    raise
                failed |= {"rounds_counter"}
        if replaced:
            findings.tally.count(metrics.REPLACED)
        known.look = replace(known.look, file=store.file, store_hash=store_hash)
        if replaced or again:
            known.look = replace(known.look, integrity_ok=None, integrity_at=None)
        return failed

    def _check(self, known: Knowledge, now: float, *, damaged: bool, began: float) -> None:
        """Look at all pages where it is time, or where some of them cannot be read."""
        look = known.look
        due = look.integrity_at is None or not 0 <= now - look.integrity_at < self.app.integrity_every
        if not (due and now >= self._check_again) and not (damaged and look.integrity_ok is not False):
            return
        left = max(1.0, self.app.timeout - (time.monotonic() - began))
        try:
            with self._reading.session(left) as session:
                rows = session.all("PRAGMA quick_check(1)")
        except CollectorError as error:
            if error.reason != "query":
                self._check_again = now + _AGAIN
                log.warning("the store's pages were not all looked at", app=self.app.name, error=str(error))
                return
            rows = []
        known.look = replace(look, integrity_ok=rows == [("ok",)], integrity_at=now)

    def _tell(self, problems: frozenset[str]) -> None:
        """Say what the store lacks, once."""
        before, self._problems = self._problems, problems
        where = {"app": self.app.name, "source": self.app.source}
        for problem in sorted(problems - before):
            log.warning("what needs it is not exported", **where, problem=problem)
        for problem in sorted(before - problems):
            log.info("the store has it now", **where, problem=problem)

    def _described(self) -> str:
        lately, running = self._gauges.lately, self._gauges.running
        told = [] if running is None else [f"{running} running"]
        told.append(f"{lately.errors} error{'' if lately.errors == 1 else 's'} in 24 h")
        if self._behind:
            told.append("older rows are still being read")
        return ", ".join(told)
