"""Every event is counted once, whatever the order of commits, retention, truncation, restoring, and clocks do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger.conftest import state_of
from rounds.apr import feed
from rounds.apr.anchors import Anchors
from rounds.apr.open_records import OpenRecords
from rounds.apr.schema import CHUNK
from rounds.errors import CollectorError
from support.apr import DAY, Installation
from support.apr_reading import Found, Reading, put
from support.mariadb import MariadbServer

HOUR = 3600


@pytest.fixture
def reading(installation: Installation, tmp_path: Path) -> Iterator[Reading]:
    """A collector of each kind of database."""
    made = Reading(installation.source, tmp_path)
    yield made
    made.ledger.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """This machine's clock, as far as cursors see it."""

    class Clock:
        now = 1_800_000_000.0

        def time(self) -> float:
            self.now += 1
            return self.now

    made = Clock()
    monkeypatch.setattr("rounds.apr.collector.time", made)
    return made


def records(ids: range | list[int], kind: str = "SEUNO", **more: Any) -> list[dict[str, object]]:
    """Rows of apr_invalid_records, each of another proposal."""
    row = {"DATA": DAY.isoformat(), "CEDENTE": "Cliente Um", "VALIDATION_TYPE": kind, **more}
    return [{"id": number, "PROPOSTA": number, **row} for number in ids]


def steps(ids: range | list[int], first: int = 0) -> list[dict[str, object]]:
    """Rows of apr_status_history."""
    row = {"DATA": DAY.isoformat(), "CEDENTE": "Cliente Um", "NEW_STATUS": "Pago", "CHANGE_SOURCE": "BOT"}
    return [{"id": number, "PROPOSTA": first + number, **row} for number in ids]


def resolve(installation: Installation, where: str, at: str = "CURRENT_TIMESTAMP") -> None:
    installation.sql(f"UPDATE apr_invalid_records SET is_resolved = 1, resolved_at = {at} WHERE {where}")


def ago(seconds: float) -> str:
    return f"{datetime.now(UTC) - timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}"


def detected(found: Found) -> float | None:
    return found["invalid_records_detected_total", "SEUNO"]


def resolved(found: Found) -> float | None:
    return found["invalid_records_resolved_total", "SEUNO"]


def changes(found: Found) -> float | None:
    return found["status_changes_total", "BOT", "pago"]


def test_a_record_counts_when_it_is_resolved(installation: Installation, reading: Reading) -> None:
    put(installation, "apr_invalid_records", *records(range(1, 9)))
    assert (detected(found := reading.run()), resolved(found)) == (8, 0)
    resolve(installation, "id IN (2, 3)")
    assert (detected(found := reading.run()), resolved(found)) == (8, 2)
    assert found["invalid_records", "SEUNO"] == 6
    assert (detected(found := reading.run()), resolved(found)) == (8, 2)
    # New, and resolved before it was seen.
    put(installation, "apr_invalid_records", *records([9], is_resolved=1, resolved_at=ago(0), detected_at=ago(60)))
    assert (detected(found := reading.run()), resolved(found)) == (9, 3)
    # Deleted while open: it was not resolved.
    installation.sql("DELETE FROM apr_invalid_records WHERE id = 4")
    assert (detected(found := reading.run()), resolved(found)) == (9, 3)
    resolve(installation, "id <= 9 AND is_resolved = 0")
    assert (detected(found := reading.run()), resolved(found)) == (9, 8)
    assert found.observations("invalid_record_resolution_seconds", "SEUNO") == 8


def test_records_of_many_chunks(installation: Installation, reading: Reading) -> None:
    ids = [number * 37 for number in range(1, 400)]
    put(installation, "apr_invalid_records", *records(ids))
    assert detected(reading.run()) == len(ids)
    assert ids[-1] > 14 * CHUNK
    resolve(installation, f"id IN (37, {ids[200]}, {ids[201]}, {ids[-1]})")
    installation.sql(f"DELETE FROM apr_invalid_records WHERE id = {ids[100]}")
    found = reading.run()
    assert resolved(found) == 4
    before = reading.queries
    reading.run()
    quiet = reading.queries - before
    resolve(installation, f"id = {ids[7]}")
    before = reading.queries
    assert resolved(reading.run()) == 5
    assert reading.queries - before == quiet + 1, "only the chunk that changed was read"


def test_resolutions_while_nobody_looked(installation: Installation, reading: Reading) -> None:
    put(installation, "apr_invalid_records", *records(range(1, 5)))
    reading.run()
    resolve(installation, "id = 1")
    reading.configure()  # as after a restart
    assert resolved(reading.run()) == 1


