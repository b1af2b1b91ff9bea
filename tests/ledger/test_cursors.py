"""Durable cursors: each row that becomes visible within the grace is counted exactly once, whatever happens."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, create_engine, delete, select
from sqlalchemy.pool import StaticPool

from ledger.conftest import Open
from rounds.errors import CollectorError
from rounds.ledger import counters
from rounds.ledger.cursors import Cursor
from rounds.ledger.intervals import Intervals
from rounds.ledger.ledger import Ledger
from rounds.ledger.schema import CURSORS, METADATA
from rounds.ledger.settings import State

GRACE = 4
NAME = "syncs/errors"
FOREVER = 10_000


@dataclass(frozen=True)
class Row:
    """Its id is given out at one time; it becomes visible later, or never."""

    given: int
    delay: int | None

    def visible(self, now: int) -> bool:
        return self.delay is not None and self.given + self.delay <= now


@dataclass(frozen=True)
class Poll:
    """Begins some time after the one before, asks, and is done, or dies before it can save."""

    pause: int
    asking: int
    fetching: int
    dies: bool
    #: Of the rows that were counted, those whose ids leave this remainder are deleted afterwards.
    deletes: int | None
    #: Rows above the lower bound that are fetched at most.
    limit: int


def rows_of(delays: st.SearchStrategy[int | None]) -> st.SearchStrategy[list[Row]]:
    """Rows in the order of their ids, given out in ascending order."""
    steps = st.lists(st.tuples(st.integers(0, 2), delays), min_size=2, max_size=12)

    def build(found: list[tuple[int, int | None]]) -> list[Row]:
        at, rows = 0, []
        for pause, delay in found:
            at += pause
            rows.append(Row(at, delay))
        return rows

    return steps.map(build)


POLLS = st.lists(
    st.builds(
        Poll,
        pause=st.integers(0, GRACE + 1),
        asking=st.integers(0, 2),
        fetching=st.integers(0, 2),
        dies=st.sampled_from((False, False, True)),
        deletes=st.none() | st.integers(0, 2),
        limit=st.sampled_from((FOREVER, FOREVER, 2, 3)),
    ),
    min_size=2,
    max_size=8,
)
#: Mostly at once or at the last moment.
IN_TIME = st.sampled_from((0, 0, 1, GRACE, GRACE, None))
#: What a run ends with, so that all is settled.
REST = [Poll(3 * GRACE, 0, 0, dies=False, deletes=None, limit=FOREVER)] * 3


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A database that is quick to write to."""
    found = create_engine("sqlite://", poolclass=StaticPool)
    METADATA.create_all(found)
    yield found
    found.dispose()


def follow(connection: Connection, rows: Sequence[Row], polls: Sequence[Poll]) -> tuple[Counter[int], Cursor]:
    """Poll a table that holds these rows; gives how often each id was counted, and the cursor at the end."""
    connection.execute(delete(CURSORS))
    counted: Counter[int] = Counter()
    gone: set[int] = set()
    now = 0
    for poll in polls:
        now += poll.pause
        cursor = Cursor.load(connection, NAME, GRACE)
        there = [number for number, row in enumerate(rows, 1) if row.visible(now) and number not in gone]
        cursor.begin(now, "the same", max(there, default=None))
        now += poll.asking
        there = [number for number, row in enumerate(rows, 1) if row.visible(now) and number not in gone]
        fetched = [number for number in there if number > cursor.lower_bound][: poll.limit]
        fresh = cursor.take(fetched)
        now += poll.fetching
        if poll.dies:
            continue
        counted.update(fresh)
        cursor.save(connection, now)
        if poll.deletes is not None:
            gone |= {number for number in counted if number % 3 == poll.deletes}
    return counted, Cursor.load(connection, NAME, GRACE)


def plain_poll(pause: int, asking: int) -> Poll:
    return Poll(pause, asking, 0, dies=False, deletes=None, limit=FOREVER)


