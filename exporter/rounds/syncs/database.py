"""A log in a database: what a look asks of it, each statement served by an index.

There is one on ``started_at``, and rows that are known are asked for by their key. Nothing is summed up or compared in
the database, as that reads the whole table in one of the three kinds or the other.
"""

from __future__ import annotations

import itertools
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import ClassVar, TypeAlias
from uuid import UUID

from rounds.databases.session import Row, Session
from rounds.errors import CollectorError
from rounds.syncs.config import Sync
from rounds.syncs.layout import NO_ID_INDEX, NO_START_INDEX, TIMES, Catalogue, Layout, catalogue_for
from rounds.syncs.log import Glimpse, Log, Record
from rounds.syncs.rows import LONGEST_DETAILS, LONGEST_METADATA, LONGEST_TEXT, glimpse, record

#: Rows without a time that makes sense: they have no place in the index, so that only some are looked at.
MOST_TIMELESS = 1000

#: Keys in a statement.
_AT_A_TIME = 500
#: A day after the beginning, so that no subtraction leaves what a column can hold.
_EARLIEST = 2 * 86_400.0
#: What clocks are put forward and back by, doubled.
_SHIFTED = timedelta(hours=2)
#: A time with an offset is behind UTC by at most so much.
_BEHIND = timedelta(hours=12)
#: Any time of the day in any zone, and however texts are sorted.
_ANY_ZONE = timedelta(hours=36)

_LENGTHS = {"metadata": LONGEST_METADATA + 1, "error_details": LONGEST_DETAILS}
_GLIMPSE = ("id", "started_at", "status")
_CLOCKS = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())::float8",
    "mariadb": "SELECT UNIX_TIMESTAMP(NOW(6))",
}

_INTEGER = re.compile("-?[0-9]{1,80}")
_UNWRITABLE = re.compile("[\ud800-\udfff\0]")

#: A condition and its parameters.
Condition: TypeAlias = tuple[str, tuple[object, ...]]


class _Dialect(ABC):
    """How a kind of database is asked."""

    mark: ClassVar[str] = "%s"

    def __init__(self, catalogue: Catalogue, layout: Layout, sync: Sync) -> None:
        self._catalogue = catalogue
        self._layout = layout
        self._zone = sync.zone

    def column(self, name: str) -> str:
        """A column as it is called."""
        return self._catalogue.quoted(self._layout.columns[name].name)

    @abstractmethod
    def value(self, name: str) -> str:
        """An expression for a column's value that every driver can read, whatever is in it; texts cut to size."""

    @abstractmethod
    def senseless(self) -> str:
        """What can be said of times that make no sense and that an index finds, empty where there are none."""

    @abstractmethod
    def key(self, identity: str) -> Sequence[object]:
        """What an id is compared with: nothing where no row can have it."""

    def timeless(self) -> list[Condition]:
        """Conditions for rows that have no time, or one that makes no sense, as far as an index finds them."""
        column = self.column("started_at")
        absent = "IS NULL" if self._layout.columns["started_at"].nullable else ""
        return [(f"{column} {each}", ()) for each in (absent, self.senseless()) if each]

    def begun(self, since: float) -> list[Condition]:
        """Conditions for ranges of the index that together have all rows which began at this time or later.

        Rows that began up to some days earlier may be among them.
        """
        column, instant = self.column("started_at"), datetime.fromtimestamp(max(since, _EARLIEST), UTC)
        match self._layout.storage:
            case "aware":
                bound: object = instant
            case "naive":
                # A time in the hour that never comes is taken for one after it, though it is written as before.
                bound = instant.astimezone(self._zone).replace(tzinfo=None) - _SHIFTED
            case "number":
                bound = int(instant.timestamp())
            case _:
                bound = (instant - _ANY_ZONE).date().isoformat()
        return [(f"{column} >= {self.mark}", (bound,))]


class _Postgresql(_Dialect):
    def value(self, name: str) -> str:
        column = self.column(name)
        if name in TIMES and self._catalogue.storage(self._layout.columns[name]) == "number":
            return f"least(greatest({column}, -1), 1e12)::float8"  # as a numeric may be larger than any float
        # As text: drivers refuse times beyond the year 9999, and numbers with too many digits in JSON.
        return f"left({column}::text, {_LENGTHS.get(name, LONGEST_TEXT)})"

    def senseless(self) -> str:
        return "= 'infinity'" if self._layout.storage in ("aware", "naive") else ""

    def key(self, identity: str) -> Sequence[object]:
        kind = self._layout.columns["id"].type
        if kind == "uuid":
            return _uuid(identity)
        bits = {"smallint": 16, "integer": 32, "bigint": 64}.get(kind)
        if bits is not None:
            return _integer(identity, bits)
        if kind == "numeric":
            return _integer(identity, 256)
        return _writable(identity)


