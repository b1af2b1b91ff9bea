"""Killed at any moment, while runs end out of order, change later and are deleted, an exporter counts each run once."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rounds.syncs.runs import state_of
from support.forking import CONTEXT
from support.syncs import Kind, SyncTable
from support.syncs_dying import Following, Totals, follow_forever, totals

ORGANIZATIONS = (1, 2, 3)
OPERATIONS = ("full_patients", "active_patients")


class Clinic:
    """A log that programs write, and the truth about the runs that an exporter has to count.

    A run is counted in the state in which it is first seen ended. So that nobody has to know when an exporter looks, a
    run that has ended changes, or is deleted, only after it was surely seen.
    """

    def __init__(self, table: SyncTable, folder: Path, seed: int) -> None:
        self.table = table
        self.folder = folder
        self.runs: Counter[tuple[str, ...]] = Counter()
        self.durations = self.deleted = 0
        self._random = random.Random(seed)
        self._open: dict[str, tuple[str, str]] = {}
        self._ended: list[str] = []
        self._seen: list[str] = []

    @property
    def truth(self) -> Totals:
        """What must have been counted."""
        return dict(self.runs), self.durations, self.deleted

    def start(self, number: int) -> None:
        """Runs begin; some do so in the past, as those that are committed late."""
        random_, now = self._random, time.time()
        for _ in range(number):
            key = (str(random_.choice(ORGANIZATIONS)), random_.choice(OPERATIONS))
            run = self.table.put(
                organization_id=key[0] if self.table.shape == "real" else int(key[0]),
                operation_type=key[1],
                status="running",
                started_at=now - random_.choice([5, 5, 600, 7200]) - random_.random(),
            )
            self._open[run] = key

    def end(self, number: int) -> None:
        """Runs end, in any order."""
        random_ = self._random
        for run in random_.sample(sorted(self._open), min(number, len(self._open))):
            key = self._open.pop(run)
            status = random_.choice(["completed", "completed", "failed", "timeout", "skipped", "error"])
            deleted, failed = random_.choice([0, 0, 4]), random_.choice([0, 0, 2])
            self.table.change(
                run,
                status=status,
                completed_at=time.time(),
                records_failed=failed,
                metadata={"step": "completed", "patients_found": 100, "patients_deleted": deleted},
            )
            state: str = state_of(status)
            self.runs[(*key, "partial" if state == "completed" and failed else state)] += 1
            self.durations += 1
            self.deleted += deleted
            self._ended.append(run)

    def seen(self) -> None:
        """An exporter has seen all that has ended."""
        self._seen, self._ended = [*self._seen, *self._ended], []

    def clean_up(self) -> None:
        """Runs that were seen get another status, or are deleted; one that is running is too."""
        random_ = self._random
        random_.shuffle(self._seen)
        for run in self._seen[:2]:
            self.table.change(run, status=random_.choice(["failed", "completed", "cancelled"]))
        self.table.remove(*self._seen[2:4])
        self._seen = self._seen[:2] + self._seen[4:]
        if len(self._open) > 5:
            run = random_.choice(sorted(self._open))
            del self._open[run]
            self.table.remove(run)

    def follow(self) -> Totals:
        """A look in this process."""
        following = Following(self.folder, self.table.source)
        try:
            return totals(following.look())
        finally:
            following.ledger.close()
            self.seen()

    def start_exporter(self, die_at: int | None = None, *, mistaken: bool = False) -> tuple[Any, Any]:
        """A child that follows, and the pipe on which it publishes."""
        receiver, sender = CONTEXT.Pipe(duplex=False)
        arguments = (self.folder, self.table.source, sender, die_at)
        child = CONTEXT.Process(target=follow_forever, args=arguments, kwargs={"mistaken": mistaken}, daemon=True)
        child.start()
        sender.close()
        return child, receiver


@pytest.fixture
def clinic(make_table: Callable[..., SyncTable], tmp_path: Path) -> Clinic:
    """A log in SQLite, which an exporter has looked at."""
    clinic = Clinic(make_table("sqlite", "seed"), tmp_path, 5)
    clinic.follow()
    return clinic


def never_fall(highest: Totals, found: Totals) -> Totals:
    """Check a look's totals against those before."""
    assert all(found[0].get(key, 0) >= value for key, value in highest[0].items()), "counters never fall"
    assert found[1:] >= highest[1:]
    return found


def killed_at_random(clinic: Clinic, deaths: int) -> None:
    """Kill exporters at random moments."""
    random_ = random.Random(7)
    highest: Totals = ({}, 0, 0)
    for death in range(deaths):
        child, receiver = clinic.start_exporter()
        assert receiver.poll(30), "the child follows"
        clinic.start(random_.randint(0, 3))
        clinic.end(random_.randint(0, 3))
        time.sleep(random_.uniform(0, 0.05))  # the moment of death is the point
        child.kill()
        child.join()
        try:
            while receiver.poll(0):
                highest = never_fall(highest, receiver.recv())
        except EOFError:
            pass
        if death % 4 == 3:
            highest = never_fall(highest, clinic.follow())
            assert highest == clinic.truth
            clinic.clean_up()
    clinic.end(1000)
    assert never_fall(highest, clinic.follow()) == clinic.truth


@pytest.mark.slow
def test_killed_at_random(clinic: Clinic) -> None:
    killed_at_random(clinic, 16)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("shape", ["seed", "real"])
def test_killed_at_random_100_times(
    make_table: Callable[..., SyncTable], kind: Kind, shape: str, tmp_path: Path
) -> None:
    clinic = Clinic(make_table(kind, shape), tmp_path, 6)
    clinic.follow()
    killed_at_random(clinic, 100)


def killed_before_every_statement(clinic: Clinic, *, mistaken: bool = False) -> int:
    """Kill an exporter before each statement of the ledger. Returns how many there were."""
    for statement in range(1, 200):
        clinic.start(2)
        clinic.end(1)
        child, _ = clinic.start_exporter(statement, mistaken=mistaken)
        child.join(30)
        assert clinic.follow() == clinic.truth, f"killed before statement {statement}"
        clinic.clean_up()
        if child.exitcode == 0:
            return statement
    pytest.fail("a look has no end")


@pytest.mark.slow
def test_killed_before_every_statement_of_the_ledger(clinic: Clinic) -> None:
    assert killed_before_every_statement(clinic) > 15, "the ledger's statements were counted"


@pytest.mark.slow
def test_counters_in_a_transaction_of_their_own_would_be_noticed(clinic: Clinic) -> None:
    """What the test above is worth: it fails of a version that commits twice."""
    with pytest.raises(AssertionError, match="killed before statement"):
        killed_before_every_statement(clinic, mistaken=True)
