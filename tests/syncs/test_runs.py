"""What a row means: states, classes of errors, counts, times."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.syncs.failures import LONGEST, classify
from rounds.syncs.rows import record
from rounds.syncs.runs import Run, interpret, row_hash
from rounds.syncs.states import ENDED, ERROR_CLASSES, PROBLEMS, STATES, STEPS
from rounds.syncs.steps import progress, step_of
from support.syncs_memory import NOON, plain, sync_of


def run_of(**values: Any) -> Run:
    """A row's run, with columns as the real table calls them."""
    values = {"status": "completed", "started_at": NOON - 60, "completed_at": NOON - 15, **values}
    return interpret(plain(**values), NOON, seen=NOON, running_totals=sync_of().running_totals)


def live_of(metadata: Any, **values: Any) -> Any:
    """What a run says while it has not ended."""
    return run_of(status="running", completed_at=None, metadata=metadata, **values).live


@pytest.mark.parametrize(
    ("status", "state", "ended"),
    [
        ("running", "running", False),
        ("Completed ", "completed", True),
        ("success", "completed", True),
        ("warning", "partial", True),
        ("failed", "failed", True),
        ("ERROR", "failed", True),
        ("timeout", "timeout", True),
        ("skipped", "skipped", True),
        ("cancelled", "cancelled", True),
        ("whatever", "other", True),
        ("", "other", True),
    ],
)
def test_states(status: str, state: str, ended: bool) -> None:
    run = run_of(status=status)
    assert (run.state, run.ended) == (state, ended)
    assert ("unknown_status" in run.problems) is (state == "other")


def test_an_unknown_status_ends_a_run_only_with_its_end() -> None:
    assert not run_of(status="retrying", completed_at=None).ended


def test_completed_with_failed_records_is_partial() -> None:
    assert run_of(records_failed=1).state == "partial"
    assert run_of(records_failed=0).state == run_of(records_failed=None).state == "completed"
    assert run_of(status="failed", records_failed=5).state == "failed"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("No service config", "config"),
        ("Sync disabled", "config"),
        ("No credentials", "config"),
        ("No patients found", "other"),
        ("Client error '401 Unauthorized' for url 'https://api.example/v1/patients?page=3'", "auth"),
        ("API error: 401 - {'message': 'Invalid API key'}", "auth"),
        ("HTTP 403", "auth"),
        ("status_code=403", "auth"),
        ("401", "auth"),
        ("Invalid api key", "auth"),
        ("patient id 4010 was not found", "other"),
        ("patient 401 has no name", "other"),
        ("row 429 of 650 is empty", "other"),
        ("HTTP error 429", "rate_limit"),
        ("429 Too Many Requests", "rate_limit"),
        ("Rate limit exceeded, retry in 401 s", "rate_limit"),
        ("(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint", "constraint"),
        ("duplicate key: Key (id)=(error 401 unauthorized) already exists", "constraint"),
        ("IntegrityError: NOT NULL constraint failed: patients.name", "constraint"),
        ("null value in column violates not-null constraint", "constraint"),
        ("canceling statement due to statement timeout", "timeout"),
        ("Read timed out. (read timeout=30)", "timeout"),
        ("ReadTimeout", "timeout"),
        ("504 Gateway Time-out", "timeout"),
        ("[Errno -2] Name or service not known", "network"),
        ("Connection refused", "network"),
        ("503 Service Unavailable", "network"),
        ("KeyError: 'first_name'", "other"),
        ("", "other"),
    ],
)
def test_the_class_of_an_error_by_its_text(text: str, kind: str) -> None:
    assert classify({"error": text}, None) == kind
    assert classify({"errors": [text]}, None) == kind
    assert classify({}, text) == kind
    assert classify({}, {"errors": [{"message": text}]}) == kind


