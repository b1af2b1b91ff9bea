"""The metrics of a proposal pipeline. "Current" is the latest business date in the tables, never the clock's today."""

from __future__ import annotations

from rounds.metrics import Kind, Metric

VALIDATION_TYPES = ("NFECHAVE", "DUPLICATA", "SEUNO", "CHEQUE")
#: Buckets of a proposal's status: the five of the daily summary, what it leaves out, and anything else.
STATUSES = ("aguardando", "em_analise", "aprovado", "enviado", "assinado", "liberado", "finalizado", "pago", "other")
#: A proposal in one of these moves no more.
FINAL_STATUSES = ("finalizado", "pago")
SOURCES = ("SYSTEM", "BOT", "BACKFILL", "AUTO_RESOLVE", "MONITOR", "other")
RUN_MODES = ("PRODUCTION", "DRY_RUN")
OUTCOMES = ("succeeded", "failed")
RESULTS = ("queried", "valid", "invalid", "stored")
TABLES = (
    "apr_invalid_records",
    "apr_status_history",
    "apr_processing_log",
    "apr_proposal_products",
    "apr_daily_summary",
    "apr_valid_records",
)
THRESHOLDS = ("run_every", "slow_run_after", "open_for", "stuck_after", "unconfirmed_after")

_TYPE = (("validation_type", VALIDATION_TYPES),)
_STATUS = (("status", STATUSES),)

#: Seconds from the detection of an invalid record to its resolution: minutes to a month.
RESOLUTION_BOUNDS = (
    300.0,
    900.0,
    1800.0,
    3600.0,
    7200.0,
    14_400.0,
    28_800.0,
    86_400.0,
    172_800.0,
    604_800.0,
    2_592_000.0,
)
#: Seconds of a run, which the log has as whole numbers.
RUN_BOUNDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
#: Products of a proposal.
PRODUCT_BOUNDS = (1.0, 2.0, 3.0, 5.0, 10.0)


def _metric(name: str, kind: Kind, text: str, labels: tuple[str, ...] = (), **more: object) -> Metric:
    return Metric(f"rounds_apr_{name}", kind, text, labels, **more)  # type: ignore[arg-type]


