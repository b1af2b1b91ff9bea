"""The ledger as a SQLite file."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import structlog
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from rounds.errors import CollectorError, ConfigError
from rounds.ledger.faults import explain
from rounds.ledger.salt import sync_folder
from rounds.ledger.store import LOCK_WITHIN, Store

#: What SQLite keeps beside the file itself.
COMPANIONS = ("-wal", "-shm")
#: The write-ahead log is cut back to this many bytes after a large transaction.
_WAL_KEEPS = 16 * 2**20
#: Connections that are kept open; more are opened as needed.
_POOL = 4
#: Its mode, and that of what lies beside it.
OWNER_ONLY = 0o600
_QUARANTINED = ".corrupt-"

log = structlog.get_logger()


class SqliteStore(Store):
    """A file, its write-ahead log, and damaged ones that were moved aside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.parent
        self._identity: tuple[int, int] | None = None
        self.engine = self.reader = create_engine(
            URL.create("sqlite", database=str(path)),
            connect_args={"timeout": LOCK_WITHIN, "check_same_thread": False},
            hide_parameters=True,
            pool_size=_POOL,
            max_overflow=-1,
        )
        event.listen(self.engine, "connect", _configure)
        event.listen(self.engine, "begin", _begin)
        self.writer = self.engine.execution_options(begin="BEGIN IMMEDIATE")

    def prepare(self) -> None:
        """Make sure that there is a sound file that nobody else may read."""
        try:
            self._create()
            if self._damaged("quick_check"):
                self._quarantine()
                self._create()
            status = self.path.stat()
            self._identity = (status.st_dev, status.st_ino)
        except OSError as error:
            raise ConfigError(
                [f"state.url: {self.path} cannot be opened: {error.strerror}; the folder must exist and be writable"]
            ) from None

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """One transaction for all of it."""
        with self.writer.begin() as connection:
            yield connection

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        """Of a file opened for reading only."""
        url = URL.create("sqlite", database=self.path.resolve().as_uri(), query={"mode": "ro", "uri": "true"})
        engine = create_engine(url, hide_parameters=True, poolclass=NullPool)
        with engine.connect() as connection:
            yield connection

    def damaged(self) -> bool:
        """Compares indexes with their tables too."""
        return self._damaged("integrity_check")

    def check(self) -> None:
        """Notice that the file was moved or replaced: what is written to an open one would be lost."""
        try:
            status = self.path.stat()
        except OSError:
            status = None
        if status is None or (status.st_dev, status.st_ino) != self._identity:
            raise CollectorError("internal", "the ledger's file was moved or replaced in use; restart the exporter")

    def size(self, tables: Sequence[str]) -> int | None:  # noqa: ARG002
        """The file and its write-ahead log."""
        total = 0
        for suffix in ("", "-wal"):
            with suppress(OSError):
                total += os.stat(f"{self.path}{suffix}").st_size  # noqa: PTH116  # no path, but a name with a suffix
        return total

    def quarantined(self) -> Sequence[Path]:
        """Damaged files beside it, without their companions."""
        found = self.path.parent.glob(f"{self.path.name}{_QUARANTINED}*")
        return sorted(file for file in found if not file.name.endswith(COMPANIONS))

    def _damaged(self, check: str) -> bool:
        """Whether it is no sound database. A file that cannot be looked into, such as a locked one, is not."""
        try:
            with closing(sqlite3.connect(self.path, timeout=LOCK_WITHIN)) as connection:
                return bool(connection.execute(f"PRAGMA {check}(1)").fetchone()[0] != "ok")
        except sqlite3.Error as error:
            return explain(error).damaged

    def _create(self) -> None:
        if not self.path.exists():
            # A write-ahead log without its file would be replayed into the new one.
            for suffix in COMPANIONS:
                with suppress(FileNotFoundError):
                    Path(f"{self.path}{suffix}").rename(self._aside() + suffix)
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY))
            sync_folder(self.path.parent)
        for suffix in ("", *COMPANIONS):
            self._keep_private(Path(f"{self.path}{suffix}"))

    def _keep_private(self, file: Path) -> None:
        try:
            if stat.S_IMODE(file.stat().st_mode) != OWNER_ONLY:
                file.chmod(OWNER_ONLY)
        except FileNotFoundError:
            return
        except PermissionError:
            log.warning("the ledger's mode should be 0600, but the file belongs to another user", file=str(file))

    def _quarantine(self) -> None:
        aside = self._aside()
        log.error("the ledger is damaged and is moved aside; a new one is begun", file=str(self.path), aside=aside)
        self.path.rename(aside)
        for suffix in COMPANIONS:
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(aside + suffix)
        sync_folder(self.path.parent)

    def _aside(self) -> str:
        return f"{self.path}{_QUARANTINED}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"


def _configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions by itself, since it does so too late and without IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA journal_size_limit = {_WAL_KEEPS}")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
