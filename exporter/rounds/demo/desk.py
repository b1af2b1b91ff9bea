"""A clinic's desktop program that is monitored by the library: ``python -m rounds.demo.desk --store=FILE ...``.

Its doctors see patients all day. A patient is a number; nobody has a name. What goes wrong is told on standard input,
a line for each: a word of :class:`Trouble` and the seconds for which it lasts. The program ends when there is no more.
"""

from __future__ import annotations

import argparse
import contextlib
import enum
import http.client
import json
import os
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rounds.emr import Monitor

#: What the program calls itself, and the model that it asks.
APP, MODEL = "docassist", "qwen2.5:7b"
#: Said when the program can be used.
OPEN = "The desk is open."

#: From how many seconds on each operation is slow.
SLOW = {"consultation_duration": 15.0, "prescription_generation": 1.0, "search_latency": 0.4, "llm_response": 3.0}

_DOCTORS = 3
_SEED = 12780
#: Seconds for which the database and the model are waited for.
_DATABASE_WAITS, _MODEL_WAITS = 0.5, 4.0
#: Of so many prescriptions one is not made, as the doctor thinks better of it.
_NOT_MADE = 12


class Trouble(enum.Enum):
    """What goes wrong in the program, by the word for it."""

    PRINTER = "printer"
    SLOW_SEARCH = "slow-search"
    REMINDERS = "reminders"
    CRASH = "crash"


class PrinterError(Exception):
    """The printer takes nothing."""


class ModelMissingError(Exception):
    """The server of language models does not have the model."""


class MailboxError(Exception):
    """A reminder cannot be sent."""


class BrokenFormError(Exception):
    """A form that nobody expected."""


