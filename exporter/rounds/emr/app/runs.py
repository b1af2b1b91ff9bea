"""The mark that a process leaves while it lives, by which the next one sees how it ended."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rounds.emr.app import process
from rounds.emr.app.rows import add_counter
from rounds.emr.app.store import Store

HEARTBEAT_SECONDS = 15.0
#: A process that cannot be asked for is gone when it was silent for this long: it may run in another container.
SILENT_SECONDS = 4 * HEARTBEAT_SECONDS

Ending: TypeAlias = Literal["clean", "sigterm", "python"]


@dataclass(frozen=True)
class Dead:
    """A process that did not say how it ended."""

    id: int
    pid: int
    started: float
    heartbeat: float


@dataclass(frozen=True)
class Fatal:
    """The signal that ended a process, as faulthandler wrote it down."""

    error_type: str
    """Such as SIGSEGV."""
    report: str = ""
    """The report's file name in the folder of reports."""
    fingerprint: str = ""


class Run:
    """This process in the store. Used on the writer's thread.

    Args:
        examine: asked about each process that did not say how it ended: what is known of a fatal signal, or None. It
            is asked in a transaction, which may be repeated.
    """

    def __init__(self, store: Store, examine: Callable[[Dead], Fatal | None] = lambda _: None) -> None:
        self.id: int | None = None
        self._store = store
        self._examine = examine
        self._marked = True
        self.started = store.clock()
        self._cpu = process.cpu_seconds()
        self._ended = False

    def beat(self) -> None:
        """Give a sign of life, the first time a mark; close those whose processes are gone.

        Raises:
            StoreUnavailable: try again later.
        """
        if self._ended:
            return
        cpu = process.cpu_seconds()
        first = self.id is None
        self.id = self._store.transaction(lambda connection: self._beat(connection, cpu), durable=first)
        self._cpu = cpu

    def end(self, ending: Ending) -> None:
        """Say how it ends. What was said first holds.

        Raises:
            StoreUnavailable: it could not be said.
        """
        if self._ended:
            return
        if self.id is None:
            self.beat()
        cpu = process.cpu_seconds()
        self._store.transaction(lambda connection: self._end(connection, ending, cpu), durable=True)
        self._ended = True

    def resume(self) -> None:
        """It does not end: a handler of the application has taken SIGTERM for something else.

        Raises:
            StoreUnavailable: it counts as ended.
        """
        if self._ended and self._marked:
            self._store.transaction(
                lambda connection: connection.execute(
                    "UPDATE rounds_run SET ended = NULL, ending = NULL WHERE id = ? AND ending = 'sigterm'", (self.id,)
                )
            )
            self._ended = False

    def forked(self) -> None:
        """Now in a child, which leaves no mark: its parent ends it, or it ends itself, without a word."""
        self.id = None
        self._marked = self._ended = False
        self._cpu = 0.0

    def _beat(self, connection: sqlite3.Connection, cpu: float) -> int | None:
        self._count_cpu(connection, cpu)
        if not self._marked:
            return None
        now = self._store.clock()
        changed = 0
        if self.id is not None:
            changed = connection.execute(
                "UPDATE rounds_run SET heartbeat = ?, resident_bytes = ?, cpu_seconds = ? WHERE id = ?",
                (now, process.resident_bytes(), cpu, self.id),
            ).rowcount
        # The mark is lost where the file was.
        own = self.id if changed else self._mark(connection, now, cpu)
        self._bury(connection, own, now)
        return own

    def _mark(self, connection: sqlite3.Connection, now: float, cpu: float) -> int | None:
        pid = os.getpid()
        return connection.execute(
            "INSERT INTO rounds_run (pid, boot_id, process_start, started, heartbeat, version, python, os,"
            " resident_bytes, cpu_seconds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(pid, process.boot_id(), process.start_of(pid) or "", self.started, now, self._store.version),
                *(platform.python_version(), f"{platform.system()} {platform.release()}"),
                *(process.resident_bytes(), cpu),
            ),
        ).lastrowid

    def _end(self, connection: sqlite3.Connection, ending: Ending, cpu: float) -> None:
        self._count_cpu(connection, cpu)
        now = self._store.clock()
        connection.execute(
            "UPDATE rounds_run SET ended = max(?, started), ending = ?, heartbeat = ?, cpu_seconds = ?"
            " WHERE id = ? AND ended IS NULL",
            (now, ending, now, cpu, self.id),
        )

    def _count_cpu(self, connection: sqlite3.Connection, cpu: float) -> None:
        add_counter(connection, "process_cpu_seconds_total", (), max(0.0, cpu - self._cpu))

    def _bury(self, connection: sqlite3.Connection, own: int | None, now: float) -> None:
        # In one transaction with what it counts: who comes later finds nothing open.
        boot = process.boot_id()
        rows = connection.execute(
            "SELECT id, pid, started, heartbeat, boot_id, process_start FROM rounds_run"
            " WHERE ended IS NULL AND id != ?",
            (own,),
        ).fetchall()
        for *known, boot_id, start in rows:
            dead = Dead(*known)
            if _lives(dead, same_boot=boot_id == boot, boot=boot_id, own_boot=boot, start=start, now=now):
                continue
            fatal = self._ask(dead)
            kind = "unclean" if fatal is None else "fatal_signal"
            connection.execute(
                "UPDATE rounds_run SET ended = ?, ending = ? WHERE id = ?", (dead.heartbeat, kind, dead.id)
            )
            told = fatal or Fatal("")
            connection.execute(
                "INSERT OR IGNORE INTO rounds_crash (id, at, kind, error_type, fingerprint, report)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (f"run-{dead.id}", dead.heartbeat, kind, told.error_type, told.fingerprint, told.report),
            )
            add_counter(connection, "crashes_total", (kind,), 1)

    def _ask(self, dead: Dead) -> Fatal | None:
        try:
            return self._examine(dead)
        except Exception:
            return None


def _lives(dead: Dead, *, same_boot: bool, boot: str, own_boot: str, start: str, now: float) -> bool:
    # By either way of looking: clocks are set back.
    heard = abs(now - dead.heartbeat) <= SILENT_SECONDS
    if not same_boot:
        # Another start of the computer; or a container beside this one, whose processes cannot be seen from here.
        return bool(boot) and boot.partition(" ")[0] == own_boot.partition(" ")[0] and heard
    found = process.start_of(dead.pid)
    if found is None:
        return False
    if found == "" or start == "":
        return heard
    return found == start
