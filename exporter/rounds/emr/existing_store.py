"""The tables of the existing program: which rows are new, whatever has happened to the file.

Rows are read by their ids, upwards, and each is counted once: one that was read before is known by its mark
(:mod:`rounds.emr.marks`). As long as a file only grows and loses rows, all that are new have ids above those that were
read. Whether it is still that file is seen at both ends: the oldest row, and the newest one up to where was read, must
have been read, and the number that SQLite keeps of the highest id ever must not have fallen. If something of that does
not hold, or the file is another one for the operating system, all of it is read again, and what is new is counted.

What cannot be known: rows that were written and deleted between two looks; a file that was changed in place so that
both ends are as they were, though others between them are not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from rounds.databases.session import Row
from rounds.emr.existing_rows import Interpreter
from rounds.emr.findings import Findings
from rounds.emr.knowledge import Position
from rounds.emr.marks import Marks, mark_of
from rounds.emr.moments import parse
from rounds.emr.reading import REQUIRED, Store, text
from rounds.errors import CollectorError

#: Rows of one statement.
BATCH = 10_000
#: Crash reports of one.
CRASHES = 1000
#: The highest id that can be; what is above, as SQLite says, is none.
_MOST = 2**63 - 1


@dataclass
class Outcome:
    """What became of a look.

    Attributes:
        behind: whether there are rows that were not read for want of time.
        replaced: whether a file was found that is not, or not only, the one that was read before.
        failed: tables that could not be read.
    """

    behind: bool = False
    replaced: bool = False
    failed: frozenset[str] = frozenset()


class ExistingStore:
    """One look at the existing program's tables.

    Args:
        store: the store.
        findings: gets what is new.
        interpreter: tells what rows mean.
        until: the time, by the monotonic clock, after which no more rows are read.
    """

    def __init__(self, store: Store, findings: Findings, interpreter: Interpreter, until: float) -> None:
        self.store = store
        self._findings = findings
        self.known = findings.known
        self.interpreter = interpreter
        self._until = until
        self.sequences: dict[str, int] = {}
        self.outcome = Outcome()

    def read(self, *, again: bool) -> None:
        """Read what is new.

        Args:
            again: read all rows again, as the file is another one.

        Raises:
            CollectorError: the store failed; nothing must be kept then.
        """
        self.sequences = self._read_sequences()
        for table in self.store.layout.existing:
            try:
                if table == "crash_reports":
                    self._follow_crashes(again=again)
                else:
                    _Table(self, table, again=again).follow()
            except CollectorError as error:
                if error.reason != "query":
                    raise
                # A page of this table is damaged, perhaps; others may be read.
                self.outcome.failed |= {table}

    def _read_sequences(self) -> dict[str, int]:
        if not self.store.all("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'"):
            return {}
        rows = self.store.all("SELECT name, seq FROM sqlite_sequence WHERE typeof(seq) = 'integer'")
        return {str(name): min(max(seq, 0), _MOST) for name, seq in rows}

    def _follow_crashes(self, *, again: bool) -> None:
        """Crash reports have no number that lasts, and are few: where there are others, or more or fewer, all of them
        are compared with those that were seen."""
        before = self.known.table("crash_reports")
        ((count, last),) = self.store.all("SELECT count(*), coalesce(max(rowid), 0) FROM crash_reports")
        everything = again or (last, count, True) != (before.position, before.sequence, before.complete)
        sql = f"SELECT rowid, {self.store.columns('crash_reports')} FROM crash_reports"
        below = last
        while True:
            rows = self.store.all(f"{sql} WHERE rowid <= ? ORDER BY rowid DESC LIMIT {CRASHES}", below)
            new = 0
            for rowid, *row in rows:
                below = rowid - 1
                identity = f"{text(row[0])}\0{text(row[1])}"
                at = self.interpreter.at("crash_reports", tuple(row))
                new += self._findings.crash(identity, at, past=not before.complete)
            if len(rows) < CRASHES or not (new or everything):
                break
        self.known.set_table("crash_reports", replace(before, position=last, sequence=count, complete=True))

    def late(self) -> bool:
        """Whether no more rows are to be read."""
        return time.monotonic() > self._until


class _Table:
    """One look at one table whose ids are numbers."""

    def __init__(self, look: ExistingStore, name: str, *, again: bool) -> None:
        self._look = look
        self._store = look.store
        self._known = look.known
        self._name = name
        self._again = again
        self._required = len(REQUIRED[name])
        self._select = f"SELECT {self._store.columns(name)} FROM {name}"

    def follow(self) -> None:
        """Read what is new."""
        known, name = self._known, self._name
        position, marks = known.table(name), known.marks(name)
        sequence = self._look.sequences.get(name, 0)
        if self._is_another(position, marks, sequence):
            self._look.outcome.replaced = True
            position = replace(position, position=0)
        elif self._again:
            position = replace(position, position=0)
        position = replace(position, sequence=sequence)
        known.set_table(name, position)
        past = not position.complete
        while True:
            rows, failed = self._batch(position.position)
            marks.fetch(row[0] for row in rows)
            for row in rows:
                if marks.add(row[0], self._mark(row), _time(row)):
                    self._look.interpreter.take(name, row, past=past)
            if rows:
                position = replace(position, position=rows[-1][0])
            known.set_table(name, position)
            if failed is not None:
                raise failed
            if len(rows) < BATCH:
                known.set_table(name, replace(position, complete=True))
                return
            if self._look.late():
                self._look.outcome.behind = True
                return

    def _is_another(self, position: Position, marks: Marks, sequence: int) -> bool:
        if sequence < position.sequence:
            return True
        ends = [
            *self._rows("id > 0 AND id <= ?", position.position, "ORDER BY id LIMIT 1"),
            *self._rows("id > 0 AND id <= ?", position.position, "ORDER BY id DESC LIMIT 1"),
        ]
        marks.fetch(row[0] for row in ends)
        return not all(marks.has(row[0], self._mark(row), _time(row)) for row in ends)

    def _batch(self, after: int) -> tuple[list[Row], CollectorError | None]:
        """The next rows, and what went wrong behind them: those before a damaged page can be read."""
        rows: list[Row] = []
        try:
            for row in self._rows("id > ?", after, f"ORDER BY id LIMIT {BATCH}"):
                rows.append(row)  # noqa: PERF402  # what was read until it failed is kept
        except CollectorError as error:
            return rows, error
        return rows, None

    def _rows(self, where: str, number: int, order: str) -> Iterator[Row]:
        rows = self._store.stream(f"{self._select} WHERE {where} {order}", number)
        return (row for row in rows if isinstance(row[0], int))

    def _mark(self, row: Row) -> int:
        return mark_of(row[: self._required])


def _time(row: Row) -> str:
    """A row's time, as far as it can be compared with others."""
    told = text(row[1])[:40]
    return told if parse(told) else ""