class Desk:
    """The program.

    Args:
        monitor: of the library.
        clinic: the database.
        model: ``host:port`` of the server of language models.
        speed: how many times faster than written people work.
    """

    def __init__(self, monitor: Monitor, clinic: Path, model: str, speed: float = 1.0) -> None:
        self._monitor = monitor
        self._clinic = clinic
        self._model = model
        self._speed = speed
        self._until: dict[Trouble, float] = {}
        self._told: set[str] = set()
        self._active = monitor.gauge("active_consultations")
        self._memory = monitor.gauge("memory_usage_mb")
        self.consult = monitor.operation("consultation_duration", slow=SLOW["consultation_duration"])(self._consult)
        self.search = monitor.operation("search_latency", slow=SLOW["search_latency"])(self._search)
        self.ask = monitor.operation("llm_response", slow=SLOW["llm_response"])(self._ask)
        locked = (sqlite3.OperationalError,)
        self.save = monitor.retry(3, delay=0.2, on=locked, name="save_visit")(
            monitor.operation("save_visit")(self._save)
        )

    def open(self) -> None:
        """Begin to work, in threads that end with the process."""
        # What it was when the program crashed holds no more.
        self._active.set(0)
        self._monitor.message("info")
        work: list[Callable[[random.Random], None]] = [*[self._see_a_patient] * _DOCTORS, self._admit, self._housekeep]
        for number, shift in enumerate(work):
            chance = random.Random(f"{_SEED} {number} {time.time_ns()}")
            threading.Thread(target=self._work, args=(shift, chance), daemon=True, name=f"desk-{number}").start()

    def befall(self, trouble: Trouble, seconds: float) -> None:
        """Let something go wrong for so long.

        Raises:
            BrokenFormError: it is the exception that nobody catches.
        """
        if trouble is Trouble.CRASH:
            raise BrokenFormError
        self._until[trouble] = time.monotonic() + seconds
        self._monitor.message("warning")

    def _is(self, trouble: Trouble) -> bool:
        return time.monotonic() < self._until.get(trouble, 0.0)

    def _work(self, shift: Callable[[random.Random], None], chance: random.Random) -> None:
        while True:
            shift(chance)

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds / self._speed)

    def _see_a_patient(self, chance: random.Random) -> None:
        self._pause(chance.uniform(0.5, 3))
        self._active.add(1)
        try:
            self.consult(chance)
        finally:
            self._active.add(-1)

    def _consult(self, chance: random.Random) -> None:
        """Look for what is known, ask the model, prescribe, and write it down. What fails is done by hand."""
        for step in (self.search, self.search, self._answer, self._prescribe, self._note):
            self._pause(chance.uniform(0.3, 1.5))
            with contextlib.suppress(sqlite3.Error, PrinterError):
                step(chance)

    def _search(self, chance: random.Random) -> int:
        time.sleep(chance.lognormvariate(-3.5, 0.6))
        if self._is(Trouble.SLOW_SEARCH):
            time.sleep(chance.uniform(0.3, 0.9))
        return int(self._sql("SELECT COUNT(*) FROM patients WHERE id % 7 = ?", chance.randrange(7)))

    def _answer(self, chance: random.Random) -> None:
        try:
            self.ask(chance)
        except (OSError, http.client.HTTPException, ModelMissingError):
            self._tell("error", "llm:gone", "The language model does not answer", "Notes are written without it.")
        else:
            self._told.discard("llm:gone")

    def _ask(self, chance: random.Random) -> None:
        question = {"model": MODEL, "prompt": f"note {chance.randrange(1000)}", "stream": False}
        connection = http.client.HTTPConnection(self._model, timeout=_MODEL_WAITS)
        with contextlib.closing(connection):
            connection.request("POST", "/api/generate", json.dumps(question), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise ModelMissingError
        time.sleep(chance.lognormvariate(-0.1, 0.5))

    def _prescribe(self, chance: random.Random) -> None:
        name = "prescription_generation"
        with self._monitor.operation(name, slow=SLOW[name]) as operation:
            time.sleep(chance.uniform(0.08, 0.5))
            if chance.randrange(_NOT_MADE) == 0:
                operation.outcome("skipped")
                return
            if self._is(Trouble.PRINTER):
                raise PrinterError
        self._monitor.count("prescriptions_printed")

    def _note(self, chance: random.Random) -> None:
        try:
            self.save(chance)
        except sqlite3.OperationalError:
            self._tell("warning", "visits:kept", "Visits cannot be saved", "They are kept until the database is free.")
            raise
        self._told.discard("visits:kept")
        self._monitor.count("visits_saved")

    def _save(self, chance: random.Random) -> None:
        self._sql("INSERT INTO visits (patient) VALUES (?)", chance.randrange(1, 300))

    def _admit(self, chance: random.Random) -> None:
        """The front desk: somebody calls, and is new now and then."""
        self._pause(chance.uniform(0.3, 1.2))
        with contextlib.suppress(sqlite3.Error):
            self.search(chance)
            if chance.randrange(8) == 0:
                self._sql("INSERT INTO patients DEFAULT VALUES")
                self._monitor.count("patients_created")

    def _housekeep(self, chance: random.Random) -> None:
        self._memory.set(_resident_mb())
        self._pause(chance.uniform(4, 6))
        threading.Thread(target=self._remind, name="reminder").start()

    def _remind(self) -> None:
        if self._is(Trouble.REMINDERS):
            raise MailboxError
        self._monitor.count("reminders_sent")

    def _tell(self, severity: str, key: str, title: str, message: str) -> None:
        """Raise an alert, once until it is over."""
        if key not in self._told:
            self._told.add(key)
            self._monitor.alert(severity, title, message, key=key)

    def _sql(self, statement: str, *values: object) -> Any:
        with contextlib.closing(sqlite3.connect(self._clinic, timeout=_DATABASE_WAITS)) as connection, connection:
            row = connection.execute(statement, values).fetchone()
        return row[0] if row else None


def _resident_mb() -> float:
    """The process' memory, where the system tells it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def main(arguments: list[str] | None = None) -> None:
    """Run the program until standard input ends."""
    parser = argparse.ArgumentParser(prog="rounds.demo.desk", allow_abbrev=False)
    parser.add_argument("--store", type=Path, required=True, help="the library's file")
    parser.add_argument("--clinic", type=Path, required=True, help="the database")
    parser.add_argument("--model", required=True, metavar="HOST:PORT", help="the server of language models")
    parser.add_argument("--version", required=True, help="of this program")
    parser.add_argument("--speed", type=float, default=1.0)
    options = parser.parse_args(arguments)
    monitor = Monitor(APP, options.version, store=options.store)
    monitor.install_hooks()
    desk = Desk(monitor, options.clinic, options.model, options.speed)
    desk.open()
    # So that who looks at the store now finds one.
    monitor.flush()
    print(OPEN, flush=True)
    for line in sys.stdin:
        word, _, seconds = line.partition(" ")
        desk.befall(Trouble(word), float(seconds))
    monitor.close()


if __name__ == "__main__":
    main()
