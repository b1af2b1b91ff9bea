"""Change detection in SQLite. Values are typed one by one there, so the type of each is part of its hash."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rounds.databases.session import Session
from rounds.errors import CollectorError
from rounds.tables.dialects.composed import ComposedDialect
from rounds.tables.dialects.dialect import Column, Plan
from rounds.tables.dialects.names import parts
from rounds.tables.layout import MODULUS

#: Columns that a function takes at a time: each is two arguments, and SQLite may allow no more than 127.
_AT_A_TIME = 60
#: Nanoseconds after which another change is sure to give a file another time.
_SETTLES = 2 * 10**9

_CANARIES = (
    "'e\u0301 \u00e9 \U0001f600'",
    "''",
    "NULL",
    "-9223372036854775808",
    "1e22",
    "0.1 + 0.2",
    "-0.0",
    "x'00ff'",
)


class SqliteDialect(ComposedDialect):
    """Change detection in SQLite. The hash and its sum are functions that :meth:`prepare` registers."""

    placeholder = "?"

    def __init__(self, session: Session, table: str, salt: str) -> None:
        super().__init__(session, table, salt)
        self._parts = parts(table, 2)

    def prepare(self) -> None:
        """Register the functions. They hold the salt."""
        connection = self.session.driver_connection  # type: ignore[attr-defined]  # SQLite's sessions have it
        row, key = ((self.salt + domain).encode() for domain in "rk")
        for name, function in {
            "rounds_part": encoded,
            "rounds_row": lambda *values: _number(row + encoded(*values)),
            "rounds_key": lambda *values: _number(key + encoded(*values)),
            "rounds_row_of": lambda *encodings: _number(row + b"".join(encodings)),
            "rounds_key_of": lambda *encodings: _number(key + b"".join(encodings)),
            "rounds_label": _label,
        }.items():
            connection.create_function(name, -1, function, deterministic=True)
        connection.create_aggregate("rounds_sum", 1, _Sum)

    def token(self) -> str | None:
        """The state of the database's file and of its write-ahead log, whichever table was changed."""
        schema = self._parts[0] if len(self._parts) > 1 else "main"
        paths = [path for _, name, path in self.session.all("PRAGMA database_list") if name == schema and path]
        if len(paths) != 1:
            return None
        token, newest = [], 0
        for path in (Path(paths[0]), Path(f"{paths[0]}-wal")):
            try:
                found = path.stat()
            except OSError:
                token.append("-")
                continue
            token.append(f"{found.st_ino} {found.st_size} {found.st_mtime_ns}")
            newest = max(newest, found.st_mtime_ns)
        return None if time.time_ns() - newest < _SETTLES else ", ".join(token)

    def columns(self) -> tuple[Column, ...]:
        """The table's columns."""
        *schema, table = self._parts
        prefix = f"PRAGMA {self.quote(schema[0])}." if schema else "PRAGMA "
        # Hidden columns are 1; generated ones are 2 and 3.
        found = [row for row in self.session.all(f"{prefix}table_xinfo({self.quote(table)})") if row[6] != 1]
        if not found:
            raise CollectorError("query", "the table does not exist: check table")
        key = [row for row in found if row[5]]
        indexes = self.session.all(f"{prefix}index_list({self.quote(table)})")
        # Only an INTEGER PRIMARY KEY that needs no index of its own holds integers and nothing else.
        rowid = len(key) == 1 and key[0][2].upper() == "INTEGER" and all(row[3] != "pk" for row in indexes)
        return tuple(
            Column(name, type_, rowid and bool(in_key), not (not_null or (rowid and in_key)))
            for _, name, type_, not_null, _, in_key, _ in found
        )

    def canary(self) -> str:
        """Row hashes of constants of every kind."""
        columns = [Column(f"c{index}", "", False, True) for index in range(len(_CANARIES))]
        selected = ", ".join(f"{value} AS c{index}" for index, value in enumerate(_CANARIES))
        hashes = ", ".join(self.row_hash([column]) for column in columns)
        row = self.session.all(f"SELECT {hashes}, {self.key_hash(columns)} FROM (SELECT {selected})")[0]
        return hashlib.sha256(repr(row).encode()).hexdigest()[:16]

    def digest_statement(self, plan: Plan) -> str:
        """As elsewhere, but over hashes and not over rows: with LIMIT SQLite does not sort the rows themselves."""
        largest = (f", {self.quote(plan.key[0].name)} AS m_", ", MAX(m_)") if plan.key_max else ("", "")
        row_hash = self.row_hash((*plan.key, *plan.columns))
        hashes = f"SELECT {self._bucket(plan)} AS b_, {row_hash} AS h_{largest[0]} FROM {self.relation} LIMIT -1"
        return f"SELECT b_, COUNT(*), rounds_sum(h_){largest[1]} FROM ({hashes}) GROUP BY 1"

    def value(self, column: Column, value: object) -> object:
        """A value as the column's affinity makes it."""
        if isinstance(value, int | float):
            declared = column.type.upper()
            if "INT" in declared:
                return value
            if any(part in declared for part in ("CHAR", "CLOB", "TEXT")):
                return str(value)
            if any(part in declared for part in ("REAL", "FLOA", "DOUB")):
                return float(value)
        return value

    # --- expressions ----------------------------------------------------------------------------------------------

    def key_hash(self, key: Sequence[Column]) -> str:
        """A keyed hash of the key."""
        return self._hash("rounds_key", key)

    def row_hash(self, columns: Sequence[Column]) -> str:
        """A keyed hash of these columns."""
        return self._hash("rounds_row", columns)

    def label(self, key: Sequence[Column]) -> str:
        """The key's text."""
        return f"rounds_label({self._arguments(key)})"

    def cast(self, column: Column) -> str:  # noqa: ARG002
        """A placeholder; the driver binds it with its type."""
        return "?"

    def remainder(self, value: str, divisor: int) -> str:
        """What is left of a division that truncates towards zero."""
        return f"{value} % {divisor}"

    def _hash(self, function: str, columns: Sequence[Column]) -> str:
        if len(columns) <= _AT_A_TIME:
            return f"{function}({self._arguments(columns)})"
        encodings = (
            f"rounds_part({self._arguments(columns[start : start + _AT_A_TIME])})"
            for start in range(0, len(columns), _AT_A_TIME)
        )
        return f"{function}_of({', '.join(encodings)})"

    def _arguments(self, columns: Sequence[Column]) -> str:
        """Per column whether it is text, and its value: text as bytes, because it may be no valid UTF-8."""
        names = (self.quote(column.name) for column in columns)
        return ", ".join(
            f"typeof({name}) = 'text', CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) ELSE {name} END"
            for name in names
        )


class _Sum:
    """The sum of row hashes, which SQLite's own would refuse beyond 64 bits."""

    def __init__(self) -> None:
        self._sum = 0

    def step(self, value: int) -> None:
        """Add one."""
        self._sum += value

    def finalize(self) -> int:
        """The sum modulo MODULUS."""
        return self._sum % MODULUS


def encoded(*values: Any) -> bytes:
    """The encoding of columns, each given as whether it is text, and its value."""
    encodings = []
    for is_text, value in zip(values[::2], values[1::2], strict=True):
        if value is None:
            encodings.append(b"N")
        elif isinstance(value, bytes):
            encodings.append(b"%s%d:%s" % (b"t" if is_text else b"b", len(value), value))
        elif isinstance(value, int):
            encodings.append(b"i%d," % value)
        else:
            encodings.append(b"r%s," % repr(value).encode())
    return b"".join(encodings)


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8]) % MODULUS


def _label(*values: Any) -> str:
    return ", ".join(map(_text, values[::2], values[1::2]))


def _text(is_text: int, value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace") if is_text else value.hex().upper()
    return "NULL" if value is None else str(value)
