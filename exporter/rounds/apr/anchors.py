"""Knows a table again: by rows that were seen in it and are still what they were.

A table that was emptied and filled again, or is another database's, has other rows under the same ids. Its highest id
alone does not tell, since it may have been filled beyond the old one. So a few rows are remembered, the first and the
last that were seen in each half day, as keyed hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from sqlalchemy import Connection, delete, insert, select

from rounds.apr.schema import ANCHORS

#: Seconds of a slot; of each the first and the last row are kept.
_SLOT = 12 * 3600
#: Slots that are kept.
_SLOTS = 16

#: What a row keeps for as long as it is there: its date, a number, its time.
Mark: TypeAlias = Sequence[object]


class Anchors:
    """The remembered rows of one table.

    Args:
        connection: of a transaction on the ledger.
        table: the table's name.
        salt: the installation's.
    """

    def __init__(self, connection: Connection, table: str, salt: str) -> None:
        self._table = table
        self._key = salt.encode()[: hashlib.blake2b.MAX_KEY_SIZE]
        rows = connection.execute(select(ANCHORS).where(ANCHORS.c.table_name == table))
        self._known: dict[tuple[int, str], tuple[int, str]] = {
            (row.slot, row.place): (row.row_id, row.mark) for row in rows
        }
        self._new: dict[tuple[int, str], tuple[int, str]] = {}
        self._forgotten = False

    @property
    def ids(self) -> list[int]:
        """The ids of the remembered rows."""
        return sorted({row_id for row_id, _ in self._known.values()})

    def replaced(self, found: Mapping[int, Mark], *, shrunk: bool) -> bool:
        """Whether another table took this one's place.

        Args:
            found: what now stands under :attr:`ids`, as far as anything does.
            shrunk: whether the highest id is lower than it was.
        """
        present = {(row_id, mark) for row_id, mark in self._known.values() if row_id in found}
        if any(self._hash(row_id, found[row_id]) == mark for row_id, mark in present):
            return False  # one row that stayed is enough: others may have been corrected by hand
        return bool(present) or shrunk

    def forget(self) -> None:
        """The table was replaced."""
        self._known, self._forgotten = {}, True

    def remember(self, now: float, row_id: int, mark: Mark) -> None:
        """Remember a row that was just counted. Called for the first and the last ones of a run."""
        slot = int(now // _SLOT)
        hashed = (row_id, self._hash(row_id, mark))
        if (slot, "first") not in self._known and (slot, "first") not in self._new:
            self._new[slot, "first"] = hashed
        self._new[slot, "last"] = hashed

    def save(self, connection: Connection) -> None:
        """Keep them, in the transaction that saves the cursor."""
        if not self._new and not self._forgotten:
            return
        kept = {**self._known, **self._new}
        slots = sorted({slot for slot, _ in kept})[-_SLOTS:]
        connection.execute(delete(ANCHORS).where(ANCHORS.c.table_name == self._table))
        rows = [
            {"table_name": self._table, "slot": slot, "place": place, "row_id": row_id, "mark": mark}
            for (slot, place), (row_id, mark) in kept.items()
            if slot in slots
        ]
        if rows:
            connection.execute(insert(ANCHORS), rows)

    def _hash(self, row_id: int, mark: Mark) -> str:
        text = "\0".join(map(str, (row_id, *mark)))
        return hashlib.blake2b(text.encode(), digest_size=8, key=self._key).hexdigest()
