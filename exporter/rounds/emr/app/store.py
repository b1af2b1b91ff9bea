"""The store: one SQLite file, or a way to do without when it cannot be had."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from rounds.emr.app.batch import Batch
from rounds.emr.app.files import (
    BUSY_SECONDS,
    Identity,
    Unusable,
    describe,
    identity,
    is_busy,
    is_damage,
    open_file,
    remove_log,
    wal_bytes,
)
from rounds.emr.app.retention import OWN, foreign_bytes, give_back, used_bytes
from rounds.emr.app.rows import BAD_VALUE, Insert, add_counter, all_at_once, one_by_one, put

T = TypeVar("T")

log = logging.getLogger("rounds.emr")

#: The size at which room is made, in parts of the most; and down to which.
_FULL, _FILLED = 1.0, 0.95
#: The size at which single operations are no longer taken, as others write faster than room is made.
_CROWDED = 1.1
#: How long room is made for at a time.
_PIECES_SECONDS = 0.2
_ATTEMPTS = 3
#: The same fault is told again after this.
_TOLD_SECONDS = 600.0
#: A log of this size is nothing special, however small the store may be.
_LOG_BYTES = 16 * 1024 * 1024
_DAY = 86_400.0


@dataclass(frozen=True)
class Limits:
    """How much is kept."""

    max_bytes: int = 50 * 1024 * 1024
    retention_days: float = 90.0


class StoreUnavailable(Exception):  # noqa: N818
    """The store cannot be written to now. It has been told; try again later."""


class Store:
    """One application's store. Used by one thread at a time, but for the constructor.

    Nothing here raises into the application: what cannot be written is counted as dropped, and told once by the
    logger ``rounds.emr``.

    Args:
        path: the file; folders above it are made.
        app: the application's name.
        version: the application's version.
        clock: seconds since 1970.

    Attributes:
        crowded: whether it is too large, so that it should be maintained now.
    """

    def __init__(
        self,
        path: Path,
        app: str,
        limits: Limits = Limits(),
        *,
        version: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        # The application may change its folder.
        with suppress(OSError):
            path = Path(os.path.abspath(path))  # noqa: PTH100 - links stay as they are
        self.path = Path(path)
        self.app = _text(app)
        self.version = _text(version)
        self.limits = limits
        self.clock = clock
        self.crowded = False
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity | None = None
        self._log: Identity | None = None
        self._pid = 0
        self._doubtful = True
        self._broken: Identity | None = None
        self._set_aside = 0
        self._foreign = 0
        self._told: dict[str, float] = {}

    def open(self) -> bool:
        """Open or make the file, check it, set it aside if it is damaged, and make the tables.

        Gives whether it can be used. Every use of the store opens it where that has not been done.
        """
        try:
            self._ready()
            if self._set_aside:
                self.transaction(lambda _: None)
        except StoreUnavailable:
            return False
        return True

    def write(self, batch: Batch) -> bool:
        """Add a batch in one transaction; False where it could not be written now and should be tried again."""
        try:
            if self._log_grows():
                return False
            try:
                self.transaction(lambda connection: self._put(connection, batch, all_at_once))
            except BAD_VALUE:
                self.transaction(lambda connection: self._put(connection, batch, one_by_one))
        except StoreUnavailable:
            return False
        except Exception as error:
            self._tell("cannot write the store", error)
            self.close()
            return False
        return True

    def transaction(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        """Do all of this, or nothing. ``work`` may be called again, where another file took the store's place.

        Args:
            work: what to do with the connection, in ``BEGIN IMMEDIATE``.
            durable: wait until it is on the disk, so that a loss of power does not undo it.

        Raises:
            StoreUnavailable: it could not be done now.
        """
        suspect: Identity | None = None
        for _ in range(_ATTEMPTS):
            connection = self._ready()
            try:
                result = _transact(
                    connection, lambda connection: self._and_what_was_set_aside(connection, work), durable
                )
            except BAD_VALUE:
                raise
            except sqlite3.Error as error:
                self._tell("cannot write the store", error)
                if is_busy(error):
                    break
                there = self._is_there()
                self._leave() if not there else self.close()
                if is_damage(error):
                    self._doubtful = True
                    if self._identity == suspect:
                        # The look at its pages found nothing, or did not come to its end.
                        self._broken = suspect
                    suspect = self._identity
                elif there:
                    break
            else:
                if self._is_there():
                    self._set_aside = 0
                    return result
                # It went into a file that has gone, or that another one took the place of.
                self._leave()
        raise StoreUnavailable

    def maintain(self) -> bool:
        """Remove what is too old or too much, a bounded piece at a time, and give free pages back.

        Gives whether there is more to do.
        """
        end = time.monotonic() + _PIECES_SECONDS
        try:
            while self._remove_piece():
                if time.monotonic() > end:
                    return True
            connection = self._ready()
            while give_back(connection):
                if time.monotonic() > end:
                    return True
            _empty_log(connection)
        except (StoreUnavailable, sqlite3.Error):
            pass
        return False

    def forsake(self) -> None:
        """In a forked child: never touch the parent's connection again, not even to close it.

        Closing it would take the parent's locks away, and could remove its log.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            _leak(connection)

    def close(self) -> None:
        """Let go of the file. The next use opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _ready(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid != os.getpid():
            self.forsake()
        if self._connection is None:
            try:
                opened = open_file(
                    *(self.path, self.app, self.clock()),
                    check=self._doubtful,
                    broken=self._broken,
                    replaced=self._count_set_aside,
                )
                self._foreign = foreign_bytes(opened.connection)
            except (sqlite3.Error, OSError, Unusable, RuntimeError, ValueError) as error:
                self._tell("cannot open the store", error)
                raise StoreUnavailable from None
            self._connection, self._identity, self._log = opened.connection, opened.identity, opened.log
            self._pid = os.getpid()
            self._doubtful, self._broken = False, None
        return self._connection

    def _leave(self) -> None:
        if self._log is not None:
            with suppress(OSError, Unusable):
                remove_log(self.path, self._log)
        self.close()

    def _is_there(self) -> bool:
        try:
            return identity(self.path) == self._identity
        except Unusable:
            return False
        except OSError:
            # Nobody knows: what was written once is not written twice.
            return True

    def _and_what_was_set_aside(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._set_aside:
            add_counter(connection, "store_corruptions_total", (), self._set_aside)
        return work(connection)

    def _log_grows(self) -> bool:
        """Whether somebody who does not stop reading keeps the log from being emptied, and it is too large by now."""
        if wal_bytes(self.path) <= max(_LOG_BYTES, self.limits.max_bytes):
            return False
        with suppress(sqlite3.Error):
            _empty_log(self._ready())
        if wal_bytes(self.path) <= max(_LOG_BYTES, self.limits.max_bytes):
            return False
        self._tell("cannot write the store", Unusable("its log is full, as another program does not stop reading"))
        return True

    def _remove_piece(self) -> bool:
        """Whether there is more of it."""
        before = self.clock() - self.limits.retention_days * _DAY
        for kept in OWN:
            if self.transaction(partial(kept.remove_older, before=before)):
                return True
        used = used_bytes(self._ready()) - self._foreign
        self.crowded = used > self.limits.max_bytes * (_FILLED if self.crowded else _FULL)
        if not self.crowded:
            return False
        return any(self.transaction(kept.remove_oldest) for kept in OWN)

    def _put(self, connection: sqlite3.Connection, batch: Batch, insert: Insert) -> None:
        full = used_bytes(connection) - self._foreign > self.limits.max_bytes * _CROWDED
        self.crowded = self.crowded or full
        put(connection, batch, self.version, insert, full=full)

    def _count_set_aside(self) -> None:
        self._set_aside += 1
        with suppress(Exception):
            log.warning("the store was damaged; it was set aside, and a new one is begun")

    def _tell(self, what: str, error: BaseException) -> None:
        """Once in a while."""
        why = describe(error)
        now = time.monotonic()
        if now - self._told.get(why, float("-inf")) < _TOLD_SECONDS:
            return
        self._told[why] = now
        with suppress(Exception):
            log.warning("%s: %s; what the application says waits in memory, as far as there is room", what, why)


def _text(value: object) -> str:
    # What SQLite would refuse would keep everything out.
    return str(value)[:100].encode("utf-8", "replace").decode("utf-8")


def _empty_log(connection: sqlite3.Connection) -> None:
    # Without waiting: meanwhile nobody else could write.
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(1000 * BUSY_SECONDS)}")


def _leak(connection: sqlite3.Connection) -> None:
    with suppress(Exception):
        import ctypes  # noqa: PLC0415 - only in a forked child

        # At its end the interpreter would close what it still knows.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _transact(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], durable: bool) -> T:
    if durable:
        connection.execute("PRAGMA synchronous = FULL")
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
    finally:
        if durable:
            with suppress(sqlite3.Error):
                connection.execute("PRAGMA synchronous = NORMAL")
    return result
