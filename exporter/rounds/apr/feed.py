"""Follows one table that only grows: gives each of its rows once, whatever happens to exporter and table."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from rounds.apr.anchors import Anchors
from rounds.apr.reader import Reader
from rounds.databases.session import Row
from rounds.ledger.cursors import Cursor

#: Seconds within which a row becomes visible after its id was given out: longer than any transaction that writes.
GRACE = 600.0
#: Most new rows that a run reads of a table, so that the first one of a long history does not take minutes.
AT_A_TIME = 100_000
#: Ids in one statement.
_IDS = 1000


@dataclass(frozen=True)
class Followed:
    """A table to follow.

    Attributes:
        table: its name.
        date: a column with a date that a row keeps.
        number: one with a number that it keeps.
        time: one with a TIMESTAMP that it keeps.
        more: further columns, or expressions, that are read.
        times: further TIMESTAMPs, read as Unix seconds.
    """

    table: str
    date: str
    number: str
    time: str
    more: tuple[str, ...]
    times: tuple[str, ...] = ()


class Feed:
    """One poll of a followed table. Rows are ``(id, date, number, time in Unix seconds, *more, *times)``.

    Args:
        connection: of a transaction on the ledger.
        followed: the table.
        salt: the installation's.
    """

    def __init__(self, connection: Connection, followed: Followed, salt: str) -> None:
        self.followed = followed
        self.restarted = False
        #: Whether every row that the table has was read.
        self.complete = False
        self._cursor = Cursor.load(connection, f"apr/{followed.table}", GRACE)
        self._anchors = Anchors(connection, followed.table, salt)
        self._began = 0.0

    @property
    def read_through(self) -> int:
        """The highest id that was ever given."""
        return self._cursor.highest_seen

    def begin(self, reader: Reader, began: float) -> int | None:
        """Begin, and notice a table that took another's place.

        Args:
            reader: of the source.
            began: before its transaction began, in Unix seconds.

        Returns:
            the highest id, None where the table is empty.
        """
        self._began = began
        highest: int | None = reader.one(f"SELECT MAX(id) FROM {self.followed.table}")[0]
        generation = self._cursor.restarts
        found = {row[0]: row[1:] for row in self._by_id(reader, self._anchors.ids, self._mark(reader))}
        shrunk = highest is not None and highest < self._cursor.highest_seen
        if highest is not None and self._anchors.replaced(found, shrunk=shrunk):
            # Whatever its ids are, they say nothing of those that were seen.
            self._cursor.begin(began, str(generation + 1), 0)
            self._anchors.forget()
            self.restarted = True
        else:
            self._cursor.begin(began, str(generation), highest)
        return highest

    def fresh(self, reader: Reader) -> Iterator[Row]:
        """Rows that were not given before. All of them must be taken."""
        columns = [*self._mark(reader), *self.followed.more, *map(reader.unix, self.followed.times)]
        seen = self._cursor.highest_seen
        latest: Row | None = None
        for row in itertools.chain(self._late(reader, columns, seen), self._new(reader, columns, seen)):
            if latest is None:
                self._anchors.remember(self._began, row[0], row[1:4])
            latest = row
            yield row
        if latest is not None:
            self._anchors.remember(self._began, latest[0], latest[1:4])

    def save(self, connection: Connection, now: float) -> None:
        """Keep what was given, in the transaction that counts it.

        Raises:
            CollectorError: ``internal`` when another run was quicker.
        """
        self._cursor.save(connection, now)
        self._anchors.save(connection)

    def _late(self, reader: Reader, columns: Sequence[str], seen: int) -> Iterator[Row]:
        """Rows that became visible behind rows with higher ids."""
        position = self._cursor.lower_bound
        if position >= seen:
            return
        ids = reader.stream(f"SELECT id FROM {self.followed.table} WHERE id > ? AND id <= ?", position, seen)
        late = sorted(self._cursor.take(row[0] for row in ids))
        yield from self._by_id(reader, late, columns)

    def _new(self, reader: Reader, columns: Sequence[str], seen: int) -> Iterator[Row]:
        count = 0
        for row in reader.stream(
            f"SELECT id, {', '.join(columns)} FROM {self.followed.table} WHERE id > ? ORDER BY id LIMIT {AT_A_TIME}",
            seen,
        ):
            count += 1
            if self._cursor.take((row[0],)):
                yield row
        self.complete = count < AT_A_TIME

    def _mark(self, reader: Reader) -> list[str]:
        return [self.followed.date, self.followed.number, reader.unix(self.followed.time)]

    def _by_id(self, reader: Reader, ids: Sequence[int], columns: Sequence[str]) -> Iterator[Row]:
        for start in range(0, len(ids), _IDS):
            some = ids[start : start + _IDS]
            marks = ", ".join("?" * len(some))
            statement = f"SELECT id, {', '.join(columns)} FROM {self.followed.table} WHERE id IN ({marks}) ORDER BY id"
            yield from reader.all(statement, *some)
