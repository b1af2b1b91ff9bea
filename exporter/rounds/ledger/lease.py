"""The lease on a ledger that several exporters share: the one that holds it counts, the others stand by.

It is a row of the ledger with its holder, an *epoch* that grows each time it is taken, and the time for which it holds,
by the database's clock alone. The holder renews it every third of that time; whoever finds it run out takes it.

**Who counts.** A transaction that writes first locks the row that all of them lock, and then looks at the lease. Taking
the lease needs that lock too, so it stays where it was found until the transaction ends. Nothing that a former holder
does later is committed, however long it was stopped: the epoch is another one. Renewing needs no such lock, so a long
transaction costs nobody the lease.

**Who tells.** What was counted is served only as long as this computer's own clock, which runs on while a process is
stopped, says that the lease holds. It is taken from before the renewal was sent, so it ends before the database's.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

import structlog
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Double,
    Integer,
    MetaData,
    String,
    Table,
    insert,
    literal_column,
    select,
    update,
)

from rounds.errors import CollectorError, ConfigError
from rounds.ledger.schema import Schema

#: Renewed so many times while it holds.
RENEWALS = 3
#: Seconds after which an exporter that stands by looks at it again, and one that could not renew it tries again.
_LOOK_EVERY = 1.0
#: Seconds for the thread to end.
_END_WITHIN = 2.0

METADATA = MetaData()
#: One row, number 1. Times are Unix seconds of the database's clock.
LEASES = Table(
    "ledger_lease",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("holder", String(255), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("taken", Double, nullable=False),
    Column("renewed", Double, nullable=False),
    Column("length", Double, nullable=False),
    Column("salt", String(64), nullable=False),
)
SCHEMA = Schema("lease", METADATA)

log = structlog.get_logger()


def _clock() -> float:
    """Seconds by a clock that nobody sets, and that goes on while the computer sleeps, where there is such a one."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class NotHolderError(CollectorError):
    """A transaction that was refused, since this is not the exporter that counts. Nothing of it was kept."""

    def __init__(self, message: str) -> None:
        super().__init__("internal", message)


@dataclass(frozen=True)
class Standing:
    """What the ledger says of its lease.

    Attributes:
        holder: who took it last.
        epoch: how often it has been taken.
        taken: when that was, as Unix seconds of the database's clock.
        expires: until when it holds, as Unix seconds of the database's clock.
        left: seconds until then; not above 0 where it has run out or was given back.
        salt: what the holder's salt is known by, which does not tell it.
    """

    holder: str
    epoch: int
    taken: float
    expires: float
    left: float
    salt: str

    @property
    def in_force(self) -> bool:
        """Whether it holds."""
        return self.left > 0


def look(connection: Connection, now: str, *, lock: bool = False) -> Standing | None:
    """Read the lease; None where nobody has taken it yet.

    Args:
        connection: of a ledger on a server.
        now: an expression for its clock, as Unix seconds.
        lock: whether nobody may renew it until the transaction ends.
    """
    query = select(LEASES, literal_column(now, Double).label("now"))
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        return None
    expires = row.renewed + row.length
    left = expires - row.now
    # With a clock that was set back it would last for hours.
    return Standing(row.holder, row.epoch, row.taken, expires, left if left <= 2 * row.length else 0.0, row.salt)


def refuse_guests(standing: Standing | None) -> None:
    """Let somebody write who wants no lease, such as a command, unless an exporter holds it.

    Raises:
        NotHolderError: one does.
    """
    if standing is not None and standing.in_force:
        raise NotHolderError(
            f"the exporter {standing.holder} holds the lease of this ledger, and nobody else may write to it meanwhile:"
            " let that exporter do it, or stop all exporters of this ledger first"
        )


