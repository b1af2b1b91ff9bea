"""Change detection in PostgreSQL."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

from rounds.databases.session import Session
from rounds.errors import CollectorError
from rounds.tables.dialects.composed import SALT, ComposedDialect
from rounds.tables.dialects.dialect import Column, Plan
from rounds.tables.dialects.names import parts

_HIGHEST = 2**63 - 1
#: Values that a call of concat takes, well below what a function may have as arguments.
_AT_A_TIME = 80

_INTEGERS = frozenset(["smallint", "integer", "bigint"])
#: Types whose text has no comma, so that it needs no length in front.
_PLAIN = frozenset(
    ["numeric", "real", "double precision", "boolean", "date", "timestamp", "time", "uuid", "bytea", *_INTEGERS]
)

_CANARIES = (
    ("text", "'e\u0301 \u00e9 \U0001f600'"),
    ("text", "''"),
    ("text", "NULL"),
    ("bigint", "-9223372036854775808"),
    ("numeric(12,4)", "-1.5"),
    ("double precision", "1e22"),
    ("double precision", "0.1::double precision + 0.2::double precision"),
    ("double precision", "'-0'"),
    ("real", "0.1"),
    ("boolean", "true"),
    ("date", "'0044-03-15 BC'"),
    ("timestamp without time zone", "'2024-02-29 23:59:59.000001'"),
    ("timestamp with time zone", "'2024-02-29 23:59:59+02'"),
    ("interval", "'1 year -2 days 03:04:05'"),
    ("bytea", "'\\x00ff'"),
    ("jsonb", '\'{"b": [1, null], "a": "\u00e9"}\''),
    ("numeric[]", "'{1.0,NULL}'"),
)


#: A standby's statistics do not count what its primary wrote; a parent by inheritance has rows in other tables.
_WRITTEN = """
WITH parts_ AS (
  SELECT oid, relkind, relfilenode FROM pg_class WHERE oid = %s::regclass AND relkind = 'r' AND NOT relhassubclass
  UNION
  SELECT c.oid, c.relkind, c.relfilenode
  FROM pg_partition_tree(%s::regclass) AS t JOIN pg_class AS c ON c.oid = t.relid
)
SELECT
  NOT pg_is_in_recovery() AND current_setting('track_counts')::boolean
    AND bool_and(p.relkind = 'p' OR p.relkind = 'r' AND s.relid IS NOT NULL),
  SUM(COALESCE(s.n_tup_ins, 0) + COALESCE(s.n_tup_upd, 0) + COALESCE(s.n_tup_del, 0)),
  md5(string_agg(p.oid || '/' || p.relfilenode, ',' ORDER BY p.oid)),
  pg_postmaster_start_time()::text
    || COALESCE((SELECT stats_reset FROM pg_stat_database WHERE datname = current_database())::text, '')
