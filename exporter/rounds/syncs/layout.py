"""What a log's table has: its columns under the names that the configuration gives them, how they keep times, indexes.

Asked of the database's own catalogue, which takes a few milliseconds however large the table is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Literal, TypeAlias

from rounds.databases.session import Row, Session
from rounds.errors import CollectorError
from rounds.syncs.config import Columns, Sync
from rounds.syncs.naming import parts_of

#: Without these a row says nothing.
REQUIRED = ("id", "started_at", "status", "operation_type")
OPTIONAL = tuple(name for name in Columns.model_fields if name not in REQUIRED)
TIMES = ("started_at", "completed_at", "updated_at")

#: What nothing is lost without: rows of one system, and what ``metadata`` has too.
_SPARE: Mapping[str, tuple[str, ...]] = {"source_system": (), "updated_at": ("metadata",)}

NO_START_INDEX = "no index on started_at"
NO_ID_INDEX = "no index on id"

#: How a column keeps a time. ``aware``: with its zone, or in a zone that is known; ``naive``: a date and time of some
#: zone; ``number``: Unix seconds; ``text``; ``any``: a value can be a text or a number, as in SQLite.
Storage: TypeAlias = Literal["aware", "naive", "number", "text", "any"]

#: Characters that every kind takes for an index's name, if they take bytes of UTF-8 too.
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Column:
    """A column as the database knows it.

    Attributes:
        name: as the database spells it.
        type: as it declares it, in lower case, without length; empty where it declares none.
        nullable: whether it may be NULL.
    """

    name: str
    type: str
    nullable: bool


@dataclass(frozen=True)
class Table:
    """A table as the database knows it.

    Attributes:
        name: schema and name, as the database spells them.
        columns: all that may be read, by name.
        leading: the columns that an index over all rows begins with.
        indexed: whether it can have indexes of its own, which a view cannot.
    """

    name: tuple[str, str]
    columns: Mapping[str, Column]
    leading: frozenset[str] = frozenset()
    indexed: bool = True


@dataclass(frozen=True)
class Layout:
    """What is there of what is read.

    Attributes:
        table: its name, quoted, with its schema.
        columns: those that are there, by the names that the configuration's ``columns`` has.
        storage: how ``started_at`` keeps a time.
        problems: what is missing, though the rest can be read.
        remedies: the statement to run, by problem.
    """

    table: str
    columns: Mapping[str, Column]
    storage: Storage
    problems: frozenset[str] = frozenset()
    remedies: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class Catalogue(ABC):
    """What a kind of database says about its tables."""

    _quote: ClassVar[str] = '"'
    #: In a statement, a percent sign in a name is doubled for drivers that take it for a placeholder's.
    _percent: ClassVar[str] = "%%"

    def __init__(self, session: Session) -> None:
        self._session = session

    @abstractmethod
    def find(self, parts: tuple[str, ...]) -> Table | None:
        """A table by its name, None where there is none, or none that may be read."""

    @abstractmethod
    def storage(self, column: Column) -> Storage:
        """How a column keeps a time."""

    def quoted(self, *names: str) -> str:
        """Names for a statement, joined by points."""
        quote = self._quote
        return ".".join(quote + name.replace(quote, quote * 2).replace("%", self._percent) + quote for name in names)

    def index(self, table: Table, column: Column) -> str:
        """The statement that makes an index on a column, for a person to run."""
        name = self.quoted(f"{table.name[-1]}_{column.name}"[:_LONGEST_NAME])
        statement = f"CREATE INDEX {name} ON {self._target(table)} ({self.quoted(column.name)})"
        return statement.replace(self._percent, "%")

    def _target(self, table: Table) -> str:
        return self.quoted(*table.name)


class _PostgresqlCatalogue(Catalogue):
    def index(self, table: Table, column: Column) -> str:
        """As for other kinds, without a lock that holds up whoever writes."""
        return super().index(table, column).replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY", 1)

    def find(self, parts: tuple[str, ...]) -> Table | None:
        *schema, name = parts
        where = "n.nspname IN (%s, lower(%s))" if schema else "pg_table_is_visible(c.oid)"
        found = self._session.all(
            "SELECT c.oid, n.nspname, c.relname, c.relkind IN ('r', 'p', 'm')"
            " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            f" WHERE c.relname IN (%s, lower(%s)) AND c.relkind IN ('r', 'p', 'm', 'v', 'f') AND {where}"
            " ORDER BY c.relname = %s DESC, n.nspname LIMIT 1",
            (name, name, *(schema * 2), name),
        )
        if not found:
            return None
        oid, space, name, indexed = found[0]
        columns = self._session.all(
            "SELECT attname, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL), NOT attnotnull"
            " FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid WHERE attrelid = %s AND attnum > 0"
            " AND NOT attisdropped AND has_column_privilege(attrelid, attnum, 'SELECT')",
            (oid,),
        )
        leading = self._session.all(
            "SELECT DISTINCT a.attname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
            " JOIN pg_am AS m ON m.oid = c.relam"
            " JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
            " WHERE i.indrelid = %s AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree'",
            (oid,),
        )
        return Table((space, name), _columns(columns), frozenset(row[0] for row in leading), bool(indexed))

    def storage(self, column: Column) -> Storage:
        match column.type:
            case "timestamp with time zone":
                return "aware"
            case "timestamp without time zone" | "date":
                return "naive"
            case "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision":
                return "number"
            case _:
                return "text"


class _MariadbCatalogue(Catalogue):
    _quote = "`"

    def find(self, parts: tuple[str, ...]) -> Table | None:
        where = "TABLE_SCHEMA = " + ("%s" if parts[:-1] else "DATABASE()") + " AND TABLE_NAME = %s"
        found = self._session.all(
            f"SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE {where}", parts
        )
        if not found:
            return None
        columns = self._session.all(
            f"SELECT COLUMN_NAME, DATA_TYPE, IS_NULLABLE = 'YES' FROM information_schema.COLUMNS WHERE {where}", parts
        )
        leading = self._session.all(
            f"SELECT COLUMN_NAME FROM information_schema.STATISTICS WHERE {where}"
            " AND SEQ_IN_INDEX = 1 AND INDEX_TYPE = 'BTREE' AND COLUMN_NAME IS NOT NULL",
            parts,
        )
        space, name, kind = found[0]
        names = (str(space), str(name))
        return Table(names, _columns(columns), frozenset(str(row[0]) for row in leading), "VIEW" not in str(kind))

    def storage(self, column: Column) -> Storage:
        match column.type:
            case "timestamp":
                return "aware"  # sessions read it in UTC
            case "datetime" | "date":
                return "naive"
            case "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "float" | "double":
                return "number"
            case _:
                return "text"


class _SqliteCatalogue(Catalogue):
    _quote = "`"  # a name in double quotes that is no column's would be a text
    _percent = "%"

    def find(self, parts: tuple[str, ...]) -> Table | None:
        *schema, name = parts
        space = schema[0] if schema else "main"
        if not self._session.all("SELECT 1 FROM pragma_database_list WHERE name = ?", (space,)):
            return None
        found = self._session.all(
            'SELECT name, type, NOT "notnull", pk FROM pragma_table_xinfo(?, ?) WHERE hidden <> 1', (name, space)
        )
        if not found:
            return None
        leading = self._session.all(
            "SELECT c.name FROM pragma_index_list(?, ?) AS i, pragma_index_xinfo(i.name, ?) AS c"
            " WHERE c.seqno = 0 AND NOT i.partial AND c.name IS NOT NULL",
            (name, space, space),
        )
        key = [column for column, *_, place in found if place]
        # The row's own number is an index of its own.
        whole = {column for column, kind, _, place in found if place and len(key) == 1 and kind.upper() == "INTEGER"}
        view = self._session.all(
            f"SELECT 1 FROM {self.quoted(space)}.sqlite_schema WHERE lower(name) = lower(?) AND type = 'view'", (name,)
        )
        columns = [row[:3] for row in found]
        return Table((space, name), _columns(columns), frozenset({row[0] for row in leading} | whole), indexed=not view)

    def _target(self, table: Table) -> str:
        return self.quoted(table.name[-1])  # the schema would go with the index's name

    def storage(self, column: Column) -> Storage:  # noqa: ARG002  # what is declared binds no value
        return "any"


_CATALOGUES: Mapping[str, type[Catalogue]] = {
    "postgresql": _PostgresqlCatalogue,
    "mariadb": _MariadbCatalogue,
    "sqlite": _SqliteCatalogue,
}


def catalogue_for(session: Session) -> Catalogue:
    """What the session's database says about its tables."""
    return _CATALOGUES[session.kind](session)


