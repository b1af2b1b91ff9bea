"""The metrics of syncs. A run is a row of the log; an organisation and an operation have one newest run."""

from __future__ import annotations

from rounds.metrics import Kind, Metric
from rounds.syncs.states import ENDED, ERROR_CLASSES, PROBLEMS, RESULTS, STEPS

#: Seconds of a run: a small clinic's takes some, a large one's minutes, and a stuck one's longer.
DURATION_BOUNDS = (5.0, 15.0, 45.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
THRESHOLDS = ("stale_after", "orphaned_after", "slow_after", "stuck_after")
SHARES = ("deleted", "found_drop", "failed")

_RUN = ("sync", "organization", "operation")


def _metric(name: str, kind: Kind, text: str, labels: tuple[str, ...], **more: object) -> Metric:
    return Metric(f"rounds_sync_{name}", kind, text, labels, **more)  # type: ignore[arg-type]


# --- the newest run ---------------------------------------------------------------------------------------------------

LAST_STATE = _metric(
    "last_run_state",
    "gauge",
    "1 for the state in which the newest run that has ended ended, 0 for the others.",
    (*_RUN, "state"),
    values=(("state", ENDED),),
)
LAST_START = _metric("last_start_timestamp_seconds", "gauge", "When the newest run began, ended or not.", _RUN)
LAST_END = _metric("last_end_timestamp_seconds", "gauge", "When the newest run that has ended ended.", _RUN)
LAST_SUCCESS = _metric(
    "last_success_timestamp_seconds",
    "gauge",
    "When the newest successful run ended: state completed or partial. Absent until there was one.",
    _RUN,
)
LAST_DURATION = _metric(
    "last_duration_seconds", "gauge", "How long the newest run that has ended took, where its times make sense.", _RUN
)
LAST_RECORDS = _metric(
    "last_run_records",
    "gauge",
    "Records of the newest run that has ended, as its row has them. Absent for operations in running_totals.",
    (*_RUN, "result"),
    values=(("result", RESULTS),),
)
FIRST_SEEN = _metric(
    "first_seen_timestamp_seconds",
    "gauge",
    "When the oldest known run of this operation began. Kept in the ledger.",
    _RUN,
)
EXPECTED_INTERVAL = _metric(
    "expected_interval_seconds",
    "gauge",
    "Configured expect_every. An empty operation stands for any of the organisation's.",
    _RUN,
)

# --- runs that are active ---------------------------------------------------------------------------------------------

ACTIVE = _metric("runs_active", "gauge", "Runs that have not ended, without those that were given up.", _RUN)
OLDEST_START = _metric("run_oldest_start_timestamp_seconds", "gauge", "When the oldest active run began.", _RUN)
STALE = _metric("runs_stale", "gauge", "Active runs that have said nothing for longer than stale_after.", _RUN)
ORPHANED = _metric(
    "runs_orphaned", "gauge", "Runs that have not ended and have said nothing for longer than orphaned_after.", _RUN
)
PROGRESS = _metric(
    "run_progress_ratio",
    "gauge",
    "How far the newest active run is, by its step and by what is stored; never less than before. Gone when it ends.",
    _RUN,
)
REPORTED_PROGRESS = _metric(
    "run_reported_progress_ratio",
    "gauge",
    "What the newest active run itself writes as progress_percent, divided by 100: in the existing program a success"
    " ratio.",
    _RUN,
)
STEP = _metric(
    "run_step",
    "gauge",
    "1 for the step in which the newest active run is, 0 for the others. Gone when it ends.",
    (*_RUN, "step"),
    values=(("step", STEPS),),
)
TOTAL_RECORDS = _metric("run_total_records", "gauge", "Records that the newest active run has to store.", _RUN)
PROCESSED_RECORDS = _metric(
    "run_processed_records", "gauge", "Records that the newest active run is through with.", _RUN
)
PAGE = _metric("run_page", "gauge", "The page that the newest active run has fetched.", _RUN)
PAGES = _metric("run_pages", "gauge", "Pages that the newest active run fetches, where they are known.", _RUN)
STORING = _metric(
    "run_storing_timestamp_seconds",
    "gauge",
    "When the newest active run was last seen to have stored nothing, once it stores. Absent where that was not seen.",
    _RUN,
)
LAST_PROGRESS = _metric(
    "run_last_progress_timestamp_seconds",
    "gauge",
    "When step, page or records of the newest active run were last seen to change, or when it began.",
    _RUN,
)

# --- what was counted -------------------------------------------------------------------------------------------------

RUNS = _metric(
    "runs_total",
    "counter",
    "Runs by the state in which they were first seen ended, each once. Kept in the ledger.",
    (*_RUN, "state"),
    values=(("state", ENDED),),
)
RECORDS = _metric(
    "records_total",
    "counter",
    "Records of runs that have ended. Without operations in running_totals. Kept in the ledger.",
    (*_RUN, "result"),
    values=(("result", RESULTS),),
)
DELETED = _metric(
    "patients_deleted_total", "counter", "Patients that runs deleted, as they say themselves. Kept in the ledger.", _RUN
)
FAILURES = _metric(
    "failures_total",
    "counter",
    "Runs that failed or timed out, by the class of their error. Kept in the ledger.",
    ("sync", "operation", "error_class"),
    values=(("error_class", ERROR_CLASSES),),
)
DURATION = _metric(
    "run_duration_seconds",
    "histogram",
    "How long runs took that have ended, where their times make sense. Kept in the ledger.",
    ("sync", "operation"),
)
REJECTED = _metric(
    "rows_rejected_total",
    "counter",
    "Rows of which something made no sense and is not exported, each once for each reason. Kept in the ledger.",
    ("sync", "reason"),
    values=(("reason", PROBLEMS),),
)

# --- patients ---------------------------------------------------------------------------------------------------------

FOUND = _metric("patients_found", "gauge", "Patients that the newest successful run found.", _RUN)
PREVIOUS_FOUND = _metric("patients_previous_found", "gauge", "Patients that the successful run before it found.", _RUN)
LAST_DELETION = _metric(
    "last_deletion_timestamp_seconds",
    "gauge",
    "When a run was last found to have deleted patients; of runs before the first look, when they ended.",
    _RUN,
)
LAST_DELETED = _metric("last_deletion_patients", "gauge", "Patients that this run deleted.", _RUN)
LAST_DELETED_RATIO = _metric(
    "last_deletion_ratio", "gauge", "The part of the patients that this run deleted: of those found and deleted.", _RUN
)

# --- limits and the log itself ----------------------------------------------------------------------------------------

THRESHOLD = _metric(
    "threshold_seconds",
    "gauge",
    "Configured limits that rules and dashboards compare with.",
    ("sync", "threshold"),
    values=(("threshold", THRESHOLDS),),
)
SHARE = _metric(
    "threshold_ratio",
    "gauge",
    "Configured parts that rules compare with: deleted and failed of a run's, found_drop against the run before.",
    ("sync", "threshold"),
    values=(("threshold", SHARES),),
)
DELETED_THRESHOLD = _metric("threshold_deleted_patients", "gauge", "Configured limits.deleted_patients.", ("sync",))
ORGANIZATIONS = _metric(
    "organizations",
    "gauge",
    "Organisations that are known, by whether they have series of their own or are part of _other.",
    ("sync", "labelled"),
    values=(("labelled", ("yes", "no")),),
)
SCHEMA_PROBLEM = _metric(
    "schema_problem",
    "gauge",
    "1 for each thing that the log lacks, so that something is slow or missing.",
    ("sync", "problem"),
)

CATALOGUE = (
    LAST_STATE, LAST_START, LAST_END, LAST_SUCCESS, LAST_DURATION, LAST_RECORDS, FIRST_SEEN, EXPECTED_INTERVAL,
    ACTIVE, OLDEST_START, STALE, ORPHANED, PROGRESS, REPORTED_PROGRESS, STEP, TOTAL_RECORDS, PROCESSED_RECORDS, PAGE,
    PAGES, STORING, LAST_PROGRESS, RUNS, RECORDS, DELETED, FAILURES, DURATION, REJECTED, FOUND, PREVIOUS_FOUND,
    LAST_DELETION, LAST_DELETED, LAST_DELETED_RATIO, THRESHOLD, SHARE, DELETED_THRESHOLD, ORGANIZATIONS, SCHEMA_PROBLEM,
)  # fmt: skip