class _Mariadb(_Dialect):
    def begun(self, since: float) -> list[Condition]:
        [(condition, (bound,))] = super().begun(since)
        # The driver would write an offset, which MariaDB takes for something wrong.
        return [(condition, (bound.replace(tzinfo=None) if isinstance(bound, datetime) else bound,))]

    def value(self, name: str) -> str:
        column = self.column(name)
        if name in TIMES:
            aware = self._catalogue.storage(self._layout.columns[name]) == "aware"
            return f"CONCAT({column}, '+00:00')" if aware else column
        return f"LEFT({column}, {_LENGTHS.get(name, LONGEST_TEXT)})"

    def senseless(self) -> str:
        return "= '0000-00-00 00:00:00'" if self._layout.storage in ("aware", "naive") else ""

    def key(self, identity: str) -> Sequence[object]:
        kind = self._layout.columns["id"].type
        if kind == "uuid":
            return [str(each) for each in _uuid(identity)]
        if kind in ("tinyint", "smallint", "mediumint", "int", "bigint"):
            return _integer(identity, 65)
        return _integer(identity, 192) if kind == "decimal" else _writable(identity)


class _Sqlite(_Dialect):
    mark = "?"

    def begun(self, since: float) -> list[Condition]:
        column, instant = self.column("started_at"), datetime.fromtimestamp(max(since, _EARLIEST), UTC)
        in_utc = instant.replace(tzinfo=None)
        near = min(in_utc, instant.astimezone(self._zone).replace(tzinfo=None) - _SHIFTED)
        far = min(near, in_utc - _BEHIND)
        # Numbers come before texts, and what is no time after all that begin with a digit. A "T" comes after a blank:
        # on the day of the bound, texts with "T" have one of their own. Only texts with an offset behind UTC can be
        # from before it. All of this is in the index.
        texts = (
            f"{column} >= ? AND {column} < ':' AND"
            f" ({column} >= ? AND NOT ({column} >= ? AND {column} < ?) OR instr(substr({column}, 12), '-'))"
        )
        return [
            (f"{column} >= ? AND {column} < ''", (instant.timestamp(),)),
            (texts, (_spelt(far), _spelt(near), f"{near:%Y-%m-%d}T", _spelt(near, "T"))),
        ]

    def value(self, name: str) -> str:
        column = self.column(name)
        # As bytes: the driver refuses a text that is no UTF-8.
        text = f"CAST(substr({column}, 1, {_LENGTHS.get(name, LONGEST_TEXT)}) AS BLOB)"
        return f"CASE typeof({column}) WHEN 'text' THEN {text} ELSE {column} END"

    def senseless(self) -> str:
        return ">= ':'"

    def key(self, identity: str) -> Sequence[object]:
        # A column without a type compares texts and numbers as different.
        return [*_writable(identity), *_integer(identity, 64)]


_DIALECTS: dict[str, type[_Dialect]] = {"postgresql": _Postgresql, "mariadb": _Mariadb, "sqlite": _Sqlite}


