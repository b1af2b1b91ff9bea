"""Which rows of a table have been read, whatever happens to the file that they are in.

A table's ids alone do not tell: a file that was begun anew, or restored from an older copy, gives out ids again that
were read before, for other rows. So of each row that was read a mark is kept: four bytes of a hash of what never
changes in it. Rows of files that took each other's place stand in layers above each other, so that a file that comes
back is known again. A new row passes for one that was read once in four thousand million.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from rounds.databases.session import Row

#: Ids in one piece of the marks.
PIECE = 1024
#: Files with the same ids that are told apart; of more, the oldest one is forgotten where they overlap.
LAYERS = 16
#: Pieces of one table that are kept, a million rows; of older rows only id and time are known.
PIECES = 1024
#: Pieces that are held in memory.
_HELD = 64


@dataclass
class Layer:
    """Marks of the rows of one piece; 0 where none was read."""

    marks: array[int]
    until: str = ""
    changed: bool = False

    @classmethod
    def empty(cls) -> Layer:
        """Without any."""
        return cls(array("I", bytes(4 * PIECE)))


@dataclass
class Marks:
    """The marks of one table.

    Args:
        load: gets pieces of the marks by their numbers; those that were never made are left out.

    Attributes:
        forgotten_id: rows up to this id, whose time is not after ``forgotten_until``, count as read.
        made: layers that were made since the marks were saved.
    """

    load: Callable[[Iterable[int]], Mapping[int, list[Layer]]]
    forgotten_id: int = 0
    forgotten_until: str = ""
    made: int = 0
    pieces: dict[int, list[Layer]] = field(default_factory=dict)

    def fetch(self, ids: Iterable[int]) -> None:
        """Get the marks of these ids into memory, as each must be before it is asked for."""
        numbers = {number // PIECE for number in ids}
        missing = numbers - self.pieces.keys()
        if missing:
            found = self.load(missing)
            self.pieces.update({number: found.get(number, []) for number in missing})

    def has(self, number: int, mark: int, at: str) -> bool:
        """Whether a row was read.

        Args:
            number: its id.
            mark: its mark.
            at: its time, as a text that can be compared with others of the table.
        """
        slot = number % PIECE
        if any(layer.marks[slot] == mark for layer in self.pieces[number // PIECE]):
            return True
        return number <= self.forgotten_id and at <= self.forgotten_until

    def add(self, number: int, mark: int, at: str) -> bool:
        """Note that a row was read; whether that is new."""
        if self.has(number, mark, at):
            return False
        slot, layers = number % PIECE, self.pieces[number // PIECE]
        layer = next((each for each in layers if not each.marks[slot]), None)
        if layer is None:
            if len(layers) < LAYERS:
                layer = Layer.empty()
                layers.append(layer)
                self.made += 1
            else:
                layer = min(layers, key=lambda each: each.until)
                layer.marks, layer.until = Layer.empty().marks, ""
        layer.marks[slot] = mark
        layer.until = max(layer.until, at)
        layer.changed = True
        return True

    def changed(self) -> Iterable[tuple[int, int, Layer]]:
        """Pieces and layers that differ from what was loaded."""
        for number, layers in self.pieces.items():
            for index, layer in enumerate(layers):
                if layer.changed:
                    yield number, index, layer

    def saved(self) -> None:
        """All of it is in the ledger; what was used least lately leaves the memory."""
        for _, _, layer in self.changed():
            layer.changed = False
        self.made = 0
        for number in list(self.pieces)[:-_HELD]:
            del self.pieces[number]


def mark_of(row: Row) -> int:
    """A row's mark, made of values that never change; not 0."""
    digest = hashlib.blake2b(repr(row).encode("utf-8", "backslashreplace"), digest_size=4).digest()
    return int.from_bytes(digest, "big") or 1
