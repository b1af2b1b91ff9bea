"""Whether a SQLite database of the application is there, can be read, answers in time and is sound."""

from __future__ import annotations

import sqlite3
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from rounds.emr.health.amounts import size, span
from rounds.emr.health.background import AGAIN, Background
from rounds.emr.health.opening import STEPS, connect, open_file, primary, read, stamp
from rounds.emr.health.result import Health

#: Why a database is not healthy: no file; it may not be read; no database, or an encrypted one; pages are damaged;
#: no table in it; another program does not let it be read; too slow; left amid a change that only a program that may
#: write can undo or finish; anything else.
REASONS = (
    "missing", "unreadable", "not_a_database", "damaged", "empty", "locked", "slow", "recovery", "error",
)  # fmt: skip

_REASON_OF = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_CANTOPEN: "unreadable",
    sqlite3.SQLITE_PERM: "unreadable",
    sqlite3.SQLITE_AUTH: "unreadable",
    sqlite3.SQLITE_IOERR: "unreadable",
    sqlite3.SQLITE_NOTADB: "not_a_database",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_READONLY: "recovery",
    sqlite3.SQLITE_INTERRUPT: "slow",
}
_TEXTS = {
    "missing": "the file is not there",
    "unreadable": "the file cannot be read",
    "not_a_database": "the file is no SQLite database, or is encrypted",
    "damaged": "pages of the file are damaged",
    "empty": "there is no table in it",
    "locked": "another program does not let it be read",
    "slow": "the answer takes too long",
    "recovery": "a program was ended amid a change; the next one that writes to the file undoes or finishes it",
    "error": "SQLite refuses to read it",
}
_DEGRADED = {"locked", "slow", "recovery"}
#: How often pages are looked at that are found damaged while the file changes.
_TRIES = 3


@dataclass(frozen=True)
class _Look:
    """A look at all pages. ``sound`` is None where it did not come to an end; ``at`` is Unix time; ``soon`` is whether
    another one is due before its time.
    """

    identity: tuple[int, int]
    sound: bool | None
    at: float
    soon: bool


