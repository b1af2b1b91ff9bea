"""What the dialects have in common: statements put together from the expressions in which they differ."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby, islice
from typing import Any, ClassVar

from rounds.databases.session import Row
from rounds.errors import CollectorError
from rounds.tables.dialects.dialect import Column, Dialect, Digest, Plan
from rounds.tables.layout import MODULUS, NULL_BUCKET, Layout, Pairs

#: Stands for the salt in a statement under construction; no name and no expression contains it.
SALT = "\0"
#: The lowest and the highest 64-bit integer.
LOWEST, HIGHEST = -(2**63), 2**63 - 1

#: Buckets that a statement reads in a range layout. Their union is at most as many ranges.
_RANGES = 256
#: Buckets that a statement reads in a hash layout. They are a list, and every one costs a scan in any case.
_LISTED = 4096
#: Statements that read all of a table by ranges, at most, so that a key without an index does not cost a scan for each.
_WALKS = 20
#: Rows, and values, that a statement of :meth:`ComposedDialect.hashes` holds at most.
_BATCH_ROWS, _BATCH_VALUES = 200, 6000


def too_large() -> CollectorError:
    """The error for a key beyond 64 bits in a range layout."""
    return CollectorError("value", "a key does not fit 64 bits: set keys to hashed")


def incomplete() -> CollectorError:
    """The error for a bucket of which the database sent only a part."""
    return CollectorError(
        "value", "a bucket arrived incomplete: too many rows share one key, or a limit of the server is low"
    )


def bucket_of(layout: Layout, key: int | None) -> int:
    """The bucket of a key (of a range layout), or of a keyed hash of it."""
    if layout.kind == "hash":
        return (key or 0) & (layout.size - 1)
    if key is None:
        return NULL_BUCKET
    return key - key % layout.size if key >= 0 else key + -key % layout.size


class ComposedDialect(Dialect):
    """A dialect that says how it writes expressions, and leaves it to this class to make statements of them.

    In every expression :data:`SALT` stands for the salt, which is sent as a binding.
    """

    #: The driver's placeholder.
    placeholder: ClassVar[str]
    #: Whether a bucket is sent as one string, which saves the driver's work for each row.
    packs: ClassVar[bool] = False

    #: The parts of the table's name.
    _parts: Sequence[str]

    @cached_property
    def relation(self) -> str:
        """The table's name, quoted."""
        return ".".join(map(self.quote, self._parts))

    def quote(self, name: str) -> str:
        """A name, quoted, as it stands in a statement."""
        return '"' + name.replace('"', '""') + '"'

    @abstractmethod
    def key_hash(self, key: Sequence[Column]) -> str:
        """A keyed hash of the key, from 0 below MODULUS."""

    @abstractmethod
    def row_hash(self, columns: Sequence[Column]) -> str:
        """A keyed hash of these columns, from 0 below MODULUS. It differs from :meth:`key_hash` of the same."""

    @abstractmethod
    def label(self, key: Sequence[Column]) -> str:
        """The key's text."""

    @abstractmethod
    def cast(self, column: Column) -> str:
        """A placeholder as a value of this column.

        Raises:
            CollectorError: ``value`` when this cannot be done for the column's type.
        """

    def integer(self, column: Column) -> str:
        """An integer column's value in arithmetic that holds it and all of 64 bits."""
        return self.quote(column.name)

    def remainder(self, value: str, divisor: int) -> str:
        """What is left of a division that truncates towards zero."""
        return f"MOD({value}, {divisor})"

    def masked(self, value: str, mask: int) -> str:
        """The bits of an integer that are in a mask."""
        return f"({value} & {mask})"

    def sum(self, value: str) -> str:
        """The exact sum of row hashes, or what it is modulo MODULUS."""
        return f"SUM({value})"

    def packed(self, key: str, row_hash: str) -> str:
        """Keys and hashes of a group as one text: numbers with commas between them."""
        raise NotImplementedError

    def unpacked(self, text: Any, layout: Layout) -> Pairs:  # noqa: ARG002
        """The pairs of a bucket that was sent as one text."""
        numbers = _numbers(text)
        if len(numbers) % 2:
            raise incomplete()
        return Pairs(numbers[0::2], numbers[1::2])

    # --- statements -----------------------------------------------------------------------------------------------

    def extent(self, key: Column) -> tuple[int, int | None, int | None]:
        """The number of rows, the smallest and the largest value of an integer column."""
        name = self.quote(key.name)
        rows, lowest, highest = self.session.all(f"SELECT COUNT(*), MIN({name}), MAX({name}) FROM {self.relation}")[0]
        return int(rows), _integer(lowest), _integer(highest)

    def count(self) -> int:
        """The number of rows."""
        return int(self.session.all(f"SELECT COUNT(*) FROM {self.relation}")[0][0])

    def digests(self, plan: Plan) -> Iterator[tuple[int, Digest]]:
        """Every bucket that has rows."""
        return self.read_digests(self.digest_statement(plan))

    def read_digests(self, statement: str) -> Iterator[tuple[int, Digest]]:
        """Run a statement that sums up buckets."""
        for bucket, rows, total, *largest in self.run(statement):
            # A range may turn out to be empty.
            if rows:
                yield (
                    _bucket(bucket),
                    Digest(int(rows), int(total) % MODULUS, _integer(largest[0]) if largest else None),
                )

    def digest_statement(self, plan: Plan) -> str:
        """Buckets and what :meth:`summed` says of them."""
        return f"SELECT {self._bucket(plan)}, {self.summed(plan)} FROM {self.relation} GROUP BY 1"

    def summed(self, plan: Plan) -> str:
        """Rows, the sum of their row hashes and, where the plan says so, the largest key."""
        largest = f", MAX({self.quote(plan.key[0].name)})" if plan.key_max else ""
        return f"COUNT(*), {self.sum(self.row_hash((*plan.key, *plan.columns)))}{largest}"

    def pairs(self, plan: Plan, buckets: Sequence[int] | None = None) -> Iterator[tuple[int, Pairs]]:
        """The rows of these buckets, or of all."""
        packs = self.packs and not plan.layout.labels
        read = self._read_packed if packs else self._read_rows
        for condition in self._conditions(plan, buckets, walk=packs):
            yield from read(plan, condition)

    def hashes(self, plan: Plan, rows: Iterable[Sequence[object]]) -> Iterator[tuple[int, Pairs]]:
        """Pairs of rows that are not in the table."""
        columns = (*plan.key, *plan.columns)
        one = "SELECT " + ", ".join(f"{self.cast(column)} AS {self.quote(column.name)}" for column in columns)
        found: dict[int, Pairs] = {}
        rest = iter(rows)
        while batch := list(islice(rest, max(1, min(_BATCH_ROWS, _BATCH_VALUES // len(columns))))):
            source = f"({' UNION ALL '.join([one] * len(batch))}) AS rows_"
            values = [self.value(column, value) for row in batch for column, value in zip(columns, row, strict=True)]
            for row in self.run(f"SELECT {self._selected(plan)} FROM {source}", values):
                _add(found.setdefault(bucket_of(plan.layout, _integer(row[0])), Pairs()), row)
        yield from found.items()

    def value(self, column: Column, value: object) -> object:  # noqa: ARG002
        """A value of a row that is not in the table, as it is bound."""
        return value

    def run(self, statement: str, parameters: Sequence[object] = ()) -> Iterator[Row]:
        """Stream a statement's rows. Its parameters come behind the salts."""
        salts = [self.salt] * statement.count(SALT)
        return self.session.stream(statement.replace(SALT, self.placeholder), [*salts, *parameters])

    # --- parts of statements --------------------------------------------------------------------------------------

    def _key(self, plan: Plan) -> str:
        return self.integer(plan.key[0]) if plan.layout.kind == "range" else self.key_hash(plan.key)

    def _bucket(self, plan: Plan) -> str:
        key = self._key(plan)
        if plan.layout.kind == "range":
            return f"{key} - {self.remainder(key, plan.layout.size)}"
        return self.masked(key, plan.layout.size - 1)

    def _selected(self, plan: Plan) -> str:
        label = f", {self.label(plan.key)} AS l_" if plan.layout.labels else ""
        return f"{self._key(plan)} AS k_, {self.row_hash((*plan.key, *plan.columns))} AS h_{label}"

    def _conditions(self, plan: Plan, buckets: Sequence[int] | None, *, walk: bool) -> Iterator[str]:
        """What the statements that read these buckets say behind the table's name; together each bucket once."""
        if plan.layout.kind == "hash":
            if buckets is None:
                yield ""
                return
            for start in range(0, len(buckets), _LISTED):
                listed = ", ".join(map(str, buckets[start : start + _LISTED]))
                yield f" WHERE {self._bucket(plan)} IN ({listed})"
            return
        size = _RANGES
        if buckets is None:
            if not walk:
                yield ""
                return
            buckets = [
                _bucket(bucket) for (bucket,) in self.run(f"SELECT DISTINCT {self._bucket(plan)} FROM {self.relation}")
            ]
            size = max(size, -(-len(buckets) // _WALKS))
        key = self.quote(plan.key[0].name)
        ordered = sorted(set(buckets) - {NULL_BUCKET})
        for start in range(0, len(ordered), size):
            for ranges in _runs(ordered[start : start + size], plan.layout.size):
                yield " WHERE " + " OR ".join(f"{key} BETWEEN {low} AND {high}" for low, high in ranges)
        if NULL_BUCKET in buckets:
            yield f" WHERE {key} IS NULL"

    def _read_rows(self, plan: Plan, condition: str) -> Iterator[tuple[int, Pairs]]:
        layout = plan.layout
        if layout.kind == "range":
            statement = f"SELECT {self._selected(plan)} FROM {self.relation}{condition} ORDER BY 1"
        else:
            order = self.masked("k_", layout.size - 1)
            unordered = f"(SELECT {self._selected(plan)} FROM {self.relation}{condition}) AS pairs_"
            statement = f"SELECT * FROM {unordered} ORDER BY {order}"
        for bucket, rows in groupby(self.run(statement), lambda row: bucket_of(layout, _integer(row[0]))):
            pairs = Pairs()
            for row in rows:
                _add(pairs, row)
            yield bucket, pairs

    def _read_packed(self, plan: Plan, condition: str) -> Iterator[tuple[int, Pairs]]:
        for bucket, rows, text in self.run(self.packed_statement(plan, condition)):
            pairs = self.unpacked(text, plan.layout)
            if len(pairs) != rows:
                raise incomplete()
            yield _bucket(bucket), pairs

    def packed_statement(self, plan: Plan, condition: str) -> str:
        """Buckets, their rows, and their pairs as one text."""
        packed = self.packed(self._key(plan), self.row_hash((*plan.key, *plan.columns)))
        return f"SELECT {self._bucket(plan)}, COUNT(*), {packed} FROM {self.relation}{condition} GROUP BY 1"


def _add(pairs: Pairs, row: Row) -> None:
    """Append a row of a key, a hash and perhaps a label. The key is 0 where it is NULL."""
    try:
        pairs.add(int(row[0] or 0), int(row[1]), *row[2:])
    except OverflowError:
        raise too_large() from None


def _numbers(text: str) -> array[int]:
    try:
        return array("q", map(int, text.split(",")))
    except OverflowError:
        raise too_large() from None
    except ValueError:
        raise incomplete() from None


def _integer(value: Any) -> int | None:
    return None if value is None else int(value)


def _bucket(value: Any) -> int:
    bucket = NULL_BUCKET if value is None else int(value)
    if not LOWEST <= bucket <= HIGHEST:
        raise too_large()
    return bucket


def _runs(buckets: Sequence[int], size: int) -> Iterator[list[tuple[int, int]]]:
    """Ranges of keys, both ends included, that cover these ascending buckets, at most :data:`_RANGES` at a time."""
    ranges: list[tuple[int, int]] = []
    for bucket in buckets:
        # MOD truncates towards zero: a bucket is (b - size, b] below zero, [b, b + size) above, and both at zero.
        low = bucket if bucket > 0 else max(bucket - size + 1, LOWEST)
        high = bucket if bucket < 0 else min(bucket + size - 1, HIGHEST)
        if ranges and ranges[-1][1] + 1 == low:
            ranges[-1] = (ranges[-1][0], high)
        else:
            if len(ranges) == _RANGES:
                yield ranges
                ranges = []
            ranges.append((low, high))
    if ranges:
        yield ranges