@settings(max_examples=400, deadline=None)
@given(rows=rows_of(IN_TIME), polls=POLLS)
# Ids that are given out between a poll's beginning and its question.
@example(rows=[Row(1, GRACE), Row(1, 0)], polls=[plain_poll(0, 1), plain_poll(GRACE - 1, 0)])
def test_each_row_within_the_grace_is_counted_once(engine: Engine, rows: list[Row], polls: list[Poll]) -> None:
    with engine.begin() as connection:
        counted, cursor = follow(connection, rows, [*polls, *REST])
    assert counted == Counter(number for number, row in enumerate(rows, 1) if row.delay is not None)
    assert (
        cursor.unseen <= sum(row.delay is None for row in rows) + sum(poll.deletes is not None for poll in polls) * 25
    )
    assert cursor.restarts == 0


@given(rows=rows_of(st.integers(0, 4 * GRACE) | st.none()), polls=POLLS)
def test_a_late_row_is_counted_at_most_once_and_is_among_the_unseen(
    engine: Engine, rows: list[Row], polls: list[Poll]
) -> None:
    with engine.begin() as connection:
        counted, cursor = follow(connection, rows, [*polls, *REST, *REST])
    assert set(counted.values()) <= {1}
    visible = {number for number, row in enumerate(rows, 1) if row.delay is not None}
    missed = visible - set(counted)
    leading = next((number for number in range(1, len(rows) + 1) if number in counted), 1) - 1
    assert len(missed) <= cursor.unseen + leading


@given(rows=rows_of(IN_TIME), polls=POLLS)
def test_the_unseen_are_the_ids_that_never_came(engine: Engine, rows: list[Row], polls: list[Poll]) -> None:
    polls = [Poll(each.pause, each.asking, each.fetching, each.dies, None, each.limit) for each in polls]
    with engine.begin() as connection:
        counted, cursor = follow(connection, rows, [*polls, *REST])
    between = range(min(counted, default=1), max(counted, default=0))
    assert cursor.unseen == sum(number not in counted for number in between)
    assert cursor.position == max(counted, default=0)
    assert cursor._marks == []


@given(st.lists(st.integers(1, 30)), st.integers(0, 31))
def test_intervals_are_sets(numbers: list[int], limit: int) -> None:
    intervals, plain = Intervals(), set[int]()
    for number in numbers:
        assert intervals.add(number) is (number not in plain)
        plain.add(number)
    runs = list(intervals)
    assert {number for start, end in runs for number in range(start, end + 1)} == plain
    assert all(end + 1 < start for (_, end), (start, _) in itertools.pairwise(runs))
    assert (intervals.first, intervals.last) == (min(plain, default=None), max(plain, default=None))
    above = Intervals(runs)
    above.drop_above(limit)
    assert all(number in above for number in plain if number <= limit)
    assert (above.last or 0) <= limit
    assert intervals.drop_through(limit) == sum(number <= limit for number in plain)
    assert all(number in intervals for number in plain if number > limit)
    assert limit not in intervals


def poll(ledger: Ledger, now: float, ids: Sequence[int], identity: str = "a") -> set[int]:
    """Ask a table that holds these rows; what was new."""
    with ledger.reading() as connection:
        cursor = Cursor.load(connection, NAME, GRACE)
    cursor.begin(now, identity, max(ids, default=None))
    fresh = cursor.take(number for number in sorted(ids) if number > cursor.lower_bound)
    with ledger.writing() as connection:
        counters.add(connection, "rounds_sync_errors_total", ("clinic",), len(fresh))
        cursor.save(connection, now)
    return fresh


def load(ledger: Ledger) -> Cursor:
    with ledger.reading() as connection:
        return Cursor.load(connection, NAME, GRACE)


@pytest.fixture
def ledger(sqlite_state: State, opened: Open) -> Ledger:
    """A ledger without cursors."""
    return opened(sqlite_state)