class Database:
    """The check, with what it keeps from one run to the next: how a look at all the pages went.

    It takes no write lock, and never counts a table's rows. In WAL mode a program that writes keeps no other from
    reading, so that it does not show; with a rollback journal it shows only while it puts its changes into the file.

    Such a look runs beside the checks, in a thread of its own, so that a large file does not hold them up. It holds no
    lock on a file with a rollback journal, as the application could not write for as long: damage that is found there
    counts only if the file did not change meanwhile. Damage is looked for again after five minutes, and at once in
    another file.

    Args:
        path: the file.
        slow_after: seconds; an answer that takes longer is degraded.
        timeout: longest wait in seconds for another program's lock, and for the answer.
        integrity_every: seconds from one look at all pages to the next; None for none.
        integrity_timeout: longest time in seconds that such a look may take; without a verdict by then, there is none.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        slow_after: float = 1.0,
        timeout: float = 5.0,
        integrity_every: float | None = 86_400.0,
        integrity_timeout: float = 60.0,
    ) -> None:
        self._path = Path(path)
        self._slow_after = slow_after
        self._timeout = timeout
        self._every = integrity_every
        self._integrity_timeout = integrity_timeout
        self._pages = Background(self._look, "rounds-integrity")
        self._verdict: _Look | None = None

    def run(self) -> Health:
        """Check it once: as long as a lock lasts, but not longer than ``timeout`` and what the disk takes."""
        figures: dict[str, float] = {}
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return _health("missing", figures)
        except OSError:
            return _health("unreadable", figures)
        if not stat.S_ISREG(found.st_mode):
            return _health("unreadable", figures)
        figures["database_bytes"] = float(found.st_size)
        began = time.perf_counter()
        reason = self._answer(began)
        seconds = time.perf_counter() - began
        figures["database_locked"] = float(reason == "locked")
        if reason in ("", "empty", "slow"):
            figures["database_response_seconds"] = seconds
        # Also where it is damaged or gone by now; but not where another program's lock would have to be waited for.
        if reason != "locked":
            self._start_look((found.st_dev, found.st_ino))
        self._tell_pages(figures, (found.st_dev, found.st_ino))
        if figures.get("database_integrity_ok") == 0 and reason in ("", "slow", "locked"):
            reason = "damaged"
        if not reason and seconds > self._slow_after:
            reason = "slow"
        return _health(reason, figures, f"answered within {span(seconds)}, {size(found.st_size)}")

    def _answer(self, began: float) -> str:
        """Why the file could not be read; "" where it could."""
        end = began + self._timeout

        def ask(connection: sqlite3.Connection) -> bool:
            connection.set_progress_handler(lambda: time.perf_counter() > end, STEPS)
            tables = connection.execute("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table')")
            return bool(tables.fetchone()[0])

        try:
            return "" if read(self._path, self._timeout, ask) else "empty"
        except sqlite3.Error as error:
            return self._why(error)
        except FileNotFoundError:
            return "missing"
        except OSError:
            return "unreadable"

    def _why(self, error: sqlite3.Error) -> str:
        reason = _REASON_OF.get(primary(error), "error")
        # A log whose index is gone can be read by nobody who may not make a new one.
        if reason == "unreadable" and primary(error) == sqlite3.SQLITE_CANTOPEN and Path(f"{self._path}-wal").exists():
            return "recovery"
        return reason

    def _start_look(self, identity: tuple[int, int]) -> None:
        if self._every is None:
            return
        every = self._every
        last = self._pages.result
        if last is not None and last.soon:
            every = min(every, AGAIN)
        if last is not None and last.identity != identity:
            every = 0
        self._pages.start(every)

    def _tell_pages(self, figures: dict[str, float], identity: tuple[int, int]) -> None:
        last = self._pages.result
        # A look that came to no end says nothing, so the one before holds on; but none says anything of another file.
        if last is not None and last.sound is not None:
            self._verdict = last
        if self._verdict is not None and self._verdict.identity == identity:
            figures["database_integrity_ok"] = float(bool(self._verdict.sound))
            figures["database_integrity_check_timestamp_seconds"] = self._verdict.at

    def _look(self) -> _Look:
        end = time.monotonic() + self._integrity_timeout
        identity, sound, soon = (0, 0), None, True
        try:
            identity = stamp(self._path).identity
            sound = self._sound(end)
            # One that was out of time would be again.
            soon = sound is False or (sound is None and time.monotonic() < end)
        except (OSError, sqlite3.Error):
            pass  # not a damaged page; the check itself says what it is
        return _Look(identity, sound, time.time(), soon)

    def _sound(self, end: float) -> bool | None:
        """Whether all pages are sound; None where it cannot be said.

        Raises:
            OSError: the file cannot be looked at.
            sqlite3.Error: it cannot be read.
        """
        for _ in range(_TRIES):
            if (before := stamp(self._path)).logged:
                # A reader of a log keeps nobody from writing.
                return _quick_check(connect(self._path, self._timeout), end)
            try:
                # Nobody is amid a change now: a rollback journal would be undone, or waited for.
                opened = open_file(self._path, self._timeout)
            except sqlite3.DatabaseError as error:
                if _REASON_OF.get(primary(error)) != "damaged":
                    raise
                found: bool | None = False
            else:
                try:
                    before = stamp(self._path)
                finally:
                    opened.connection.close()
                found = _quick_check(connect(self._path, self._timeout, immutable=True), end)
            if found is not False or stamp(self._path) == before:
                return found
        return None


def _quick_check(connection: sqlite3.Connection, end: float) -> bool | None:
    """Look at the pages until the first bad one, and close the connection. None where time is up."""
    try:
        connection.set_progress_handler(lambda: time.monotonic() > end, STEPS)
        return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.DatabaseError as error:
        reason = _REASON_OF.get(primary(error))
        if reason == "damaged":
            return False
        if reason == "slow":
            return None
        raise
    finally:
        connection.close()


def _health(reason: str, figures: dict[str, float], text: str = "") -> Health:
    if not reason:
        return Health.ok(text, **figures)
    if reason in _DEGRADED:
        return Health.degraded(_TEXTS[reason], reason=reason, **figures)
    return Health.unhealthy(_TEXTS[reason], reason=reason, **figures)