INVALID = _metric(
    "invalid_records",
    "gauge",
    "Invalid records that are open, from apr_invalid_records.",
    ("validation_type",),
    values=_TYPE,
)
INVALID_OLDEST = _metric(
    "invalid_record_oldest_timestamp_seconds",
    "gauge",
    "When the oldest open invalid record was detected. Absent where none is open.",
    ("validation_type",),
    values=_TYPE,
)
DETECTED = _metric(
    "invalid_records_detected_total",
    "counter",
    "Invalid records that were detected, from apr_invalid_records. Kept in the ledger.",
    ("validation_type",),
    values=_TYPE,
)
RESOLVED = _metric(
    "invalid_records_resolved_total",
    "counter",
    "Invalid records that were found resolved; those that were deleted while open are not among them. Kept in the "
    "ledger.",
    ("validation_type",),
    values=_TYPE,
)
RESOLUTION = _metric(
    "invalid_record_resolution_seconds",
    "histogram",
    "Time from the detection of an invalid record to its resolution. Where the two were seen by different runs, a "
    "resolved_at that cannot be right is set to when those runs looked. Kept in the ledger.",
    ("validation_type",),
    values=_TYPE,
)
FLAPPING = _metric(
    "invalid_records_flapping",
    "gauge",
    "Proposals of the current date of which an invalid record of this type was resolved twice or more.",
    ("validation_type",),
    values=_TYPE,
)
PROPOSALS = _metric(
    "proposals",
    "gauge",
    "Proposals of the current date by status, from apr_valid_records: that of the least advanced branch.",
    ("status",),
    values=_STATUS,
)
CURRENT = _metric("proposals_current", "gauge", "Proposals of the current date, valid or with an open invalid record.")
VALID = _metric("proposals_valid", "gauge", "Proposals of the current date without an open invalid record.")
INVALID_PROPOSALS = _metric("proposals_invalid", "gauge", "Proposals of the current date with an open invalid record.")
APPROVED_VALUE = _metric("approved_value_brl", "gauge", "Approved value of the current date's valid records in reais.")
TITLE_VALUE = _metric("title_value_brl", "gauge", "Value of the titles of the current date's valid records in reais.")
STUCK = _metric(
    "proposals_stuck",
    "gauge",
    "Proposals whose latest row in apr_status_history is older than stuck_after and has a status that is not final. "
    "Absent until the whole history has been read once.",
    ("status",),
    values=_STATUS,
)
UNCONFIRMED = _metric(
    "proposals_unconfirmed",
    "gauge",
    "Proposals of the last look_back that the bot has processed and that are not confirmed.",
)
UNCONFIRMED_OLDEST = _metric(
    "proposal_unconfirmed_oldest_timestamp_seconds",
    "gauge",
    "When the oldest of these proposals was last changed. Absent where there is none.",
)
STATUS_CHANGES = _metric(
    "status_changes_total",
    "counter",
    "Changes of a proposal's status, from apr_status_history; rows in which only values changed are not among them. "
    "Kept in the ledger.",
    ("source", "new_status"),
    values=(("source", SOURCES), ("new_status", STATUSES)),
)
RUNS = _metric(
    "runs_total",
    "counter",
    "Runs of the pipeline, from apr_processing_log. One with an error message has failed. Kept in the ledger.",
    ("run_mode", "outcome"),
    values=(("run_mode", RUN_MODES), ("outcome", OUTCOMES)),
)
RUN_DURATION = _metric(
    "run_duration_seconds",
    "histogram",
    "Duration of production runs, which the log has in whole seconds. Kept in the ledger.",
)
LAST_RUN = _metric(
    "last_run_timestamp_seconds",
    "gauge",
    "When the last run was logged.",
    ("run_mode",),
    values=(("run_mode", RUN_MODES),),
)
LAST_RUN_FAILED = _metric("last_run_failed", "gauge", "Whether the last production run has an error message.")
LAST_RUN_DURATION = _metric("last_run_duration_seconds", "gauge", "Duration of the last production run.")
LAST_RUN_RECORDS = _metric(
    "last_run_records",
    "gauge",
    "Titles (queried, valid, invalid) and proposals (stored) of the last production run.",
    ("result",),
    values=(("result", RESULTS),),
)
RECORDS = _metric(
    "records_processed_total",
    "counter",
    "Titles (queried, valid, invalid) and proposals (stored) of production runs. Kept in the ledger.",
    ("result",),
    values=(("result", RESULTS),),
)
ALERTS_SENT = _metric(
    "alerts_sent_total",
    "counter",
    "Alerts that the pipeline says it sent, from apr_processing_log. Kept in the ledger.",
    ("validation_type",),
    values=_TYPE,
)
SUMMARY_UPDATED = _metric(
    "summary_updated_timestamp_seconds", "gauge", "When the current date's row of apr_daily_summary was last written."
)
PRODUCTS = _metric(
    "proposal_products", "histogram", "Products of each proposal of the current date, from apr_proposal_products."
)
TABLE_ROWS = _metric(
    "table_rows",
    "gauge",
    "Rows of a table, as far as the database knows without counting.",
    ("table",),
    values=(("table", TABLES),),
)
TABLE_OLDEST = _metric(
    "table_oldest_timestamp_seconds",
    "gauge",
    "Oldest business date in a table.",
    ("table",),
    values=(("table", TABLES),),
)
SCHEMA_PROBLEM = _metric(
    "schema_problem",
    "gauge",
    "What the database lacks: a table, a late column, a value of an enum. What needs it is not exported. Always 1.",
    ("table", "problem"),
)
BUSINESS_DATE = _metric(
    "business_date_timestamp_seconds",
    "gauge",
    "Midnight at the start of the current business date: the latest one in any of the tables.",
)
WORKING_DAY = _metric("working_day", "gauge", "Whether today is a working day in the configured zone and calendar.")
THRESHOLD = _metric(
    "threshold_seconds", "gauge", "Limits as configured.", ("threshold",), values=(("threshold", THRESHOLDS),)
)
TOP_CEDENTE = _metric(
    "invalid_records_by_cedente",
    "gauge",
    "Open invalid records by client, where asked for; the rest is _other.",
    ("cedente",),
)
TOP_GERENTE = _metric(
    "invalid_records_by_gerente",
    "gauge",
    "Open invalid records by manager, where asked for; the rest is _other.",
    ("gerente",),
)
TOP_PRODUTO = _metric(
    "proposals_by_produto",
    "gauge",
    "Proposals of the current date by product, where asked for; the rest is _other.",
    ("produto",),
)

CATALOGUE = (
    INVALID, INVALID_OLDEST, DETECTED, RESOLVED, RESOLUTION, FLAPPING, PROPOSALS, CURRENT, VALID, INVALID_PROPOSALS,
    APPROVED_VALUE, TITLE_VALUE, STUCK, UNCONFIRMED, UNCONFIRMED_OLDEST, STATUS_CHANGES, RUNS, RUN_DURATION, LAST_RUN,
    LAST_RUN_FAILED, LAST_RUN_DURATION, LAST_RUN_RECORDS, RECORDS, ALERTS_SENT, SUMMARY_UPDATED, PRODUCTS, TABLE_ROWS,
    TABLE_OLDEST, SCHEMA_PROBLEM, BUSINESS_DATE, WORKING_DAY, THRESHOLD, TOP_CEDENTE, TOP_GERENTE, TOP_PRODUTO,
)  # fmt: skip
