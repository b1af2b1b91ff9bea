"""Sessions with SQLite files."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from rounds.databases import faults
from rounds.databases.alchemy import AlchemySession
from rounds.databases.faults import Fault
from rounds.databases.health import Health
from rounds.databases.session import Row
from rounds.errors import CollectorError
from rounds.sources import SqliteSource

#: Device, inode, size and times of a file.
_State: TypeAlias = tuple[int, int, int, int, int]

#: Seconds to wait for another program's lock. SQLite cannot be interrupted meanwhile.
_LOCK_WITHIN = 2.0
#: Instructions of SQLite's machine between two looks at the clock; some hundred microseconds.
_STEPS = 20_000
#: How SQLite says that a file's -shm file is missing and cannot be made; the last one where its log is there.
_NO_SHM = {
    sqlite3.SQLITE_READONLY_DIRECTORY,
    sqlite3.SQLITE_READONLY_CANTINIT,
    sqlite3.SQLITE_READONLY_RECOVERY,
    sqlite3.SQLITE_CANTOPEN,
}
#: An extended result code holds the primary one in its lowest byte.
_PRIMARY = 0xFF

_UNFINISHED = Fault(
    "connect",
    "the file is in WAL mode, and its -shm file is not there and cannot be made",
    "let the program that writes the file open it again, or let this user write to its folder",
)
_CHANGED = Fault("query", "the file changed while it was read", "the next run finds it as it is then")
_FAULTS = {
    sqlite3.SQLITE_BUSY: Fault(
        "timeout", "another program keeps the file locked", "look for what writes to it for so long"
    ),
    sqlite3.SQLITE_LOCKED: faults.LOCKED,
    sqlite3.SQLITE_CANTOPEN: Fault(
        "connect",
        "the file cannot be opened",
        "check path and permissions; a file in WAL mode needs its -shm file, or a folder in which it may be made",
    ),
    sqlite3.SQLITE_PERM: Fault("connect", "the file may not be read", "check its permissions"),
    sqlite3.SQLITE_AUTH: Fault("connect", "the file may not be read", "check its permissions"),
    sqlite3.SQLITE_NOTADB: Fault("connect", "the file is no SQLite database, or is encrypted", "check path"),
    sqlite3.SQLITE_CORRUPT: Fault("query", "the file is damaged", "run PRAGMA integrity_check on a copy"),
    sqlite3.SQLITE_IOERR: Fault("connect", "the file cannot be read", "check the disk that it is on"),
    sqlite3.SQLITE_READONLY: faults.READ_ONLY,
    sqlite3.SQLITE_INTERRUPT: Fault(
        "timeout", "the statement took longer than its timeout and was ended", "raise timeout"
    ),
    sqlite3.SQLITE_NOMEM: Fault("query", "memory was exhausted"),
}
#: Of those that say more than the primary code.
_EXTENDED = {
    sqlite3.SQLITE_READONLY_ROLLBACK: Fault(
        "connect",
        "a transaction that was broken off must be rolled back first",
        "let the program that writes the file open it again",
    ),
    sqlite3.SQLITE_READONLY_RECOVERY: _UNFINISHED,
    sqlite3.SQLITE_READONLY_CANTINIT: _UNFINISHED,
    sqlite3.SQLITE_READONLY_DIRECTORY: _UNFINISHED,
}
#: How SQLite's texts begin where the number alone says only that something is wrong.
_TEXTS = {
    "no such table": faults.NO_TABLE,
    "no such column": faults.NO_COLUMN,
    "no such function": faults.NO_FUNCTION,
    "wrong number of arguments to function": faults.NO_FUNCTION,
    "near ": faults.SYNTAX,
    "incomplete input": faults.SYNTAX,
    "unrecognized token": faults.SYNTAX,
}


def fault(source: str, error: Exception) -> CollectorError:
    """What an error of sqlite3 means.

    Args:
        source: the source's name in the configuration.
        error: the driver's, as it was raised.
    """
    number = getattr(error, "sqlite_errorcode", None)
    if number is None:
        return faults.UNEXPECTED.error(source, type(error).__name__)
    found = _EXTENDED.get(number) or _FAULTS.get(number & _PRIMARY)
    if found is None:
        text = str(error)
        found = next((fault for start, fault in _TEXTS.items() if text.startswith(start)), faults.OTHER)
    return found.error(source, error.sqlite_errorname)  # type: ignore[attr-defined]  # is there where the code is


def _state_of(path: Path) -> _State | None:
    """What changes with a file that is complete by itself; None where it is not, or is not there."""
    try:
        for suffix in ("-wal", "-journal"):
            beside = path.with_name(path.name + suffix)
            if beside.exists() and beside.stat().st_size:
                return None
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class SqliteSession(AlchemySession):
    """A session with a SQLite file, which it never makes and never changes.

    A file in WAL mode is read through its -shm file. While nobody has it open there is none, and in a folder that may
    not be written to none can be made. Such a file is complete if it has no write-ahead log, so it is read as one that
    does not change; a statement during which it did change fails.
    """

    kind = "sqlite"

    def __init__(self, source: str, config: SqliteSource, timeout: float, health: Health) -> None:
        self._path = config.path
        self._end = float("inf")
        self._sqlite: sqlite3.Connection | None = None
        #: What tells that the file has not changed, where it is read as one that does not.
        self._state: _State | None = None
        super().__init__(source, timeout, health, "sqlite+pysqlite", self._connect)

    def cancel(self) -> None:
        """End the statement under way."""
        self._cancelled = True
        if self._sqlite is not None:
            with suppress(sqlite3.Error):
                self._sqlite.interrupt()

    def all(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """The rows of a statement whose result is small."""
        rows = super().all(sql, parameters)
        self._check()
        return rows

    def _connect(self) -> Any:
        before = _state_of(self._path)
        try:
            connection = self._open("mode=ro")
        except sqlite3.OperationalError as error:
            # With a write-ahead log it may lack what is in there; without one it could only be in the middle of being
            # opened or closed by its program, which the checks of each statement notice.
            if error.sqlite_errorcode not in _NO_SHM or before is None:
                raise
            connection = self._open("mode=ro&immutable=1")
            self._state = before
        self._sqlite = connection
        return connection

    def _open(self, how: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?{how}",
            uri=True,
            timeout=min(_LOCK_WITHIN, self.timeout),
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT count(*) FROM sqlite_schema")  # it is opened now, and seen to be a database
            connection.set_progress_handler(self._late, _STEPS)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self) -> None:
        if self._state is not None and self._state != _state_of(self._path):
            raise _CHANGED.error(self.source)

    def _begin(self) -> None:
        super()._begin()
        self._end = time.monotonic() + self.timeout

    def _late(self) -> bool:
        return self._cancelled or time.monotonic() > self._end

    def _fetch(self, sql: str, parameters: tuple[object, ...]) -> Generator[Row, None, None]:
        cursor = self.driver_connection.cursor()
        try:
            yield from cursor.execute(sql, parameters)
            self._check()
        finally:
            cursor.close()

    def _explain(self, error: Exception) -> CollectorError:
        return fault(self.source, error)
