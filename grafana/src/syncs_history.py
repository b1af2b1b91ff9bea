"""The dashboard of single runs, asked of the log itself. Provisioned by SYNCS_KIND alone.

Only columns that every shape of the log has are asked for, and none that holds texts: errors and metadata may name
patients, so the user that the docs make cannot read them either.
"""

from __future__ import annotations

from collections.abc import Iterable

from grafana.src.kit import (
    DATABASES,
    LONG_WHOLE,
    NEUTRAL,
    PLAIN,
    SYNCS_UID,
    WARNING,
    WHOLE,
    Column,
    Panel,
    Row,
    Texts,
    TextVariable,
    note,
    render,
    sql_grid,
    sql_source,
)
from grafana.src.syncs import STATE_COLOURS, STATE_WORDS

from rounds.syncs.states import RUNNING_TOTALS

UID = "syncs-history"
#: What `SYNCS_KIND` may be.
KINDS = tuple(DATABASES)
TABLE = "sync_logs"

STATES: Texts = {
    state: (STATE_WORDS.get(state, state), colour) for state, colour in (STATE_COLOURS | {"running": NEUTRAL}).items()
}

#: Unix time, whether or not the column has a time zone.
UNIX = {"mariadb": "UNIX_TIMESTAMP({})", "postgresql": "EXTRACT(EPOCH FROM {})"}
#: Whether a column, of whatever type, contains what is typed at the top.
CONTAINS = {
    "mariadb": "INSTR(CAST({} AS CHAR), ${{{}:sqlstring}}) > 0",
    "postgresql": "STRPOS(LOWER(CAST({} AS text)), LOWER(${{{}:sqlstring}})) > 0",
}

HOW_TO_READ = """\
These rows come from the log of runs as they stand, with organisations by the ids that the log has. Errors and metadata
are not shown, since they may name patients; the class of each error is counted in the dashboard *Syncs*.

- *State* is what the exporter makes of the log's status: completed with failed records is *partial*.
- While a run is *running*, the existing program writes the number of patients found as processed.
- Operations whose program counts all its runs together have no records here.
- *Organisation* and *Operation* at the top narrow everything to those that contain what is typed.
"""


def quoted(values: Iterable[str]) -> str:
    """Constants for a list in a statement."""
    return ", ".join(f"'{value}'" for value in values)


def unix(kind: str, column: str) -> str:
    """A column as Unix time."""
    return UNIX[kind].format(f"l.{column}")


#: How a run stands, as the exporter has it. A closed set: what else the column may hold is not shown.
STATE = """CASE
    WHEN LOWER(l.status) IN ('completed', 'success') AND COALESCE(l.records_failed, 0) > 0 THEN 'partial'
    WHEN LOWER(l.status) IN ('completed', 'success') THEN 'completed'
    WHEN LOWER(l.status) = 'warning' THEN 'partial'
    WHEN LOWER(l.status) IN ('failed', 'error') THEN 'failed'
    WHEN LOWER(l.status) IN ('running', 'timeout', 'skipped', 'cancelled') THEN LOWER(l.status)
    ELSE 'other' END"""
#: Not where the program writes sums of all its runs.
OWN = f"l.operation_type NOT IN ({quoted(RUNNING_TOTALS)})"


def chosen(kind: str) -> str:
    """The rows of the organisations and operations that were typed."""
    columns = {"organization": "COALESCE(l.organization_id, '')", "operation": "l.operation_type"}
    if kind == "postgresql":  # of another type in some logs
        columns["organization"] = "COALESCE(CAST(l.organization_id AS text), '')"
    return " AND ".join(CONTAINS[kind].format(column, name) for name, column in columns.items())


def took(kind: str) -> str:
    """Seconds of a run, where its times make sense."""
    return (
        f"CASE WHEN l.completed_at >= l.started_at THEN {unix(kind, 'completed_at')} - {unix(kind, 'started_at')} END"
    )


def active(kind: str) -> str:
    """Rows that have not ended, however old."""
    return f"""\
SELECT {unix(kind, "started_at")} * 1000 AS began, l.organization_id, l.operation_type,
  CASE WHEN {OWN} THEN l.records_processed END AS processed, CASE WHEN {OWN} THEN l.records_success END AS stored
FROM {TABLE} l
WHERE l.status = 'running' AND {chosen(kind)}
ORDER BY l.started_at DESC
LIMIT 100"""


