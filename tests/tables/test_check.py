"""Checks in all the situations that a table, its database and its record may be in.

Snowflake is fakesnow's server, through the connector. It shows one state for all statements of a transaction, where
Snowflake shows what was committed before each; its hashes are DuckDB's; the gate's token is made by the server's
wrapper. So what these checks show for Snowflake is that the statements and the connector do as they should.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, update

from rounds.errors import CollectorError
from rounds.ledger.ledger import Ledger
from rounds.tables import plan
from rounds.tables.dialects.dialect import Dialect
from rounds.tables.record import CHANGES, Record, load, reset
from rounds.tables.schema import BUCKET, WATCHED
from support.patients import Patient, PatientsTable, Watch


def rows(count: int) -> list[Patient]:
    return [(key, f"Name {key}") for key in range(1, count + 1)]


def totals(record: Record) -> list[int]:
    return [record.total(change) for change in CHANGES]


@pytest.fixture(params=["raw", "hashed"])
def watch(request: pytest.FixtureRequest, patients: PatientsTable, ledger: Ledger) -> Watch:
    """Six patients, and their baseline."""
    watch = Watch(patients, ledger, keys=request.param)
    patients.replace(rows(6))
    watch.check()
    return watch


def test_a_first_check_is_a_silent_baseline(watch: Watch) -> None:
    with watch.ledger.reading() as connection:
        record = load(connection, "patients")
    assert record is not None
    assert record.row_count == 6
    # SQLite promises whole numbers of a primary key only.
    assert record.key_max == (None if watch.patients.source.kind == "sqlite" else 6)
    assert record.baseline_at == watch.now
    assert totals(record) == [0, 0, 0]
    assert [record.last(change) for change in CHANGES] == [(None, None)] * 3
    assert watch.journal() == []


def test_the_largest_key_can_be_left_out(patients: PatientsTable, ledger: Ledger) -> None:
    patients.replace(rows(6))
    assert Watch(patients, ledger, key_max=False).check().key_max is None


def test_a_compared_column_that_is_added_counts_no_row_as_modified(watch: Watch) -> None:
    watch.patients.sql("ALTER TABLE patients ADD COLUMN town VARCHAR(20)")
    watch.patients.sql("INSERT INTO patients VALUES (7, 'New', 'Lisboa')")
    watch.patients.sql("DELETE FROM patients WHERE id = 1")
    record = watch.check()
    assert totals(record) == [1, 1, 0], "keys are still compared"
    assert (record.schema_changes_total, record.rebaselines) == (1, {"schema": 1})
    assert record.baseline_at == watch.now
    watch.patients.sql("UPDATE patients SET town = 'Porto' WHERE id = 2")
    assert totals(watch.check()) == [1, 1, 1]


def test_a_column_that_is_not_compared_may_come_and_go(patients: PatientsTable, ledger: Ledger) -> None:
    watch = Watch(patients, ledger, columns=["name"])
    patients.replace(rows(6))
    watch.check()
    patients.sql("ALTER TABLE patients ADD COLUMN town VARCHAR(20)", "UPDATE patients SET town = 'Porto'")
    record = watch.check()
    assert (totals(record), record.rebaselines) == ([0, 0, 0], {})


def test_a_compared_column_that_is_dropped_fails_until_the_configuration_says_so(
    patients: PatientsTable, ledger: Ledger
) -> None:
    watch = Watch(patients, ledger, columns=["NAME"])
    patients.replace(rows(6))
    watch.check()
    patients.sql("ALTER TABLE patients RENAME COLUMN name TO full_name")
    with pytest.raises(CollectorError, match=r"(?i)has no column NAME; it has id, full_name") as failure:
        watch.check()
    assert failure.value.reason == "query"
    watch.watched = watch.watched.model_copy(update={"columns": ["full_name"]})
    record = watch.check()
    assert (totals(record), record.rebaselines) == ([0, 0, 0], {"schema": 1})


def test_another_table_under_the_same_name_is_a_new_baseline(watch: Watch) -> None:
    watch.patients.sql("CREATE TABLE others (id BIGINT, name TEXT)", "INSERT INTO others VALUES (1, 'x')")
    watch.watched = watch.watched.model_copy(update={"table": watch.patients.beside("others")})
    record = watch.check()
    assert (record.row_count, totals(record), record.rebaselines) == (1, [0, 0, 0], {"table": 1})


def test_keys_kept_another_way_are_a_new_baseline(watch: Watch) -> None:
    other = "hashed" if watch.watched.keys == "raw" else "raw"
    watch.watched = watch.watched.model_copy(update={"keys": other})
    record = watch.check()
    assert (record.row_count, totals(record), record.rebaselines) == (6, [0, 0, 0], {"keys": 1})
    watch.patients.replace(rows(7))
    assert totals(watch.check()) == [1, 0, 0]


def test_hashes_that_change_by_themselves_are_a_new_baseline(watch: Watch) -> None:
    with watch.ledger.writing() as connection:
        connection.execute(update(WATCHED).values(canary="of another release", token=None))
        connection.execute(update(BUCKET).values(digest=BUCKET.c.digest - 1))
    record = watch.check()
    assert (totals(record), record.rebaselines) == ([0, 0, 0], {"hashes": 1})


def damage_blob(connection: Any) -> None:
    connection.execute(update(BUCKET).values(pairs=b"\x06\0\0\0cut", digest=BUCKET.c.digest - 1))


def damage_digest(connection: Any) -> None:
    connection.execute(update(BUCKET).values(digest=BUCKET.c.digest - 1))


def lose_buckets(connection: Any) -> None:
    connection.execute(delete(BUCKET))


@pytest.mark.parametrize("damage", [damage_blob, damage_digest, lose_buckets])
def test_a_damaged_record_is_a_new_baseline(watch: Watch, damage: Callable[[Any], None]) -> None:
    with watch.ledger.writing() as connection:
        damage(connection)
        connection.execute(update(WATCHED).values(token=None))
    record = watch.check()
    assert (record.row_count, totals(record), record.rebaselines) == (6, [0, 0, 0], {"lost": 1})
    watch.patients.replace(rows(5))
    assert totals(watch.check()) == [0, 1, 0]


def test_a_record_that_is_reset_is_a_new_baseline_once(watch: Watch) -> None:
    watch.patients.replace(rows(5))
    assert totals(watch.check()) == [0, 1, 0]
    watch.patients.replace(rows(4))
    with watch.ledger.writing() as connection:
        reset(connection, "patients")
    record = watch.check()
    assert (record.row_count, totals(record), record.rebaselines) == (4, [0, 1, 0], {"reset": 1})
    watch.patients.replace(rows(3))
    record = watch.check()
    assert (totals(record), record.rebaselines) == ([0, 2, 0], {"reset": 1})


def test_an_emptied_table_is_six_deletions_and_fills_again(watch: Watch) -> None:
    watch.patients.replace([])
    record = watch.check()
    assert (record.row_count, totals(record), record.previous_rows) == (0, [0, 6, 0], 6)
    watch.patients.replace(rows(6))
    assert totals(watch.check()) == [6, 6, 0]


def test_a_mass_change_is_counted_whole_and_listed_in_part(patients: PatientsTable, ledger: Ledger) -> None:
    watch = Watch(patients, ledger, keys="raw", journal_max=100)
    patients.replace(rows(6000))
    watch.check()
    patients.replace([(key, "Other") for key, _ in rows(6000)][:5000])
    record = watch.check()
    assert totals(record) == [0, 1000, 5000]
    entries = {entry.change: entry for entry in watch.journal()}
    assert {change: entry.rows for change, entry in entries.items()} == {"deleted": 1000, "modified": 5000}
    assert sum(len(entry.keys) for entry in entries.values()) == 100
    assert sum(entry.unlisted for entry in entries.values()) == 5900


def test_two_exporters_on_one_ledger_count_once(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one reads, the other commits the same changes: the slower one's run fails and counts nothing."""
    watch.patients.replace(rows(7))
    kind = type(make_dialect(watch))
    genuine = kind.digests

    def overtaken(self: Dialect, plan: Any) -> Any:
        monkeypatch.setattr(kind, "digests", genuine)
        watch.check()
        return genuine(self, plan)

    monkeypatch.setattr(kind, "digests", overtaken)
    with pytest.raises(CollectorError, match="another exporter"):
        watch.check()
    assert totals(watch.check()) == [1, 0, 0]
    assert len(watch.journal()) == 1


