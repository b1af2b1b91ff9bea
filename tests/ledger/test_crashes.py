"""Crashes: killed processes, and faults at each statement. What is found afterwards are whole transactions."""

from __future__ import annotations

import os
import random
import select as waiting
import subprocess
import sys
from collections.abc import Iterator
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


RUNNER = """
import sys
from ledger.test_crashes import SCHEMA, run
from rounds.ledger.ledger import open_ledger
from rounds.ledger.settings import State
ledger = open_ledger(State.model_validate_json(sys.stdin.readline()), [SCHEMA])
while True:
    print(run(ledger), flush=True)
"""


def settings_of(state: State) -> str:
    """As JSON with its secrets, for a child."""
    password = f', "password": "{state.password.reveal()}", "user": "{state.user}"' if state.password else ""
    return f'{{"url": "{state.url}", "salt_file": "{state.salt_path}"{password}}}\n'


def kill_in_full_run(state: State, within: float) -> int:
    """Let a child run, kill it after a moment, and give the last total that it is sure to have committed."""
    command = [sys.executable, "-c", RUNNER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen(command, env={"PYTHONPATH": ":".join(sys.path)}, **pipes)  # type: ignore[call-overload]
    with child:
        child.stdin.write(settings_of(state).encode())
        child.stdin.flush()
        first = child.stdout.readline()
        assert first, "it does not run"
        # Let go on for a while, unheard: its pipe holds more than it writes meanwhile.
        waiting.select([], [], [], within)
        child.kill()
        lines = (first + child.stdout.read()).splitlines(keepends=True)
    return int([line for line in lines if line.endswith(b"\n")][-1])


def kills(ledger: Ledger, state: State, count: int) -> None:
    chance = random.Random(count)
    before = 0
    for _ in range(count):
        reported = kill_in_full_run(state, chance.uniform(0, 0.03))
        total = whole(ledger)
        # A run that was killed after its commit has reported nothing.
        assert before < reported <= total <= reported + 1
        before = total


@pytest.mark.slow
@pytest.mark.parametrize("place", ["mariadb", "postgresql"])
def test_a_server_holds_whole_transactions_after_kills(
    place: str, tmp_path: Path, opened: Open, request: pytest.FixtureRequest
) -> None:
    state = state_of(place, tmp_path, request)
    kills(opened(state, SCHEMA), state, 20)


@pytest.mark.slow
def test_a_file_holds_whole_transactions_after_200_kills(sqlite_state: State, opened: Open) -> None:
    kills(opened(sqlite_state, SCHEMA), sqlite_state, 200)


def forked(work: object) -> int:
    """Run something in a child that shares no connection, and give how it ended."""
    child = os.fork()
    if child == 0:
        try:
            assert callable(work)
            work()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


KILLED = 77


def test_a_child_that_dies_at_any_statement_leaves_whole_transactions(sqlite_state: State, opened: Open) -> None:
    """Each statement of the second and the third run, before it and behind it, COMMIT among them, in a new process."""
    opened(sqlite_state, SCHEMA).close()
    deaths = 0
    for at in range(1, 200):
        before = reopened(sqlite_state)
        if forked(lambda at=at: dies_at(sqlite_state, at)) != KILLED:
            break
        deaths += 1
        assert reopened(sqlite_state) in (before, before + 1)
    assert deaths >= 50
    assert reopened(sqlite_state) > 10


def reopened(state: State) -> int:
    ledger = open_ledger(state, [SCHEMA])
    try:
        return whole(ledger)
    finally:
        ledger.close()


def dies_at(state: State, at: int) -> None:
    """Two runs in this process, which ends at the so many-th step of theirs."""
    ledger = open_ledger(state, [SCHEMA])
    steps = iter(range(1, 1000))

    def step(*_: object) -> None:
        if next(steps) == at:
            os._exit(KILLED)

    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(ledger._store.reader, name, step)
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
                with fault_at(ledger._store.reader, at):
                    run(ledger)
            except (InjectedError, CollectorError):
                faults += 1
                assert whole(ledger) == before
            else:
                break
        assert faults >= 9
        assert whole(ledger) == before + 1
