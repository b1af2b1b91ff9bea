"""The store's file: made, checked, taken over, set aside when it is damaged."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rounds.emr.layout import TABLES, VERSION

#: What the writer's thread waits for others that write. Callers of the library never wait for it.
BUSY_SECONDS = 1.0
#: A look at all pages that takes longer is given up; what is damaged then shows when it is used.
CHECK_SECONDS = 2.0
#: An existing file without incremental vacuum is rewritten once, if it is not larger.
REWRITE_BYTES = 64 * 1024 * 1024
#: Damaged files that are kept.
SET_ASIDE = 3
_WAL_BYTES = 4 * 1024 * 1024
_MODE = 0o600
_ATTEMPTS = 5
_MUTEX_SECONDS = 2.0
_MUTEX_STALE_SECONDS = 10.0

#: Device and number of a file: another file in its place has others.
Identity = tuple[int, int]


class Unusable(Exception):  # noqa: N818 - it is not always an error
    """The file cannot be used now. The text names neither the file nor what is in it."""


@dataclass(frozen=True)
class Opened:
    """An open file."""

    connection: sqlite3.Connection
    identity: Identity
    log: Identity | None
    """The write-ahead log beside it."""


def open_file(
    path: Path, app: str, now: float, *, check: bool, broken: Identity | None, replaced: Callable[[], None]
) -> Opened:
    """Open the file, or make it, folders and all.

    Args:
        check: look at its pages, as when it has not been in use in this process.
        broken: a file that is known to be damaged.
        replaced: called when a damaged file was set aside.

    Raises:
        Unusable: it is of a newer version, or not a file.
        sqlite3.Error: as it is.
        OSError: as it is.
    """
    for _ in range(_ATTEMPTS):
        seen = identity(path) or _make(path)
        if seen == broken:
            if _set_aside(path, seen):
                replaced()
            # The next file may have its number.
            broken = None
            continue
        try:
            connection = _connect(path, app, now, check=check)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            broken = seen
            continue
        if identity(path) == seen:
            return Opened(connection, seen, identity(_wal(path)))
        # Another file has been put there, and nobody knows which of them is open.
        connection.close()
    raise Unusable("it is replaced again and again")


def identity(path: Path) -> Identity | None:
    """Which file is there; None where there is none.

    Raises:
        Unusable: it is a folder, a device or the like.
        OSError: it cannot be asked for.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise Unusable("it is not a file")
    return found.st_dev, found.st_ino


