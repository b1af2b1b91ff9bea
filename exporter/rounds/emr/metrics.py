"""The metrics of applications: what their stores say, and what checks of their surroundings find."""

from __future__ import annotations

from rounds.emr.names import CHANNELS, CRASHES, DROPS, LEVELS, OUTCOMES, RETRIES, SEVERITIES, SOURCES, STATES
from rounds.metrics import Kind, Metric

#: What takes points from the health score.
REASONS = ("checks", "errors", "slow_operations", "memory")
#: Why a row of an existing store, or a part of it, is not exported.
PROBLEMS = ("value", "time", "tags")


def _metric(name: str, kind: Kind, text: str, labels: tuple[str, ...] = (), **more: object) -> Metric:
    return Metric(f"rounds_emr_{name}", kind, text, ("app", *labels), **more)  # type: ignore[arg-type]


# --- operations -------------------------------------------------------------------------------------------------------

DURATION = _metric(
    "operation_duration_seconds",
    "histogram",
    "How long operations took. The library's include those that failed; an existing store has only timings, of those"
    " that did not. Kept in the ledger.",
    ("operation",),
)
OPERATIONS = _metric(
    "operations_total",
    "counter",
    "Operations by what they came to. Kept in the ledger.",
    ("operation", "outcome"),
    values=(("outcome", OUTCOMES),),
)
SLOW = _metric(
    "slow_operations_total",
    "counter",
    "Operations that took longer than their threshold. Kept in the ledger.",
    ("operation",),
)
SLOW_THRESHOLD = _metric(
    "operation_slow_threshold_seconds",
    "gauge",
    "Configured operations.slow_after, or what operations.slow says for this one.",
    ("operation",),
)
RETRIES_TOTAL = _metric(
    "retries_total",
    "counter",
    "Attempts that failed, operations that succeeded behind one, and those that failed at last. Kept in the ledger.",
    ("operation", "outcome"),
    values=(("outcome", RETRIES),),
)

# --- what happened ----------------------------------------------------------------------------------------------------

EVENTS = _metric("events_total", "counter", "Events that the application counts. Kept in the ledger.", ("event",))
GAUGE = _metric("gauge", "gauge", "Gauges that the application sets, in units of its own.", ("name",))
MESSAGES = _metric(
    "messages_total",
    "counter",
    "Messages that the application recorded. Kept in the ledger.",
    ("level",),
    values=(("level", LEVELS),),
)
ERRORS = _metric(
    "errors_total",
    "counter",
    "Errors by kind of exception and by who noticed them; those of an existing store are all captured. Kept in the"
    " ledger.",
    ("error_type", "source"),
    values=(("source", SOURCES),),
)
GROUPS = _metric("error_groups", "gauge", "Different errors in the last 24 hours, as the store groups them.")
GROUPS_SEEN = _metric("error_groups_seen_total", "counter", "Errors that were seen for the first time.")
LAST_NEW_GROUP = _metric(
    "last_new_error_group_timestamp_seconds",
    "gauge",
    "When the exporter last noticed an error of a new group; at the first look, when it happened.",
)
ALERTS = _metric(
    "alerts_total",
    "counter",
    "Alerts that the application raised, once for each channel that took them, or once for none. Kept in the ledger.",
    ("severity", "channel"),
    values=(("severity", SEVERITIES), ("channel", CHANNELS)),
)
LAST_ALERT = _metric(
    "last_alert_timestamp_seconds",
    "gauge",
    "When the exporter last noticed an alert of the application; at the first look, when it was raised.",
    ("severity",),
)
CRASH_TOTAL = _metric(
    "crashes_total",
    "counter",
    "Ends of the application by an exception, by a fatal signal, or without a word. Kept in the ledger.",
    ("kind",),
    values=(("kind", CRASHES),),
)
LAST_CRASH = _metric(
    "last_crash_timestamp_seconds",
    "gauge",
    "When the exporter last noticed a crash; at the first look, when it happened.",
    ("kind",),
)
UNSUBMITTED = _metric("crash_reports_unsubmitted", "gauge", "Crash reports that have not been sent.")

# --- the application --------------------------------------------------------------------------------------------------

INFO = _metric(
    "app_info",
    "gauge",
    "1 for the newest process: versions of the application, of Python, and the operating system.",
    ("version", "python", "os"),
)
RUNNING = _metric("app_running", "gauge", "Processes of the application that have given a sign of life lately.")
START = _metric("app_start_timestamp_seconds", "gauge", "When the newest process began.")
HEARTBEAT = _metric("app_heartbeat_timestamp_seconds", "gauge", "When a process gave its last sign of life.")
RESIDENT = _metric("process_resident_memory_bytes", "gauge", "Memory of the application's processes that run.")
CPU = _metric(
    "process_cpu_seconds_total", "counter", "Processor time of the application's processes. Kept in the ledger."
)

# --- its store --------------------------------------------------------------------------------------------------------

DROPPED = _metric(
    "telemetry_dropped_total",
    "counter",
    "What the application said and its store does not have. Kept in the ledger.",
    ("reason",),
    values=(("reason", DROPS),),
)
STORE_BYTES = _metric("store_bytes", "gauge", "Size of the store's file.")
STORE_WAL_BYTES = _metric("store_wal_bytes", "gauge", "Size of the store's write-ahead log.")
STORE_ROWS = _metric("store_rows", "gauge", "Rows of the store's tables.", ("table",))
INTEGRITY_OK = _metric("store_integrity_ok", "gauge", "1 if the last look at the store's pages found them sound.")
INTEGRITY_CHECKED = _metric("store_integrity_check_timestamp_seconds", "gauge", "When that look was.")
CORRUPTIONS = _metric(
    "store_corruptions_total",
    "counter",
    "Stores that the library found damaged and set aside. Kept in the ledger.",
)
REPLACED = _metric(
    "store_replaced_total", "counter", "How often another file was found in the store's place. Kept in the ledger."
)
REJECTED = _metric(
    "rows_rejected_total",
    "counter",
    "Rows of an existing store of which something made no sense and is not exported. Kept in the ledger.",
    ("reason",),
    values=(("reason", PROBLEMS),),
)
SCHEMA_PROBLEM = _metric(
    "schema_problem",
    "gauge",
    "1 for each table or column that the store lacks, so that something is missing.",
    ("problem",),
)

