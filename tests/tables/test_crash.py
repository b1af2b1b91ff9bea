"""Killed at any moment, an exporter counts every change once: counters equal the truth and never fall."""

from __future__ import annotations

import contextlib
import itertools
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from ledger.conftest import state_of
from rounds.errors import CollectorError
from rounds.ledger.ledger import open_ledger
from rounds.ledger.settings import State
from rounds.tables.record import CHANGES
from rounds.tables.schema import SCHEMA
from support.dying import CONTEXT, check_forever
from support.patients import SqlitePatients, Watch

ROWS = 4000


class Clinic:
    """A table in which every row changes at most once after the baseline: the truth does not depend on when it is
    looked at.
    """

    def __init__(self, folder: Path, keys: str, state: State | None = None) -> None:
        self.folder = folder
        self.state = state or State.model_validate({"url": f"sqlite:///{folder / 'state.db'}"})
        self.keys = keys
        self.patients = SqlitePatients(folder)
        self.patients.replace([(key, f"Name {key}") for key in range(ROWS)])
        self.truth = dict.fromkeys(CHANGES, 0)
        self._old = iter(range(ROWS))
        self._new = ROWS
        self.check()

    def change(self, random_: random.Random) -> None:
        """A few rows come, go and change, far apart from each other."""
        statements = ["BEGIN"]
        for _ in range(random_.randint(1, 4)):
            kind = random_.choice(CHANGES)
            self.truth[kind] += 1
            if kind == "inserted":
                self._new += random_.randint(1, 300)
                statements.append(f"INSERT INTO patients VALUES ({self._new}, 'New')")
            elif kind == "deleted":
                statements.append(f"DELETE FROM patients WHERE id = {next(self._old)}")
            else:
                statements.append(f"UPDATE patients SET name = 'Edit' WHERE id = {next(self._old)}")
        self.patients.sql(*statements, "COMMIT")

    def start(self, die_at: int | None = None) -> tuple[Any, Any]:
        """A child that checks, and the pipe on which it publishes."""
        receiver, sender = CONTEXT.Pipe(duplex=False)
        child = CONTEXT.Process(
            target=check_forever, args=(self.folder, self.state, self.keys, sender, die_at), daemon=True
        )
        child.start()
        sender.close()
        return child, receiver

    def check(self) -> list[int]:
        """A check in this process; the totals, which agree with the journal."""
        ledger = open_ledger(self.state, [SCHEMA])
        try:
            watch = Watch(self.patients, ledger, keys=self.keys)
            record = watch.check()
            entries = watch.journal()
        finally:
            ledger.close()
        totals = [record.total(change) for change in CHANGES]
        assert [sum(entry.rows for entry in entries if entry.change == change) for change in CHANGES] == totals
        assert all(len(entry.keys) == entry.rows for entry in entries)
        listed = [(entry.change, key) for entry in entries for key in entry.keys]
        assert len(listed) == len(set(listed)), "no change twice"
        return totals


def published(receiver: Any) -> list[list[int]]:
    """All that a child has published."""
    found = []
    try:
        while receiver.poll(0):
            found.append(receiver.recv())
    except EOFError:
        pass
    return [each for each in found if each != "done"]


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["raw", "hashed"])
def test_killed_at_random(memory: Path, keys: str) -> None:
    """A hundred times for each way of keeping keys."""
    killed_at_random(Clinic(memory, keys), 100)


def killed_at_random(clinic: Clinic, times: int) -> None:
    random_ = random.Random(4)
    highest = [0, 0, 0]
    for _ in range(times):
        clinic.change(random_)
        child, receiver = clinic.start()
        assert receiver.poll(20), "the child checks"
        time.sleep(random_.uniform(0, 0.03))  # the moment of death is the point
        clinic.change(random_)
        time.sleep(random_.uniform(0, 0.03))
        child.kill()
        child.join()
        for totals in published(receiver):
            assert all(now >= then for now, then in zip(totals, highest, strict=True)), "counters never fall"
            highest = totals
    final = clinic.check()
    assert final == [clinic.truth[change] for change in CHANGES]
    assert all(now >= then for now, then in zip(final, highest, strict=True))


@pytest.mark.slow
def test_killed_before_every_statement_of_the_ledger(memory: Path) -> None:
    random_ = random.Random(5)
    clinic = Clinic(memory, "raw")
    deaths = 0
    for statement in range(1, 200):
        clinic.change(random_)
        before = [clinic.truth[change] for change in CHANGES]
        child, _ = clinic.start(die_at=statement)
        child.join(20)
        survived = child.exitcode == 0
        assert clinic.check() == before, f"killed before statement {statement}"
        if survived:
            break
        deaths += 1
    else:
        pytest.fail("a check has no end")
    assert deaths > 8, "the ledger's statements were counted"


def test_the_ledger_holds_nothing_half(memory: Path) -> None:
    """After a kill in the middle of things SQLite itself finds nothing wrong."""
    clinic = Clinic(memory, "raw")
    clinic.change(random.Random(6))
    child, _ = clinic.start(die_at=6)
    child.join(20)
    with sqlite3.connect(memory / "state.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("place", ["mariadb", "postgresql"])
def test_a_connection_cut_before_any_statement_of_a_ledger_on_a_server(
    place: str, memory: Path, request: pytest.FixtureRequest
) -> None:
    """The server ends the ledger's sessions in the middle of a check: in its transactions, and before each COMMIT."""
    server: Any = request.getfixturevalue(place)
    state = state_of(place, memory, request)
    database = str(state.engine_url.database)
    cut = {
        "mariadb": f"SELECT CONCAT('KILL ', id) FROM information_schema.processlist WHERE db = '{database}'",
        "postgresql": "SELECT 'SELECT pg_terminate_backend(' || pid || ')' FROM pg_stat_activity"
        f" WHERE datname = '{database}'",
    }[place]
    random_ = random.Random(7)
    clinic = Clinic(memory, "raw", state)
    ledger = open_ledger(state, [SCHEMA])
    watch = Watch(clinic.patients, ledger, keys="raw")
    cuts = failures = 0
    reasons = set()
    for at in range(1, 100):
        clinic.change(random_)
        steps = itertools.count(1)

        def step(*_: object, at: int = at, steps: Iterator[int] = steps) -> None:
            nonlocal cuts
            if next(steps) == at:
                cuts += 1
                for (statement,) in server.sql(cut):
                    with contextlib.suppress(Exception):  # it has ended meanwhile
                        server.sql(statement)

        events = ("before_cursor_execute", "commit")
        for name in events:
            event.listen(ledger._store.engine, name, step)
        before = cuts
        try:
            watch.check()
        except CollectorError as error:
            reasons.add(error.reason)
            failures += 1
        finally:
            for name in events:
                event.remove(ledger._store.engine, name, step)
        assert clinic.check() == [clinic.truth[change] for change in CHANGES], f"cut before step {at}"
        if cuts == before:
            break
    ledger.close()
    assert reasons == {"internal"}
    assert cuts == failures > 12


@pytest.mark.slow
@pytest.mark.parametrize("place", ["mariadb", "postgresql"])
def test_killed_with_a_ledger_on_a_server(place: str, memory: Path, request: pytest.FixtureRequest) -> None:
    killed_at_random(Clinic(memory, "hashed", state_of(place, memory, request)), 10)