class DatabaseLog(Log):
    """A log in a table, over a session.

    Nothing more is asked for once the look has lasted longer than the configured time-out.

    Args:
        session: with the database; whoever opened it closes it.
        layout: what the table has.
        sync: the configuration.
    """

    def __init__(self, session: Session, layout: Layout, sync: Sync) -> None:
        self._session = session
        self._layout = layout
        self._zone = sync.zone
        self._dialect = _DIALECTS[session.kind](catalogue_for(session), layout, sync)
        self._names = tuple(layout.columns)
        self._about: Condition = ("", ())
        if sync.source_system is not None and "source_system" in layout.columns:
            self._about = (
                f" AND {self._dialect.column('source_system')} = {self._dialect.mark}",
                (sync.source_system,),
            )
        self._slow = CollectorError(
            "timeout", f"source '{sync.source}': the look took longer than its timeout of {sync.timeout:g} s; raise it"
        )
        self._end = time.monotonic() + sync.timeout
        self.problems = layout.problems
        self.remedies = layout.remedies

    def now(self) -> float:
        """The database's clock; this machine's for a SQLite file."""
        clock = _CLOCKS.get(self._session.kind)
        return time.time() if clock is None else float(self._session.all(clock)[0][0])

    def recent(self, since: float, limit: int) -> Iterator[Record]:
        """As in Log. Where a SQLite column has both texts and numbers, first those with texts."""
        left = limit
        for condition in reversed(self._dialect.begun(since)):
            if left > 0:
                for row in self._select(self._names, condition, f" ORDER BY {self._start} DESC LIMIT {left:d}"):
                    found = self._record(row)
                    left -= 1
                    if found.started is None or found.started >= since:
                        yield found

    def glimpses(self, since: float, limit: int = 100_000) -> Iterator[Glimpse]:
        """As in Log, those without a time first. Exact: of the others none began earlier."""
        left = MOST_TIMELESS
        for condition in self._dialect.timeless():
            for each in self._glimpses(condition, f" LIMIT {left:d}") if left else ():
                left -= 1
                yield each
        ranges = self._dialect.begun(since)
        if self._layout.storage not in ("text", "any"):
            for condition in ranges:
                yield from self._begun(condition, since, limit)
            return
        # Texts of one time sort by how they are spelt, and numbers apart from them.
        found = [list(self._begun(condition, since, limit)) for condition in ranges]
        through = min((some[-1].started or 0 for some in found if len(some) == limit), default=math.inf)
        for one in sorted(itertools.chain.from_iterable(found), key=lambda one: one.started or 0):
            if (one.started or 0) <= through:
                yield one

    def records(self, ids: Sequence[str]) -> Iterator[Record]:
        """As in Log, in any order."""
        wanted, keys = set(ids), [key for each in dict.fromkeys(ids) for key in self._dialect.key(each)]
        for start in range(0, len(keys), _AT_A_TIME):
            some = keys[start : start + _AT_A_TIME]
            condition = f"{self._dialect.column('id')} IN ({', '.join([self._dialect.mark] * len(some))})"
            for row in self._select(self._names, (condition, tuple(some)), filtered=False, needs=NO_ID_INDEX):
                found = self._record(row)
                if found.id in wanted:  # databases also compare without case, or without blanks at the end
                    wanted.discard(found.id)
                    yield found

    @property
    def _start(self) -> str:
        return self._dialect.column("started_at")

    def _record(self, row: Row) -> Record:
        return record(dict(zip(self._names, row, strict=True)), self._zone)

    def _begun(self, condition: Condition, since: float, limit: int) -> Iterator[Glimpse]:
        """Of these rows those that did begin at this time or later, as many as are wanted if there are so many."""
        offset, left = 0, limit
        while left > 0:
            count = 0
            for one in self._glimpses(condition, f" ORDER BY {self._start} LIMIT {limit:d} OFFSET {offset:d}"):
                count += 1
                if left > 0 and (one.started is None or one.started >= since):
                    left -= 1
                    yield one
            if count < limit:
                return
            offset += limit

    def _glimpses(self, condition: Condition, order: str) -> Iterator[Glimpse]:
        for identity, started, status in self._select(_GLIMPSE, condition, order):
            yield glimpse(identity, started, status, self._zone)

    def _select(
        self,
        names: Sequence[str],
        condition: Condition,
        order: str = "",
        *,
        filtered: bool = True,
        needs: str = NO_START_INDEX,
    ) -> Iterator[Row]:
        about = self._about if filtered else ("", ())
        values = ", ".join(self._dialect.value(name) for name in names)
        sql = f"SELECT {values} FROM {self._layout.table} WHERE {condition[0]}{about[0]}{order}"
        with self._told(needs):
            if time.monotonic() > self._end:
                # Each statement was quick enough, but all of them together are not.
                raise self._slow
            yield from self._session.stream(sql, (*condition[1], *about[1]))

    @contextmanager
    def _told(self, needs: str) -> Iterator[None]:
        """Where an index is missing, say so with what came of it."""
        try:
            yield
        except CollectorError as error:
            if error.reason == "timeout" and needs in self.problems:
                text = f"{error}; there is {needs}; run: {self.remedies[needs]}"
                raise CollectorError("timeout", text) from None
            raise


def _spelt(moment: datetime, separator: str = " ") -> str:
    return moment.isoformat(separator, "seconds")


def _uuid(text: str) -> Sequence[UUID]:
    try:
        return [UUID(text)]
    except ValueError:
        return []


def _integer(text: str, bits: int) -> Sequence[int]:
    """The number that a text is, where so many bits hold it and it is spelt as databases spell it."""
    if not _INTEGER.fullmatch(text):
        return []
    number = int(text)
    return [number] if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1) else []


def _writable(text: str) -> Sequence[str]:
    """The text, unless no database can hold it."""
    return [] if _UNWRITABLE.search(text) else [text]
