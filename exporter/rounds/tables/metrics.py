"""The metrics of watched tables."""

from __future__ import annotations

from rounds.metrics import Family, Metric
from rounds.tables.config import WatchedTable
from rounds.tables.record import CHANGES, REASONS, Record

RESULTS = ("scanned", "unchanged")

_TABLE = ("table",)
_CHANGE = (("change", CHANGES),)

ROWS = Metric("rounds_table_rows", "gauge", "Rows in the table at its last scan.", _TABLE)
PREVIOUS_ROWS = Metric(
    "rounds_table_previous_rows", "gauge", "Rows in the table before the last check that found changes.", _TABLE
)
KEY_MAX = Metric(
    "rounds_table_key_max",
    "gauge",
    "Largest value of the table's key at its last scan, where it is an integer.",
    _TABLE,
)
CHANGED = Metric(
    "rounds_table_changes_total",
    "counter",
    "Rows that scans found changed since the scan before. A row that changed twice in between counts once. Kept in the"
    " ledger.",
    ("table", "change"),
    values=_CHANGE,
)
LAST_CHANGE_TIME = Metric(
    "rounds_table_last_change_timestamp_seconds",
    "gauge",
    "When a check last found such changes. Absent before the first.",
    ("table", "change"),
    values=_CHANGE,
)
LAST_CHANGE_ROWS = Metric(
    "rounds_table_last_change_rows",
    "gauge",
    "Rows that the last check which found such changes found changed.",
    ("table", "change"),
    values=_CHANGE,
)
BASELINE_TIME = Metric(
    "rounds_table_baseline_timestamp_seconds",
    "gauge",
    "When the table was last recorded without counting changes: at its first check, or when the baseline was lost or"
    " could not be compared.",
    _TABLE,
)
REBASELINED = Metric(
    "rounds_table_rebaselines_total",
    "counter",
    "Checks that recorded the table anew, because its rows could not be compared with those before: schema, compared"
    " columns changed (inserted and deleted rows are still counted); hashes, the database computes other hashes of the"
    " same values; keys, the key or the way it is kept changed; table, another table is watched under this name; lost,"
    " the record was damaged; reset, `rounds tables reset`.",
    ("table", "reason"),
    values=(("reason", REASONS),),
)
SCANS = Metric(
    "rounds_table_scans_total",
    "counter",
    "Checks that succeeded: scanned, or unchanged where the database said that nothing was committed since the scan"
    " before, so that no scan was needed.",
    ("table", "result"),
    values=(("result", RESULTS),),
)
ROWS_READ = Metric(
    "rounds_table_rows_read_total",
    "counter",
    "Pairs of hashes that were read from the source, one for each row of the buckets that differed.",
    _TABLE,
)
SCHEMA_CHANGES = Metric(
    "rounds_table_schema_changes_total", "counter", "Changes of the compared columns or of their types.", _TABLE
)
SCAN_TIME = Metric(
    "rounds_table_last_scan_timestamp_seconds",
    "gauge",
    "When the table was last scanned, with changes or without.",
    _TABLE,
)
MASS_DELETION = Metric(
    "rounds_table_mass_deletion_ratio",
    "gauge",
    "Share of the table's rows whose loss is a critical alert, as configured.",
    _TABLE,
)

CATALOGUE = (
    ROWS,
    PREVIOUS_ROWS,
    KEY_MAX,
    CHANGED,
    LAST_CHANGE_TIME,
    LAST_CHANGE_ROWS,
    BASELINE_TIME,
    REBASELINED,
    SCANS,
    ROWS_READ,
    SCHEMA_CHANGES,
    SCAN_TIME,
    MASS_DELETION,
)


def families(watched: WatchedTable, record: Record | None) -> list[Family]:
    """What the ledger's record of a table says; before its first check only what is configured."""
    name = watched.name
    own = MASS_DELETION.family([((name,), watched.mass_deletion_ratio)])
    if record is None:
        return [own]
    last = {change: record.last(change) for change in CHANGES}
    return [
        own,
        ROWS.family([((name,), record.row_count)]),
        PREVIOUS_ROWS.family([((name,), record.previous_rows)]),
        KEY_MAX.family([((name,), record.key_max)]),
        CHANGED.family(((name, change), record.total(change)) for change in CHANGES),
        LAST_CHANGE_TIME.family(((name, change), at) for change, (at, _) in last.items()),
        LAST_CHANGE_ROWS.family(((name, change), rows) for change, (_, rows) in last.items()),
        BASELINE_TIME.family([((name,), record.baseline_at)]),
        REBASELINED.family(((name, reason), record.rebaselines.get(reason, 0)) for reason in REASONS),
        SCANS.family([((name, "scanned"), record.scanned_total), ((name, "unchanged"), record.unchanged_total)]),
        ROWS_READ.family([((name,), record.rows_read_total)]),
        SCHEMA_CHANGES.family([((name,), record.schema_changes_total)]),
        SCAN_TIME.family([((name,), record.scanned_at)]),
    ]
