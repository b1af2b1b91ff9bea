"""Synthetic tables: patients and appointments whose rows come, change and go on a script.

Nobody in them is real: a name is a first name and a word for something made up.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

#: Rows in one statement, while a table is made.
_BATCH = 80
#: The same on every run.
_SEED = 12780
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

_FIRST = ("Ada", "Bela", "Cleo", "Dario", "Enid", "Fabio", "Gwen", "Hugo", "Ines", "Jonas", "Kaya", "Levi", "Mina")
_LAST = ("Dummy", "Example", "Fiction", "Invented", "Mock", "Nobody", "Placeholder", "Pretend", "Sample", "Unreal")
_TOWNS = ("Emptyville", "Exampleton", "Mockham", "Nowhere", "Sampleford", "Testburg")
_REASONS = ("check-up", "follow-up", "vaccination", "X-ray")


@dataclass(frozen=True)
class Kind:
    """A kind of table. Its key is called ID.

    Attributes:
        columns: the other columns, each with its type.
        rows: how many there are at the beginning.
        make: values for these columns.
    """

    columns: Mapping[str, str]
    rows: int
    make: Callable[[random.Random], Sequence[str]]


def _moment(chance: random.Random) -> str:
    return f"{_EPOCH + timedelta(minutes=chance.randrange(400_000)):%Y-%m-%d %H:%M:%S}"


def _patient(chance: random.Random) -> Sequence[str]:
    return f"{chance.choice(_FIRST)} {chance.choice(_LAST)}", chance.choice(_TOWNS), _moment(chance)


def _appointment(chance: random.Random) -> Sequence[str]:
    return _moment(chance), chance.choice(_REASONS)


KINDS = {
    "patients": Kind({"NAME": "VARCHAR", "TOWN": "VARCHAR", "UPDATED_AT": "TIMESTAMP"}, 240, _patient),
    "appointments": Kind({"STARTS_AT": "TIMESTAMP", "REASON": "VARCHAR"}, 60, _appointment),
}


@dataclass(frozen=True)
class Step:
    """A line of the script: what happens to a table, ``at`` seconds after the script began, in one transaction.

    Attributes:
        insert: rows that come.
        edit: rows that get other values.
        delete: rows that go: those that came last.
        lose: rows that go by accident: the oldest.
        restore: whether these come back as they were.
        add: a column that comes.
        drop: a column that goes.
    """

    at: float
    table: str = "patients"
    insert: int = 0
    edit: int = 0
    delete: int = 0
    lose: int = 0
    restore: bool = False
    add: str = ""
    drop: str = ""


#: The script, played again and again. It leaves as many rows as it found, and the same columns. In between nothing is
#: committed for a while, so that checks need no scan.
SCRIPT = (
    Step(10, insert=2),
    Step(25, edit=3),
    Step(40, delete=1),
    Step(55, insert=1, edit=2, delete=1),
    Step(65, "appointments", insert=3),
    Step(95, insert=5),
    Step(110, lose=96),
    Step(145, restore=True),
    Step(160, edit=1),
    Step(195, add="PHONE"),
    Step(210, delete=6),
    Step(225, drop="PHONE"),
    Step(240, "appointments", edit=1, delete=3),
)
SCRIPT_SECONDS = 270.0


class Table:
    """One table. Nobody else writes it, so what it holds is known without asking.

    Args:
        name: one of :data:`KINDS`.
        connection: a connection in autocommit that takes ``?`` for values, to Snowflake or to SQLite.
        place: how the table is called there.
        key: the type of its key there.
    """

    def __init__(self, name: str, connection: Any, place: str, key: str) -> None:
        self._kind = KINDS[name]
        self._cursor = connection.cursor()
        self._name = name
        self._place = place
        self._key = key
        self._chance = random.Random(f"{_SEED} {name}")
        self._rows: dict[int, Sequence[str]] = {}
        self._lost: dict[int, Sequence[str]] = {}
        self._next = 1

    def create(self) -> None:
        """Make it, or make it anew, with its first rows."""
        columns = ", ".join(f"{name} {kind}" for name, kind in {"ID": self._key, **self._kind.columns}.items())
        self._run(f"DROP TABLE IF EXISTS {self._place}")
        self._run(f"CREATE TABLE {self._place} ({columns})")
        self._run("BEGIN")
        for start in range(0, self._kind.rows, _BATCH):
            self._insert(self._new(min(_BATCH, self._kind.rows - start)))
        self._run("COMMIT")

    def follow(self, step: Step) -> str:
        """Do what a step says. Returns a sentence about it."""
        if step.add or step.drop:  # these end a transaction in many databases
            word, column = ("ADD", step.add) if step.add else ("DROP", step.drop)
            self._run(f"ALTER TABLE {self._place} {word} COLUMN {column}{' VARCHAR' if step.add else ''}")
            return f"{self._name}: column {column} {'added' if step.add else 'dropped'}"
        self._run("BEGIN")
        said = []
        if gone := self._delete(sorted(self._rows)[len(self._rows) - step.delete :]):
            said.append(f"{len(gone)} deleted")
        if lost := self._delete(sorted(self._rows)[: step.lose]):
            self._lost |= lost
            said.append(f"{len(lost)} deleted")
        for key in self._chance.sample(sorted(self._rows), step.edit):
            self._edit(key)
        if step.edit:
            said.append(f"{step.edit} edited")
        came = self._new(step.insert)
        if step.restore:
            came, self._lost = came | self._lost, {}
        if came:
            self._insert(came)
            said.append(f"{len(came)} inserted")
        self._run("COMMIT")
        return f"{self._name}: {', '.join(said)}"

    def _new(self, count: int) -> dict[int, Sequence[str]]:
        keys = range(self._next, self._next + count)
        self._next += count
        return {key: self._kind.make(self._chance) for key in keys}

    def _insert(self, rows: Mapping[int, Sequence[str]]) -> None:
        names = ", ".join(("ID", *self._kind.columns))
        row = f"({', '.join('?' * (1 + len(self._kind.columns)))})"
        values = [value for key, others in rows.items() for value in (key, *others)]
        self._run(f"INSERT INTO {self._place} ({names}) VALUES {', '.join([row] * len(rows))}", values)  # noqa: S608 - our own names
        self._rows |= rows

    def _edit(self, key: int) -> None:
        while (values := self._kind.make(self._chance)) == self._rows[key]:
            pass
        changes = ", ".join(f"{name} = ?" for name in self._kind.columns)
        self._run(f"UPDATE {self._place} SET {changes} WHERE ID = ?", (*values, key))  # noqa: S608
        self._rows[key] = values

    def _delete(self, keys: Sequence[int]) -> dict[int, Sequence[str]]:
        if keys:
            self._run(f"DELETE FROM {self._place} WHERE ID IN ({', '.join('?' * len(keys))})", keys)  # noqa: S608
        return {key: self._rows.pop(key) for key in keys}

    def _run(self, statement: str, values: Sequence[object] = ()) -> None:
        self._cursor.execute(statement, tuple(values))


def play(
    tables: Mapping[str, Table],
    announce: Callable[[str], None],
    wait: Callable[[float], object] = time.sleep,
    *,
    script: Iterable[Step] = SCRIPT,
    length: float = SCRIPT_SECONDS,
    speed: float = 1.0,
) -> None:
    """Play the script once.

    Args:
        tables: by name; made already.
        announce: told of every change, as a sentence.
        wait: waits so many seconds.
        script: the steps in order of time.
        length: seconds that it takes.
        speed: how many times faster than written it is played.
    """
    begin = time.monotonic()

    def until(at: float) -> None:
        wait(max(0.0, begin + at / speed - time.monotonic()))

    for step in script:
        until(step.at)
        announce(tables[step.table].follow(step))
    until(length)
