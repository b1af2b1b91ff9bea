"""What is to be sent once there is a network: rows of the store, bounded by number, bytes and age.

Each call has a connection of its own, for as long as it takes: crashes come from any thread, and sending has its own.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rounds.emr.app.batch import dropped
from rounds.emr.app.rows import add_counter

#: The most that waits: rows, bytes, and seconds.
ROWS_MAX = 200
BYTES_MAX = 4 * 1024 * 1024
AGE_MAX = 30 * 86_400.0
#: Seconds for which who has taken a row keeps others from sending it too.
LEASE = 120.0
#: Seconds that a call waits for others who write.
BUSY = 2.0


@contextlib.contextmanager
def transaction(path: Path, *, full: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection with a transaction, which is committed at the end.

    Args:
        path: the store; a file that is not there is not made, as that is the writer's.
        full: have it on the disk when this ends, and not only in the operating system's hands.

    Raises:
        sqlite3.Error: nothing was written.
    """
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY, isolation_level=None)
    try:
        connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    finally:
        connection.close()


@dataclass(frozen=True)
class Waiting:
    """Something that is to be sent. ``attempts`` counts this one too."""

    id: int
    kind: str
    crash: str
    body: bytes
    attempts: int


def add(connection: sqlite3.Connection, now: float, kind: str, crash: str, body: bytes) -> None:
    """Put something behind what waits already, and drop what is too much, the oldest first."""
    if len(body) > BYTES_MAX:
        _dropped(connection, "size")
        return
    connection.execute(
        "INSERT INTO rounds_spool (at, kind, crash, body, next_attempt) VALUES (?, ?, ?, ?, 0)",
        (now, kind, crash, body),
    )
    trim(connection, now)


def trim(connection: sqlite3.Connection, now: float) -> None:
    """Drop what is too old or too much, and count it."""
    aged = connection.execute("DELETE FROM rounds_spool WHERE at < ?", (now - AGE_MAX,)).rowcount
    if aged > 0:
        _dropped(connection, "age", aged)
    rows = connection.execute("SELECT id, length(body) FROM rounds_spool ORDER BY id DESC").fetchall()
    total, kept = 0, 0
    for _, size in rows:
        total += size
        if total > BYTES_MAX or kept == ROWS_MAX:
            break
        kept += 1
    if excess := rows[kept:]:
        connection.execute("DELETE FROM rounds_spool WHERE id <= ?", (excess[0][0],))
        _dropped(connection, "size", len(excess))


def _dropped(connection: sqlite3.Connection, reason: str, rows: int = 1) -> None:
    name, labels = dropped(reason)
    add_counter(connection, name, labels, rows)


class Spool:
    """What the sender does with the rows. Kinds are independent of each other: each has its own destination."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, kind: str, now: float) -> Waiting | float | None:
        """The oldest row of a kind; seconds until it may be sent where it is too early; None where there is none.

        A row that was taken is kept from other processes for a while. The first row is waited for: what comes behind
        it goes to the same place.

        Raises:
            sqlite3.Error: the store cannot be used now.
        """
        with transaction(self._path) as connection:
            trim(connection, now)
            row = connection.execute(
                "SELECT id, crash, body, attempts, next_attempt FROM rounds_spool WHERE kind = ? ORDER BY id LIMIT 1",
                (kind,),
            ).fetchone()
            if row is None:
                return None
            number, crash, body, attempts, due = row
            # Nothing is put off for longer than a day: a later time was said by a clock that was wrong.
            if now < due <= now + 86_400:
                return float(due - now)
            connection.execute(
                "UPDATE rounds_spool SET attempts = attempts + 1, next_attempt = ? WHERE id = ?", (now + LEASE, number)
            )
            return Waiting(number, kind, crash, body, attempts + 1)

    def sent(self, waiting: Waiting) -> None:
        """It was taken by its destination.

        Raises:
            sqlite3.Error: this could not be written down; it will be sent again.
        """
        with transaction(self._path) as connection:
            connection.execute("DELETE FROM rounds_spool WHERE id = ?", (waiting.id,))
            if waiting.kind == "crash":
                connection.execute("UPDATE rounds_crash SET submitted = 1 WHERE id = ?", (waiting.crash,))

    def refused(self, waiting: Waiting) -> None:
        """Its destination will never take it.

        Raises:
            sqlite3.Error: as for :meth:`sent`.
        """
        with transaction(self._path) as connection:
            if connection.execute("DELETE FROM rounds_spool WHERE id = ?", (waiting.id,)).rowcount:
                _dropped(connection, "error")

    def later(self, waiting: Waiting, due: float) -> None:
        """It is tried again then.

        Raises:
            sqlite3.Error: it is tried when its lease ends.
        """
        with transaction(self._path) as connection:
            connection.execute("UPDATE rounds_spool SET next_attempt = ? WHERE id = ?", (due, waiting.id))
