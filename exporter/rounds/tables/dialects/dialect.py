"""What change detection asks of a database, whatever its kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rounds.databases.session import Session
from rounds.tables.layout import Layout, Pairs


@dataclass(frozen=True)
class Column:
    """A column as the database declares it. ``type`` is part of the fingerprint that hashes depend on.

    ``integer`` says that its values are whole numbers; of 64 bits, unless a value turns out to be larger.
    """

    name: str
    type: str
    integer: bool
    nullable: bool


@dataclass(frozen=True)
class Plan:
    """What is read of a table and how it is cut.

    Attributes:
        key: the key's columns.
        columns: the columns that the row hash covers besides the key.
        layout: which bucket a row is in.
        key_max: whether digests carry the largest key of a bucket.
    """

    key: tuple[Column, ...]
    columns: tuple[Column, ...]
    layout: Layout
    key_max: bool


@dataclass(frozen=True)
class Digest:
    """A bucket as the database sums it up: number of rows, sum of the row hashes modulo MODULUS, largest key."""

    rows: int
    sum: int
    key_max: int | None = None


class Dialect(ABC):
    """Change detection in one kind of database, over one session, for one table.

    Args:
        session: where statements run. Its settings (UTC, UTF-8, formats of dates and floats) are pinned by whoever
            opened it; what hashes need beyond that is pinned by :meth:`prepare`.
        table: the name as configured: up to three parts, each in double quotes or folded as the database folds names.
        salt: the installation's salt, sent as a binding and never part of a statement's text.
    """

    #: Part of the fingerprint: changed whenever an expression changes its value for the same row.
    version: ClassVar[int] = 1

    def __init__(self, session: Session, table: str, salt: str) -> None:
        self.session = session
        self.table = table
        self.salt = salt

    def prepare(self) -> None:
        """Make the session ready for the other methods, before any of them."""
        return

    @abstractmethod
    def token(self) -> str | None:
        """Something that is the same as before only if nothing was committed to the table since; cheap.

        None where that cannot be told, such as for a view, or right after a change.
        """

    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """The table's columns, in its order.

        Raises:
            CollectorError: ``query`` when the table does not exist or may not be read.
        """

    @abstractmethod
    def canary(self) -> str:
        """Row hashes of constants of every kind: when it changes, hashes changed for another reason than the rows."""

    @abstractmethod
    def extent(self, key: Column) -> tuple[int, int | None, int | None]:
        """The number of rows, the smallest and the largest value of an integer column."""

    @abstractmethod
    def count(self) -> int:
        """The number of rows."""

    @abstractmethod
    def digests(self, plan: Plan) -> Iterator[tuple[int, Digest]]:
        """Every bucket that has rows, in one scan.

        In one statement, unless the database is quicker in several: nothing depends on their being one snapshot.

        Raises:
            CollectorError: ``value`` when a key of a range layout does not fit 64 bits.
        """

    @abstractmethod
    def pairs(self, plan: Plan, buckets: Sequence[int] | None = None) -> Iterator[tuple[int, Pairs]]:
        """The rows of these buckets, or of all, one whole bucket after the other, streamed.

        A bucket that has no rows any more is left out. ``labels`` are there when the layout asks for them: the key's
        value, or its values joined by ", ", as text; ``NULL`` for NULL.

        Raises:
            CollectorError: ``value`` when what arrives for a bucket is incomplete.
        """

    @abstractmethod
    def hashes(self, plan: Plan, rows: Iterable[Sequence[object]]) -> Iterator[tuple[int, Pairs]]:
        """Pairs of rows that are not in the table, hashed by the database as if they were.

        The rows hold the key's values and then the columns', and are sent as bindings. Buckets come once each.
        """