def examine(session: Session, sync: Sync) -> Layout:
    """Look at what is there.

    Raises:
        CollectorError: ``query`` when the table, or a column without which nothing can be read, is missing; or the
            source fails.
    """
    catalogue = catalogue_for(session)
    found = catalogue.find(_parts(sync))
    if found is None:
        raise _unfit(sync, "there is no such table, or it may not be read", "check table and the user's privileges")
    columns = {
        name: column
        for name, configured in sync.columns
        if (column := _matching(found.columns, configured)) is not None
    }
    missing = [getattr(sync.columns, name) for name in REQUIRED if name not in columns]
    if missing:
        text = f"it has no column {', '.join(missing)}, or none that may be read"
        raise _unfit(sync, text, "name the table's own under columns, and check the user's privileges")
    problems = missing_columns(columns)
    remedies = {}
    for name, problem in (("started_at", NO_START_INDEX), ("id", NO_ID_INDEX)):
        if found.indexed and columns[name].name not in found.leading:
            problems.add(problem)
            remedies[problem] = catalogue.index(found, columns[name])
    return Layout(
        catalogue.quoted(*found.name),
        columns,
        catalogue.storage(columns["started_at"]),
        frozenset(problems),
        MappingProxyType(remedies),
    )


def missing_columns(present: Container[str]) -> set[str]:
    """The problems of columns that are not there, where something is lost without them."""
    spared = {name for name, instead in _SPARE.items() if all(each in present for each in instead)}
    return {f"no column {name}" for name in OPTIONAL if name not in present and name not in spared}


def _unfit(sync: Sync, what: str, remedy: str) -> CollectorError:
    return CollectorError(
        "query", f"source '{sync.source}': table {sync.table}: {what}; {remedy} (docs/syncs.md, The table)"
    )


def _parts(sync: Sync) -> tuple[str, ...]:
    """The parts of the table's name."""
    parts = tuple(parts_of(sync.table))
    if not 1 <= len(parts) <= 2:  # noqa: PLR2004  # a schema and a name
        raise _unfit(sync, "this is no name of a table with at most a schema before it", "check table")
    return parts


def _columns(rows: Sequence[Row]) -> dict[str, Column]:
    return {
        str(name): Column(str(name), str(kind).lower().partition("(")[0].strip(), bool(nullable))
        for name, kind, nullable in rows
    }


def _matching(columns: Mapping[str, Column], configured: str) -> Column | None:
    """A column by its name, or else by its name in any case where only one has it."""
    if configured in columns:
        return columns[configured]
    near = [column for name, column in columns.items() if name.lower() == configured.lower()]
    return near[0] if len(near) == 1 else None
