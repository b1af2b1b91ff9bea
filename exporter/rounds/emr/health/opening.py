"""Reading a SQLite file of somebody else's: without a write lock, and without leaving a file beside it.

A file is opened with ``mode=ro``. That alone has two faults where the file is in WAL mode and nobody has it open:
SQLite makes its log and its index, which it does not remove and which the application may then not be allowed to write;
and in a folder that may not be written to it fails. There, and only there, the file is opened as immutable, without
locks, and what was read counts only if the file is found unchanged afterwards.

The file is never opened but by SQLite: where it closes a file of its own, a process loses SQLite's locks on it (POSIX),
and this may run in the application.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

#: An extended result code holds the primary one in its lowest byte.
_PRIMARY = 0xFF
#: How often a file is read that changes meanwhile, while it is read without locks.
_TRIES = 3
#: Instructions of SQLite's machine between two looks at the clock; some hundred microseconds.
STEPS = 20_000


def primary(error: sqlite3.Error) -> int:
    """SQLite's primary result code, 0 where the error is not SQLite's own."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return (code or 0) & _PRIMARY


@dataclass(frozen=True)
class Stamp:
    """What changes whenever the file does.

    Attributes:
        identity: another one is another file.
        changed: times of its content and of the file itself, in nanoseconds.
        size: bytes.
        logged: whether somebody uses a write-ahead log, or left one.
    """

    identity: tuple[int, int]
    changed: tuple[int, int]
    size: int
    logged: bool


def stamp(path: Path) -> Stamp:
    """The file's stamp.

    Raises:
        OSError: it cannot be looked at.
    """
    found = path.stat()
    return Stamp((found.st_dev, found.st_ino), (found.st_mtime_ns, found.st_ctime_ns), found.st_size, _is_logged(path))


def _is_logged(path: Path) -> bool:
    log = Path(f"{path}-wal")
    try:
        return Path(f"{path}-shm").exists() or log.stat().st_size > 0
    except OSError:
        return False


def connect(path: Path, wait: float, *, immutable: bool = False) -> sqlite3.Connection:
    """A connection that cannot write. ``wait`` is how many seconds it waits for another program's lock."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}",
        uri=True,
        timeout=wait,
        isolation_level=None,
        check_same_thread=False,
    )


@dataclass(frozen=True)
class Opened:
    """A connection that has read the file's schema. ``shares`` is whether it does so under SQLite's locks."""

    connection: sqlite3.Connection
    shares: bool


def open_file(path: Path, wait: float) -> Opened:
    """Open a file and see that it is a database.

    Raises:
        sqlite3.Error: it cannot be opened, or is none.
    """
    connection = connect(path, wait)
    try:
        # Windows and the log of somebody who is at work: nothing is made that would not be there anyway.
        probing = os.name == "posix" and not _is_logged(path)
        if probing:
            # So a log is not made, and that there would have to be one shows as a lock that cannot be had.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        try:
            _read_schema(connection)
        except sqlite3.OperationalError as error:
            if not probing or getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_IOERR_LOCK:
                raise
            connection.close()
            connection = connect(path, wait, immutable=True)
            _read_schema(connection)
            return Opened(connection, shares=False)
    except BaseException:
        connection.close()
        raise
    return Opened(connection, shares=True)


def _read_schema(connection: sqlite3.Connection) -> None:
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def read(path: Path, wait: float, work: Callable[[sqlite3.Connection], Result]) -> Result:
    """Do something with a file, again where it changed meanwhile and no lock kept it from that.

    Raises:
        OSError: the file cannot be looked at.
        sqlite3.Error: it cannot be read.
    """
    for left in reversed(range(_TRIES)):
        before = stamp(path)
        shares = False
        try:
            opened = open_file(path, wait)
            shares = opened.shares
            try:
                result = work(opened.connection)
            finally:
                opened.connection.close()
        except sqlite3.Error:
            if shares or left == 0 or stamp(path) == before:
                raise
        else:
            if shares or left == 0 or stamp(path) == before:
                return result
    raise AssertionError("the last try returns or raises")