def test_cursors_and_counters_last_in_every_ledger(state: State, opened: Open) -> None:
    ledger = opened(state)
    assert load(ledger).version == 0
    assert poll(ledger, 0, [1, 2, 5]) == {1, 2, 5}
    other = opened(state)
    assert poll(other, 1, [1, 2, 4, 5, 2**62]) == {4, 2**62}
    assert load(ledger).lower_bound == 2
    assert load(ledger).version == 2
    with other.reading() as connection:
        assert counters.load(connection, "rounds_sync_errors_total") == {("clinic",): 5}
    assert poll(other, 2, [*range(1, 6), 2**62]) == {3}
    assert load(other).position == 5


def test_a_restored_backup_is_not_counted_again(ledger: Ledger) -> None:
    poll(ledger, 0, range(1, 11))
    assert poll(ledger, 1, range(1, 8)) == set()
    assert poll(ledger, 2, range(1, 10)) == {8, 9}


def test_deleted_newest_rows_are_not_counted_again(ledger: Ledger) -> None:
    poll(ledger, 0, range(1, 11))
    assert poll(ledger, 1, range(1, 10)) == set()
    assert poll(ledger, 2, [*range(1, 10), 11]) == {11}


def test_all_rows_of_a_table_that_was_numbered_anew_are_counted(ledger: Ledger) -> None:
    poll(ledger, 0, range(1, 11))
    assert poll(ledger, 1, []) == set()
    assert poll(ledger, 2, [1, 2], "b") == {1, 2}
    assert load(ledger).restarts == 1
    assert poll(ledger, 3, [1, 2, 3], "b") == {3}
    assert load(ledger).restarts == 1


def test_an_identity_that_changes_with_retention_restarts_nothing(ledger: Ledger) -> None:
    poll(ledger, 0, range(1, 11))
    assert poll(ledger, 1, range(5, 12), "b") == {11}
    assert poll(ledger, 2, [], "") == set()
    assert poll(ledger, 3, [12], "c") == {12}
    assert load(ledger).restarts == 0


def test_a_table_whose_first_rows_are_gone_has_no_unseen_ones(ledger: Ledger) -> None:
    assert len(poll(ledger, 0, range(5000, 5010))) == 10
    assert poll(ledger, GRACE, [*range(5000, 5010)]) == set()
    cursor = load(ledger)
    assert (cursor.position, cursor.unseen) == (5009, 0)


def test_rows_that_were_deleted_before_a_poll_are_unseen(ledger: Ledger) -> None:
    poll(ledger, 0, range(1, 11))
    poll(ledger, 1, range(100, 111))
    poll(ledger, 1 + GRACE, range(100, 112))
    cursor = load(ledger)
    assert (cursor.position, cursor.unseen) == (111, 89)


def test_of_two_runs_at_once_only_one_counts(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        late = Cursor.load(connection, NAME, GRACE)
    late.begin(0, "a", 3)
    late.take([1, 2, 3])
    assert poll(ledger, 1, [1, 2, 3, 4]) == {1, 2, 3, 4}

    def save(connection: Connection) -> None:
        counters.add(connection, "rounds_sync_errors_total", ("clinic",), 3)
        late.save(connection, 2)

    with pytest.raises(CollectorError, match="another run has moved the cursor"), ledger.writing() as connection:
        save(connection)
    with ledger.reading() as connection:
        assert counters.load(connection, "rounds_sync_errors_total") == {("clinic",): 4}
        assert len(connection.execute(select(CURSORS)).all()) == 1


def test_counters_begin_at_zero_and_never_fall(ledger: Ledger) -> None:
    with ledger.writing() as connection:
        counters.add(connection, "a_total", ("x", "ç\"'"), 0)
        counters.add(connection, "a_total", ("y", ""), 2)
        counters.add(connection, "b_total", (), 1)
    with ledger.reading() as connection:
        assert counters.load(connection, "a_total") == {("x", "ç\"'"): 0, ("y", ""): 2}
        assert counters.load(connection, "b_total") == {(): 1}
        assert counters.load(connection, "c_total") == {}
    with pytest.raises(ValueError, match="does not fall"), ledger.writing() as connection:
        counters.add(connection, "a_total", ("y", ""), -1)
