"""Each run is counted once, whatever happens to rows, clocks, exporters and the ledger."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from ledger.conftest import state_of as ledger_of
from rounds.errors import CollectorError
from rounds.syncs import following
from rounds.syncs.runs import state_of
from rounds.syncs.schema import ROWS
from rounds.syncs.states import ENDED
from support.syncs_memory import NOON, MemoryLog, Watch

HOUR = 3600.0
DAY = 24 * HOUR


@pytest.fixture
def log() -> MemoryLog:
    """An empty log."""
    return MemoryLog()


@pytest.fixture
def watch(log: MemoryLog, tmp_path: Path) -> Watch:
    """A collector that has not looked yet."""
    return Watch(log, tmp_path)


def ended(log: MemoryLog, status: str = "completed", **values: Any) -> str:
    """A run that has ended now."""
    return log.put(**{"status": status, "started": log.clock - 60, "completed": log.clock, **values})


def test_what_ended_before_the_first_look_is_told_but_not_counted(log: MemoryLog, watch: Watch) -> None:
    ended(log, started=NOON - 20 * DAY, completed=NOON - 20 * DAY + 50, operation="active_patients")
    ended(log, started=NOON - 40 * DAY, operation="full_sync")
    ended(log, "failed", started=NOON - 100, completed=NOON - 50, metadata={"error": "HTTP 401"})
    running = log.put(started=NOON - 5 * DAY, updated=NOON)
    found = watch.look()
    assert found.total("runs_total") == found.total("failures_total") == found.total("run_duration_seconds") == 0
    assert found.one("last_run_state", operation="full_patients", state="failed") == 1
    assert found.one("last_success_timestamp_seconds", operation="active_patients") == NOON - 20 * DAY + 50
    assert found.one("first_seen_timestamp_seconds", operation="full_patients") == NOON - 5 * DAY
    assert found.all("runs_total", operation="full_sync") == {}, "older than look_back"
    log.complete(running)
    found = watch.look()
    assert found.one("runs_total", operation="full_patients", state="completed") == 1
    assert found.total("runs_total") == 1
    # A run that failed is hidden by no older one that ended since.
    assert found.one("last_run_state", operation="full_patients", state="failed") == 1


def test_a_run_between_two_looks_is_counted(log: MemoryLog, watch: Watch) -> None:
    watch.look()
    ended(log)
    assert watch.look().one("runs_total", state="completed") == 1
    assert watch.look().one("runs_total", state="completed") == 1


def test_a_row_that_is_committed_late_is_noticed(log: MemoryLog, watch: Watch) -> None:
    watch.look()
    ended(log)
    watch.look()
    ended(log, started=log.clock - 3.5 * HOUR)
    assert watch.look().total("runs_total") == 2
    ended(log, started=log.clock - 5 * HOUR)
    assert watch.look().total("runs_total") == 2, "longer ago than overlap"


def test_rows_end_out_of_order(log: MemoryLog, watch: Watch) -> None:
    runs = [log.put(started=NOON + number) for number in range(10)]
    watch.look()
    for number in (7, 2, 9, 0, 4, 1, 8, 3, 6, 5):
        log.complete(runs[number])
        found = watch.look(HOUR / 2)
    assert found.one("runs_total", state="completed") == 10
    assert found.one("last_end_timestamp_seconds") == log.rows[runs[9]].completed, "of the one that began last"


def test_a_status_that_changes_hours_later_changes_no_counter(log: MemoryLog, watch: Watch) -> None:
    watch.look()
    good = ended(log)
    watch.look()
    run = ended(log)
    found = watch.look()
    assert found.one("last_success_timestamp_seconds") == log.rows[run].completed
    for after in (1, 30 * HOUR):
        watch.look(after)
    log.change(run, status="failed", metadata={"error": "HTTP 401"})
    found = watch.look()
    assert found.one("last_run_state", state="failed") == 1
    assert found.one("last_success_timestamp_seconds") == log.rows[good].completed
    assert found.all("runs_total", state="completed") == {("1", "full_patients"): 2}
    assert found.total("runs_total") == 2
    assert found.total("failures_total") == 0


def test_a_run_that_was_closed_too_early_goes_on_and_is_not_counted_again(log: MemoryLog, watch: Watch) -> None:
    run = log.put()
    watch.look()
    log.change(run, status="failed")
    found = watch.look()
    assert found.one("runs_total", state="failed") == 1
    for after in (15, 10 * HOUR):
        log.change(run, status="running", completed=None, updated=log.clock + after)
        found = watch.look(after)
        assert found.one("runs_active") == 1, "it was alive"
        assert found.all("last_run_state") == {}
        log.complete(run)
        found = watch.look()
        assert found.one("last_run_state", state="completed") == 1
        assert found.total("runs_total") == 1


def test_a_row_that_is_deleted_while_it_runs_is_gone(log: MemoryLog, watch: Watch) -> None:
    run = log.put()
    assert watch.look().one("runs_active") == 1
    row = log.rows.pop(run)
    found = watch.look()
    assert found.one("runs_active") == 0
    assert found.total("runs_total") == 0
    # It was a replica that lagged behind.
    log.rows[run] = row
    assert watch.look().one("runs_active") == 1
    del log.rows[run]
    watch.look()
    log.rows[run] = row
    log.complete(run)
    assert watch.look().total("runs_total") == 1


def test_cleanup_of_old_rows_lowers_nothing(log: MemoryLog, watch: Watch) -> None:
    watch.look()
    for _ in range(5):
        ended(log, processed=7, metadata={"patients_found": 7})
        before = watch.look(HOUR)
    log.rows.clear()
    found = watch.look()
    for name, family in before.families.items():
        assert found.families[name].samples == family.samples, name
    watch.configure()
    assert watch.look().families["runs_total"].samples == before.families["runs_total"].samples


def test_a_table_that_begins_again_with_the_same_ids(log: MemoryLog, watch: Watch) -> None:
    log.put(id=1)
    ended(log, id=2)
    watch.look()
    log.rows.clear()
    log.clock += 100
    log.put(id=1)
    ended(log, id=2)
    found = watch.look()
    assert found.one("runs_active") == 1
    assert found.total("runs_total") == 1
    log.complete("1")
    assert watch.look().total("runs_total") == 2


def test_nothing_is_written_when_nothing_changed(log: MemoryLog, watch: Watch) -> None:
    for number in range(10):
        ended(log, organization=str(number))
    log.put(metadata={"step": "storing_patients", "patients_processed": 1, "total_patients": 9})
    watch.look()
    commits = watch.version
    for done in range(5):
        metadata = {"step": "storing_patients", "patients_processed": done, "total_patients": 9}
        log.change("11", metadata=metadata, updated=log.clock)
        watch.look()
    assert watch.version == commits


def test_a_restarted_exporter_counts_nothing_again(log: MemoryLog, watch: Watch) -> None:
    watch.look()
    done, running = ended(log), log.put()
    watch.look()
    watch.configure()
    initial = {family.metric.name: dict(family.samples) for family in watch.collector.initial()}
    assert initial["rounds_sync_runs_total"]["clinic", "1", "full_patients", "completed"] == 1
    assert initial["rounds_sync_threshold_seconds"]["clinic", "stale_after"] == 900
    assert watch.look().one("runs_total", state="completed") == 1
    log.complete(running)
    log.change(done, status="failed")
    watch.configure()
    found = watch.look()
    assert found.one("runs_total", state="completed") == 2
    assert found.total("runs_total") == 2


def test_what_ended_while_no_exporter_ran_is_counted(log: MemoryLog, watch: Watch) -> None:
    running = log.put()
    watch.look()
    for hour in range(1, 100):
        ended(log, started=NOON + hour * HOUR, completed=NOON + hour * HOUR + 50)
    log.complete(running, completed=NOON + 60)
    watch.configure()
    assert watch.look(5 * DAY).one("runs_total", state="completed") == 100


def test_a_long_outage_is_caught_up_with_step_by_step(
    log: MemoryLog, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "NEW_ROWS", 50)
    ended(log)
    watch.look()
    for number in range(1000):  # among them many that began at the same moment
        ended(log, started=NOON + (number // 300) * HOUR, completed=NOON + 5 * HOUR)
    log.clock += 5 * HOUR
    totals: list[float] = []
    while not totals or totals[-1] < 1000:
        totals.append(watch.look().total("runs_total"))
        assert len(log.asked) <= 52
        assert len(totals) <= 20
        watch.configure()
    assert watch.look().total("runs_total") == 1000


def test_rows_that_the_first_look_did_not_reach_are_never_counted(
    log: MemoryLog, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        ended(log, started=NOON - number, completed=NOON)
    monkeypatch.setattr(watch.collector, "_first_rows", 10)
    assert watch.look().total("runs_total") == 0
    assert watch.look().total("runs_total") == 0
    ended(log, started=log.clock)
    assert watch.look().total("runs_total") == 1


def test_a_first_look_that_takes_too_long_is_tried_with_fewer_rows(
    log: MemoryLog, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int] = []

    def slow(since: float, limit: int) -> Iterator[Any]:
        limits.append(limit)
        if limit > 5000:
            raise CollectorError("timeout", "too slow")
        return iter(())

    monkeypatch.setattr(log, "recent", slow)
    for _ in range(2):
        with pytest.raises(CollectorError):
            watch.look()
    assert watch.look().total("runs_total") == 0
    assert limits == [50_000, 12_500, 3125]


def test_a_log_that_shows_its_newest_rows_however_old(log: MemoryLog, tmp_path: Path) -> None:
    log.newest = 5
    for number in range(5):
        ended(log, started=NOON - number * 10 * DAY, completed=NOON)
    watch = Watch(log, tmp_path, look_back="366d")
    watch.look()
    for count in range(1, 12):
        ended(log)
        assert watch.look(DAY).total("runs_total") == count
        # Something pushes it out of sight and it comes back.
        row = log.rows.popitem()
        watch.look()
        log.rows[row[0]] = row[1]
        assert watch.look().total("runs_total") == count


def test_rows_without_a_time_are_counted_once(log: MemoryLog, watch: Watch) -> None:
    ended(log, started=None)
    watch.look()
    first, second = ended(log, started=None), log.put(started=None)
    found = watch.look()
    assert found.total("runs_total") == 1
    assert found.one("runs_active") == 1
    log.complete(second)
    for after in (15, DAY, 60 * DAY):
        watch.configure()
        log.put(status="skipped", started=log.clock + after)  # else nobody would know the organisation any more
        assert watch.look(after).total("runs_total", state="completed") == 2
    del log.rows[first], log.rows[second]
    watch.look()
    with watch.ledger.reading() as connection:
        assert len(connection.execute(select(ROWS).where(ROWS.c.started.is_(None))).all()) == 1


@pytest.mark.parametrize("back", [60.0, 3 * HOUR, 10 * DAY])
def test_a_clock_that_is_put_back_stops_nothing(log: MemoryLog, watch: Watch, back: float) -> None:
    log.put()
    for _ in range(5):
        ended(log)
        found = watch.look(HOUR)
    before = found.total("runs_total")
    log.clock -= back
    assert watch.look().total("runs_total") == before, "nothing again"
    ended(log)
    found = watch.look()
    assert found.total("runs_total") == before + 1
    assert found.one("runs_active") == 1


def test_a_start_in_the_far_future_stops_nothing(log: MemoryLog, watch: Watch) -> None:
    watch.look()
    ended(log, started=NOON + 3000 * DAY)
    found = watch.look()
    assert found.total("runs_total") == 1
    assert found.one("rows_rejected_total", reason="bad_time") == 1
    ended(log)
    assert watch.look().total("runs_total") == 2
    assert watch.look(DAY).total("runs_total") == 2
    assert watch.look().total("rows_rejected_total") == 1


def test_so_many_open_rows_are_followed(log: MemoryLog, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FOLLOWED", 20)
    runs = [log.put(started=NOON - 100 + number) for number in range(50)]
    watch.look()
    found = watch.look()
    assert found.one("runs_active") == 20
    assert set(log.asked) == set(runs[-20:]), "the newest"
    for run in runs:  # the status of the others is still seen, as they began lately
        log.complete(run)
    assert watch.look().total("runs_total") == 50


def test_newest_runs_are_read_again_in_turns(log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "READ_AGAIN", 10)
    watch = Watch(log, tmp_path)
    runs = [ended(log, organization=str(number), started=NOON - DAY) for number in range(25)]
    watch.look()
    for run in runs:
        log.change(run, status="failed")
    counts = [sum(watch.look().all("last_run_state", state="failed").values()) for _ in range(4)]
    assert counts == sorted(counts)
    assert counts[-1] == 25


def test_a_log_that_fails_changes_nothing(log: MemoryLog, watch: Watch) -> None:
    watch.look()
    ended(log)
    log.failing = CollectorError("timeout", "too slow")
    with pytest.raises(CollectorError):
        watch.look()
    log.failing = None
    assert watch.look().total("runs_total") == 1


def test_a_log_that_fails_half_way_changes_nothing(
    log: MemoryLog, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.look()
    for _ in range(10):
        ended(log)

    def half(ids: Any) -> Iterator[Any]:
        yield from [log.rows[each] for each in ids][:5]
        raise CollectorError("connect", "lost")

    with monkeypatch.context() as patch:
        patch.setattr(log, "records", half)
        with pytest.raises(CollectorError):
            watch.look()
    assert watch.look().total("runs_total") == 10


@pytest.mark.parametrize("committed", [True, False])
def test_a_commit_whose_answer_is_lost(
    log: MemoryLog, watch: Watch, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    watch.look()
    ended(log)
    writing = watch.ledger.writing

    @contextmanager
    def lost() -> Iterator[Connection]:
        with writing() as connection:
            yield connection
            if not committed:
                raise CollectorError("internal", "the connection was lost")
        raise CollectorError("internal", "the connection was lost")

    with monkeypatch.context() as patch:
        patch.setattr(watch.ledger, "writing", lost)
        with pytest.raises(CollectorError):
            watch.look()
    for _ in range(2):
        assert watch.look().total("runs_total") == 1


def test_two_exporters_on_one_ledger(log: MemoryLog, tmp_path: Path) -> None:
    watches = [Watch(log, tmp_path), Watch(log, tmp_path)]
    for watch in watches:
        watch.look()
    random_ = random.Random(4)
    total = 0
    for _ in range(60):
        if random_.random() < 0.5:
            ended(log)
            total += 1
        watch = random_.choice(watches)
        assert watch.look().total("runs_total") == total


def test_an_exporter_that_is_overtaken_counts_nothing(
    log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = Watch(log, tmp_path), Watch(log, tmp_path)
    records = log.records
    for version in ("first look", "later"):
        ended(log)

        def overtaken(ids: Any) -> Iterator[Any]:
            rows = list(records(ids))
            with monkeypatch.context() as patch:
                patch.setattr(log, "records", records)
                quick.look(0)
            yield from rows

        with monkeypatch.context() as patch:
            patch.setattr(log, "records", overtaken)
            with pytest.raises(CollectorError, match="another exporter"):
                slow.look()
        assert slow.look().total("runs_total") == (version == "later"), version
        assert quick.look().total("runs_total") == (version == "later"), version


@pytest.mark.parametrize("other", [{"table": "new_logs"}, {"time_zone": "Asia/Tokyo"}, {"source_system": None}])
def test_another_log_under_the_same_name_begins_silently(log: MemoryLog, watch: Watch, other: dict[str, Any]) -> None:
    watch.look()
    ended(log)
    watch.look()
    log.rows.clear()
    for _ in range(5):
        ended(log, organization="2")
    watch.configure(**other)
    found = watch.look()
    assert found.total("runs_total") == 0
    assert set(found.all("last_run_state", state="completed")) == {("2", "full_patients")}
    ended(log, organization="1")
    assert watch.look().one("runs_total", organization="1", state="completed") == 2, "what was counted stays"


def test_hostile_ids_and_statuses(log: MemoryLog, watch: Watch) -> None:
    watch.look()
    hostile = ["\ud800", "a\0b", "x" * 5000, "", "'; DROP TABLE syncs_rows; --", "\N{PILE OF POO}" * 300, " ", "1 "]
    for identity in hostile:
        log.put(id=identity, status="\N{PILE OF POO}\ud800\0" * 50)
    found = watch.look()
    assert found.one("runs_active") == len(hostile)
    for identity in hostile:
        log.complete(identity)
    for _ in range(2):
        assert watch.look().total("runs_total") == len(hostile)
        watch.configure()


def test_durations_are_put_into_buckets(log: MemoryLog, watch: Watch) -> None:
    watch.look()
    for seconds in (0, 5, 6, 45, 4000):
        ended(log, started=log.clock - seconds)
    histogram = watch.look().one("run_duration_seconds")
    assert histogram.counts == (2, 1, 1, 0, 0, 0, 0, 0, 1)
    assert histogram.sum == 4056


def test_what_is_configured_is_told(log: MemoryLog, tmp_path: Path) -> None:
    ended(log)
    ended(log, organization="2")
    assert Watch(log, tmp_path).look().all("expected_interval_seconds") == {("1", ""): 3600, ("2", ""): 3600}
    watch = Watch(
        log, tmp_path, expect_every={"full_patients": "1d"}, limits={"deleted_patients": 7}, stale_after="20m"
    )
    found = watch.look()
    assert found.all("expected_interval_seconds") == {("1", "full_patients"): DAY, ("2", "full_patients"): DAY}
    assert found.one("threshold_deleted_patients") == 7
    assert found.one("threshold_seconds", threshold="stale_after") == 1200
    assert found.all("threshold_ratio") == {("deleted",): 0.1, ("found_drop",): 0.2, ("failed",): 0.01}


class History:
    """Random events of a log, and the truth about what a collector has to count of them."""

    def __init__(self, seed: int, log: MemoryLog) -> None:
        self.truth: Counter[tuple[str, str, str]] = Counter()
        self._random = random.Random(seed)
        self._log = log
        self._counted: set[tuple[str, float | None]] = set()

    def events(self, number: int) -> None:
        """Something happens."""
        log, random_ = self._log, self._random
        for _ in range(random_.randrange(number)):
            log.clock += random_.choice([0, 0.25, 1, 20])
            which = random_.random()
            if which < 0.4 or not log.rows:
                started = log.clock - random_.choice([0, 0, 1, 60, 1800])
                organization, operation = random_.choice("12345"), random_.choice(["full_patients", "odd"])
                status = random_.choice(["running", "running", "running", "completed", "failed", "odd", "skipped"])
                log.put(status=status, started=started, organization=organization, operation=operation)
                continue
            identity = random_.choice(list(log.rows))
            if which < 0.85:
                status = random_.choice(["completed", "failed", "timeout", "running", "success", "cancelled"])
                log.complete(identity, status=status, failed=random_.choice([0, 0, 3]))
            elif which < 0.92:
                del log.rows[identity]
            elif which < 0.96:
                log.put(id=identity, started=log.clock + 0.5)  # the table was replaced

    def looked(self, *, first: bool = False) -> None:
        """A collector has looked."""
        for row in self._log.rows.values():
            state: str = state_of(row.status)
            known = (row.id, row.started)
            if state not in ENDED or (state == "other" and row.completed is None) or known in self._counted:
                continue
            self._counted.add(known)
            if not first:
                state = "partial" if state == "completed" and row.failed else state
                operation = row.operation if row.operation == "full_patients" else "_other"
                self.truth[row.organization, operation, state] += 1


def histories(watch: Watch, seed: int, looks: int) -> None:
    """Follow a random history and compare after each look."""
    history = History(seed, watch.log)
    history.events(20)
    watch.look()
    history.looked(first=True)
    random_ = random.Random(seed)
    for _ in range(looks):
        history.events(8)
        if random_.random() < 0.2:
            watch.configure(look_back="5h")
        found = watch.look(0.125)
        history.looked()
        counted = {key: value for key, value in found.all("runs_total").items() if value}
        assert counted == history.truth


@pytest.mark.parametrize("seed", range(12))
def test_random_histories(log: MemoryLog, tmp_path: Path, seed: int) -> None:
    histories(Watch(log, tmp_path, look_back="5h"), seed, looks=25)


@pytest.mark.parametrize("server", ["mariadb", "postgresql"])
def test_a_random_history_with_a_ledger_on_a_server(
    log: MemoryLog, tmp_path: Path, server: str, request: pytest.FixtureRequest
) -> None:
    watch = Watch(log, tmp_path, state=ledger_of(server, tmp_path, request), look_back="5h")
    log.put(organization="\N{PILE OF POO}" * 128, operation="\N{PILE OF POO}", id="'\\")
    histories(watch, 99, looks=20)
    watch.ledger.close()
