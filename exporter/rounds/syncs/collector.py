"""One look at a log: what is new is counted, what holds is said."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from rounds.errors import CollectorError
from rounds.ledger.ledger import Ledger
from rounds.ledger.tally import Tally
from rounds.metrics import Family
from rounds.resources import Resources
from rounds.syncs import metrics
from rounds.syncs.config import Sync
from rounds.syncs.following import FIRST_ROWS, Following
from rounds.syncs.gauges import Gauges, limits
from rounds.syncs.knowledge import Knowledge
from rounds.syncs.log import Log
from rounds.syncs.progress import Progress
from rounds.syncs.reading import Reading
from rounds.syncs.states import OTHER
from rounds.syncs.tally import Counted, book_of

#: Fewest rows that a first look reads, however often it takes too long.
_FEWEST_ROWS = 1000
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400

log = structlog.get_logger()


class Collector:
    """Follows one log. ``collect`` runs in a thread; ``cancel`` may come from another."""

    def __init__(self, sync: Sync, resources: Resources, ledger: Ledger) -> None:
        self.sync = sync
        self._operations = (*sync.operations, OTHER)
        self._reading = Reading(sync, resources.databases)
        self._ledger = ledger
        #: What the ledger has, as of the last look; None where that is not sure.
        self._kept: tuple[Knowledge, Counted] | None = None
        self._progress = Progress()
        self._turn = 0
        self._first_rows = FIRST_ROWS
        self._problems: frozenset[str] = frozenset()
        self._active = False
        self._found = ""

    def collect(self) -> Sequence[Family]:
        """Look at the log, and keep what was counted.

        Raises:
            CollectorError: nothing was counted; the next look finds the same.
        """
        known, counted = self._known()
        # Whatever goes wrong from here on, what is known is not what the ledger has.
        self._kept = None
        tally = Tally(book_of(self.sync.name))
        self._turn += 1
        following = Following(self.sync, known, tally, turn=self._turn, first_rows=self._first_rows)
        try:
            with self._reading.open() as source:
                self._tell(source)
                following.read(source)
        except CollectorError as error:
            if error.reason == "timeout" and not known.version:
                self._first_rows = max(_FEWEST_ROWS, self._first_rows // 4)
            raise
        if known.changed or tally:
            with self._ledger.writing() as connection:
                known.save(connection)
                tally.store(connection)
                counted = Counted.load(connection, self.sync.name)
        self._kept = known, counted
        return self._told(following, known, counted)

    def cancel(self) -> None:
        """Make a look under way end early."""
        self._reading.cancel()

    def pace(self) -> float:
        """Seconds from this look to the next: fewer while a run is active."""
        return self.sync.active_interval if self._active else self.sync.interval

    def initial(self) -> list[Family]:
        """What can be said before the first look: limits, and counters as the ledger has them."""
        families = limits(self.sync)
        try:
            known, counted = self._known()
        except CollectorError:  # a ledger that does not answer yet; looks say so
            return families
        gauges = Gauges(self.sync, known, (), 0.0, self._progress)
        return [*families, *counted.families(gauges.keys, self._operations)]

    def found(self) -> str:
        """What the last look found, in a few words."""
        return self._found

    def _known(self) -> tuple[Knowledge, Counted]:
        """What the ledger has: read only where another one has written meanwhile."""
        with self._ledger.reading() as connection:
            if self._kept is None or not self._kept[0].is_current(connection):
                self._kept = Knowledge.load(connection, self.sync.name), Counted.load(connection, self.sync.name)
        return self._kept

    def _told(self, following: Following, known: Knowledge, counted: Counted) -> list[Family]:
        gauges = Gauges(self.sync, known, following.active.values(), following.now, self._progress)
        running = sum(map(len, gauges.active.values()))
        self._active = running > 0
        self._found = _described(running, known, gauges.last_success, following.now)
        problems = metrics.SCHEMA_PROBLEM.family(((self.sync.name, problem), 1) for problem in sorted(self._problems))
        return [
            *gauges.families(),
            *counted.families(gauges.keys, self._operations),
            *limits(self.sync),
            problems,
        ]

    def _tell(self, source: Log) -> None:
        """Say what the log lacks, once."""
        before, self._problems = self._problems, source.problems
        where = {"sync": self.sync.name, "source": self.sync.source}
        for problem in sorted(source.problems - before):
            remedy = {"remedy": source.remedies[problem]} if problem in source.remedies else {}
            log.warning("what needs it is slow or not exported", **where, problem=problem, **remedy)
        for problem in sorted(before - source.problems):
            log.info("the log has it now", **where, problem=problem)


def _described(running: int, known: Knowledge, success: float | None, now: float) -> str:
    organizations = len({organization for organization, _ in known.facts})
    told = [f"{running} running", f"{organizations} organisation{'' if organizations == 1 else 's'}"]
    if success is not None:
        told.append(f"last success {_ago(max(0, now - success))} ago")
    return ", ".join(told)


def _ago(seconds: float) -> str:
    for size, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * size or (size == _MINUTE and seconds >= size):
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