FROM parts_ AS p LEFT JOIN pg_stat_all_tables AS s ON s.relid = p.oid
"""


class PostgresqlDialect(ComposedDialect):
    """Change detection in PostgreSQL."""

    placeholder = "%s::text"
    packs = True

    def __init__(self, session: Session, table: str, salt: str) -> None:
        super().__init__(session, table, salt)
        self._parts = parts(table, 3, str.lower)

    def prepare(self) -> None:
        """Check that the table is in the session's database, and learn the database's encoding.

        Raises:
            CollectorError: ``query`` when the name names another database.
        """
        database, encoding = self.session.all("SELECT current_database(), current_setting('server_encoding')")[0]
        if len(self._parts) > 2 and self._parts[0] != database:  # noqa: PLR2004  # database, schema and table
            raise CollectorError(
                "query", "the table is in another database than its source: check table, or the source's database"
            )
        self._utf8 = encoding == "UTF8"

    def token(self) -> str | None:
        """The statistics' counts of written rows, over all partitions; None for what is no plain or partitioned table.

        Sessions report these counts late: a second after a change while they go on working, within ten when they are
        idle, before version 15 perhaps only with their next statement. A change may so be seen a check late, but is
        not lost: its report moves the token.
        """
        rows = self.session.all(_WRITTEN, (self._regclass, self._regclass))
        plain, written, files, since = rows[0]
        return f"{written} {files} {since}" if plain else None

    def columns(self) -> tuple[Column, ...]:
        """The table's columns."""
        rows = self.session.all(
            "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (self._regclass,),
        )
        return tuple(Column(name, type_, type_ in _INTEGERS, not not_null) for name, type_, not_null in rows)

    def canary(self) -> str:
        """Row hashes of constants of every kind."""
        columns = [Column(f"c{index}", type_, False, True) for index, (type_, _) in enumerate(_CANARIES)]
        selected = ", ".join(
            f"({value})::{column.type} AS {column.name}" for column, (_, value) in zip(columns, _CANARIES, strict=True)
        )
        hashes = ", ".join(self.row_hash([column]) for column in columns)
        statement = f"SELECT {hashes}, {self.key_hash(columns)} FROM (SELECT {selected}) AS constants_"
        return hashlib.sha256(repr(next(iter(self.run(statement)))).encode()).hexdigest()[:16]

    def packed_statement(self, plan: Plan, condition: str) -> str:
        """As elsewhere, but over hashes and not over rows: with OFFSET each is computed once."""
        rows = f"SELECT {self._selected(plan)} FROM {self.relation}{condition} OFFSET 0"
        if plan.layout.kind == "range":
            bucket = f"k_ - {self.remainder('k_', plan.layout.size)}"
        else:
            bucket = self.masked("k_", plan.layout.size - 1)
        return f"SELECT {bucket}, COUNT(*), {self.packed('k_', 'h_')} FROM ({rows}) AS pairs_ GROUP BY 1"

    # --- expressions ----------------------------------------------------------------------------------------------

    @cached_property
    def relation(self) -> str:
        """The table's name, quoted; without the database, which is the session's."""
        return ".".join(map(self.quote, self._parts[-2:]))

    @property
    def _regclass(self) -> str:
        return self.relation.replace("%%", "%")

    def quote(self, name: str) -> str:
        """A name, quoted."""
        return '"' + name.replace('"', '""').replace("%", "%%") + '"'

    def key_hash(self, key: Sequence[Column]) -> str:
        """A keyed hash of the key."""
        return self._hash("k", key)

    def row_hash(self, columns: Sequence[Column]) -> str:
        """A keyed hash of these columns."""
        return self._hash("r", columns)

    def label(self, key: Sequence[Column]) -> str:
        """The key's text."""
        return " || ', ' || ".join(f"COALESCE({self._text(column)}, 'NULL')" for column in key)

    def cast(self, column: Column) -> str:
        """A placeholder as a value of this column."""
        return f"%s::text::{column.type.replace('%', '%%')}"

    def integer(self, column: Column) -> str:
        """An integer column's value as 64 bits."""
        return f"{self.quote(column.name)}::bigint"

    def value(self, column: Column, value: object) -> object:  # noqa: ARG002
        """A value as the text that its type is made from."""
        return None if value is None else str(value)

    def remainder(self, value: str, divisor: int) -> str:
        """What is left of a division that truncates towards zero."""
        return f"{value} %% {divisor}"

    def packed(self, key: str, row_hash: str) -> str:
        """Keys and hashes of a group as one text."""
        return f"string_agg(COALESCE({key}, 0) || ',' || {row_hash}, ',')"

    def _hash(self, domain: str, columns: Sequence[Column]) -> str:
        encoded = (
            f"{SALT} || '{domain}' || {_concatenated([part for column in columns for part in self._encoded(column)])}"
        )
        digest = f"substr(encode(sha256(convert_to({encoded}, 'UTF8')), 'hex'), 1, 16)"
        return f"(('x' || {digest})::bit(64)::bigint & {_HIGHEST})"

    def _encoded(self, column: Column) -> list[str]:
        text = self._text(column)
        if _kind(column) in _PLAIN:
            return [f"COALESCE({text}, 'N')", "','"]
        length = f"octet_length({text})" if self._utf8 else f"octet_length(convert_to({text}, 'UTF8'))"
        return [f"COALESCE({length} || ':' || {text}, 'N')"]

    def _text(self, column: Column) -> str:
        name = self.quote(column.name)
        return f"encode({name}, 'hex')" if column.type == "bytea" else f"{name}::text"


def _kind(column: Column) -> str:
    """The type's name, without its size and what it says of time zones; arrays are no kind of their own."""
    type_ = column.type
    if type_.endswith("]"):
        return type_
    return type_.partition("(")[0].partition(" with")[0]


def _concatenated(values: Sequence[str]) -> str:
    """Texts as one, however many."""
    if len(values) <= _AT_A_TIME:
        return f"concat({', '.join(values)})"
    return " || ".join(_concatenated(values[at : at + _AT_A_TIME]) for at in range(0, len(values), _AT_A_TIME))
