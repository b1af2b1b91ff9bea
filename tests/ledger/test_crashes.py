"""Crashes: killed processes, and faults at each statement. What is found afterwards are whole transactions."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Column, Engine, Integer, LargeBinary, MetaData, Table, event, func, insert, select, update

from ledger.conftest import Open, state_of
from rounds.errors import CollectorError
from rounds.ledger import counters
from rounds.ledger.cursors import Cursor
from rounds.ledger.ledger import Ledger, open_ledger
from rounds.ledger.schema import Schema
from rounds.ledger.settings import State

RUNS = MetaData()
#: What a run changes: a total, a journal row and the bucket that it is about.
TOTAL = Table("runs_total", RUNS, Column("id", Integer, primary_key=True), Column("value", Integer, nullable=False))
JOURNAL = Table("runs_journal", RUNS, Column("id", Integer, primary_key=True), Column("value", Integer, nullable=False))
BUCKETS = Table("runs_bucket", RUNS, Column("id", Integer, primary_key=True), Column("pairs", LargeBinary))
SCHEMA = Schema("runs", RUNS)
CURSOR, COUNTER = "runs/rows", "rounds_runs_total"
BUCKET_BYTES = 20_000


def run(ledger: Ledger) -> int:
    """One run: everything that it changes hangs together. Gives the total."""
    with ledger.reading() as connection:
        cursor = Cursor.load(connection, CURSOR, grace=60)
    cursor.begin(0, "a", cursor.position + 1)
    cursor.take([cursor.position + 1])
    with ledger.writing() as connection:
        total = (connection.execute(select(TOTAL.c.value)).scalar() or 0) + 1
        pairs = total.to_bytes(4, "little") * (BUCKET_BYTES // 4)
        if total == 1:
            connection.execute(insert(TOTAL).values(id=1, value=1))
            connection.execute(insert(BUCKETS).values(id=1, pairs=pairs))
        else:
            connection.execute(update(BUCKETS).values(pairs=pairs))
            connection.execute(update(TOTAL).values(value=total))
        connection.execute(insert(JOURNAL).values(id=total, value=total))
        counters.add(connection, COUNTER, (), 1)
        cursor.save(connection, 0)
    return total


def whole(ledger: Ledger) -> int:
    """Check that everything agrees. Gives the total."""
    with ledger.reading() as connection:
        total = connection.execute(select(TOTAL.c.value)).scalar() or 0
        assert connection.execute(select(func.count(), func.max(JOURNAL.c.id))).one() == (total, total or None)
        assert counters.load(connection, COUNTER) == ({(): total} if total else {})
        assert Cursor.load(connection, CURSOR, grace=60).position == total
        pairs = connection.execute(select(BUCKETS.c.pairs)).scalar()
        assert pairs == (total.to_bytes(4, "little") * (BUCKET_BYTES // 4) if total else None)
    return total


def reopened(state: State) -> int:
    """The same after a restart."""
    ledger = open_ledger(state, [SCHEMA])
    try:
        return whole(ledger)
    finally:
        assert not ledger.quarantined
        ledger.close()


def forked(work: Callable[[], None]) -> int:
    """The number of a child that does something. Nothing is open here that both would use."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return child


def kill_in_full_run(state: State, within: float) -> int:
    """Let a child run, kill it after a moment, and give the last total that it is sure to have committed."""
    heard, said = os.pipe()

    def work() -> None:
        ledger = open_ledger(state, [SCHEMA])
        while True:
            os.write(said, run(ledger).to_bytes(4, "big"))

    child = forked(work)
    os.close(said)
    with os.fdopen(heard, "rb") as pipe:
        first = pipe.read(4)
        # It goes on for a while, unheard.
        time.sleep(within)
        os.kill(child, signal.SIGKILL)
        rest = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    return int.from_bytes((first + rest)[-4:], "big")


def kills(state: State, count: int) -> None:
    chance = random.Random(count)
    before = reopened(state)
    for _ in range(count):
        reported = kill_in_full_run(state, chance.uniform(0, 0.03))
        total = reopened(state)
        # A run that was killed right after its commit has not told so.
        assert before < reported <= total <= reported + 1
        before = total


def test_a_file_holds_whole_transactions_after_kills(sqlite_state: State) -> None:
    kills(sqlite_state, 50)


@pytest.mark.slow
@pytest.mark.long
def test_a_file_holds_whole_transactions_after_200_kills(sqlite_state: State) -> None:
    kills(sqlite_state, 200)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["mariadb", "postgresql"])
def test_a_server_holds_whole_transactions_after_kills(
    place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kills(state_of(place, tmp_path, request), 20)


KILLED = 77


def test_a_child_that_dies_at_any_statement_leaves_whole_transactions(sqlite_state: State) -> None:
    """Before and behind each statement of two runs, their commits among them, each in a process of its own."""
    before, deaths = reopened(sqlite_state), 0
    for at in range(1, 200):
        child = forked(lambda at=at: dies_at(sqlite_state, at))  # type: ignore[misc]
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != KILLED:
            break
        deaths += 1
        after = reopened(sqlite_state)
        assert before <= after <= before + 2
        before = after
    assert deaths >= 40


def dies_at(state: State, at: int) -> None:
    """Two runs in this process, which ends at the so many-th step of theirs."""
    ledger = open_ledger(state, [SCHEMA])
    steps = iter(range(1, 1000))

    def step(*_: object) -> None:
        if next(steps) == at:
            os._exit(KILLED)

    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(ledger._store.engine, name, step)
    for _ in range(2):
        run(ledger)
        step()
    os._exit(0)


class InjectedError(Exception):
    """A fault that nobody expected."""


@contextmanager
def fault_at(engine: Engine, at: int) -> Iterator[None]:
    """Make the so many-th statement fail."""
    statements = iter(range(1, 1000))

    def fail(*_: object) -> None:
        if next(statements) == at:
            raise InjectedError

    event.listen(engine, "before_cursor_execute", fail)
    yield
    event.remove(engine, "before_cursor_execute", fail)


def test_a_fault_at_any_statement_changes_nothing(state: State, opened: Open) -> None:
    ledger = opened(state, SCHEMA)
    for _ in range(2):  # a first run inserts, later ones update
        before = whole(ledger)
        faults = 0
        for at in range(1, 100):
            try:
                with fault_at(ledger._store.engine, at):
                    run(ledger)
            except (InjectedError, CollectorError):
                faults += 1
                assert whole(ledger) == before
            else:
                break
        assert faults >= 9
        assert whole(ledger) == before + 1
