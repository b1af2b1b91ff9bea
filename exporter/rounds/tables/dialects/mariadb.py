"""Change detection in MariaDB and MySQL."""

from __future__ import annotations

import hashlib
import re
import sys
from array import array
from collections.abc import Iterator, Sequence
from datetime import datetime

from rounds.databases.session import Session
from rounds.errors import CollectorError
from rounds.tables.dialects.composed import ComposedDialect, incomplete
from rounds.tables.dialects.dialect import Column, Digest, Plan
from rounds.tables.dialects.names import parts
from rounds.tables.layout import Layout, Pairs

#: Bytes that a bucket may have as one string.
_PACKED_MAX = 2**28
#: Seconds for which a change's time is not yet final: it has a resolution of one second.
_SETTLES = 2
_HIGHEST = 2**63 - 1
#: Ranges that one statement sums up.
_SUMMED = 128
#: Ranges of keys may be this much more than the table's rows would fill: an empty one costs little, many cost a lot.
_SPARSE = 16
#: Bytes of a pair: the key and the hash, the highest byte first.
_PAIR = 16
#: Clears the highest bit of a byte.
_POSITIVE = bytes(byte & 0x7F for byte in range(256))

_INTEGERS = frozenset(["tinyint", "smallint", "mediumint", "int", "bigint"])
#: Types whose text has no comma, so that it needs no length in front.
_PLAIN = frozenset(
    ["decimal", "double", "date", "datetime", "timestamp", "time", "year", "uuid", "inet4", "inet6", *_INTEGERS]
)
#: Types that are hashed as the number that they stand for.
_NUMBERED = frozenset(["bit", "enum", "set"])
_CHARACTERS = frozenset(["char", "varchar", "tinytext", "text", "mediumtext", "longtext"])
#: Character sets whose bytes are those of UTF-8, so that text of them is hashed as it is.
_UTF8 = frozenset(["utf8mb4", "utf8mb3", "utf8", "ascii"])
_TYPE = re.compile(r"(\w+)(\([\d,]+\))?")

_CANARIES = (
    ("varchar(9) CHARACTER SET utf8mb4", "'e\u0301 \u00e9 \U0001f600'"),
    ("varchar(9) CHARACTER SET latin1", "CONVERT('\u00e9 ' USING latin1)"),
    ("varchar(9) CHARACTER SET utf8mb4", "''"),
    ("varchar(9) CHARACTER SET utf8mb4", "NULL"),
    ("bigint(20)", "-9223372036854775808"),
    ("bigint(20) unsigned", "18446744073709551615"),
    ("decimal(12,4)", "CAST('-1.5' AS DECIMAL(12,4))"),
    ("double", "1e22"),
    ("double", "0.1e0 + 0.2e0"),
    ("float", "CAST(0.1e0 AS FLOAT)"),
    ("datetime(6)", "TIMESTAMP'2024-02-29 23:59:59.000001'"),
    ("time", "CAST('-01:02:03' AS TIME)"),
    ("blob", "x'00ff'"),
    ("int(11)", "NULL"),
)


