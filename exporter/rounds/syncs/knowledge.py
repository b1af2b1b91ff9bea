"""What the ledger knows of one log, as a copy in memory that notes what changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from sqlalchemy import Column, Connection, Table, delete, insert, select, update

from rounds.errors import CollectorError
from rounds.syncs.facts import Facts
from rounds.syncs.runs import hashed, is_status
from rounds.syncs.schema import LOOKS, NEWEST, ROWS

#: Organisation and operation; the first as it is known, the second as its label.
Key: TypeAlias = tuple[str, str]

#: Values in one statement.
_AT_A_TIME = 500

Item = TypeVar("Item")
Name = TypeVar("Name")


@dataclass(frozen=True)
class Row:
    """A row that has been seen. One that has an ``id`` is followed; see :data:`rounds.syncs.schema.ROWS`."""

    started: float | None
    seen: float
    status: str
    id: str | None
    counted: bool
    problems: int = 0


@dataclass
class Knowledge:
    """What is known of a log.

    Attributes:
        sync: its name.
        version: grows with each change that was kept; 0 before the first.
        log_hash: which log it is.
        since: rows that began before are not looked for any more.
        rows: rows that have been seen, by their hash.
        facts: of each organisation and operation.
        labelled: organisations that have labels.
    """

    sync: str
    version: int = 0
    log_hash: int = 0
    since: float = 0.0
    rows: dict[int, Row] = field(default_factory=dict)
    facts: dict[Key, Facts] = field(default_factory=dict)
    labelled: frozenset[str] = frozenset()
    _changed_rows: set[int] = field(default_factory=set)
    _changed_facts: set[Key] = field(default_factory=set)
    _looks_changed: bool = False

    @classmethod
    def load(cls, connection: Connection, sync: str) -> Knowledge:
        """What the ledger has."""
        look = connection.execute(select(LOOKS).where(LOOKS.c.sync == sync)).one_or_none()
        if look is None:
            return cls(sync)
        rows = connection.execute(select(ROWS).where(ROWS.c.sync == sync))
        newest = connection.execute(select(NEWEST).where(NEWEST.c.sync == sync)).all()
        return cls(
            sync,
            look.version,
            look.log_hash,
            look.since,
            {
                row.row_hash: Row(row.started, row.seen, row.status, row.row_id, row.counted, row.problems)
                for row in rows
            },
            {(row.organization, row.operation): Facts.read(row.facts, row.newest) for row in newest},
            frozenset(row.organization for row in newest if row.labelled),
        )

    @property
    def changed(self) -> bool:
        """Whether it differs from the ledger."""
        return bool(self._looks_changed or self._changed_rows or self._changed_facts)

    def is_current(self, connection: Connection) -> bool:
        """Whether the ledger still has what this is a copy of."""
        found = connection.execute(select(LOOKS.c.version).where(LOOKS.c.sync == self.sync)).scalar()
        return (found or 0) == self.version

    def begin(self, log_hash: int) -> None:
        """Nothing of the rows is known any more; of another log, nothing at all."""
        for row in list(self.rows):
            self.set_row(row, None)
        if log_hash != self.log_hash:
            for key in list(self.facts):
                self.set_facts(key, None)
        self.log_hash, self.since, self._looks_changed = log_hash, 0.0, True

    def move(self, since: float) -> None:
        """Go on to another start; only forwards."""
        if since > self.since:
            self.since, self._looks_changed = since, True

    def set_row(self, row_hash: int, row: Row | None) -> None:
        """A row is known like this, or forgotten."""
        if row == self.rows.get(row_hash):
            return
        self._changed_rows.add(row_hash)
        _put(self.rows, row_hash, row)

    def set_facts(self, key: Key, facts: Facts | None) -> None:
        """The same for what is known of an organisation and operation."""
        if facts == self.facts.get(key):
            return
        self._changed_facts.add(key)
        _put(self.facts, key, facts)

    def set_labelled(self, organizations: frozenset[str]) -> None:
        """Exactly these have labels."""
        changed = organizations ^ self.labelled
        if changed:
            self._changed_facts.update(key for key in self.facts if key[0] in changed)
            self.labelled = organizations

    def save(self, connection: Connection) -> None:
        """Keep what changed, in a writing transaction.

        Raises:
            CollectorError: ``internal`` when another exporter was quicker; nothing must be committed then.
        """
        look = {"version": self.version + 1, "log_hash": self.log_hash, "since": self.since}
        if not self.is_current(connection):
            raise CollectorError("internal", "another exporter has looked at the log meanwhile")
        if self.version:
            connection.execute(update(LOOKS).where(LOOKS.c.sync == self.sync).values(look))
        else:
            connection.execute(insert(LOOKS).values(sync=self.sync, **look))
        self._save_rows(connection)
        self._save_facts(connection)
        self._changed_rows.clear()
        self._changed_facts.clear()
        self._looks_changed = False
        self.version += 1

    def _save_rows(self, connection: Connection) -> None:
        self._replace(
            connection,
            ROWS,
            ROWS.c.row_hash,
            self._changed_rows,
            (
                {
                    "sync": self.sync,
                    "row_hash": row_hash,
                    "started": row.started,
                    "seen": row.seen,
                    "status": row.status,
                    "row_id": row.id,
                    "counted": row.counted,
                    "problems": row.problems,
                }
                for row_hash in sorted(self._changed_rows)
                if (row := self.rows.get(row_hash))
            ),
        )

    def _save_facts(self, connection: Connection) -> None:
        hashes = {key: hashed(self.sync, *key) for key in self._changed_facts}
        self._replace(
            connection,
            NEWEST,
            NEWEST.c.key_hash,
            hashes.values(),
            (
                {
                    "key_hash": hashes[key],
                    "sync": self.sync,
                    "organization": key[0],
                    "operation": key[1],
                    "newest": facts.newest,
                    "labelled": key[0] in self.labelled,
                    "facts": facts.written(),
                }
                for key in sorted(self._changed_facts)
                if (facts := self.facts.get(key))
            ),
        )

    def _replace(
        self,
        connection: Connection,
        table: Table,
        column: Column[int],
        keys: Iterable[int],
        rows: Iterable[Mapping[str, object]],
    ) -> None:
        for some in chunks(sorted(keys), _AT_A_TIME):
            connection.execute(delete(table).where(table.c.sync == self.sync, column.in_(some)))
        for group in chunks(list(rows), _AT_A_TIME):
            connection.execute(insert(table), group)


def kept_status(status: str) -> str:
    """A status as the ledger keeps it: one that nobody knows may be any text, so it is only told from others."""
    return status if is_status(status) else f"?{hashed(status):x}"


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items, so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _put(items: dict[Name, Item], name: Name, item: Item | None) -> None:
    if item is None:
        items.pop(name, None)
    else:
        items[name] = item