@pytest.mark.parametrize("hours", [-3, 0, 3])
def test_resolution_times_with_another_clock(installation: Installation, tmp_path: Path, hours: int) -> None:
    """The pipeline writes resolved_at by its own clock, which is hours off where its zone is not the server's."""
    reading = Reading(installation.source, tmp_path)
    put(installation, "apr_invalid_records", *records(range(1, 4), detected_at=ago(2 * HOUR)))
    reading.run()
    resolve(installation, "1 = 1", f"'{ago(-hours * HOUR)}'")
    histogram = reading.run().histogram("invalid_record_resolution_seconds", "SEUNO")
    assert sum(histogram.counts) == 3
    assert histogram.sum == pytest.approx(3 * 2 * HOUR, abs=60)
    reading.ledger.close()


@pytest.mark.parametrize("zone", ["-03:00", "+00:00", "+05:30"])
def test_times_do_not_depend_on_the_servers_zone(
    on_mariadb: Installation, mariadb: MariadbServer, tmp_path: Path, zone: str
) -> None:
    reading = Reading(on_mariadb.source, tmp_path)
    mariadb.sql(f"SET GLOBAL time_zone = '{zone}'")
    try:
        put(on_mariadb, "apr_invalid_records", *records([1, 2]))
        on_mariadb.sql("UPDATE apr_invalid_records SET detected_at = NOW() - INTERVAL 2 HOUR")
        put(on_mariadb, "apr_processing_log", {"target_date": DAY.isoformat()})
        found = reading.run()
        resolve(on_mariadb, "id = 1", "NOW()")
        histogram = reading.run().histogram("invalid_record_resolution_seconds", "SEUNO")
    finally:
        mariadb.sql("SET GLOBAL time_zone = 'SYSTEM'")
        reading.ledger.close()
    assert histogram.sum == pytest.approx(2 * HOUR, abs=60)
    oldest = found["invalid_record_oldest_timestamp_seconds", "SEUNO"] or 0
    assert time.time() - oldest == pytest.approx(2 * HOUR, abs=60)
    last = found["last_run_timestamp_seconds", "PRODUCTION"] or 0
    assert time.time() - last == pytest.approx(0, abs=60)


def test_a_negative_time_that_nobody_can_check_is_left_out(installation: Installation, reading: Reading) -> None:
    more: dict[str, Any] = {"is_resolved": 1, "detected_at": ago(0), "resolved_at": ago(3 * HOUR)}
    put(installation, "apr_invalid_records", *records([1], **more), *records([2], **{**more, "resolved_at": None}))
    found = reading.run()
    assert resolved(found) == 2
    assert found.observations("invalid_record_resolution_seconds", "SEUNO") == 0


def test_rows_that_commit_out_of_order(installation: Installation, reading: Reading, clock: Any) -> None:
    put(installation, "apr_status_history", *steps([1, 2, 5, 9]))
    assert changes(reading.run()) == 4
    put(installation, "apr_status_history", *steps([3, 4, 12]))
    assert changes(reading.run()) == 7
    clock.now += feed.GRACE - 60
    put(installation, "apr_status_history", *steps([6, 11]))
    assert changes(reading.run()) == 9
    clock.now += feed.GRACE + 60
    assert changes(reading.run()) == 9
    put(installation, "apr_status_history", *steps([13]))
    assert changes(reading.run()) == 10


def test_retention_behind_the_cursor(installation: Installation, reading: Reading) -> None:
    put(installation, "apr_status_history", *steps(range(1, 11)))
    put(installation, "apr_invalid_records", *records(range(1, 11)))
    reading.run()
    installation.sql("DELETE FROM apr_status_history WHERE id < 8", "DELETE FROM apr_invalid_records WHERE id < 8")
    found = reading.run()
    assert (changes(found), detected(found), resolved(found)) == (10, 10, 0)
    # Everything is gone, and what comes has higher ids.
    installation.sql("DELETE FROM apr_status_history", "DELETE FROM apr_invalid_records")
    assert changes(reading.run()) == 10
    put(installation, "apr_status_history", *steps([11]))
    assert changes(reading.run()) == 11


@pytest.mark.parametrize("refilled", [3, 10, 25])
def test_a_table_truncated_and_refilled(installation: Installation, reading: Reading, refilled: int) -> None:
    """With fewer rows than before, as many, or more, all of its rows are new."""
    put(installation, "apr_status_history", *steps(range(1, 11)))
    put(installation, "apr_invalid_records", *records(range(1, 11)))
    reading.run()
    empty = "TRUNCATE TABLE" if installation.kind == "mariadb" else "DELETE FROM"
    installation.sql(f"{empty} apr_status_history", f"{empty} apr_invalid_records")
    put(installation, "apr_status_history", *steps(range(1, refilled + 1), first=500))
    rows = records(range(1, refilled + 1))
    put(installation, "apr_invalid_records", *({**row, "PROPOSTA": 900 + number} for number, row in enumerate(rows)))
    found = reading.run()
    assert (changes(found), detected(found), resolved(found)) == (10 + refilled, 10 + refilled, 0)
    resolve(installation, "id = 2")
    found = reading.run()
    assert (changes(found), detected(found), resolved(found)) == (10 + refilled, 10 + refilled, 1)
    put(installation, "apr_status_history", *steps([refilled + 1]))
    assert changes(reading.run()) == 11 + refilled


