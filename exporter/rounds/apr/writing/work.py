"""One function's work on the tables: its lock, its transaction, and what differs between MariaDB and SQLite."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeAlias, TypeVar

from sqlalchemy import Connection, CursorResult, text
from sqlalchemy.exc import DBAPIError

from rounds.apr.tables import INVALID_RECORDS, MARKS, METADATA
from rounds.apr.writing.failures import WriteFailed, described, is_deadlock

if TYPE_CHECKING:
    # The exporter has no use for SQLAlchemy's orm, which takes 5 MiB of memory.
    from sqlalchemy.orm import Session

Database: TypeAlias = "Session | Connection"
Given = ParamSpec("Given")
Result = TypeVar("Result")

#: Seconds to wait for another run that writes.
_LOCK_WITHIN = 30
#: How often a function is tried that loses deadlocks, against a bot that changes the same rows, say.
_ATTEMPTS = 5
#: Characters of records that one statement takes; servers accept packets of 16 MiB unless told otherwise.
_DOCUMENT = 2**21
_LOCK = "CONCAT('rounds-apr-', SHA1(DATABASE()))"

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
log = logging.getLogger("rounds.apr")


class Work:
    """What a function does its work with.

    Attributes:
        kind: of the database.
        tables: the names of the tables that are there.
        validation_types: what apr_invalid_records.VALIDATION_TYPE can hold, as its declaration has it.
    """

    kind: Literal["mariadb", "sqlite"]

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.kind = "sqlite" if connection.dialect.name == "sqlite" else "mariadb"
        self.tables: frozenset[str] = frozenset()
        self.validation_types = ""

    def run(self, statement: str, **parameters: object) -> CursorResult[Any]:
        """Run a statement with ``:name`` parameters."""
        return self._connection.execute(text(statement), parameters)

    def begin(self, *, alone: bool) -> None:
        """See what is there; where ``alone``, first wait for other runs that write."""
        if self.kind == "sqlite":
            self.tables = frozenset(self.run("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
            self.validation_types = "any"
            return
        lock = f"GET_LOCK({_LOCK}, {_LOCK_WITHIN})" if alone else "1"
        names = ", ".join(f"'{name}'" for name in (*METADATA.tables, MARKS.name))
        found = self.run(
            f"SELECT {lock}, (SELECT GROUP_CONCAT(TABLE_NAME) FROM information_schema.TABLES"
            f" WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ({names})),"
            " (SELECT COLUMN_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()"
            f" AND TABLE_NAME = '{INVALID_RECORDS.name}' AND COLUMN_NAME = 'VALIDATION_TYPE')"
        )
        locked, present, declared = tuple(found.one())
        if locked != 1:
            raise WriteFailed("another run has been writing for too long")
        self.tables = frozenset((present or "").split(","))
        self.validation_types = declared or ""

    def end(self) -> None:
        """Let other runs write. Whoever gets the lock now still waits for the rows of this transaction, see locked."""
        if self.kind == "mariadb":
            self.run(f"DO RELEASE_LOCK({_LOCK})")

    def batches(self, rows: Sequence[Sequence[object]]) -> Iterator[str]:
        """The rows as documents for :meth:`unpacked`, one unless they are many megabytes."""
        document = _encode(rows)
        if len(document) <= _DOCUMENT or len(rows) == 1:
            yield document
        else:
            half = len(rows) // 2
            yield from self.batches(rows[:half])
            yield from self.batches(rows[half:])

    def unpacked(self, columns: Mapping[str, str]) -> str:
        """A table of the rows in the document ``:rows``, to stand behind FROM; a row of columns, by their types."""
        if self.kind == "sqlite":
            listed = ", ".join(f"json_extract(value, '$[{at}]') AS {name}" for at, name in enumerate(columns))
            return f"(SELECT {listed} FROM json_each(:rows))"
        # Else text would be put into the character set that the database was made with, which may lack its letters.
        kinds = {name: kind.replace(")", ") CHARACTER SET utf8mb4") for name, kind in columns.items() if "CHAR" in kind}
        listed = ", ".join(
            f"{name} {kind} PATH '$[{at}]'" for at, (name, kind) in enumerate({**columns, **kinds}.items())
        )
        return f"JSON_TABLE(:rows, '$[*]' COLUMNS ({listed}))"

    def same(self, left: str, right: str) -> str:
        """Whether two texts are the same by the tables' own collation, whatever collations the two have."""
        return f"{left} = {right}" + ("" if self.kind == "sqlite" else " COLLATE utf8mb4_unicode_ci")

    def differs(self, left: str, right: str) -> str:
        """Whether two texts differ in anything, be it case or a blank."""
        return f"{left} <> {right}" if self.kind == "sqlite" else f"BINARY {left} <> BINARY {right}"

    @property
    def locked(self) -> str:
        """Ends a query within a statement that must see what other transactions are about to commit."""
        return "" if self.kind == "sqlite" else " LOCK IN SHARE MODE"

    def upsert(self, keys: Sequence[str], values: Sequence[str], touched: str) -> str:
        """Ends an INSERT that overwrites values of rows that are there, and moves the column ``touched``."""
        if self.kind == "sqlite":
            taken = ", ".join(f"{name} = excluded.{name}" for name in values)
            return f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {taken}, {touched} = CURRENT_TIMESTAMP"
        taken = ", ".join(f"{name} = VALUES({name})" for name in values)
        return f" ON DUPLICATE KEY UPDATE {taken}, {touched} = CURRENT_TIMESTAMP"


@contextmanager
def working(database: Database) -> Iterator[Work]:
    """Work on the tables, alone among all who come this way, and commit. Whatever fails is rolled back.

    Raises:
        WriteFailed: in place of what SQLAlchemy or the driver raise.
    """
    try:
        work = Work(_connection(database))
        work.begin(alone=True)
        try:
            yield work
        except BaseException:
            with suppress(Exception):  # the connection may be gone, and the lock with it
                work.end()
            raise
        work.end()
        database.commit()
    except BaseException as error:
        with suppress(Exception):
            database.rollback()
        if isinstance(error, DBAPIError):
            raise WriteFailed(
                f"the tables could not be written: {described(error)}", deadlock=is_deadlock(error)
            ) from None
        raise


def persistent(write: Callable[Given, Result]) -> Callable[Given, Result]:
    """Have a function try again after a deadlock, where nothing of its caller's was rolled back with it."""

    @functools.wraps(write)
    def trying(*values: Given.args, **keys: Given.kwargs) -> Result:
        database: Any = values[0] if values else keys["session"]
        left = _ATTEMPTS if _idle(database) else 1
        while True:
            left -= 1
            try:
                return write(*values, **keys)
            except WriteFailed as failure:
                if not failure.deadlock or not left:
                    raise

    return trying


def _idle(database: Database) -> bool:
    """Whether nothing is under way on a session."""
    pending = not isinstance(database, Connection) and bool(database.new or database.dirty or database.deleted)
    return not pending and not database.in_transaction()


@contextmanager
def looking(database: Database) -> Iterator[Work]:
    """The same without a lock and without a change, for those who say what would be done.

    Raises:
        WriteFailed: in place of what SQLAlchemy or the driver raise.
    """
    try:
        work = Work(_connection(database))
        work.begin(alone=False)
        yield work
    except DBAPIError as error:
        raise WriteFailed(f"the tables could not be read: {described(error)}") from None
    finally:
        with suppress(Exception):
            database.rollback()


def _connection(database: Database) -> Connection:
    if isinstance(database, Connection):
        return database
    database.flush()
    return database.connection()