# --- checks -----------------------------------------------------------------------------------------------------------

STATE = _metric(
    "health_state",
    "gauge",
    "1 for the state in which the check's last run found what it checks, 0 for the others.",
    ("check", "state"),
    values=(("state", STATES),),
)
REASON = _metric("health_reason", "gauge", "1 for why a check is not healthy.", ("check", "reason"))
CHECK_DURATION = _metric("health_duration_seconds", "gauge", "How long the check's last run took.", ("check",))
CHECK_LAST_RUN = _metric(
    "health_last_run_timestamp_seconds", "gauge", "When the check last ran to its end.", ("check",)
)
CHECK_INTERVAL = _metric("health_interval_seconds", "gauge", "Configured time from one run to the next.", ("check",))
SCORE = _metric("health_score", "gauge", "100 less the deductions, not below 0. For people; no rule uses it.")
DEDUCTION = _metric(
    "health_score_deduction",
    "gauge",
    "Points that were taken from the health score, so that both add up to 100.",
    ("reason",),
    values=(("reason", REASONS),),
)

DATABASE_RESPONSE = _metric("database_response_seconds", "gauge", "How long the application's database took to answer.")
DATABASE_BYTES = _metric("database_bytes", "gauge", "Size of the application's database.")
DATABASE_LOCKED = _metric("database_locked", "gauge", "1 if another program did not let it be read.")
DATABASE_INTEGRITY_OK = _metric("database_integrity_ok", "gauge", "1 if the last look at its pages found them sound.")
DATABASE_INTEGRITY_CHECKED = _metric("database_integrity_check_timestamp_seconds", "gauge", "When that look was.")
DISK_FREE = _metric("disk_free_bytes", "gauge", "What the application may still write to its disk.")
DISK_SIZE = _metric("disk_size_bytes", "gauge", "Size of this disk.")
MEMORY_AVAILABLE = _metric("memory_available_bytes", "gauge", "Memory that the computer can still give to programs.")
MEMORY_SIZE = _metric("memory_size_bytes", "gauge", "Memory of the computer.")
LLM_UP = _metric("llm_up", "gauge", "1 if the server of language models answered.")
LLM_MODELS = _metric("llm_models", "gauge", "Models that it has.")
LLM_INSTALLED = _metric("llm_model_installed", "gauge", "1 if it has the configured model.", ("model",))
LLM_LOADED = _metric("llm_model_loaded", "gauge", "1 if this model is in memory, which it need not be.", ("model",))
LLM_VRAM = _metric("llm_model_vram_bytes", "gauge", "Memory of the graphics card that it takes.", ("model",))
LLM_GENERATION = _metric(
    "llm_generation_seconds",
    "gauge",
    "How long the model took to say a word, where generate_every asks for it.",
    ("model",),
)
BACKUP_CONFIGURED = _metric("backup_configured", "gauge", "1 for each configured backup check.", ("backup",))
BACKUP_MAX_AGE = _metric("backup_max_age_seconds", "gauge", "Configured max_age.", ("backup",))
BACKUP_LAST = _metric(
    "backup_last_success_timestamp_seconds",
    "gauge",
    "When the newest good backup was made. Absent while there is none.",
    ("backup",),
)
BACKUP_BYTES = _metric("backup_last_bytes", "gauge", "Size of the newest backup.", ("backup",))
BACKUP_OK = _metric("backup_last_ok", "gauge", "1 if the newest backup is a good one.", ("backup",))
BACKUPS = _metric("backups", "gauge", "Backups that are there.", ("backup",))

CATALOGUE = (
    DURATION, OPERATIONS, SLOW, SLOW_THRESHOLD, RETRIES_TOTAL, EVENTS, GAUGE, MESSAGES, ERRORS, GROUPS, GROUPS_SEEN,
    LAST_NEW_GROUP, ALERTS, LAST_ALERT, CRASH_TOTAL, LAST_CRASH, UNSUBMITTED, INFO, RUNNING, START, HEARTBEAT, RESIDENT,
    CPU, DROPPED, STORE_BYTES, STORE_WAL_BYTES, STORE_ROWS, INTEGRITY_OK, INTEGRITY_CHECKED, CORRUPTIONS, REPLACED,
    REJECTED, SCHEMA_PROBLEM, STATE, REASON, CHECK_DURATION, CHECK_LAST_RUN, CHECK_INTERVAL, SCORE, DEDUCTION,
    DATABASE_RESPONSE, DATABASE_BYTES, DATABASE_LOCKED, DATABASE_INTEGRITY_OK, DATABASE_INTEGRITY_CHECKED, DISK_FREE,
    DISK_SIZE, MEMORY_AVAILABLE, MEMORY_SIZE, LLM_UP, LLM_MODELS, LLM_INSTALLED, LLM_LOADED, LLM_VRAM, LLM_GENERATION,
    BACKUP_CONFIGURED, BACKUP_MAX_AGE, BACKUP_LAST, BACKUP_BYTES, BACKUP_OK, BACKUPS,
)  # fmt: skip