def runs(kind: str) -> str:
    """The latest rows."""
    return f"""\
SELECT {unix(kind, "started_at")} * 1000 AS began, l.organization_id, l.operation_type,
  {STATE} AS state,
  {took(kind)} AS took,
  CASE WHEN {OWN} THEN l.records_processed END AS processed, CASE WHEN {OWN} THEN l.records_success END AS stored,
  CASE WHEN {OWN} AND l.status <> 'running' THEN l.records_failed END AS failed
FROM {TABLE} l
WHERE $__timeFilter(l.started_at) AND {chosen(kind)}
ORDER BY l.started_at DESC
LIMIT 500"""


def totals(kind: str) -> str:
    """Sums of the time shown."""
    ends = ", ".join(
        f"SUM(CASE WHEN r.state = '{state}' THEN 1 ELSE 0 END) AS {state}"
        for state in STATE_COLOURS
        if state != "other"
    )
    return f"""\
SELECT r.organization_id, r.operation_type, COUNT(*) AS runs, {ends},
  AVG(r.took) AS average, MAX(r.took) AS longest, MAX(r.began) AS latest
FROM (
  SELECT l.organization_id, l.operation_type, {unix(kind, "started_at")} * 1000 AS began,
  {STATE} AS state,
  {took(kind)} AS took
  FROM {TABLE} l
  WHERE $__timeFilter(l.started_at) AND {chosen(kind)}
) AS r
GROUP BY r.organization_id, r.operation_type
ORDER BY COUNT(*) DESC, r.organization_id, r.operation_type
LIMIT 200"""


ORGANISATION = Column("Organisation", "organization_id", label=True)
OPERATION = Column("Operation", "operation_type", label=True, width=180)
BEGAN = Column("Began at", "began", unit="dateTimeAsIso", width=170)


def count(title: str, source: str, *, warn: str | None = None) -> Column:
    """A column of whole numbers, coloured from one on where they warn."""
    steps = ((None, PLAIN), (1, warn)) if warn else ()
    return Column(title, source, unit="locale", decimals=0, width=95, steps=steps)


def panels(kind: str) -> list[Row]:
    """Now and before."""
    source = sql_source(kind, SYNCS_UID)

    def listed(
        number: int, title: str, text: str, columns: list[Column], size: tuple[int, int], *, sql: str, none: str
    ) -> Panel:
        return sql_grid(number, title, text, columns, size, source=source, sql=sql, no_value=none)

    now = listed(
        101,
        "Not ended",
        "Runs that have not ended, the latest 100 of all times. One that began long ago was left by a program that is "
        "gone: `rounds syncs reap` closes it.",
        [BEGAN, ORGANISATION, OPERATION, count("Processed", "processed"), count("Stored", "stored")],
        WHOLE,
        sql=active(kind),
        none="No run is active",
    )
    latest = listed(
        201,
        "Runs",
        "The latest 500 that began in the time shown. A run that found far fewer patients than the one before it saw a "
        "part only.",
        [
            BEGAN,
            ORGANISATION,
            OPERATION,
            Column("State", "state", label=True, texts=STATES, width=110),
            Column("Took", "took", unit="s", decimals=1, width=90),
            count("Processed", "processed"),
            count("Stored", "stored"),
            count("Not stored", "failed", warn=WARNING),
        ],
        LONG_WHOLE,
        sql=runs(kind),
        none="No run began in this time",
    )
    sums = listed(
        202,
        "Totals",
        "Runs that began in the time shown, by organisation and operation, and how long they took; the 200 with the "
        "most runs.",
        [
            ORGANISATION,
            OPERATION,
            count("Runs", "runs"),
            *(
                count(
                    STATE_WORDS[state].capitalize(),
                    state,
                    warn=colour if state in {"partial", "failed", "timeout"} else None,
                )
                for state, colour in STATE_COLOURS.items()
                if state != "other"
            ),
            Column("Average", "average", unit="s", decimals=1, width=90),
            Column("Longest", "longest", unit="s", decimals=1, width=90),
            Column("Latest at", "latest", unit="dateTimeAsIso", width=170),
        ],
        WHOLE,
        sql=totals(kind),
        none="No run began in this time",
    )
    reading = note(203, "How to read this", "Where these rows come from, and what is left out.", HOW_TO_READ, WHOLE)
    return [Row(100, "Now", [now]), Row(200, "History", [latest]), Row(300, "Detail", [sums, reading])]


def dashboard(kind: str) -> str:
    """The dashboard's file for a kind of database."""
    return render(
        UID,
        "Syncs: history",
        "Single runs that synchronised patients, from the log itself.",
        variables=[TextVariable("organization", "Organisation"), TextVariable("operation", "Operation")],
        alerts='component="syncs"',
        rows=panels(kind),
        time_from="now-24h",
        # Each panel is a statement.
        refresh="30s",
    )
