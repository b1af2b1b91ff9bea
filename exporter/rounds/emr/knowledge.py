"""What the ledger knows of one application's store, as a copy in memory that notes what changes."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, insert, select, tuple_, update

from rounds.emr import marks
from rounds.emr.marks import Layer, Marks
from rounds.emr.schema import GAUGES, LOOKS, MARKS, NAMES, NOTICED, SAID, SEEN, STORES, TABLES
from rounds.errors import CollectorError
from rounds.ledger.ledger import Ledger

Key: TypeAlias = tuple[Any, ...]
Item = TypeVar("Item")

#: Rows in one statement.
_AT_A_TIME = 200


class Sheet:
    """One table of the ledger, as far as it is of one application: values by the keys besides the application."""

    def __init__(self, table: Table, app: str) -> None:
        self._table = table
        self._app = app
        self._keys = [column for column in table.primary_key if column.name != "app"]
        self._values = [column for column in table.columns if not column.primary_key]
        self._changed: dict[Key, None] = {}
        self.items: dict[Key, Key] = {}

    def load(self, connection: Connection) -> None:
        """What the ledger has."""
        found = connection.execute(select(*self._keys, *self._values).where(self._table.c.app == self._app))
        size = len(self._keys)
        self.items = {tuple(row[:size]): tuple(row[size:]) for row in found}

    @property
    def changed(self) -> bool:
        """Whether it differs from the ledger."""
        return bool(self._changed)

    def put(self, key: Key, values: Key = ()) -> None:
        """Values under a key, new or changed."""
        if self.items.get(key) != values:
            self.items[key] = values
            self._changed[key] = None

    def drop(self, key: Key) -> None:
        """Nothing is under a key any more."""
        if self.items.pop(key, None) is not None:
            self._changed[key] = None

    def save(self, connection: Connection) -> None:
        """Keep what changed, in a writing transaction."""
        names = [column.name for column in (*self._keys, *self._values)]
        for some in chunks(list(self._changed), _AT_A_TIME):
            connection.execute(delete(self._table).where(self._table.c.app == self._app, tuple_(*self._keys).in_(some)))
            rows = [
                dict(zip(names, (*key, *self.items[key]), strict=True), app=self._app)
                for key in some
                if key in self.items
            ]
            if rows:
                connection.execute(insert(self._table), rows)
        self._changed.clear()


@dataclass(frozen=True)
class Look:
    """What is known of a store as a whole; see :data:`rounds.emr.schema.LOOKS`."""

    file: str = ""
    store_hash: int = 0
    integrity_ok: bool | None = None
    integrity_at: float | None = None


@dataclass(frozen=True)
class Position:
    """How far a table was read; see :data:`rounds.emr.schema.TABLES`."""

    position: int = 0
    sequence: int = 0
    complete: bool = False
    pieces: int = 0
    forgotten_id: int = 0
    forgotten_until: str = ""


class Knowledge:
    """What is known of an application's store.

    Attributes:
        app: the application's name.
        version: grows with each change that was kept; 0 before the first.
        look: of the store as a whole.
        seen: groups of errors and crash reports.
        said: values of the library's counters.
        stores: newest processes of its stores.
        names: places of names that have series of their own, by kind and name.
        noticed: times, by a metric's name and its label.
        gauges: values and times of an existing store's gauges.
    """

    def __init__(self, app: str, ledger: Ledger) -> None:
        self.app = app
        self.version = 0
        self.look = Look()
        self.seen = Sheet(SEEN, app)
        self.said = Sheet(SAID, app)
        self.stores = Sheet(STORES, app)
        self.names = Sheet(NAMES, app)
        self.noticed = Sheet(NOTICED, app)
        self.gauges = Sheet(GAUGES, app)
        self._tables = Sheet(TABLES, app)
        self._sheets = (self.seen, self.said, self.stores, self.names, self.noticed, self.gauges, self._tables)
        self._ledger = ledger
        self._kept = self.look
        self._marks: dict[str, Marks] = {}

    @classmethod
    def load(cls, connection: Connection, app: str, ledger: Ledger) -> Knowledge:
        """What the ledger has."""
        known = cls(app, ledger)
        row = connection.execute(select(LOOKS).where(LOOKS.c.app == app)).one_or_none()
        if row is not None:
            known.version = row.version
            known.look = known._kept = Look(row.file, row.store_hash, row.integrity_ok, row.integrity_at)
            for sheet in known._sheets:
                sheet.load(connection)
        return known

    @property
    def changed(self) -> bool:
        """Whether it differs from the ledger."""
        marked = any(True for each in self._marks.values() for _ in each.changed())
        return self.look != self._kept or marked or any(sheet.changed for sheet in self._sheets)

    def is_current(self, connection: Connection) -> bool:
        """Whether the ledger still has what this is a copy of."""
        found = connection.execute(select(LOOKS.c.version).where(LOOKS.c.app == self.app)).scalar()
        return (found or 0) == self.version

    def table(self, name: str) -> Position:
        """How far a table was read."""
        values = self._tables.items.get((name,))
        return Position() if values is None else Position(*values)

    def set_table(self, name: str, position: Position) -> None:
        """A table was read so far."""
        p = position
        values = (p.position, p.sequence, p.complete, p.pieces, p.forgotten_id, p.forgotten_until)
        self._tables.put((name,), values)

    def marks(self, name: str) -> Marks:
        """Marks of the rows of a table that were read."""
        if name not in self._marks:
            position = self.table(name)
            self._marks[name] = Marks(
                lambda numbers: self._load_marks(name, numbers), position.forgotten_id, position.forgotten_until
            )
        return self._marks[name]

    def save(self, connection: Connection) -> None:
        """Keep what changed, in a writing transaction.

        Raises:
            CollectorError: ``internal`` when another exporter was quicker; nothing must be committed then.
        """
        if not self.is_current(connection):
            raise CollectorError("internal", "another exporter has looked at the store meanwhile")
        look = self.look
        values = {
            "version": self.version + 1,
            "file": look.file,
            "store_hash": look.store_hash,
            "integrity_ok": look.integrity_ok,
            "integrity_at": look.integrity_at,
        }
        if self.version:
            connection.execute(update(LOOKS).where(LOOKS.c.app == self.app).values(values))
        else:
            connection.execute(insert(LOOKS).values(app=self.app, **values))
        for name, each in self._marks.items():
            self._save_marks(connection, name, each)
        for sheet in self._sheets:
            sheet.save(connection)
        self._kept = look
        self.version += 1

    # --- marks ----------------------------------------------------------------------------------------------------

    def _load_marks(self, name: str, numbers: Iterable[int]) -> Mapping[int, list[Layer]]:
        found: dict[int, list[Layer]] = {}
        with self._ledger.reading() as connection:
            for some in chunks(sorted(numbers), _AT_A_TIME):
                query = select(MARKS.c.piece, MARKS.c.until, MARKS.c.marks)
                where = self._of_table(name) & MARKS.c.piece.in_(some)
                for piece, until, data in connection.execute(query.where(where).order_by(MARKS.c.layer)):
                    found.setdefault(piece, []).append(Layer(array("I", data), until))
        return found

    def _save_marks(self, connection: Connection, name: str, table: Marks) -> None:
        for some in chunks(list(table.changed()), _AT_A_TIME):
            keys = [(piece, layer) for piece, layer, _ in some]
            there = tuple_(MARKS.c.piece, MARKS.c.layer).in_(keys)
            connection.execute(delete(MARKS).where(self._of_table(name), there))
            rows = [
                {"piece": piece, "layer": index, "until": layer.until, "marks": layer.marks.tobytes()}
                for piece, index, layer in some
            ]
            connection.execute(insert(MARKS), [dict(row, app=self.app, name=name) for row in rows])
        if table.made:
            self._forget(connection, name, table)
        table.saved()

    def _forget(self, connection: Connection, name: str, table: Marks) -> None:
        """Forget the marks of the oldest rows where there are too many."""
        position = self.table(name)
        pieces = position.pieces + table.made
        if pieces > marks.PIECES:
            # All layers of a piece, as those that stay would have to be numbered anew.
            query = select(MARKS.c.piece, MARKS.c.until).where(self._of_table(name)).order_by(MARKS.c.until)
            oldest = {row.piece: row.until for row in connection.execute(query.limit(pieces - marks.PIECES))}
            for some in chunks(sorted(oldest), _AT_A_TIME):
                where = self._of_table(name) & MARKS.c.piece.in_(some)
                untils = connection.execute(select(MARKS.c.until).where(where)).scalars().all()
                pieces -= connection.execute(delete(MARKS).where(where)).rowcount
                table.forgotten_until = max(table.forgotten_until, *untils)
            table.forgotten_id = max(table.forgotten_id, *((piece + 1) * marks.PIECE - 1 for piece in oldest))
            for piece in oldest:
                table.pieces.pop(piece, None)
        self.set_table(
            name,
            replace(
                position,
                pieces=pieces,
                forgotten_id=table.forgotten_id,
                forgotten_until=table.forgotten_until,
            ),
        )

    def _of_table(self, name: str) -> ColumnElement[bool]:
        return and_(MARKS.c.app == self.app, MARKS.c.name == name)


def hashed(*texts: str) -> int:
    """A hash that fits a BIGINT."""
    digest = hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items, so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))
