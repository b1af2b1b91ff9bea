"""What stands around the simulated clinic's desktop program: its database, its backups, and who starts it again."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from rounds.demo.desk import OPEN, Trouble
from rounds.demo.pacing import say

#: Beside the program's store.
CLINIC, BACKUPS = "clinic.db", "backups"
#: Seconds from one backup to the next, and how many are kept.
BACKUP_EVERY, KEPT = 20.0, 5

#: Seconds for which the user looks at the screen before the program is started again.
_LOOKS = 3.0
#: Seconds for which who locks the database, or copies it, waits for the program.
_WAITS = 2.0
_PATIENTS = 300
_LIFE = 10.0


class Clinic:
    """The database, and the folder with backups of it.

    Args:
        folder: that of the program's store.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / CLINIC
        self.backups = folder / BACKUPS

    def prepare(self) -> None:
        """Make the database anew, and a first backup."""
        self.backups.mkdir(parents=True, exist_ok=True)
        for old in (self.file, *self.backups.iterdir()):
            old.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(self.file)) as connection, connection:
            connection.execute("CREATE TABLE patients (id INTEGER PRIMARY KEY)")
            connection.execute("CREATE TABLE visits (id INTEGER PRIMARY KEY, patient INTEGER NOT NULL)")
            connection.executemany("INSERT INTO patients (id) VALUES (?)", ((each,) for each in range(1, _PATIENTS)))
        self.back_up()

    def back_up(self) -> None:
        """Copy the database, and remove the oldest copies. Of one that is locked there is none."""
        taken = self.backups / f"backup_{datetime.now(UTC):%Y-%m-%d_%H-%M-%S}.db"
        unfinished = self.backups / f"unfinished_{taken.name}"
        try:
            with contextlib.closing(sqlite3.connect(self.file, timeout=_WAITS)) as connection:
                connection.execute("VACUUM INTO ?", (str(unfinished),))
        except sqlite3.OperationalError:
            unfinished.unlink(missing_ok=True)
            return
        unfinished.replace(taken)
        for old in sorted(self.backups.glob("backup_*"))[:-KEPT]:
            old.unlink()

    def keep_backing_up(self, times: int) -> Iterator[float]:
        """Make so many backups. Gives the seconds from one to the next."""
        for _ in range(times):
            self.back_up()
            yield BACKUP_EVERY

    def lock(self, seconds: float) -> Iterator[float]:
        """Keep everybody else out for so long."""
        with contextlib.closing(sqlite3.connect(self.file, timeout=_WAITS, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield seconds
            connection.execute("ROLLBACK")


class Program:
    """The program's process, which somebody starts again when it has ended.

    Args:
        store: where the library keeps what it is told.
        model: ``host:port`` of the server of language models.
        speed: how many times faster than written people work.
    """

    def __init__(self, store: Path, model: str, speed: float = 1.0) -> None:
        self._release = 0
        self._process: subprocess.Popen[str] | None = None
        self._ended: float | None = None
        self._flags = [f"--store={store}", f"--clinic={store.parent / CLINIC}", f"--model={model}", f"--speed={speed}"]

    @property
    def version(self) -> str:
        """Of the release that is installed."""
        return f"4.{self._release}.0"

    def start(self) -> None:
        """Start it, and wait until it can be used.

        Raises:
            OSError: it ends instead.
        """
        tether = [sys.executable, "-m", "rounds.demo.tether", str(os.getpid())]
        program = [sys.executable, "-m", "rounds.demo.desk", *self._flags, f"--version={self.version}"]
        # Its notifications would come up on the desktop of who looks at the demo.
        desktop = {"DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"}
        self._process = subprocess.Popen(  # noqa: S603 - our own
            [*tether, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={name: value for name, value in os.environ.items() if name not in desktop},
        )
        self._ended = None
        assert self._process.stdout  # noqa: S101 - for the type checker
        if self._process.stdout.readline().rstrip() != OPEN:
            raise OSError(f"the program has ended at once, with code {self._process.wait()}")

    def tend(self) -> None:
        """Start it again where it has ended, after a look at it."""
        if self._process is None or (code := self._process.poll()) is None:
            return
        if self._ended is None:
            self._ended = time.monotonic()
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
            say(f"emr: the program has ended {how}")
        elif time.monotonic() - self._ended > _LOOKS:
            self.close()
            self.start()
            say("emr: somebody starts it again")

    def tell(self, trouble: Trouble, seconds: float = 0) -> None:
        """Let something go wrong in it."""
        if self._process and self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(f"{trouble.value} {seconds}\n")
                self._process.stdin.flush()

    def kill(self) -> None:
        """End it without a word."""
        if self._process:
            self._process.kill()

    def update(self) -> None:
        """Let it end well, and start its next release."""
        self.close()
        self._release += 1
        self.start()

    def close(self) -> None:
        """Let it end well: nothing more comes on its standard input."""
        if self._process is None:
            return
        process, self._process = self._process, None
        with process:
            try:
                process.communicate(timeout=_LIFE)
            except (subprocess.TimeoutExpired, BrokenPipeError):
                process.kill()
