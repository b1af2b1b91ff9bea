"""Killed at any moment, while files are written, cut and replaced, an exporter counts each thing once."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rounds.emr.marks import LAYERS
from support.emr import ExistingStore, LibraryStore
from support.emr_dying import Totals, follow_forever, totals
from support.emr_looking import Watch
from support.forking import CONTEXT


class Application:
    """A file with both stores, which is written, and the truth about what an exporter has to count.

    So that nobody has to know when an exporter looks, rows are deleted, and the file is replaced, only after all of it
    was surely seen.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.path = folder / "monitoring.db"
        self.truth: Counter[tuple[str, ...]] = Counter()
        self._random = random.Random(seed)
        self._copy = folder / "copy.db"
        self._files = 0
        self.open()

    def open(self) -> None:
        """Begin a file, or go on with the one that is there."""
        self._existing, self._own = ExistingStore(self.path), LibraryStore(self.path)

    def write(self, number: int) -> None:
        """So many rows in each table, and as much in the library's counters."""
        for _ in range(number):
            name = self._random.choice("ab")
            self._existing.timing(f"{name}_ms", 5)
            self._existing.count(name, 2)
            self._existing.error("KeyError")
            self._existing.alert("error", channels_sent=["email"])
            self._existing.crash()
            self._own.operation(name, 0.5).counter("events_total", name)
            self.truth.update({("durations",): 2, ("operations_total", name, "ok"): 1, ("events_total", name): 3})
            self.truth.update({("errors_total", "KeyError", "captured"): 1, ("alerts_total", "error", "email"): 1})
            self.truth.update({("crashes_total", "python"): 1})

    def upset(self) -> None:
        """Rows go, or the file is another one, or comes back; not more files than can be told apart."""
        with closing(sqlite3.connect(self.path)) as connection:
            # A log that a killed reader has left would be taken for that of the file that comes.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert not Path(f"{self.path}-wal").exists()
        self._files += 1
        match self._random.randrange(4 if self._files < LAYERS else 1):
            case 0:
                for table in ("metrics", "errors", "crash_reports"):
                    self._existing.remove(table, f"rowid % {self._random.choice([2, 3])} = 0")
            case 1:
                self.path.unlink()
                self.open()
            case 2:
                if not self._copy.exists():
                    shutil.copy(self.path, self._copy)
            case _:
                if self._copy.exists():
                    other = self.folder / "other.db"
                    self.path.rename(other)
                    self._copy.rename(self.path)
                    other.rename(self._copy)
                    self.follow()  # before anything is written: what a copy's counters were is not known else
        self._own.run()

    def follow(self) -> Totals:
        """A look in this process."""
        watch = Watch(self.path, self.folder)
        try:
            return totals(watch.look())
        finally:
            watch.ledger.close()

    def start_exporter(self, die_at: int | None = None, *, mistaken: bool = False) -> tuple[Any, Any]:
        """A child that follows, and the pipe on which it publishes."""
        receiver, sender = CONTEXT.Pipe(duplex=False)
        arguments = (self.folder, self.path, sender, die_at)
        child = CONTEXT.Process(target=follow_forever, args=arguments, kwargs={"mistaken": mistaken}, daemon=True)
        child.start()
        sender.close()
        return child, receiver


@pytest.fixture
def application(tmp_path: Path) -> Application:
    """An application that an exporter has looked at."""
    application = Application(tmp_path, 5)
    application.write(2)
    application.follow()
    return application


def never_fall(highest: Totals, found: Totals) -> Totals:
    """Check a look's totals against those before."""
    assert all(found.get(key, 0) >= value for key, value in highest.items()), "counters never fall"
    return found


def killed_at_random(application: Application, deaths: int) -> None:
    """Kill exporters at random moments."""
    random_ = random.Random(7)
    highest: Totals = {}
    for death in range(deaths):
        child, receiver = application.start_exporter()
        assert receiver.poll(30), "the child follows"
        application.write(random_.randint(0, 2))
        time.sleep(random_.uniform(0, 0.05))  # the moment of death is the point
        child.kill()
        child.join()
        try:
            while receiver.poll(0):
                highest = never_fall(highest, receiver.recv())
        except EOFError:
            pass
        if death % 3 == 2:
            highest = never_fall(highest, application.follow())
            assert highest == application.truth
            application.upset()
    assert never_fall(highest, application.follow()) == application.truth


@pytest.mark.slow
def test_killed_at_random(application: Application) -> None:
    killed_at_random(application, 9)


@pytest.mark.slow
@pytest.mark.long
def test_killed_at_random_100_times(application: Application) -> None:
    killed_at_random(application, 100)


def killed_before_every_statement(application: Application, *, first: int = 1, mistaken: bool = False) -> int:
    """Kill an exporter before each statement of the ledger, from the first to be tried. Returns how many there were."""
    for statement in range(first, 200):
        application.write(1)
        child, _ = application.start_exporter(statement, mistaken=mistaken)
        child.join(30)
        assert application.follow() == application.truth, f"killed before statement {statement}"
        if statement % 5 == 0:
            application.upset()
        if child.exitcode == 0:
            return statement
    pytest.fail("a look has no end")


@pytest.mark.slow
def test_killed_before_every_statement_of_the_ledger(application: Application) -> None:
    assert killed_before_every_statement(application) > 15, "the ledger's statements were counted"


@pytest.mark.slow
def test_counters_in_a_transaction_of_their_own_would_be_noticed(application: Application) -> None:
    """What the test above is worth: it fails of a version that commits twice."""
    with pytest.raises(AssertionError, match="killed before statement"):
        killed_before_every_statement(application, first=30, mistaken=True)