def make_dialect(watch: Watch) -> Dialect:
    from rounds.tables.dialects import dialect_for  # noqa: PLC0415

    with watch.open() as session:
        return dialect_for(session, watch.patients.table, "salt")


def test_a_writer_that_never_stops_loses_nothing(patients: PatientsTable, ledger: Ledger) -> None:
    """Over any series of checks, what was counted is what led from the first rows to the last."""
    watch = Watch(patients, ledger, keys="raw", columns=["NAME"])
    patients.replace(rows(3000))
    first = watch.check()
    stop = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        key = 3000
        try:
            while not stop.is_set():
                key += 1
                patients.sql(
                    f"INSERT INTO patients VALUES ({key}, 'New')",
                    f"DELETE FROM patients WHERE id = {key - 2500}",
                    f"UPDATE patients SET name = 'Edit {key}' WHERE id = {key - 1200}",
                )
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    records = [first]
    try:
        records += [watch.check() for _ in range(12)]
    finally:
        stop.set()
        writer.join()
    assert not failures
    last = watch.check()
    assert watch.check().row_count == last.row_count
    for before, after in zip(records, [*records[1:], last], strict=True):
        assert after.row_count == before.row_count + (
            after.inserted_total - before.inserted_total - after.deleted_total + before.deleted_total
        )
        assert all(now >= then for now, then in zip(totals(after), totals(before), strict=True))
    changes = [(key, entry.change) for entry in watch.journal() for key in entry.keys]
    # Keys only ever grow: each was inserted once at most, and deleted once at most.
    for change in ("inserted", "deleted"):
        keys = [key for key, kind in changes if kind == change]
        assert len(keys) == len(set(keys)), change
    assert last.inserted_total > 0
    assert last.deleted_total > 0
    assert last.row_count == count(patients), "the record is the table"