def test_a_backup_that_was_restored(installation: Installation, reading: Reading) -> None:
    """The newest rows are gone; the others are the ones that were counted."""
    put(installation, "apr_status_history", *steps(range(1, 11)))
    put(installation, "apr_invalid_records", *records(range(1, 11)))
    reading.run()
    put(installation, "apr_status_history", *steps(range(11, 21)))
    reading.run()
    installation.sql("DELETE FROM apr_status_history WHERE id > 6", "DELETE FROM apr_invalid_records WHERE id > 6")
    found = reading.run()
    assert (changes(found), detected(found), resolved(found)) == (20, 10, 0)
    put(installation, "apr_status_history", *steps(range(7, 9), first=100))
    assert changes(reading.run()) == 22


def test_a_row_corrected_by_hand_is_no_other_table(installation: Installation, reading: Reading) -> None:
    put(installation, "apr_status_history", *steps(range(1, 11)))
    reading.run()
    installation.sql("UPDATE apr_status_history SET PROPOSTA = 77 WHERE id = 10")
    assert changes(reading.run()) == 10


def test_a_long_past_is_read_a_part_at_a_time(
    installation: Installation, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "AT_A_TIME", 10)
    ids = [number for number in range(1, 30) if number % 7]  # with gaps, which hold nothing up
    put(installation, "apr_status_history", *steps(ids))
    put(installation, "apr_invalid_records", *records(ids))
    resolve(installation, "id > 20")
    found = [reading.run() for _ in range(4)]
    assert [changes(each) for each in found] == [10, 20, len(ids), len(ids)]
    assert [detected(each) for each in found] == [10, 20, len(ids), len(ids)]
    assert [resolved(each) for each in found][-2:] == [sum(number > 20 for number in ids)] * 2
    assert ["proposals_stuck" in each.families for each in found] == [False, False, True, True]


def test_a_run_that_was_overtaken_counts_nothing(
    installation: Installation, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(installation, "apr_status_history", *steps(range(1, 4)))
    look = reading.collector._look

    def overtaken(session: Any) -> Any:
        found = look(session)
        monkeypatch.undo()
        reading.run()
        return found

    monkeypatch.setattr(reading.collector, "_look", overtaken)
    with pytest.raises(CollectorError, match="another run"):
        reading.collector.collect()
    assert changes(reading.run()) == 3


@pytest.mark.parametrize("place", ["sqlite", "mariadb", "postgresql"])
def test_every_kind_of_ledger(
    on_mariadb: Installation, tmp_path: Path, place: str, request: pytest.FixtureRequest
) -> None:
    reading = Reading(on_mariadb.source, tmp_path, state=state_of(place, tmp_path, request))
    for first in (1, 1200):
        put(on_mariadb, "apr_status_history", *steps(range(first, first + 600), first=first % 7))
        put(on_mariadb, "apr_invalid_records", *records(range(first, first + 600)))
        resolve(on_mariadb, f"id < {first + 10}")
        found = reading.run()
    assert (changes(found), detected(found), resolved(found)) == (1200, 1200, 610)
    assert found.observations("invalid_record_resolution_seconds", "SEUNO") == 610
    on_mariadb.sql("UPDATE apr_invalid_records SET is_resolved = 1", "DELETE FROM apr_status_history")
    assert resolved(reading.run()) == 1200
    assert resolved(reading.run()) == 1200
    reading.ledger.close()


def test_counters_are_told_at_the_start(installation: Installation, reading: Reading) -> None:
    put(installation, "apr_status_history", *steps(range(1, 4)))
    reading.run()
    reading.configure()
    assert changes(Found(reading.collector.initial())) == 3


def test_nothing_of_a_client_is_in_the_ledger(installation: Installation, reading: Reading, tmp_path: Path) -> None:
    put(installation, "apr_status_history", *({**row, "CEDENTE": "Zzyzx Planted"} for row in steps(range(1, 4))))
    put(installation, "apr_invalid_records", *({**row, "CEDENTE": "Zzyzx Planted"} for row in records(range(1, 4))))
    reading.run()
    assert b"Zzyzx" not in b"".join(file.read_bytes() for file in tmp_path.glob("state.db*"))


def test_open_records_and_anchors_are_kept_small(installation: Installation, reading: Reading) -> None:
    put(installation, "apr_invalid_records", *records(range(1, 2000)))
    reading.run()
    resolve(installation, "1 = 1")
    reading.run()
    with reading.ledger.reading() as connection:
        assert not OpenRecords(connection)._chunks
        assert len(Anchors(connection, "apr_invalid_records", "x").ids) == 2