def remove_log(path: Path, log: Identity) -> None:
    """Remove the log of a file that another one took the place of, or it would be applied to this one.

    Call it before the file is closed: until then no other log can have its identity.

    Raises:
        Unusable: another process is at it.
        OSError: the folder cannot be written to.
    """
    with _alone(path):
        if identity(_wal(path)) == log:
            for suffix in ("-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that a file is none of its own, or a broken one."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_busy(error: BaseException) -> bool:
    """Whether another one writes, and it is worth to try again with the same connection."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def describe(error: BaseException) -> str:
    """An error in words that hold neither paths nor values."""
    if isinstance(error, Unusable):
        return str(error)
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorname", None) or type(error).__name__
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode.get(error.errno, type(error).__name__)
    return type(error).__name__


def wal_bytes(path: Path) -> int:
    """Size of the write-ahead log beside the file."""
    try:
        return _wal(path).stat().st_size
    except OSError:
        return 0


def _wal(path: Path) -> Path:
    return Path(f"{path}-wal")


def _code(error: BaseException) -> int:
    code: int = getattr(error, "sqlite_errorcode", None) or 0
    return code & 0xFF


def _connect(path: Path, app: str, now: float, *, check: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        # Not to be made here, where it would be readable for others.
        f"{path.as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if check:
            _check(connection)
        _refuse_newer(connection)
        _prepare(connection, path)
        _make_tables(connection, app, now)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    # Rows can be added to a file with broken pages, so that writing alone would not tell.
    limit = threading.Timer(CHECK_SECONDS, _interrupt, [connection])
    limit.daemon = True
    with suppress(RuntimeError):
        # Since Python 3.12 there are no new threads while the interpreter ends.
        limit.start()
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if _code(error) != sqlite3.SQLITE_INTERRUPT:
            raise
        return
    finally:
        limit.cancel()
    # It also tells of values that a table's own conditions forbid: they are somebody's data, and no damage.
    if str(found).startswith("***") or "malformed" in str(found):
        broken = sqlite3.DatabaseError("quick_check found damage")
        broken.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        broken.sqlite_errorname = "SQLITE_CORRUPT"
        raise broken


def _interrupt(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):
        connection.interrupt()


def _refuse_newer(connection: sqlite3.Connection) -> None:
    if not _has(connection, "rounds_store"):
        return
    row = connection.execute("SELECT value FROM rounds_store WHERE key = 'version'").fetchone()
    if row is not None and not (str(row[0]).isdecimal() and int(row[0]) <= VERSION):
        raise Unusable("it was made by a newer version of this library")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    # Only before the first table, and before the log is switched on, does it cost nothing.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    with suppress(sqlite3.OperationalError):
        # Refused where another program has it open in another way, and on network drives: it works without.
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    if connection.execute("PRAGMA auto_vacuum").fetchone()[0] == 0 and path.stat().st_size <= REWRITE_BYTES:
        with suppress(sqlite3.OperationalError):
            # In use or no room: the next start tries again. Until then freed pages are used again, and not given back.
            connection.execute("VACUUM")


def _make_tables(connection: sqlite3.Connection, app: str, now: float) -> None:
    if all(_has(connection, table) for table in TABLES):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statements in TABLES.values():
            for statement in statements.split(";\n"):
                connection.execute(statement)
        facts = {"version": str(VERSION), "id": os.urandom(16).hex(), "app": app, "created": repr(now)}
        connection.executemany("INSERT OR IGNORE INTO rounds_store (key, value) VALUES (?, ?)", facts.items())
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _has(connection: sqlite3.Connection, table: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone()
    return found is not None


def _make(path: Path) -> Identity:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        there = identity(path)
        if there is not None:
            return there
        # Of a file that was removed. SQLite would take the one for the new file's, and share the other with those that
        # still use the old one.
        for suffix in ("-wal", "-shm", "-journal"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE)
        try:
            made = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    return made.st_dev, made.st_ino


def _set_aside(path: Path, seen: Identity) -> bool:
    """Give a damaged file another name, with its logs. Gives whether it was done here: another process may be first."""
    with _alone(path):
        if identity(path) != seen:
            return False
        aside = _free_name(path)
        for suffix in ("-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
        path.rename(aside)
        _thin_out(path, aside)
    return True


def _free_name(path: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    names = (path.with_name(f"{path.name}.corrupt-{stamp}{more}") for more in ("", *(f"-{n}" for n in range(1, 1000))))
    return next(name for name in names if not name.exists())


def _thin_out(path: Path, latest: Path) -> None:
    with suppress(OSError):
        aside = [file for file in path.parent.iterdir() if file.name.startswith(f"{path.name}.corrupt-")]
        files = [file for file in aside if not file.name.endswith(("-wal", "-shm", "-journal")) and file != latest]
        for old in sorted(files, key=lambda file: file.stat().st_ctime_ns)[: 1 - SET_ASIDE]:
            for suffix in ("", "-wal", "-shm", "-journal"):
                Path(f"{old}{suffix}").unlink(missing_ok=True)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from making or setting aside the same file. One that died in here is waited for no longer.

    Raises:
        Unusable: another one is at it.
        OSError: the folder cannot be written to.
    """
    mutex = Path(f"{path}-making")
    end = time.monotonic() + _MUTEX_SECONDS
    while True:
        try:
            os.close(os.open(mutex, os.O_CREAT | os.O_EXCL, _MODE))
            break
        except FileExistsError:
            with suppress(FileNotFoundError):
                # Either way, as clocks are set back.
                if abs(time.time() - mutex.stat().st_mtime) > _MUTEX_STALE_SECONDS:
                    mutex.unlink()
            if time.monotonic() > end:
                raise Unusable("another process is making it") from None
            time.sleep(0.01)
    try:
        yield
    finally:
        mutex.unlink(missing_ok=True)