class Lease:
    """One exporter's part in it: a thread that takes it, renews it and notices its loss. Thread-safe.

    Args:
        transaction: begins a transaction that waits for nothing for longer than a third of the lease. Raises
            CollectorError.
        lock: waits until no transaction that writes is under way, and keeps others from it.
        now: an expression for the database's clock, as Unix seconds.
        length: seconds for which it holds after each renewal.
        salt: the installation's, which all exporters of a ledger must have in common.

    Attributes:
        holder: what this exporter is called: computer, process, and a random part that no other process has.
        length: as above.
        since: when it was taken, or lost, by this exporter, as Unix seconds.
        seen: what the ledger last said of it.
    """

    def __init__(
        self,
        transaction: Callable[[], AbstractContextManager[Connection]],
        lock: Callable[[Connection], None],
        now: str,
        length: float,
        salt: str,
    ) -> None:
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.length = length
        self.since = time.time()
        self.seen: Standing | None = None
        self._transaction = transaction
        self._lock = lock
        self._now = now
        self._salt = hashlib.sha256(f"lease {salt}".encode()).hexdigest()
        #: Of the time held: its epoch, 0 for none, and until when it lasts by this computer's clock.
        self._held = (0, 0.0)
        self._changing = threading.Lock()
        self._told = ""
        self._wake = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None

    @property
    def term(self) -> int | None:
        """The epoch for which this exporter holds it, None while it does not."""
        epoch, until = self._held
        return epoch if _clock() < until else None

    @property
    def wanted(self) -> bool:
        """Whether this exporter tries to hold it, so that it writes nothing without."""
        return self._thread is not None

    def start(self) -> None:
        """Try to take it once, and go on from then in a thread. Blocks until the first answer.

        Raises:
            ConfigError: the exporter that holds it has another salt, so what one has hashed the other could not tell.
        """
        if self._thread is None:
            self._step()
            if self.seen and self._is_anothers(self.seen) and self.seen.salt != self._salt:
                told = f"is not that of the exporter {self.seen.holder}: exporters of one ledger need the same salt"
                raise ConfigError([f"state.salt_file: {told}; copy its file"])
            self._thread = threading.Thread(target=self._main, name="lease", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Give it back, so that another one need not wait for its end. Blocks for a few seconds at most."""
        if self._thread is None:
            return
        self._ending = True
        self._wake.set()
        self._thread.join(_END_WITHIN)
        with self._changing:
            (epoch, _), self._held = self._held, (0, 0.0)
        if epoch:
            with suppress(CollectorError), self._transaction() as connection:
                connection.execute(update(LEASES).where(self._mine(epoch)).values(length=0.0))

    def check(self, standing: Standing | None) -> None:
        """Let this exporter write as long as it holds the lease.

        Args:
            standing: what a transaction has read behind the lock that all writers take.

        Raises:
            NotHolderError: it does not, or not any more.
        """
        epoch, _ = self._held
        if standing and standing.in_force and (standing.holder, standing.epoch) == (self.holder, epoch):
            return
        self._lose(epoch, "a transaction was refused", standing)
        raise NotHolderError(
            "this exporter does not hold the lease of the ledger"
            + (f", {standing.holder} does" if standing and self._is_anothers(standing) else "")
            + ": nothing was counted"
        )

    def _main(self) -> None:
        while not self._ending:
            renewed = self.term is not None and not self._told
            self._wake.wait(self.length / RENEWALS if renewed else min(_LOOK_EVERY, self.length / RENEWALS))
            self._wake.clear()
            if not self._ending:
                self._step()

    def _step(self) -> None:
        """Renew it, or take it where it is free; whatever goes wrong is tried again."""
        epoch, _ = self._held
        if epoch and self.term is None:
            self._lose(epoch, "it could not be renewed in time")
        try:
            if self.term is None:
                self._take()
            else:
                self._renew(epoch)
        except Exception as error:  # noqa: BLE001  # whatever it was, it must not be the last attempt
            told = str(error) if isinstance(error, CollectorError) else f"unexpected {type(error).__name__}"
            if told != self._told:
                log.warning("the lease cannot be looked after", error=told)
            self._told = told
        else:
            self._told = ""

    def _renew(self, epoch: int) -> None:
        sent = _clock()
        renewal = update(LEASES).where(self._mine(epoch)).values(renewed=literal_column(self._now), length=self.length)
        with self._transaction() as connection:
            renewed = connection.execute(renewal).rowcount
            self.seen = look(connection, self._now)
        if not renewed:
            self._lose(epoch, "it was taken", self.seen)
            return
        with self._changing:
            if self._held[0] == epoch:
                self._held = (epoch, sent + self.length)

    def _take(self) -> None:
        with self._transaction() as connection:
            self.seen = look(connection, self._now)
        if self._is_anothers(self.seen):
            return
        with self._transaction() as connection:
            self._lock(connection)
            found = look(connection, self._now, lock=True)
            if self._is_anothers(found):
                self.seen = found
                return
            epoch = found.epoch + 1 if found else 1
            sent = _clock()
            now = literal_column(self._now, Double)
            row = {
                "holder": self.holder,
                "epoch": epoch,
                "taken": now,
                "renewed": now,
                "length": self.length,
                "salt": self._salt,
            }
            connection.execute((update(LEASES) if found else insert(LEASES)).values(number=1, **row))
            self.seen = look(connection, self._now)
        with self._changing:
            self._held = (epoch, sent + self.length)
        self.since = time.time()
        log.info("the lease is taken; this exporter counts from now on", epoch=epoch, holder=self.holder)

    def _lose(self, epoch: int, how: str, standing: Standing | None = None) -> None:
        with self._changing:
            if not epoch or self._held[0] != epoch:
                return
            self._held = (0, 0.0)
        self.since = time.time()
        self._wake.set()
        more = {"by": standing.holder} if self._is_anothers(standing) and standing else {}
        log.warning("the lease is lost; this exporter stands by", how=how, epoch=epoch, **more)

    def _is_anothers(self, standing: Standing | None) -> bool:
        return standing is not None and standing.in_force and standing.holder != self.holder

    def _mine(self, epoch: int) -> ColumnElement[bool]:
        return (LEASES.c.holder == self.holder) & (LEASES.c.epoch == epoch)