class MariadbDialect(ComposedDialect):
    """Change detection in MariaDB and MySQL.

    The driver puts parameters into a statement's text, so the salt is set once as a variable of the session: the
    statements that are run again and again do not hold it.
    """

    placeholder = "%s"
    packs = True

    def __init__(self, session: Session, table: str, salt: str) -> None:
        super().__init__(session, table, salt)
        self._parts = parts(table, 2)
        self._database = self._parts[0] if len(self._parts) > 1 else None

    def prepare(self) -> None:
        """Keep the salt in the session, and let a bucket be as long as it needs to be."""
        self.session.all(
            "SET @rounds_row = CONCAT(%s, 'r'), @rounds_key = CONCAT(%s, 'k'), SESSION group_concat_max_len = %s",
            (self.salt, self.salt, _PACKED_MAX),
        )

    def token(self) -> str | None:
        """When the table was last changed, to the second. The server forgets it when it starts."""
        rows = self.session.all(
            "SELECT UPDATE_TIME, CREATE_TIME, NOW() FROM information_schema.TABLES"
            " WHERE TABLE_SCHEMA = COALESCE(%s, DATABASE()) AND TABLE_NAME = %s AND ENGINE = 'InnoDB'",
            (self._database, self._parts[-1]),
        )
        if len(rows) != 1:
            return None
        updated, created, now = rows[0]
        if not isinstance(updated, datetime) or (now - updated).total_seconds() < _SETTLES:
            return None
        return f"{updated.isoformat()} {created.isoformat() if created else ''}"

    def columns(self) -> tuple[Column, ...]:
        """The table's columns."""
        rows = self.session.all(f"SHOW FULL COLUMNS FROM {self.relation}")
        return tuple(_column(str(name), _text(type_), collation, null) for name, type_, collation, null, *_ in rows)

    def canary(self) -> str:
        """Row hashes of constants of every kind."""
        columns = [Column(f"c{index}", type_, False, True) for index, (type_, _) in enumerate(_CANARIES)]
        selected = ", ".join(
            f"{value} AS {self.quote(column.name)}" for column, (_, value) in zip(columns, _CANARIES, strict=True)
        )
        hashes = ", ".join(self.row_hash([column]) for column in columns)
        row = self.session.all(f"SELECT {hashes}, {self.key_hash(columns)} FROM (SELECT {selected}) AS constants_")[0]
        return hashlib.sha256(repr([int(value) for value in row]).encode()).hexdigest()[:16]

    def digests(self, plan: Plan) -> Iterator[tuple[int, Digest]]:
        """Every bucket that has rows.

        Grouping costs as much as half of the hashing, since groups are looked up in a temporary table row by row. So
        ranges of a primary key are summed up one by one.
        """
        buckets = self.ranges(plan)
        if buckets is None:
            yield from super().digests(plan)
            return
        key, size = self.quote(plan.key[0].name), plan.layout.size
        for start in range(0, len(buckets), _SUMMED):
            yield from self.read_digests(
                " UNION ALL ".join(
                    f"SELECT {bucket}, {self.summed(plan)} FROM {self.relation}"
                    f" WHERE {key} BETWEEN {bucket or 1 - size} AND {bucket + size - 1}"
                    for bucket in buckets[start : start + _SUMMED]
                )
            )

    def ranges(self, plan: Plan) -> Sequence[int] | None:
        """All buckets that may have rows; None where the table is not stored in the order of its key."""
        size, name = plan.layout.size, plan.key[0].name
        if plan.layout.kind != "range":
            return None
        index = self.session.all(f"SHOW INDEX FROM {self.relation} WHERE Key_name = 'PRIMARY' AND Seq_in_index = 1")
        if not index or _text(index[0][4]) != name:
            return None
        rows, lowest, highest = self.session.all(
            "SELECT (SELECT TABLE_ROWS FROM information_schema.TABLES"
            " WHERE TABLE_SCHEMA = COALESCE(%s, DATABASE()) AND TABLE_NAME = %s),"
            f" MIN({self.quote(name)}), MAX({self.quote(name)}) FROM {self.relation}",
            (self._database, self._parts[-1]),
        )[0]
        if lowest is None:
            return ()
        # Below zero buckets are cut the other way round, and few tables have such keys.
        if lowest <= -size or highest > _HIGHEST - size:
            return None
        if highest - lowest > _SPARSE * max(int(rows or 0), _SUMMED * size):
            return None
        return range(max(lowest, 0) // size * size, highest + 1, size)

    def packed_statement(self, plan: Plan, condition: str) -> str:
        """Buckets, their rows, and their pairs as bytes."""
        if plan.layout.kind == "range":
            key = f"LPAD(HEX(COALESCE({self.quote(plan.key[0].name)}, 0)), 16, '0')"
        else:
            key = self._digits("@rounds_key", plan.key)
        pair = f"UNHEX(CONCAT({key}, {self._digits('@rounds_row', (*plan.key, *plan.columns))}))"
        packed = f"GROUP_CONCAT({pair} SEPARATOR '')"
        return f"SELECT {self._bucket(plan)}, COUNT(*), {packed} FROM {self.relation}{condition} GROUP BY 1"

    def unpacked(self, text: bytes, layout: Layout) -> Pairs:
        """The pairs of a bucket. Hashes have their highest bit still."""
        if len(text) % _PAIR:
            raise incomplete()
        data = bytearray(text)
        data[_PAIR // 2 :: _PAIR] = data[_PAIR // 2 :: _PAIR].translate(_POSITIVE)
        if layout.kind == "hash":
            data[::_PAIR] = data[::_PAIR].translate(_POSITIVE)
        numbers = array("q", bytes(data))
        if sys.byteorder == "little":
            numbers.byteswap()
        return Pairs(numbers[0::2], numbers[1::2])

    # --- expressions ----------------------------------------------------------------------------------------------

    def quote(self, name: str) -> str:
        """A name, quoted."""
        return "`" + name.replace("`", "``").replace("%", "%%") + "`"

    def key_hash(self, key: Sequence[Column]) -> str:
        """A keyed hash of the key."""
        return self._hash("@rounds_key", key)

    def row_hash(self, columns: Sequence[Column]) -> str:
        """A keyed hash of these columns."""
        return self._hash("@rounds_row", columns)

    def label(self, key: Sequence[Column]) -> str:
        """The key's text."""
        texts = (f"COALESCE(CONVERT({self._label(column)} USING utf8mb4), 'NULL')" for column in key)
        return "CONCAT(" + ", ', ', ".join(texts) + ")"

    def cast(self, column: Column) -> str:
        """A placeholder as a value of this column."""
        kind, size = _kind(column)
        if kind in _INTEGERS and "zerofill" not in column.type:
            return f"CAST(%s AS {'UNSIGNED' if 'unsigned' in column.type else 'SIGNED'})"
        if kind in _CHARACTERS:
            text = f"CONVERT(%s USING {column.type.rpartition(' ')[2]})"
            return f"TRIM(TRAILING ' ' FROM {text})" if kind == "char" else text
        if kind in {"decimal", "date", "datetime", "time", "double", "float"} and "zerofill" not in column.type:
            return f"CAST(%s AS {kind}{'' if kind in {'double', 'float'} else size})"
        if kind == "timestamp":
            return f"CAST(%s AS DATETIME{size})"
        raise CollectorError("value", f"rows that are not in the table cannot be hashed: a column has the type {kind}")

    def _hash(self, salt: str, columns: Sequence[Column]) -> str:
        return f"(CAST(CONV({self._digits(salt, columns)}, 16, 10) AS UNSIGNED) & {_HIGHEST})"

    def _digits(self, salt: str, columns: Sequence[Column]) -> str:
        encoded = ", ".join(self._encoded(column) for column in columns)
        return f"LEFT(SHA2(CONCAT({salt}, {encoded}), 256), 16)"

    def _encoded(self, column: Column) -> str:
        text = self._label(column)
        if _kind(column)[0] not in _CHARACTERS:
            return f"IFNULL({text}, 'N'), ','"
        if column.type.rpartition(" ")[2] not in _UTF8:
            text = f"CONVERT({text} USING utf8mb4)"
        return f"IFNULL(CONCAT(LENGTH({text}), ':', {text}), 'N')"

    def _label(self, column: Column) -> str:
        """What a column's text is made from."""
        kind, _ = _kind(column)
        name = self.quote(column.name)
        if kind == "float":
            return f"CAST({name} AS DOUBLE)"
        if kind in _NUMBERED:
            return f"({name} + 0)"
        if kind in _PLAIN or kind in _CHARACTERS:
            return name
        return f"HEX({name})"


def _column(name: str, type_: str, collation: str | None, null: str) -> Column:
    kind = _TYPE.match(type_)
    if collation and kind and kind[1] in _CHARACTERS:
        type_ += f" CHARACTER SET {collation.partition('_')[0]}"
    return Column(name, type_, bool(kind) and kind[1] in _INTEGERS, null == "YES")  # type: ignore[index]


def _kind(column: Column) -> tuple[str, str]:
    """The type's name, and its size in brackets or nothing."""
    found = _TYPE.match(column.type)
    return (found[1].lower(), found[2] or "") if found else ("", "")


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
