"""Change detection in Snowflake."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from rounds.databases.session import Session
from rounds.errors import CollectorError
from rounds.tables.dialects.composed import SALT, ComposedDialect
from rounds.tables.dialects.dialect import Column
from rounds.tables.dialects.names import parts

_HIGHEST = 2**63 - 1
_INTEGER = re.compile(r"NUMBER\(\d+,\s*0\)")

_CANARIES = (
    "'e\u0301 \u00e9 \U0001f600'",
    "''",
    "CAST(NULL AS VARCHAR)",
    "CAST(-9223372036854775808 AS NUMBER(38,0))",
    "CAST(-1.5 AS NUMBER(12,4))",
    "CAST(1e22 AS DOUBLE)",
    "CAST(0.1 AS DOUBLE) + CAST(0.2 AS DOUBLE)",
    "TRUE",
    "CAST('2024-02-29' AS DATE)",
    "CAST('2024-02-29 23:59:59.000001' AS TIMESTAMP_NTZ)",
    "TO_BINARY('00FF', 'HEX')",
)


class SnowflakeDialect(ComposedDialect):
    """Change detection in Snowflake.

    Its HASH knows types and NULL, so rows need no text form; the salt and SHA2 around it make it one that nobody can
    try values on without the salt. What runs often, :meth:`token` and :meth:`columns`, wakes no warehouse.
    """

    placeholder = "?"

    def __init__(self, session: Session, table: str, salt: str) -> None:
        super().__init__(session, table, salt)
        self._parts = parts(table, 3, str.upper)

    def token(self) -> str | None:
        """Snowflake's own indicator of committed changes."""
        name = self.relation.replace("\\", "\\\\").replace("'", "''")
        try:
            rows = self.session.all(f"SELECT SYSTEM$LAST_CHANGE_COMMIT_TIME('{name}')")
        except CollectorError as error:
            if error.reason != "query":
                raise
            return None
        return str(rows[0][0]) if rows and rows[0][0] is not None else None

    def columns(self) -> tuple[Column, ...]:
        """The table's columns."""
        rows = self.session.all(f"DESCRIBE TABLE {self.relation}")
        return tuple(
            Column(str(name), str(type_), _INTEGER.fullmatch(str(type_)) is not None, null == "Y")
            for name, type_, _, null, *_ in rows
        )

    def canary(self) -> str:
        """Row hashes of constants of every kind."""
        columns = [Column(f"C{index}", "", False, True) for index in range(len(_CANARIES))]
        selected = ", ".join(
            f"{value} AS {self.quote(column.name)}" for column, value in zip(columns, _CANARIES, strict=True)
        )
        hashes = ", ".join(self.row_hash([column]) for column in columns)
        statement = f"SELECT {hashes}, {self.key_hash(columns)} FROM (SELECT {selected}) AS constants_"
        row = next(iter(self.run(statement)))
        return hashlib.sha256(repr([int(value) for value in row]).encode()).hexdigest()[:16]

    # --- expressions ----------------------------------------------------------------------------------------------

    def key_hash(self, key: Sequence[Column]) -> str:
        """A keyed hash of the key."""
        return self._hash("k", key)

    def row_hash(self, columns: Sequence[Column]) -> str:
        """A keyed hash of these columns."""
        return self._hash("r", columns)

    def label(self, key: Sequence[Column]) -> str:
        """The key's text."""
        return " || ', ' || ".join(f"COALESCE(TO_VARCHAR({self.quote(column.name)}), 'NULL')" for column in key)

    def cast(self, column: Column) -> str:
        """A placeholder as a value of this column."""
        return f"CAST(? AS {column.type})"

    def masked(self, value: str, mask: int) -> str:
        """The bits of an integer that are in a mask."""
        return f"BITAND({value}, {mask})"

    def sum(self, value: str) -> str:
        """The exact sum of row hashes."""
        return f"SUM(CAST({value} AS NUMBER(38,0)))"

    def _hash(self, domain: str, columns: Sequence[Column]) -> str:
        typed = f"HASH({', '.join(self.quote(column.name) for column in columns)})"
        return f"BITAND(HASH(SHA2({SALT} || '{domain}' || TO_VARCHAR({typed}), 256)), {_HIGHEST})"
