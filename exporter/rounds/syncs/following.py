"""One look at a log: which rows are new, which have ended since, which are gone.

Rows have no order to go by: ids may be random, starts come late and in another clock's time, and a row changes for
hours after it was written. So all rows of the last hours are glimpsed at each look, and those that were not seen before
are read. Rows that have not ended are asked for by their ids from then on, however old they become.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from rounds.ledger.tally import Tally
from rounds.syncs import metrics
from rounds.syncs.config import Sync
from rounds.syncs.facts import Facts, Past, storable
from rounds.syncs.knowledge import Key, Knowledge, Row, kept_status
from rounds.syncs.log import Log, Record
from rounds.syncs.organizations import label_of, labelled, operation_of, organization_of
from rounds.syncs.runs import Run, hashed, interpret, row_hash
from rounds.syncs.states import FAILED, OTHER, PROBLEMS, RESULTS

#: Rows that the first look reads at most, the newest.
FIRST_ROWS = 50_000
#: New rows that a look reads at most, the oldest; the next look goes on.
NEW_ROWS = 20_000
#: Rows that have not ended and are followed, the newest.
FOLLOWED = 2000
#: Newest runs that are read again at each look, in turns, as their status may change long after they ended.
READ_AGAIN = 500
#: Pairs of organisation and operation that are remembered, the most recent ones.
KEYS = 20_000
#: A row whose end was not seen, and that is not there.
_GONE = ""


class Following:
    """One look.

    Args:
        sync: the configuration.
        known: what is known of the log; changed to what is found.
        tally: gets what is counted.
        turn: grows from look to look, for what is done in turns.
        first_rows: rows that are read if this is the first look.

    Attributes:
        now: the source's clock.
        active: runs that have not ended, by their rows' hashes; those that were given up too.
    """

    def __init__(self, sync: Sync, known: Knowledge, tally: Tally, *, turn: int, first_rows: int = FIRST_ROWS) -> None:
        self.now = 0.0
        self.active: dict[int, Run] = {}
        self._sync = sync
        self._known = known
        self._tally = tally
        self._turn = turn
        self._first_rows = first_rows
        self._ended: list[Run] = []
        self._counting = True

    def read(self, log: Log) -> None:
        """Look at the log.

        Raises:
            CollectorError: the log failed; what is known and the tally are not to be used any more.
        """
        known, self.now = self._known, log.now()
        log_hash = identity(self._sync)
        # A clock that went back makes new rows look older than those that are known: nothing is sure then.
        self._counting = bool(known.version) and log_hash == known.log_hash and known.since <= self.now
        if not self._counting:
            known.begin(log_hash)
            self._begin(log)
        self._look(log)
        self._forget()
        self._label()
        self._count()

    # --- rows -----------------------------------------------------------------------------------------------------

    def _begin(self, log: Log) -> None:
        """The first look: what ended before it is not counted."""
        number, oldest, newest = 0, self.now, None
        for record in log.recent(self.now - self._sync.look_back, self._first_rows):
            number += 1
            if record.started is not None:
                oldest = min(oldest, record.started)
                newest = record.started if newest is None else max(newest, record.started)
            self._take(record)
        since = (self.now if newest is None else min(newest, self.now)) - self._sync.overlap
        # Of rows that were not read nobody knows whether they had ended.
        self._known.move(max(since, oldest) if number >= self._first_rows else since)
        for row, each in list(self._known.rows.items()):
            if each.id is None and each.started is not None and each.started < self._known.since:
                self._known.set_row(row, None)

    def _look(self, log: Log) -> None:
        known = self._known
        new, glimpsed = self._glimpse(log)
        followed = {each: row.id for each, row in known.rows.items() if row.id is not None}
        again = {past.row: past.id for past in self._to_read_again() if past.id is not None}
        found = set()
        newest = known.since
        for record in log.records(list(dict.fromkeys([*followed.values(), *again.values(), *new.values()]))):
            each = row_hash(record.id, record.started)
            found.add(each)
            if each in known.rows or each in again or not self._is_old(record.started):
                self._take(record)
                if each in new and record.started is not None:
                    newest = max(newest, min(record.started, self.now))
        for each in (new.keys() | followed.keys()) - found:
            self._gone(each)
        known.move(newest - self._sync.overlap)
        self._forget_rows(glimpsed)

    def _glimpse(self, log: Log) -> tuple[dict[int, str], set[int]]:
        """Rows to read, by their hashes: those that are new, and those that have changed.

        Returns:
            these and all hashes that were glimpsed.
        """
        known, new, glimpsed = self._known, {}, set()
        for glimpse in log.glimpses(known.since, len(known.rows) + NEW_ROWS):
            if self._is_old(glimpse.started):
                continue
            each = row_hash(glimpse.id, glimpse.started)
            row = known.rows.get(each)
            glimpsed.add(each)
            if row is None or (row.id is None and row.status != kept_status(glimpse.status)):
                new[each] = glimpse.id
        return new, glimpsed

    def _take(self, record: Record) -> None:
        """A row as it is now."""
        known = self._known
        each = row_hash(record.id, record.started)
        row = known.rows.get(each)
        run = interpret(record, self.now, seen=row.seen if row else self.now, running_totals=self._sync.running_totals)
        key = self._key(run)
        facts = known.facts.get(key)
        told = facts.of(each) if facts else None
        if row is None:
            if told is not None and run.ended:  # a newest run that is read again, older than what is looked for
                known.set_facts(key, facts.with_run(run, self.now) if facts else None)
                return
            row = Row(record.started, self.now, _GONE, None, told is not None or (not self._counting and run.ended))
        problems = sum(1 << PROBLEMS.index(problem) for problem in run.problems)
        self._reject(problems & ~row.problems)
        if run.ended and not row.counted and self._counting:
            self._ended.append(run)
        if not run.ended:
            self.active[each] = run
        known.set_row(
            each,
            replace(
                row,
                status=kept_status(record.status),
                id=None if run.ended else storable(record.id),
                counted=row.counted or run.ended,
                problems=row.problems | problems,
            ),
        )
        # What was deleted before the first look is no news.
        known.set_facts(key, (facts or Facts(run.at, run.at)).with_run(run, self.now if self._counting else run.said))

    def _gone(self, each: int) -> None:
        """A row that was seen is not there: deleted while it ran, or another one took its id."""
        row = self._known.rows.get(each) or Row(None, self.now, _GONE, None, counted=False)
        self._known.set_row(each, replace(row, status=_GONE, id=None))

    def _is_old(self, started: float | None) -> bool:
        """Whether a row is not looked for any more: what is not known of it was forgotten."""
        return started is not None and started < self._known.since

    def _to_read_again(self) -> Iterable[Past]:
        known = self._known
        lasts = [last for key in sorted(known.facts) if key[0] in known.labelled and (last := known.facts[key].last)]
        start = (self._turn * READ_AGAIN) % len(lasts) if len(lasts) > READ_AGAIN else 0
        return islice([*lasts[start:], *lasts[:start]], READ_AGAIN)

    def _forget_rows(self, glimpsed: set[int]) -> None:
        known, back = self._known, self.now - self._sync.look_back
        for each, row in list(known.rows.items()):
            if row.id is not None:
                old = (row.seen if row.started is None else row.started) < back
            elif row.started is not None:
                old = row.started < known.since
            else:
                old = each not in glimpsed and row.seen < back
            if old:
                known.set_row(each, None)
                self.active.pop(each, None)
        followed = [each for each, row in known.rows.items() if row.id is not None]
        if len(followed) > FOLLOWED:
            followed.sort(key=lambda each: known.rows[each].started or known.rows[each].seen)
            for each in followed[:-FOLLOWED]:
                known.set_row(each, replace(known.rows[each], id=None))
                self.active.pop(each, None)

    # --- organisations --------------------------------------------------------------------------------------------

    def _key(self, run: Run) -> Key:
        return organization_of(run.organization), operation_of(run.operation, self._sync)

    def _forget(self) -> None:
        """Organisations that had no run for long, and those beyond any number that makes sense."""
        known = self._known
        recency = self._recency()
        busy = {self._key(run)[0] for run in self.active.values()}
        back = self.now - self._sync.look_back
        for key in list(known.facts):
            if recency[key[0]] < back and key[0] not in busy:
                known.set_facts(key, None)
        if len(known.facts) > KEYS:
            order = sorted(known.facts, key=lambda key: (key[0] in known.labelled, known.facts[key].newest))
            for key in order[: len(known.facts) - KEYS]:
                known.set_facts(key, None)

    def _label(self) -> None:
        known = self._known
        known.set_labelled(labelled(self._recency(), known.labelled, self._sync.organizations))

    def _recency(self) -> dict[str, float]:
        recency: dict[str, float] = {}
        for (organization, _), facts in self._known.facts.items():
            recency[organization] = max(facts.newest, recency.get(organization, facts.newest))
        return recency

    # --- counters -------------------------------------------------------------------------------------------------

    def _reject(self, problems: int) -> None:
        if self._counting:
            for bit, problem in enumerate(PROBLEMS):
                if problems >> bit & 1:
                    self._tally.count(metrics.REJECTED, problem)

    def _count(self) -> None:
        """Count what ended, under the labels that organisations have from this look on."""
        for run in self._ended:
            organization, operation = self._key(run)
            labels = (
                label_of(organization, self._sync.organizations) if organization in self._known.labelled else OTHER,
                operation,
            )
            self._tally.count(metrics.RUNS, *labels, run.state)
            for result in RESULTS if run.counts else ():
                self._tally.count(metrics.RECORDS, *labels, result, by=getattr(run.counts, result) or 0)
            self._tally.count(metrics.DELETED, *labels, by=self._deleted(run))
            if run.state in FAILED:
                self._tally.count(metrics.FAILURES, operation, run.error or "other")
            if run.duration is not None:
                self._tally.observe(metrics.DURATION, run.duration, operation)

    def _deleted(self, run: Run) -> int:
        """Patients that a run deleted; perhaps it said so only before it ended."""
        if run.deleted is not None:
            return run.deleted
        facts = self._known.facts.get(self._key(run))
        past = facts.of(run.row) if facts else None
        return (past.deleted if past else None) or 0


def identity(sync: Sync) -> int:
    """Tells one log from another, and from itself when its times are read in another way."""
    return hashed(
        *(repr(getattr(sync, key)) for key in ("source", "table", "columns", "api", "source_system", "time_zone"))
    )
