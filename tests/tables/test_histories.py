"""The three sets of every check equal the truth, for random histories in real databases.

Snowflake is fakesnow's server, through the connector: the statements are parsed as Snowflake's, and DuckDB runs them.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rounds.ledger.ledger import Ledger
from rounds.tables.record import CHANGES, Record
from support.patients import Patient, PatientsTable, Watch, truth

#: Histories for each database. Set ROUNDS_HISTORIES to look longer, and TMPDIR to a folder in memory to look faster.
HISTORIES = int(os.environ.get("ROUNDS_HISTORIES", "200"))
#: The stand-in for Snowflake takes ten times as long as the servers.
SHARE = {"snowflake": 10}

KEYS = st.one_of(st.integers(-5, 5), st.sampled_from([None, 255, 256, 257, -256, 2047, 2048, 10**6, -(10**6)]))
NAMES = st.one_of(
    st.none(),
    st.sampled_from(
        ["", " ", "N", "1:N", "Ana", "ana", "Ana ", "Ana\u0301", "\u00c1na", "%s", "?", "'\"\\;--", "\U0001f600"]
    ),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=6),
)
PATIENTS = st.tuples(KEYS, NAMES)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), PATIENTS),
        st.tuples(st.just("delete"), st.integers(0, 30)),
        st.tuples(st.just("rename"), st.integers(0, 30), NAMES),
        st.tuples(st.just("rekey"), st.integers(0, 30), KEYS),
        st.tuples(st.just("double"), st.integers(0, 30)),
        st.tuples(st.just("swap"), st.integers(0, 30), st.integers(0, 30)),
        st.tuples(st.just("truncate")),
    ),
    max_size=6,
)


def after(rows: Sequence[Patient], steps: Sequence[tuple[Any, ...]]) -> list[Patient]:
    """The rows once these things have happened to them."""
    table = list(rows)
    for kind, *values in steps:
        at = values[0] % len(table) if table and values and isinstance(values[0], int) else 0
        if kind == "insert":
            table.append(values[0])
        elif kind == "truncate":
            table.clear()
        elif not table:
            continue
        elif kind == "delete":
            del table[at]
        elif kind == "rename":
            table[at] = (table[at][0], values[1])
        elif kind == "rekey":
            table[at] = (values[1], table[at][1])
        elif kind == "double":
            table.append(table[at])
        elif kind == "swap":
            other = values[1] % len(table)
            (a, first), (b, second) = table[at], table[other]
            table[at], table[other] = (a, second), (b, first)
    return table


VARIANTS = [
    {"keys": "raw"},
    {"keys": "raw", "columns": ["NAME"]},
    {"keys": "hashed"},
    {"keys": "hashed", "columns": ["NAME"], "key_max": False},
]
numbers = itertools.count()


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda keys: "-".join(map(str, keys.values())))
@pytest.mark.slow
def test_every_check_finds_the_truth(patients: PatientsTable, ledger: Ledger, variant: dict[str, Any]) -> None:
    watch = Watch(patients, ledger, **variant)
    with watch.open() as session:

        @settings(
            max_examples=max(1, HISTORIES // len(VARIANTS) // SHARE.get(patients.source.kind, 1)),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(PATIENTS, max_size=12), st.lists(STEPS, min_size=1, max_size=4))
        def play(rows: list[Patient], history: list[list[tuple[Any, ...]]]) -> None:
            watch.watched = watch.watched.model_copy(update={"name": f"patients-{next(numbers)}"})
            patients.replace(rows)
            record = watch.check(session)
            assert (record.row_count, totals(record)) == (len(rows), [0, 0, 0])
            counted = Counter(dict.fromkeys(CHANGES, 0))
            for steps in history:
                before, rows = rows, after(rows, steps)
                patients.replace(rows)
                record = watch.check(session)
                expected = truth(before, rows)
                counted.update({change: keys.total() for change, keys in expected.items()})
                assert record.row_count == len(rows)
                assert totals(record) == [counted[change] for change in CHANGES]
                check_journal(watch, record, expected)

        play()


def check_journal(watch: Watch, record: Record, expected: dict[Any, Counter[int | None]]) -> None:
    entries = watch.journal(since=record.checked_at)
    found = {entry.change: Counter(entry.keys) for entry in entries}
    if watch.watched.keys == "raw":
        wanted = {
            change: Counter({"NULL" if key is None else str(key): rows for key, rows in keys.items()})
            for change, keys in expected.items()
            if keys
        }
        assert found == wanted
    else:
        shape = {change: sorted(keys.values()) for change, keys in expected.items() if keys}
        assert {change: sorted(keys.values()) for change, keys in found.items()} == shape


def totals(record: Record) -> list[int]:
    return [record.total(change) for change in CHANGES]


def base() -> list[Patient]:
    return [(key, f"Name {key}") for key in range(1, 7)]


def mixed() -> Iterator[tuple[str, list[Patient], tuple[int, int, int]]]:
    """The cases in which the monitor that this domain replaces told something wrong, on six rows."""
    rows = base()
    yield "insert and delete", [*rows[1:], (7, "New")], (1, 1, 0)
    yield "insert and two deletes", [*rows[2:], (7, "New")], (1, 2, 0)
    yield "two inserts, delete, edit", [(2, "Other"), *rows[2:], (7, "New"), (8, "Newer")], (2, 1, 1)
    yield "delete and edit", [(2, "Other"), *rows[2:]], (0, 1, 1)
    yield "nothing", rows, (0, 0, 0)
    yield "all gone", [], (0, 6, 0)
    yield "all new", [(key + 100, name) for key, name in rows if key], (6, 6, 0)
    yield "names swapped", [(1, "Name 2"), (2, "Name 1"), *rows[2:]], (0, 0, 2)


@pytest.mark.parametrize("keys", ["raw", "hashed"])
def test_mixed_changes_are_told_apart(patients: PatientsTable, ledger: Ledger, keys: str) -> None:
    for name, rows, expected in mixed():
        watch = Watch(patients, ledger, name=name.replace(" ", "-").replace(",", ""), keys=keys)
        patients.replace(base())
        first = watch.check()
        assert (first.row_count, totals(first), watch.journal()) == (6, [0, 0, 0], []), f"{name}: a silent baseline"
        patients.replace(rows)
        record = watch.check()
        assert totals(record) == list(expected), name
        assert record.row_count == len(rows), name
        again = watch.check()
        assert totals(again) == list(expected), f"{name}: counted once"
