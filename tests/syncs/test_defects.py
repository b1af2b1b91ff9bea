"""What the existing program writes misleads readers in many ways. Each of them here, as it was measured."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from support.syncs_memory import NOON, MemoryLog, Watch

PATIENTS = 650


@pytest.fixture
def log() -> MemoryLog:
    """An empty log."""
    return MemoryLog()


@pytest.fixture
def watch(log: MemoryLog, tmp_path: Path) -> Watch:
    """A collector that has looked once."""
    watch = Watch(log, tmp_path)
    watch.look()
    return watch


def existing_program(log: MemoryLog, run: str, patients: int = PATIENTS) -> Any:
    """What the existing program writes in the course of a run, one update after the other."""

    def write(processed: int, succeeded: int, **metadata: Any) -> None:
        percent = round(100 * succeeded / processed, 1) if processed else 0.0
        log.change(
            run,
            processed=processed,
            succeeded=succeeded,
            failed=processed - succeeded,
            metadata={"sync_type": "full", "progress_percent": percent, **metadata},
        )

    for step in ("initializing", "checking_config", "validating_credentials"):
        write(0, 0, step=step)
        yield step
    pages = -(-patients // 100)
    for page in [1, *range(5, pages + 1, 5)]:
        loaded = min(patients, page * 100)
        write(loaded, 0, step="fetching_patients", current_page=page, total_pages=page, patients_loaded=loaded)
        yield f"page {page}"
    write(patients, 0, step="patients_fetched", total_pages=pages, patients_found=patients)
    yield "fetched"
    write(patients, 0, step="processing_patients", patients_found=patients)
    yield "processing"
    for done in range(65, patients + 1, 65):
        stored = done - 1
        write(
            done,
            stored,
            step="storing_patients",
            patients_processed=done,
            patients_stored=stored,
            total_patients=patients,
            patients_to_store=patients,
        )
        yield f"stored {done}"
    write(patients, patients - 4, step="checking_deletions", patients_deactivated=3, deactivated_patients=["Zzyzx P."])
    yield "deletions"


def test_progress_percent_is_a_success_ratio_and_not_progress(log: MemoryLog, watch: Watch) -> None:
    run = log.put()
    told: dict[str, tuple[float, float]] = {}
    for name in existing_program(log, run):
        found = watch.look(3)
        told[name] = found.one("run_progress_ratio"), found.one("run_reported_progress_ratio")
    ours = [each[0] for each in told.values()]
    assert ours == sorted(ours), "never less than before"
    assert told["page 1"][1] == 0.0
    assert told["stored 65"] == (0.55, 0.985), "its own figure says that all but 1.5 % is done"
    assert told["processing"][0] == 0.3
    assert told["stored 325"][0] == 0.75
    assert told["deletions"][0] == 1


def test_records_processed_goes_down_within_a_run(log: MemoryLog, watch: Watch) -> None:
    run = log.put()
    processed = []
    for _ in existing_program(log, run):
        found = watch.look(3)
        processed.append(found.one("run_processed_records"))
        assert found.one("run_total_records") in (None, PATIENTS)
    assert processed == sorted(processed)
    assert processed[-1] == PATIENTS


def test_no_alert_of_648_failures_at_the_start_of_a_run(log: MemoryLog, watch: Watch) -> None:
    run = log.put(processed=648, succeeded=0, failed=648, metadata={"step": "fetching_patients", "current_page": 7})
    found = watch.look()
    assert found.all("last_run_records") == {}
    assert found.total("records_total") == 0
    assert found.all("last_run_state") == {}
    log.complete(run, succeeded=648, failed=0)
    found = watch.look()
    assert found.all("last_run_records") == {
        ("1", "full_patients", "processed"): 648,
        ("1", "full_patients", "succeeded"): 648,
        ("1", "full_patients", "failed"): 0,
    }


def test_total_pages_that_is_the_current_page_is_not_believed(log: MemoryLog, watch: Watch) -> None:
    log.put(metadata={"step": "fetching_patients", "current_page": 5, "total_pages": 5})
    found = watch.look()
    assert (found.one("run_page"), found.one("run_pages")) == (5, None)
    assert found.one("run_progress_ratio") == 0.05, "it is not through with fetching"


def test_pages_are_reckoned_from_the_last_success(log: MemoryLog, watch: Watch) -> None:
    first = log.put()
    log.complete(first, metadata={"patients_found": PATIENTS})
    watch.look()
    log.put(metadata={"step": "fetching_patients", "current_page": 5, "total_pages": 5})
    found = watch.look()
    assert found.one("run_progress_ratio") == pytest.approx(0.05 + 0.25 * 5 / 7)
    assert found.one("run_pages") is None


def test_one_failing_page_and_351_deletions_are_told(log: MemoryLog, watch: Watch) -> None:
    before = log.put()
    log.complete(before, processed=651, succeeded=651, failed=0, metadata={"patients_found": 651})
    watch.look()
    run = log.put()
    watch.look()
    done = {"step": "completed", "patients_found": 300, "patients_stored": 298, "patients_deleted": 351}
    log.complete(run, processed=300, succeeded=298, failed=2, metadata={**done, "success_rate": 99.3})
    found = watch.look()
    assert found.one("patients_found") == 300
    assert found.one("patients_previous_found") == 651
    assert found.one("last_deletion_patients") == 351
    assert found.one("last_deletion_ratio") == pytest.approx(351 / 651)
    assert found.one("last_deletion_timestamp_seconds") == log.clock
    assert found.one("patients_deleted_total") == 351


def test_deletions_while_nobody_looked_are_news_and_those_before_the_first_look_are_not(
    log: MemoryLog, tmp_path: Path
) -> None:
    old = log.put()
    log.complete(old, metadata={"patients_deleted": 60})
    log.clock += 3600
    watch = Watch(log, tmp_path)
    assert watch.look().one("last_deletion_timestamp_seconds") == log.rows[old].completed
    run = log.put()
    log.complete(run, metadata={"patients_deleted": 70})
    seen = watch.look(after=3600)
    assert seen.one("last_deletion_timestamp_seconds") == log.clock
    noticed = log.clock
    assert watch.look().one("last_deletion_timestamp_seconds") == noticed, "one event, told once"


def test_deletions_are_told_though_the_run_then_fails_and_forgets_them(log: MemoryLog, watch: Watch) -> None:
    run = log.put(metadata={"step": "deletions_handled", "patients_deactivated": 351})
    found = watch.look()
    assert found.one("last_deletion_patients") == 351
    assert found.one("patients_deleted_total") == 0, "it is counted when it ends"
    watch.configure()
    log.complete(run, status="failed", metadata={"error": "Connection reset by peer"})
    found = watch.look()
    assert found.one("patients_deleted_total") == 351
    assert found.one("last_deletion_patients") == 351


def test_names_of_deactivated_patients_are_nowhere(log: MemoryLog, watch: Watch, tmp_path: Path) -> None:
    names = ["Zzyzx Planted", "Zzyzx Other"]
    run = log.put(
        metadata={"step": "checking_deletions", "patients_deactivated": 2, "deactivated_patients": names},
        details={"errors": names},
    )
    told = [watch.look()]
    log.complete(run, status="failed", metadata={"error": f"no value for {names[0]}", "deactivated_patients": names})
    told.append(watch.look())
    everything = repr([found.families for found in told]) + watch.collector.found()
    everything += b"".join(file.read_bytes() for file in tmp_path.glob("state.db*")).decode("latin-1")
    assert "Zzyzx" not in everything
    assert told[-1].one("failures_total", operation="full_patients", error_class="other") == 1


def test_a_row_that_stays_running_for_ever_becomes_stale_then_orphaned(log: MemoryLog, watch: Watch) -> None:
    log.put(metadata={"step": "initializing"})
    found = watch.look()
    assert (found.one("runs_active"), found.one("runs_stale"), found.one("runs_orphaned")) == (1, 0, 0)
    found = watch.look(900)
    assert (found.one("runs_active"), found.one("runs_stale"), found.one("runs_orphaned")) == (1, 1, 0)
    assert watch.collector.pace() == 3
    found = watch.look(86_400)
    assert (found.one("runs_active"), found.one("runs_stale"), found.one("runs_orphaned")) == (0, 0, 1)
    assert found.one("run_progress_ratio") is None
    assert watch.collector.pace() == 15
    found = watch.look(31 * 86_400)
    assert found.total("runs_orphaned") == 0, "nobody waits for it any more"


def test_an_incremental_run_that_falls_back_leaves_a_row_running_beside_the_new_one(
    log: MemoryLog, watch: Watch
) -> None:
    log.put(operation="incremental_sync", metadata={"step": "initializing"})
    watch.look()
    log.put(operation="full_patients", metadata={"step": "fetching_patients", "current_page": 1})
    found = watch.look()
    assert found.one("runs_active", operation="incremental_sync") == 1
    assert found.one("runs_active", operation="full_patients") == 1


@pytest.mark.parametrize("status", ["skipped", "timeout", "failed"])
def test_ended_rows_without_an_end(log: MemoryLog, watch: Watch, status: str) -> None:
    log.put(status=status, updated=log.clock + 5)
    found = watch.look()
    assert found.one("runs_total", state=status) == 1
    assert found.total("run_duration_seconds") == 0
    assert found.one("last_duration_seconds") is None
    if status != "skipped":
        assert found.one("last_end_timestamp_seconds") == log.clock - 10


def test_a_running_total_is_not_summed(log: MemoryLog, watch: Watch) -> None:
    for total in (100, 200, 300):
        run = log.put(operation="incremental_sync")
        watch.look()
        log.complete(run, processed=total, succeeded=total, failed=0, metadata={"patients_processed": total})
        found = watch.look()
    assert found.total("records_total") == 0
    assert found.all("last_run_records") == {}
    assert found.one("runs_total", operation="incremental_sync", state="completed") == 3


def test_a_completed_run_of_no_record_divides_by_nothing(log: MemoryLog, watch: Watch) -> None:
    run = log.put(processed=0, succeeded=0, failed=0)
    assert watch.look().one("run_progress_ratio") == 0
    log.complete(run, metadata={"patients_found": 0, "patients_deleted": 4})
    found = watch.look()
    assert found.one("last_run_records", result="processed") == 0
    assert found.one("last_deletion_ratio") == 1


def test_a_success_of_which_the_server_kept_nothing_is_told_as_it_is(log: MemoryLog, watch: Watch) -> None:
    """The reader cannot know of a transaction that was rolled back; nothing is made better than it is told."""
    run = log.put()
    log.complete(run, processed=650, succeeded=12, failed=638)
    found = watch.look()
    assert found.one("last_run_state", state="partial") == 1
    assert found.one("records_total", result="failed") == 638


def test_times_that_are_hours_off_are_rejected_and_counted(log: MemoryLog, watch: Watch) -> None:
    behind, ahead = log.put(), log.put(operation="active_patients")
    log.complete(behind, completed=log.clock - 3 * 3600)
    log.complete(ahead, completed=log.clock + 3 * 3600)
    found = watch.look()
    assert found.all("last_duration_seconds") == {}
    assert found.total("run_duration_seconds") == 0
    assert found.one("rows_rejected_total", reason="negative_duration") == 1
    assert found.one("rows_rejected_total", reason="bad_time") == 1
    assert found.total("runs_total", state="completed") == 2
    found = watch.look(4 * 3600)
    assert found.all("last_duration_seconds") == {}, "an end that was ahead once makes no sense later either"
    assert found.total("rows_rejected_total") == 2


def test_each_reason_counts_once_for_each_row(log: MemoryLog, watch: Watch) -> None:
    run = log.put(status="weird", problems=frozenset({"bad_metadata"}))
    for _ in range(3):
        found = watch.look()
    assert found.all("rows_rejected_total") == {
        ("bad_time",): 0,
        ("negative_duration",): 0,
        ("bad_metadata",): 1,
        ("bad_count",): 0,
        ("unknown_status",): 1,
    }
    log.complete(run, problems=frozenset({"bad_metadata", "bad_count"}))
    found = watch.look()
    assert found.one("rows_rejected_total", reason="bad_count") == 1
    assert found.one("rows_rejected_total", reason="bad_metadata") == 1


def test_gauges_of_a_run_vanish_at_its_end(log: MemoryLog, watch: Watch) -> None:
    run = log.put()
    for _ in existing_program(log, run):
        found = watch.look(3)
    names = [name for name in found.families if name.startswith("run_") and name != "run_duration_seconds"]
    assert sum(bool(found.all(name)) for name in names) == len(names) - 1, "all but run_pages"
    log.complete(run)
    found = watch.look(3)
    assert not any(found.all(name) for name in names)
    assert found.one("runs_active") == 0


def test_two_active_runs_of_one_organisation_and_operation(log: MemoryLog, watch: Watch) -> None:
    first = log.put(metadata={"step": "storing_patients", "patients_processed": 600, "total_patients": 650})
    watch.look()
    started = log.clock
    second = log.put(metadata={"step": "initializing"})
    log.put(metadata={"step": "fetching_patients"})  # at the same moment; the higher id is the newer one
    found = watch.look()
    assert found.one("runs_active") == 3
    assert found.one("run_progress_ratio") == 0.05
    assert found.one("run_oldest_start_timestamp_seconds") == NOON + 15
    assert found.one("last_start_timestamp_seconds") == started
    for run in (first, second):
        log.complete(run)
    assert watch.look().one("run_progress_ratio") == 0.05


def test_progress_is_capped_and_totals_may_change(log: MemoryLog, watch: Watch) -> None:
    run = log.put()
    ratios = []
    for done, total in itertools.chain([(0, 100), (50, 100), (60, 200), (900, 200)], [(10, 10)]):
        metadata = {"step": "storing_patients", "patients_processed": done, "total_patients": total}
        log.change(run, metadata={**metadata, "progress_percent": 450})
        found = watch.look(3)
        ratios.append(found.one("run_progress_ratio"))
    assert ratios == [0.5, 0.75, 0.75, 1, 1]
    assert found.one("run_reported_progress_ratio") == 4.5


def test_the_last_progress_is_when_something_changed(log: MemoryLog, watch: Watch) -> None:
    run = log.put(metadata={"step": "fetching_patients", "current_page": 1})
    assert watch.look().one("run_last_progress_timestamp_seconds") == NOON + 15
    watch.look()
    log.change(run, metadata={"step": "fetching_patients", "current_page": 5})
    changed = watch.look().one("run_last_progress_timestamp_seconds")
    assert changed == log.clock
    log.change(run, metadata={"step": "fetching_patients", "current_page": 5, "progress_percent": 3})
    assert watch.look().one("run_last_progress_timestamp_seconds") == changed
    log.change(run, metadata={})
    assert watch.look().one("run_last_progress_timestamp_seconds") == changed, (
        "a document that is not there for a moment"
    )
    assert watch.look().one("run_step", step="fetching_patients") == 1


def test_the_time_of_storing_is_of_this_run_and_known_only_if_its_beginning_was_seen(
    log: MemoryLog, watch: Watch
) -> None:
    run = log.put(metadata={"step": "fetching_patients", "current_page": 1})
    watch.look()
    log.change(run, metadata={"step": "storing_patients", "patients_processed": 0, "total_patients": 650})
    assert watch.look().one("run_storing_timestamp_seconds") is None
    idle = log.clock
    for stored in (65, 130):
        log.change(run, metadata={"step": "storing_patients", "patients_processed": stored, "total_patients": 650})
        assert watch.look().one("run_storing_timestamp_seconds") == idle
    log.complete(run)
    log.put(metadata={"step": "storing_patients", "patients_processed": 65, "total_patients": 650})
    assert watch.look().one("run_storing_timestamp_seconds") is None