def test_the_class_that_the_program_names_comes_first() -> None:
    assert classify({"error_type": "CLINIKO_AUTH_FAILED", "error": "duplicate key"}, None) == "auth"
    assert classify({"error_type": "DATABASE_CONSTRAINT_ERROR"}, None) == "constraint"
    assert classify({"error_type": "rate_limited"}, None) == "rate_limit"
    assert classify({"error_type": "NETWORK_ERROR"}, "") == "network"
    assert classify({"errors": [{"error_type": "constraint", "count": 3}]}, None) == "constraint"
    assert classify({"error_type": "SOMETHING_NEW", "error": "HTTP 429"}, None) == "rate_limit"
    for kind in ERROR_CLASSES:
        assert classify({"error_type": kind.upper()}, None) == kind


def test_records_that_failed_are_not_why_the_run_did() -> None:
    errors = [{"error_type": "constraint", "count": 3}]
    assert classify({"writer": "rounds", "error_type": "other", "errors": errors}, None) == "other"
    assert classify({"writer": "rounds", "error_type": "auth", "errors": errors}, None) == "auth"
    assert classify({"writer": "rounds", "error_type": "orphaned"}, None) == "other"


def test_only_runs_that_failed_have_a_class() -> None:
    assert run_of(error_details="HTTP 401").error is None
    assert run_of(status="failed", error_details="HTTP 401").error == "auth"
    assert run_of(status="timeout", error_details="HTTP 401").error == "timeout"


