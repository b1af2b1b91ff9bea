"""Durable positions in tables that only grow: each row is counted exactly once.

The tables have whole numbers above zero as ids, given out in ascending order, but rows become visible in any order: 101
may be committed before 100. A cursor therefore has a *position*, up to which all is settled, and remembers which ids
above it were seen. The position moves over ids that were seen, and over a gap once the gap is *older than the grace*:
once that much time has passed since a poll that saw a higher id, as the gap's ids had been given out by then.

What is promised: a row that becomes visible within the grace after its id was given out is counted exactly once,
whatever happens in between: polls that crash, rows that are deleted once they were counted, an exporter that is off.
The grace must be longer than the longest transaction that inserts rows, and than the lag of a replica where one is
read. Ids must not be handed out ahead of time: a PostgreSQL sequence must have ``CACHE 1``, its default.

What is not: a row that becomes visible later, or that is deleted before a poll saw it, is missed. That cannot be told
from a transaction that was rolled back, so :attr:`Cursor.unseen` counts all ids that were passed without being seen: no
more rows than these were missed.

A cursor is loaded, used with what the source says, and saved in the transaction that counts::

    with ledger.reading() as connection:
        cursor = Cursor.load(connection, "syncs/errors", grace=600)
    cursor.begin(time.time(), identity, highest)      # the source's identity and its highest id
    rows = ...                                        # WHERE id > cursor.lower_bound ORDER BY id
    fresh = cursor.take(row.id for row in rows)
    with ledger.writing() as connection:
        ...                                           # count the rows whose ids are in fresh
        cursor.save(connection, time.time())

**A replaced source.** Whoever asks the source says what identifies it: a text that is another one when the rows are
others, such as the time of the oldest row, and its highest id. Where the highest id is lower than what was seen, rows
were lost, and the text decides. If it is another one, the table was emptied and numbered anew or is another database's:
the cursor starts again and *all* its rows are counted. If it is the same, the newest rows were deleted or a backup was
restored: rows up to the highest id have been counted before, and only those above it will be. So neither all rows of an
older backup nor those behind a gap are counted twice; what was counted and was lost in the restoring stays counted. A
source whose highest id is not lower is taken for the same one, whatever the text, since the oldest row changes with
each retention. Ask one server, not several replicas in turn: one that lags behind looks like a restored one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection, insert, select, update

from rounds.errors import CollectorError
from rounds.ledger.intervals import Intervals
from rounds.ledger.schema import CURSORS


@dataclass
class Cursor:
    """A position in one table.

    Attributes:
        name: unique in the ledger, such as ``apr/status_changes``; at most 128 characters.
        grace: seconds within which a row becomes visible after its id was given out.
        position: all ids up to it are settled.
        unseen: ids that the position passed without their having been seen, ever: as many rows may have been missed.
        restarts: how often the source was found replaced.
        version: how often it was saved; 0 is a new one.
    """

    name: str
    grace: float
    position: int = 0
    unseen: int = 0
    restarts: int = 0
    version: int = 0
    _identity: str | None = None
    #: Ids above the position that were taken.
    _seen: Intervals = field(default_factory=Intervals)
    #: When a poll was over, and the highest id that was known then.
    _marks: list[tuple[float, int]] = field(default_factory=list)
    _began: float = float("-inf")
    _highest_taken: int = 0

    @classmethod
    def load(cls, connection: Connection, name: str, grace: float) -> Cursor:
        """The cursor as it was saved last; a new one stands before the first row."""
        query = select(CURSORS.c.version, CURSORS.c.state).where(CURSORS.c.name == name)
        row = connection.execute(query).one_or_none()
        if row is None:
            return cls(name, grace)
        state = json.loads(row.state)
        return cls(
            name,
            grace,
            position=state["position"],
            unseen=state["unseen"],
            restarts=state["restarts"],
            version=row.version,
            _identity=state["identity"],
            _seen=Intervals(state["seen"]),
            _marks=[(at, highest) for at, highest in state["marks"]],
        )

    @property
    def lower_bound(self) -> int:
        """Ids above this one must be asked for."""
        return self.position

    @property
    def highest_seen(self) -> int:
        """The highest id that was taken. Up to it only those that came late need be asked for again."""
        return self._top

    def begin(self, now: float, identity: str, highest: int | None) -> None:
        """Begin a poll, before rows are asked for.

        Args:
            now: Unix seconds.
            identity: what tells this source from one that takes its place.
            highest: its highest id; None when it is empty, which alone says nothing.
        """
        self._began = now
        if self._identity is not None and highest is not None and highest < self._top:
            if identity == self._identity:
                self.position = min(self.position, highest)
                self._seen.drop_above(highest)
                self._marks = [mark for mark in self._marks if mark[1] <= highest]
            else:
                self.position, self._seen, self._marks = 0, Intervals(), []
                self.restarts += 1
        if highest is not None or self._identity is None:
            self._identity = identity

    def take(self, ids: Iterable[int]) -> set[int]:
        """Those of these ids that were not taken before. May be called several times, in ascending order of ids."""
        fresh = set()
        for number in ids:
            if number > self.position:
                self._highest_taken = max(self._highest_taken, number)
                if self._seen.add(number):
                    fresh.add(number)
        return fresh

    def save(self, connection: Connection, now: float) -> None:
        """Keep what was taken. Afterwards load it again, as the transaction may fail.

        Args:
            connection: of the writing transaction that counts the rows.
            now: Unix seconds, after the last row was fetched.

        Raises:
            CollectorError: ``internal`` when another run has saved it since it was loaded.
        """
        self._advance()
        if self._top > max((highest for _, highest in self._marks), default=self.position):
            self._marks.append((now, self._top))
        state = json.dumps(
            {
                "position": self.position,
                "unseen": self.unseen,
                "restarts": self.restarts,
                "identity": self._identity,
                "seen": list(self._seen),
                "marks": self._marks,
            }
        )
        where = CURSORS.c.name == self.name
        version = connection.execute(select(CURSORS.c.version).where(where)).scalar_one_or_none() or 0
        if version != self.version:
            raise CollectorError("internal", f"another run has moved the cursor {self.name} meanwhile")
        values = {"version": version + 1, "state": state}
        change = update(CURSORS).where(where) if version else insert(CURSORS).values(name=self.name)
        connection.execute(change.values(values))

    @property
    def _top(self) -> int:
        return self._seen.last or self.position

    def _advance(self) -> None:
        # Ids up to `highest` had been given out when a poll saw it; what was not visible in this one, which began a
        # grace later, is not waited for any longer. A poll that fetched only some rows says nothing of those behind.
        old = [highest for at, highest in self._marks if at <= self._began - self.grace]
        limit = min(max(old, default=0), self._highest_taken)
        if limit > self.position:
            # What was before the very first row is no gap.
            start = self.position or min(limit, (self._seen.first or 1) - 1)
            self.unseen += limit - start - self._seen.drop_through(limit)
            self.position = limit
        if self._seen.first == self.position + 1:
            end = next(iter(self._seen))[1]
            self._seen.drop_through(end)
            self.position = end
        self._marks = [mark for mark in self._marks if mark[1] > self.position]