def count(patients: PatientsTable) -> int:
    databases = Watch(patients, None, keys="raw").databases  # type: ignore[arg-type]
    with databases.open("clinic") as session:
        return int(session.all(f"SELECT COUNT(*) FROM {patients.table}")[0][0])


@pytest.mark.parametrize("keys", ["raw", "hashed"])
def test_a_table_that_grows_gets_more_buckets_and_keeps_its_record(
    sqlite_patients: PatientsTable, ledger: Ledger, keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_BUCKET_ROWS", 4)
    monkeypatch.setattr(plan, "_LEAST_BUCKETS", 2)
    watch = Watch(sqlite_patients, ledger, keys=keys)
    sqlite_patients.replace(rows(6))
    assert watch.check().layout.size == 2
    sqlite_patients.replace(rows(200))
    assert watch.check().layout.size == 2
    read = watch.check().rows_read_total
    sqlite_patients.replace([(1, "Other"), *rows(201)[1:]])
    record = watch.check()
    assert record.layout.size == 64
    assert (totals(record), record.rebaselines) == ([195, 0, 1], {})
    assert record.rows_read_total - read < 30, "two buckets, not the table"
    assert watch.check().row_count == 201
    sqlite_patients.replace([])
    assert totals(watch.check()) == [195, 201, 1]


class TestGate:
    def test_nothing_committed_means_no_scan(self, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        scans, tokens = spied(watch, monkeypatch)
        tokens["token"] = "1"
        watch.check()
        before = len(scans)
        record = watch.check()
        assert len(scans) == before
        assert record.unchanged_total == 1
        assert record.checked_at == watch.now
        assert record.scanned_at == watch.now - 3600

    def test_a_new_token_means_a_scan(self, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        scans, tokens = spied(watch, monkeypatch)
        tokens["token"] = "1"
        watch.check()
        tokens["token"] = "2"
        before = len(scans)
        assert watch.check().unchanged_total == 0
        assert len(scans) == before + 1

    def test_no_token_means_a_scan(self, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        scans, _ = spied(watch, monkeypatch)
        watch.check()
        watch.check()
        assert len(scans) == 2

    def test_the_database_is_not_believed_for_more_than_a_day(
        self, watch: Watch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, tokens = spied(watch, monkeypatch)
        tokens["token"] = "a lie"
        watch.check()
        watch.patients.replace(rows(7))
        records = [watch.check() for _ in range(24)]
        assert [totals(record)[0] for record in records] == [0] * 23 + [1]
        assert records[-1].unchanged_total == 23

    def test_other_settings_mean_a_scan(self, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        _, tokens = spied(watch, monkeypatch)
        tokens["token"] = "1"
        watch.check()
        watch.watched = watch.watched.model_copy(update={"columns": ["name"]})
        assert watch.check().unchanged_total == 0

    def test_a_failed_scan_leaves_the_token_as_it_was(self, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        _, tokens = spied(watch, monkeypatch)
        tokens["token"] = "1"
        watch.check()
        watch.patients.replace(rows(7))
        tokens["token"] = "2"
        kind = type(make_dialect(watch))
        with monkeypatch.context() as broken:

            def fail(*_: object) -> None:
                raise CollectorError("timeout", "too slow")

            broken.setattr(kind, "pairs", fail)
            with pytest.raises(CollectorError, match="too slow"):
                watch.check()
        assert totals(watch.check()) == [1, 0, 0]


def spied(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], dict[str, str | None]]:
    """A list of scans, and what the database answers when it is asked for a token."""
    kind = type(make_dialect(watch))
    scans: list[str] = []
    tokens: dict[str, str | None] = {"token": None}
    genuine = kind.digests

    def digests(self: Dialect, plan: Any) -> Any:
        scans.append("digests")
        return genuine(self, plan)

    monkeypatch.setattr(kind, "digests", digests)
    monkeypatch.setattr(kind, "token", lambda _: tokens["token"])
    return scans, tokens


def test_a_record_that_is_stored_keeps_all_it_holds(watch: Watch) -> None:
    watch.patients.replace(rows(8))
    record = watch.check()
    with watch.ledger.reading() as connection:
        assert dataclasses.asdict(load(connection, "patients") or record) == dataclasses.asdict(record)