def test_a_text_of_megabytes_takes_no_time() -> None:
    for unit in ("a", "401 ", "status ", "\n", "connect", "no ", "(", "duplicate "):
        text = unit * (4_000_000 // len(unit))
        began = time.perf_counter()
        classify({"error": text, "errors": [text] * 100}, [text] * 1000)
        assert time.perf_counter() - began < 1
    assert classify({"error": " " * LONGEST + "HTTP 401"}, None) == "other"


def test_durations_and_times_that_make_no_sense() -> None:
    assert run_of().duration == 45
    backwards = run_of(completed_at=NOON - 3 * 3600)
    assert (backwards.duration, backwards.problems) == (None, frozenset({"negative_duration"}))
    assert backwards.said == NOON - 60, "an end before the start is none"
    ahead = run_of(completed_at=NOON + 3 * 3600)
    assert (ahead.duration, ahead.problems, ahead.ended) == (None, frozenset({"bad_time"}), True)
    early = run_of(started_at=NOON + 600)
    assert (early.started, early.duration, early.problems) == (None, None, frozenset({"bad_time"}))
    slightly = run_of(started_at=NOON + 60, completed_at=NOON + 70)
    assert (slightly.duration, slightly.problems) == (10, frozenset())
    for status in ("completed", "skipped", "timeout", "failed"):
        without = run_of(status=status, completed_at=None, updated_at=NOON - 5)
        assert (without.ended, without.duration, without.said) == (True, None, NOON - 5)


def test_the_last_word() -> None:
    def said(**values: Any) -> float:
        return run_of(status="running", completed_at=None, **values).said

    assert said() == NOON - 60
    assert said(updated_at=NOON - 9) == NOON - 9
    # Programs write UTC, with and without saying so.
    for text in (
        "2023-11-14T22:13:10",
        "2023-11-14T22:13:10+00:00",
        "2023-11-14T22:13:10Z",
        "2023-11-15T01:13:10+03:00",
    ):
        assert said(updated_at=NOON - 9, metadata={"timestamp": text}) == NOON - 10
    assert said(metadata={"timestamp": "yesterday"}) == NOON - 60
    assert said(started_at=None) == NOON


def test_found_and_deleted() -> None:
    run = run_of(metadata={"patients_found": 300, "patients_deleted": 351, "total_patients": 1})
    assert (run.found, run.deleted) == (300, 351)
    assert run_of(metadata={"total_patients": 300}).found == 300
    assert run_of(metadata={"patients_deactivated": 7}).deleted == 7
    for bad in (-1, "many", 1.5, 1e300, float("inf"), True, [1], 2**70):
        run = run_of(metadata={"patients_found": bad})
        assert (run.found, run.problems) == (None, frozenset({"bad_count"})), bad


def test_counts_of_running_totals_are_left_out() -> None:
    counts = {"records_processed": 5000, "records_success": 5000, "records_failed": 0}
    assert run_of(operation_type="comprehensive_sync", **counts).counts is None
    own = run_of(operation_type="comprehensive_sync", metadata={"writer": "rounds"}, **counts)
    assert own.counts is not None
    assert own.counts.processed == 5000


def test_steps_and_what_others_call_them() -> None:
    for step in STEPS:
        assert step_of(step) == step
    assert step_of("Fetching") == "fetching_patients"
    assert step_of("storing patients") == "storing_patients"
    assert step_of("processing") == "processing_patients"
    assert step_of("tea break") == "other"
    assert step_of("") is step_of(None) is step_of(7) is None


def test_bands_of_progress() -> None:
    assert progress("initializing", None, None) == 0
    assert progress("checking_config", None, None) == 0.02
    assert progress("validating_credentials", None, None) == 0.04
    assert progress("fetching_patients", None, None) == 0.05
    assert progress("fetching_patients", 13, 13) == 0.3
    assert progress("patients_fetched", 0, 650) == 0.3
    assert progress("storing_patients", 0, 650) == 0.5
    assert progress("storing_patients", 325, 650) == 0.75
    assert progress("storing_patients", 900, 650) == 1
    assert progress("storing_patients", 5, 0) == 0.5
    for step in ("checking_deletions", "deletions_handled", "completed"):
        assert progress(step_of(step), None, None) == 1
    assert progress("deletions_failed", None, None) is None
    assert progress(None, 3, 4) == 0.75


def test_pages_are_believed_where_they_tell_something() -> None:
    fetching = {"step": "fetching_patients", "current_page": 5}
    assert live_of({**fetching, "total_pages": 5}).pages is None
    assert live_of({**fetching, "total_pages": 13}).pages == 13
    assert live_of({**fetching, "total_pages": 5, "writer": "rounds"}).pages == 5
    assert live_of({**fetching, "total_pages": "13"}).page == 5


def test_a_table_without_metadata_tells_by_its_counts() -> None:
    live = live_of(None, records_processed=648, records_success=162, records_failed=486)
    assert (live.step, live.total, live.processed) == (None, 648, 162)


def test_a_row_is_known_by_id_and_start() -> None:
    assert row_hash("1", NOON) == row_hash("1", NOON + 1e-7) != row_hash("1", NOON + 1)
    assert row_hash("1", None) != row_hash("1", 0.0)
    assert row_hash("\ud800", None) != row_hash("\udc00", None)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    [
        "step",
        "timestamp",
        "progress_percent",
        "current_page",
        "total_pages",
        "patients_found",
        "patients_processed",
        "total_patients",
        "patients_deleted",
        "error",
        "errors",
        "error_type",
        "writer",
    ]
)
_VALUES = st.none() | st.integers() | st.floats() | st.text(max_size=12) | st.binary(max_size=6)


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "status": st.sampled_from(["running", "completed", "failed", "odd", ""]) | _VALUES,
            "started_at": _VALUES,
            "completed_at": _VALUES,
            "updated_at": _VALUES,
            "records_processed": _VALUES,
            "records_failed": _VALUES,
            "metadata": st.dictionaries(_KEYS, _JSON) | _VALUES,
            "error_details": _JSON,
            "organization_id": _VALUES,
            "operation_type": _VALUES,
        },
    )
)
def test_no_row_makes_it_fail(values: dict[str, Any]) -> None:
    run = interpret(record(values, sync_of().zone), NOON, seen=NOON, running_totals=())
    assert run.state in STATES
    assert not run.ended or run.state in ENDED
    assert run.problems <= set(PROBLEMS)
    assert run.said <= NOON
    assert run.duration is None or run.duration >= 0
    if run.live:
        part = progress(run.live.step, run.live.processed, run.live.total)
        assert part is None or 0 <= part <= 1
