"""The synthetic tables hold what the script says, in real databases."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from rounds.demo.records import KINDS, SCRIPT, SCRIPT_SECONDS, Table, play
from support.fakesnow import FakesnowServer

Rows = dict[int, tuple[object, ...]]


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


def tables(connection: sqlite3.Connection) -> dict[str, Table]:
    made = {name: Table(name, connection, name, "INTEGER PRIMARY KEY") for name in KINDS}
    for table in made.values():
        table.create()
    return made


def rows(connection: Any, place: str) -> Rows:
    cursor = connection.cursor()
    cursor.execute(f"SELECT * FROM {place}")
    return {row[0]: tuple(row[1:]) for row in cursor.fetchall()}


def test_each_step_does_what_it_says(connection: sqlite3.Connection) -> None:
    made = tables(connection)
    lost = 0
    for step in SCRIPT:
        before = rows(connection, step.table)
        made[step.table].follow(step)
        after = rows(connection, step.table)
        edited = [key for key in before.keys() & after.keys() if before[key] != after[key]]
        if not (step.add or step.drop):
            assert len(after.keys() - before.keys()) == step.insert + (lost if step.restore else 0), step
            assert len(before.keys() - after.keys()) == step.delete + step.lose, step
            assert len(edited) == step.edit, step
        lost += step.lose
        assert not connection.in_transaction


def test_the_script_can_be_played_again_and_again(connection: sqlite3.Connection) -> None:
    made = tables(connection)
    before = {name: rows(connection, name).keys() for name in KINDS}
    columns = {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in KINDS}
    for _ in range(2):
        play(made, lambda _: None, lambda _: None)
        assert {name: rows(connection, name).keys() for name in KINDS} == before
        assert {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in KINDS} == columns
    assert {name: len(keys) for name, keys in before.items()} == {name: kind.rows for name, kind in KINDS.items()}


def test_what_is_lost_comes_back_as_it_was(connection: sqlite3.Connection) -> None:
    made = tables(connection)
    lost, back = (next(step for step in SCRIPT if getattr(step, word)) for word in ("lose", "restore"))
    before = rows(connection, "patients")
    made["patients"].follow(lost)
    # More than the default mass_deletion_ratio.
    assert len(rows(connection, "patients")) < 0.9 * len(before)
    made["patients"].follow(back)
    assert rows(connection, "patients") == before


def test_all_of_it_is_the_same_each_time() -> None:
    told: list[tuple[list[str], Rows]] = []
    for _ in range(2):
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            sentences: list[str] = []
            play(tables(connection), sentences.append, lambda _: None)
            told.append((sentences, rows(connection, "patients")))
    assert told[0] == told[1]
    assert told[0][0][:4] == [
        "patients: 2 inserted",
        "patients: 3 edited",
        "patients: 1 deleted",
        "patients: 1 deleted, 2 edited, 1 inserted",
    ]


def test_the_script_is_in_order_and_leaves_time_between_its_lines() -> None:
    times = [step.at for step in SCRIPT]
    assert times == sorted(times)
    # A check every 5 s finds one line at a time; and once there is nothing to find for several checks.
    gaps = [after - before for before, after in zip(times, [*times[1:], SCRIPT_SECONDS + times[0]], strict=True)]
    assert min(gaps) >= 10
    assert max(gaps) >= 30


def test_time_is_kept_whatever_a_step_takes(connection: sqlite3.Connection) -> None:
    waited: list[float] = []
    play(tables(connection), lambda _: None, waited.append, speed=2.0)
    assert waited[0] == pytest.approx(SCRIPT[0].at / 2, abs=0.5)
    # Nothing is waited for here, so each time is from the beginning.
    assert waited[-1] == pytest.approx(SCRIPT_SECONDS / 2, abs=0.5)


@pytest.mark.slow
def test_the_stand_in_for_snowflake_holds_the_same(fakesnow: FakesnowServer, connection: sqlite3.Connection) -> None:
    place = f"{fakesnow.create_database('demo')}.public.patients"
    only = [step for step in SCRIPT if step.table == "patients"]
    with contextlib.closing(fakesnow.connect()) as session:
        table = Table("patients", session, place, "NUMBER(38,0) NOT NULL")
        table.create()
        play({"patients": table}, lambda _: None, lambda _: None, script=only)
        mine = rows(session, place)
    play(tables(connection), lambda _: None, lambda _: None, script=only)
    assert {key: tuple(map(str, values)) for key, values in mine.items()} == rows(connection, "patients")
