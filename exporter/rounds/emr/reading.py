"""Opens an application's store for one look after the other, and tells what is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rounds.databases.databases import Databases
from rounds.databases.session import Row, Session
from rounds.emr import layout
from rounds.emr.config import App
from rounds.errors import CollectorError
from rounds.sources import SqliteSource

#: Longest text that is read; names and times are shorter.
_LONGEST = 200
_LONGEST_DOCUMENT = 10_000

#: Of each table of the existing program what must be there for it to be read, in which a row never changes, and what
#: may be missing. ``crash_reports`` has texts as ids.
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "errors": ("id", "timestamp", "error_type"),
    "messages": ("id", "timestamp", "level"),
    "transactions": ("id", "timestamp", "name", "duration_ms", "success"),
    "metrics": ("id", "timestamp", "name", "metric_type", "value"),
    "alerts": ("id", "timestamp", "severity"),
    "crash_reports": ("id", "timestamp"),
}
OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "errors": ("error_hash", "created_at"),
    "messages": ("created_at",),
    "transactions": ("created_at",),
    "metrics": ("tags", "created_at"),
    "alerts": ("channels_sent", "created_at"),
    "crash_reports": ("submitted", "created_at"),
}
#: Tables of the library that are read.
OWN = (
    "rounds_store",
    "rounds_run",
    "rounds_counter",
    "rounds_gauge",
    "rounds_timing",
    "rounds_error_group",
    "rounds_error_slot",
    "rounds_alert",
    "rounds_crash",
)
_NUMBERS = ("value", "duration_ms", "success", "submitted")
_DOCUMENTS = ("tags", "channels_sent")


@dataclass(frozen=True)
class Layout:
    """What a store has.

    Attributes:
        columns: of each table that is there, the names of its columns.
        problems: what is missing, so that something is not exported.
    """

    columns: Mapping[str, frozenset[str]]
    problems: frozenset[str]

    @property
    def existing(self) -> tuple[str, ...]:
        """The existing program's tables that can be read."""
        return tuple(each for each in REQUIRED if self.columns.get(each, frozenset()).issuperset(REQUIRED[each]))

    @property
    def own(self) -> frozenset[str]:
        """The library's tables."""
        return frozenset(each for each in layout.TABLES if each in self.columns)

    def has(self, table: str, column: str) -> bool:
        """Whether a table has a column."""
        return column in self.columns.get(table, ())


class Store:
    """A store in one state, in which it stays until the look is over.

    Args:
        session: in a transaction that reads.
        path: the file.
        file: tells it from others that were in its place, as far as the operating system does.
    """

    def __init__(self, session: Session, path: Path, file: str) -> None:
        self.session = session
        self.path = path
        self.file = file
        self.layout = _examine(session)

    def all(self, sql: str, *parameters: object) -> list[Row]:
        """The rows of a statement whose result is small."""
        return self.session.all(sql, parameters)

    def stream(self, sql: str, *parameters: object) -> Iterator[Row]:
        """The rows of a statement, as they come."""
        return self.session.stream(sql, parameters)

    def columns(self, table: str) -> str:
        """What to select of one of the existing program's tables: the required columns, then those that may be missing,
        as NULL where they are."""
        return ", ".join(
            [
                *(_expression(table, name) for name in REQUIRED[table]),
                *(_expression(table, name) if self.layout.has(table, name) else "NULL" for name in OPTIONAL[table]),
            ]
        )


class Reading:
    """The way to one store. Used by one thread; :meth:`cancel` may come from another.

    Args:
        app: the configuration.
        databases: opens sessions; its sources are those of the configuration.
    """

    def __init__(self, app: App, databases: Databases) -> None:
        self._app = app
        self._databases = databases
        self._cancel: Callable[[], None] | None = None

    @property
    def path(self) -> Path:
        """The file."""
        source = self._databases.source(self._app.source)
        if not isinstance(source, SqliteSource):  # the configuration is checked for it
            raise CollectorError("internal", f"source '{self._app.source}' is no SQLite file")
        return source.path

    @contextmanager
    def open(self) -> Iterator[Store]:
        """The store, for one look. What is written meanwhile is seen by the next one.

        Raises:
            CollectorError: the file cannot be read, or is no store.
        """
        path = self.path
        # Before it is opened: if another one takes its place meanwhile, the next look notices.
        file = _identity(path)
        with self.session(self._app.timeout) as session:
            session.all("BEGIN")
            yield Store(session, path, file)

    @contextmanager
    def session(self, timeout: float) -> Iterator[Session]:
        """A session without a transaction, whose statements may take so many seconds.

        Raises:
            CollectorError: the file cannot be read.
        """
        with self._databases.open(self._app.source, timeout=timeout) as session:
            self._cancel = session.cancel
            try:
                yield session
            finally:
                self._cancel = None

    def cancel(self) -> None:
        """Make what is under way fail soon."""
        cancel = self._cancel
        if cancel is not None:
            cancel()


def _identity(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:  # which cannot be opened either
        return ""
    return f"{status.st_dev}:{status.st_ino}"


def _examine(session: Session) -> Layout:
    wanted = (*REQUIRED, "metrics_hourly", *layout.TABLES)
    marks = ", ".join("?" * len(wanted))
    rows = session.all(
        "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c"
        f" WHERE t.type IN ('table', 'view') AND t.name IN ({marks})",
        wanted,
    )
    columns: dict[str, frozenset[str]] = {}
    for table, column in rows:
        columns[table] = columns.get(table, frozenset()) | {column}
    if not columns:
        raise CollectorError("query", "the file has no table of a store; check its path")
    return Layout(columns, frozenset(_problems(columns)))


def _problems(columns: Mapping[str, frozenset[str]]) -> Iterator[str]:
    if any(each in columns for each in REQUIRED):
        for table in REQUIRED:
            if table not in columns:
                yield f"no table {table}"
                continue
            for column in (*REQUIRED[table], *OPTIONAL[table]):
                if column not in columns[table]:
                    yield f"no column {table}.{column}"
    if any(each in columns for each in layout.TABLES):
        for table in OWN:
            if table not in columns:
                yield f"no table {table}"


def _expression(table: str, column: str) -> str:
    """A column's value. Texts come as bytes, since the driver refuses what is no UTF-8."""
    if column == "id" and table != "crash_reports":
        return column
    if column in _NUMBERS:
        return f"CASE WHEN typeof({column}) IN ('integer', 'real') THEN {column} END"
    return f"CAST(substr({column}, 1, {_LONGEST_DOCUMENT if column in _DOCUMENTS else _LONGEST}) AS BLOB)"


def text(value: object) -> str:
    """A text as it was read; "" for NULL."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def optional(table: str, row: Sequence[object]) -> dict[str, object]:
    """What of a row may be missing, by its name."""
    return dict(zip(OPTIONAL[table], row[len(REQUIRED[table]) :], strict=True))
