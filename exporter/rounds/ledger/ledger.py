"""Opens the ledger and gives transactions on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from rounds.errors import CollectorError, ConfigError
from rounds.ledger.faults import explain
from rounds.ledger.lease import Lease, look, refuse_guests
from rounds.ledger.salt import read_salt
from rounds.ledger.schema import CORE, VERSIONS, Schema, migrate
from rounds.ledger.servers import MariadbStore, PostgresqlStore
from rounds.ledger.settings import State
from rounds.ledger.sqlite import SqliteStore
from rounds.ledger.store import LOCK_WITHIN, Store

#: Seconds after which a server is asked again how large the ledger is.
_SIZE_LASTS = 300

log = structlog.get_logger()


class Ledger:
    """The open ledger. Thread-safe.

    A server that does not answer when the exporter starts holds up nothing but the jobs that need the ledger: each
    transaction tries again to open it.

    Attributes:
        salt: the installation's salt, which keyed hashes are made with; never in the ledger itself.
        folder: where large intermediate results may be spooled, None for the system's own place.
        up: whether the last transaction succeeded.
        commits: transactions that were committed since the ledger was opened.
        last_commit: when the last one was, as Unix seconds; None before the first.
        created: when the ledger was begun, as Unix seconds; None until it could be opened.
        lease: this exporter's part in the lease, None where none is configured.
    """

    def __init__(self, store: Store, salt: str, schemas: Sequence[Schema], lease: float | None = None) -> None:
        self.salt = salt
        self.folder: Path | None = store.folder
        self.up = False
        self.commits = 0
        self.last_commit: float | None = None
        self.created: float | None = None
        self._store = store
        self._schemas = [*store.schemas, *schemas]
        self._tables = [table.name for schema in self._schemas for table in schema.metadata.sorted_tables]
        self._opening = threading.Lock()
        self._writing = threading.Lock()
        self._opened = self._closed = False
        self._size: tuple[float, int | None] = (float("-inf"), None)
        self.lease: Lease | None = None
        if lease is not None and store.now is not None:
            self.lease = Lease(self._leasing, store.begin, store.now, lease, salt)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that changes something: all of it, or nothing if the block raises. Keep it short.

        Such transactions follow one another, also those of other processes: what one reads stays true until it ends.
        After an error it may have been committed or not, as when a server's answer is lost: read again what is there.

        Raises:
            NotHolderError: another exporter holds the lease, or this one does not hold it any more.
            CollectorError: ``internal`` when the ledger cannot be written, with what is wrong.
        """
        self._ready()
        if not self._writing.acquire(timeout=LOCK_WITHIN):
            raise CollectorError("internal", f"another job has been writing to the ledger for {LOCK_WITHIN} s")
        try:
            with self._transaction(self._store.writer) as connection:
                self._store.begin(connection)
                self._admit(connection)
                yield connection
            self.commits += 1
            self.last_commit = time.time()
        finally:
            self._writing.release()
        self._measure()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view of what was committed.

        Raises:
            CollectorError: ``internal`` when the ledger cannot be read.
        """
        self._ready()
        with self._transaction(self._store.reader) as connection:
            yield connection

    def open(self) -> None:
        """Check and migrate, where that has not been done.

        Raises:
            ConfigError: the ledger is refused, or refuses.
            CollectorError: ``internal`` when it does not answer.
        """
        with self._opening:
            if self._opened:
                return
            try:
                self._store.prepare()
                with self._store.migrating() as connection:
                    migrate(connection, self._schemas)
                    query = select(VERSIONS.c.created).where(VERSIONS.c.component == CORE.component)
                    self.created = connection.execute(query).scalar_one()
            except SQLAlchemyError as error:
                self.up = False
                fault = explain(error)
                if fault.lasting:
                    raise ConfigError([f"state.url: the ledger {fault.text}"]) from None
                raise CollectorError("internal", f"the ledger {fault.text}") from None
            self._opened = self.up = True
        self._measure()

    @property
    def size(self) -> int | None:
        """Bytes that it takes; None where that is not known. Never asks a server."""
        return self._size[1] if self._store.slow_size else self._store.size(self._tables)

    @property
    def quarantined(self) -> Sequence[Path]:
        """Damaged files that were moved aside and still lie there."""
        return self._store.quarantined()

    def close(self) -> None:
        """Let go of it. A transaction under way is finished; no other is begun."""
        if self.lease is not None:
            self.lease.close()
        self._closed = True
        self._store.close()

    def _ready(self) -> None:
        if self._closed:
            raise CollectorError("internal", "the ledger has been closed")
        if not self._opened:
            try:
                self.open()
            except ConfigError as error:
                raise CollectorError("internal", error.problems[0]) from None
        try:
            self._store.check()
        except CollectorError:
            self.up = False
            raise

    def _admit(self, connection: Connection) -> None:
        """Go on only where this exporter may write, in a transaction that has locked out all others."""
        if self._store.now is None:
            return
        standing = look(connection, self._store.now)
        if self.lease is not None and self.lease.wanted:
            self.lease.check(standing)
        else:
            refuse_guests(standing)

    @contextmanager
    def _leasing(self) -> Iterator[Connection]:
        self._ready()
        with self._transaction(self._store.leasing or self._store.writer) as connection:
            yield connection

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.connect() as connection:
                try:
                    with connection.begin():
                        yield connection
                finally:
                    if self._closed:
                        connection.invalidate()  # it would go back to a pool that is no more
        except SQLAlchemyError as error:
            self.up = False
            raise CollectorError("internal", f"the ledger {explain(error).text}") from None
        self.up = True

    def _measure(self) -> None:
        if self._store.slow_size and time.monotonic() - self._size[0] > _SIZE_LASTS:
            self._size = (time.monotonic(), self._size[1])
            with suppress(SQLAlchemyError):
                self._size = (time.monotonic(), self._store.size(self._tables))


def open_ledger(settings: State, schemas: Sequence[Schema]) -> Ledger:
    """Open, check and migrate. A server that does not answer is tried again at each transaction.

    Args:
        settings: where it is.
        schemas: the components' tables; those of the core need not be named.

    Raises:
        ConfigError: it cannot be opened; says why and what to do.
    """
    ledger = Ledger(store_of(settings), read_salt(settings.salt_path), schemas, settings.lease)
    try:
        ledger.open()
    except CollectorError as error:
        log.error("the ledger cannot be opened yet; jobs that need it will try again", error=str(error))  # noqa: TRY400
    except ConfigError:
        ledger.close()
        raise
    return ledger


def store_of(settings: State) -> Store:
    """The place that the settings name.

    Raises:
        ConfigError: its driver is not installed.
    """
    if settings.path is not None:
        return SqliteStore(settings.path)
    url = settings.engine_url
    kind = PostgresqlStore if url.get_backend_name() == "postgresql" else MariadbStore
    try:
        return kind(url, settings.lease)
    except ModuleNotFoundError as error:
        told = f"state.url: the driver {error.name} is not installed; install rounds-exporter[postgresql]"
        raise ConfigError([told]) from None
