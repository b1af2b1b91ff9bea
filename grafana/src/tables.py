"""The dashboard of the domain `tables`."""

from __future__ import annotations

from grafana.src import collectors, limits
from grafana.src.alerts import CALLING, Alerts
from grafana.src.collectors import INTERVAL, STATES, Collectors
from grafana.src.counters import risen, within
from grafana.src.kit import (
    BARS,
    CARD,
    CARDS,
    DEGRADED,
    DOWN,
    HALF,
    INSERTED,
    NEUTRAL,
    NO_DATA,
    PARTS,
    PLAIN,
    WARNING,
    WHOLE,
    WIDE_CARD,
    Column,
    Mark,
    Query,
    Row,
    Texts,
    Variable,
    from_one,
    graph,
    grid,
    link_to,
    note,
    render,
    repeated,
    stat_panel,
    timeline,
)

from rounds.tables.record import REASONS

UID = "tables"
SELECTED = 'table=~"$table"'
COLLECTORS = Collectors("tables", "table")
EVERY_COLLECTOR = COLLECTORS.matching(".+")
SELECTED_COLLECTOR = COLLECTORS.matching("$table")

#: Rows come, go and change without being good or bad; only of a loss there is a warning.
CHANGE_COLOURS = {"inserted": INSERTED, "modified": PARTS[1], "deleted": WARNING}
CHANGE_WORDS: Texts = {change: (change, colour) for change, colour in CHANGE_COLOURS.items()}
ALERTS = Alerts("tables", "tables")
#: Why a table was recorded anew, where the label's value does not say it by itself.
REASON_WORDS = {"table": "other table"}

ALL_TABLES = link_to(UID, "Show all tables", table="$__all")
ONE_TABLE = link_to(UID, "Show this table", table="${__field.labels.table}")
ROW_TABLE = link_to(UID, "Show this table", table="${__data.fields.Table}")
EXPORTER = link_to("exporter", "Look at the collectors")


def of_table(metric: str, *matchers: str) -> str:
    """A metric, one value for each table: the highest, where several exporters watch it."""
    return f"max by (table) ({metric}{{{','.join(matchers)}}})"


#: Every table that was watched within the last hour.
WATCHED = COLLECTORS.of(f"last_over_time({INTERVAL}{{{EVERY_COLLECTOR}}}[1h])")
STATE = f"({COLLECTORS.state(EVERY_COLLECTOR, limits.table_overdue())} or 3 + 0 * {WATCHED})"


def count_of(state: str) -> str:
    """How many tables are in a state."""
    code = next(code for code, (word, _) in STATES.items() if word == state)
    return f"count({STATE} == {code}) or 0 * count({STATE})"


def changed(change: str, window: str, *matchers: str) -> str:
    """How many rows of each table changed."""
    chosen = ",".join((f'change="{change}"', *matchers))
    return f"max by (table) ({within(f'rounds_table_changes_total{{{chosen}}}', window)})"


def now() -> Row:
    """What holds at this moment, for all tables."""

    spared = within('rounds_table_scans_total{result="unchanged"}', "1d")
    return Row(
        100,
        "Now",
        [
            stat_panel(
                101,
                "Tables by state",
                "How many tables are checked as they should be (works), and how many are not. Fails: the last check "
                "did; `rounds status` says why. Overdue: the last good check is so long ago that an alert fires. No "
                "data: watched, but not checked yet, or the exporter is down.",
                [Query(count_of(state), state) for state in ("fails", "overdue", "works", NO_DATA)],
                CARDS,
                no_value=NO_DATA,
                link=EXPORTER,
                names=True,
                colours=dict(STATES.values()),
            ),
            stat_panel(
                105,
                "Rows changed, 24 h",
                "How many rows of all tables were inserted, modified and deleted in the last 24 hours. The numbers are "
                "exact; a row that changed twice between two checks counts once.",
                [Query(f"sum({changed(change, '1d')})", change) for change in CHANGE_COLOURS],
                WIDE_CARD,
                no_value=NO_DATA,
                unit="locale",
                decimals=0,
                steps=from_one(NEUTRAL),
                link=ALL_TABLES,
                names=True,
                colours=CHANGE_COLOURS,
            ),
            stat_panel(
                106,
                "Scans spared, 24 h",
                "Checks of the last 24 hours that read nothing, because the database said that nothing was changed "
                "since the one before. A warehouse that is paid by use was not woken up for these.",
                [Query(f"sum(max by (table) ({spared}))")],
                CARD,
                no_value=NO_DATA,
                unit="locale",
                decimals=0,
                link=ALL_TABLES,
            ),
            # One for each table and alert: every check that found changes is an alert of its own.
            ALERTS.card(107, link=ALL_TABLES, by="table, alertname"),
            stat_panel(
                108,
                "Rows",
                "How many rows each table had when it was last read. Click one to see only its history and detail.",
                [Query(f"sort_desc({of_table('rounds_table_rows')})", "{{table}}")],
                HALF,
                no_value=NO_DATA,
                unit="locale",
                decimals=0,
                link=ONE_TABLE,
                names=True,
            ),
            ALERTS.listed(
                109,
                [Column("Table", "table", label=True, link=ROW_TABLE)],
                ALERTS.since("table, alertname, severity", CALLING),
            ),
            grid(
                110,
                "Tables",
                "Each table: whether it is checked as it should be, its rows, what became of them in the last 24 "
                "hours, and when it was and will be checked. A Next check that is past is late, or goes on.",
                [
                    Column("Table", "table", label=True, link=ROW_TABLE),
                    Column("State", STATE, texts=STATES, unit="none", width=110),
                    Column("Rows", of_table("rounds_table_rows"), unit="locale", decimals=0, width=100),
                    *(
                        Column(
                            f"{change.capitalize()}, 24 h",
                            changed(change, "1d"),
                            unit="locale",
                            decimals=0,
                            steps=((None, PLAIN), (1, colour)),
                            width=120,
                        )
                        for change, colour in CHANGE_COLOURS.items()
                    ),
                    Column(
                        "Last change",
                        f"1000 * {of_table('rounds_table_last_change_timestamp_seconds')}",
                        unit="dateTimeFromNow",
                        width=140,
                        empty="never",
                    ),
                    Column("Last check", f"1000 * {last_run(EVERY_COLLECTOR)}", unit="dateTimeFromNow", width=140),
                    Column("Next check", f"1000 * {next_run(EVERY_COLLECTOR)}", unit="dateTimeFromNow", width=140),
                    Column("Every", interval(EVERY_COLLECTOR), unit="s", width=80),
                    Column("Took", duration(EVERY_COLLECTOR), unit="s", decimals=1, width=90),
                ],
                WHOLE,
                no_value="No data: is the exporter up, and does it watch any table?",
                sort=("State", True),
            ),
        ],
    )


def last_run(collectors: str) -> str:
    """When each table was last checked."""
    return COLLECTORS.of(f"rounds_collector_last_run_timestamp_seconds{{{collectors}}}")


def duration(collectors: str) -> str:
    """How long each table's last check took."""
    return COLLECTORS.of(f"rounds_collector_duration_seconds{{{collectors}}}")


def interval(collectors: str) -> str:
    """The time from one check of each table to the next."""
    return COLLECTORS.of(f"{INTERVAL}{{{collectors}}}")


def next_run(collectors: str) -> str:
    """When each table is checked next: an interval after the beginning of its last check."""
    return f"({last_run(collectors)} - {duration(collectors)} + {interval(collectors)})"


def history() -> Row:
    """How it came to this, for the selected tables."""
    changes = 'rounds_table_changes_total{change="%s",%s}'
    scans = 'rounds_table_scans_total{result="%s",%s}'
    failures = f"rounds_collector_failures_total{{{SELECTED_COLLECTOR}}}"
    spared, scanned = (of_window(within(scans % (result, SELECTED), "$__range")) for result in ("unchanged", "scanned"))
    failed = COLLECTORS.of(f"sum by (collector) (round(increase({failures}[$__range])))")
    return Row(
        200,
        "History: $table",
        [
            repeated(
                graph(
                    201,
                    "Rows of $table",
                    "How many rows the table had each time it was read. Marks are checks that found changes: "
                    "blue-green inserted, violet modified, ochre deleted rows. The scale does not begin at 0.",
                    [Query(of_table("rounds_table_rows", SELECTED), "{{table}}")],
                    WHOLE,
                    no_value="Nothing was read in this time",
                    unit="locale",
                    style="steps",
                    colour=NEUTRAL,
                    minimum=None,
                    decimals=0,
                ),
                "table",
                3,
            ),
            graph(
                202,
                "Rows changed",
                "How many rows changed: inserted and modified upwards, deleted downwards. A bar stands for the time "
                "since the one before it; its numbers are exact. A tall bar downwards is a loss: ask who deleted, "
                "before backups are overwritten.",
                [
                    Query(
                        f"{sign}sum({risen(changes % (change, SELECTED), 'table')})",
                        change,
                    )
                    for change, sign in (("inserted", ""), ("modified", ""), ("deleted", "-"))
                ],
                WHOLE,
                no_value="No check in this time",
                unit="locale",
                style="bars",
                points=BARS,
                minimum=None,
                soft_maximum=1,
                colours=CHANGE_COLOURS,
                decimals=0,
            ),
            timeline(
                203,
                "State of each table",
                "When each table was checked as it should be. A gap is time in which nothing is known: look at the "
                "exporter. Where all tables of one database fail at once, look at that.",
                [Query(COLLECTORS.state(SELECTED_COLLECTOR, limits.table_overdue()), "{{table}}")],
                HALF,
                no_value="No data: is the exporter up?",
                texts=STATES,
                link=ONE_TABLE,
            ),
            graph(
                204,
                "Checks of tables by what they needed",
                "No scan: the database said that nothing was changed, so that nothing was read. Scan: it read the "
                "whole table, which is what a warehouse is paid for. If a quiet table is always scanned, "
                "`docs/tables.md` says why.",
                [
                    Query(f"sum({risen(scans % ('unchanged', SELECTED), 'table')})", "no scan"),
                    Query(f"sum({risen(scans % ('scanned', SELECTED), 'table')})", "scan"),
                    Query(f"sum({risen(failures, 'collector, reason')})", "failed"),
                ],
                HALF,
                no_value="No check in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours={"no scan": PARTS[2], "scan": PARTS[5], "failed": DOWN},
                decimals=0,
            ),
            grid(
                205,
                "Rows changed in the time shown",
                "How many rows of each table changed, exactly. Balance: inserted less deleted rows.",
                [
                    Column("Table", "table", label=True, link=ROW_TABLE),
                    *(
                        Column(
                            change.capitalize(),
                            changed(change, "$__range", SELECTED),
                            unit="locale",
                            decimals=0,
                            steps=((None, PLAIN), (1, colour)),
                            width=120,
                        )
                        for change, colour in CHANGE_COLOURS.items()
                    ),
                    Column(
                        "Balance",
                        f"{changed('inserted', '$__range', SELECTED)} - {changed('deleted', '$__range', SELECTED)}",
                        unit="locale",
                        decimals=0,
                        width=120,
                    ),
                ],
                HALF,
                no_value="No check in this time",
                sort=("Table", False),
            ),
            grid(
                206,
                "Checks in the time shown",
                "How many checks of each table succeeded, how many of these read nothing (no scan), how many "
                "failed, and how many rows' fingerprints were fetched to find out which rows had changed.",
                [
                    Column("Table", "table", label=True, link=ROW_TABLE),
                    Column("Checks", f"{spared} + {scanned}", unit="locale", decimals=0, width=90),
                    Column("No scan", spared, unit="locale", decimals=0, width=90),
                    Column("Share", f"{spared} / ({spared} + {scanned} > 0)", unit="percentunit", decimals=1, width=80),
                    Column(
                        "Failed",
                        failed,
                        unit="locale",
                        decimals=0,
                        steps=((None, PLAIN), (1, DOWN)),
                        width=90,
                    ),
                    Column(
                        "Rows read",
                        of_window(within(f"rounds_table_rows_read_total{{{SELECTED}}}", "$__range")),
                        unit="locale",
                        decimals=0,
                        width=120,
                    ),
                ],
                HALF,
                no_value="No check in this time",
                sort=("Table", False),
            ),
            ALERTS.over_time(207, "table", "{{table}}", SELECTED),
        ],
    )


def of_window(expr: str) -> str:
    """One value for each table."""
    return f"max by (table) ({expr})"


def detail() -> Row:
    """What is needed to find the cause, for the selected tables."""
    last_rows = f"max by (table, change) (rounds_table_last_change_rows{{{SELECTED}}})"
    last_time = f"1000 * max by (table, change) (rounds_table_last_change_timestamp_seconds{{{SELECTED}}})"
    total = f"max by (table, change) (rounds_table_changes_total{{{SELECTED}}})"
    longest = COLLECTORS.of(f"max_over_time(rounds_collector_duration_seconds{{{SELECTED_COLLECTOR}}}[$__interval])")
    key = f"rounds_table_key_max{{{SELECTED}}}"
    return Row(
        300,
        "Detail: $table",
        [
            grid(
                302,
                "What is recorded of each table",
                "Rows before the last change, the largest key, when the table was last read, and since when changes "
                "are counted. Anew: how often, and why, it had to be recorded anew, so that changes in between were "
                "not counted (`docs/tables.md`). Mass deletion: which share of the rows may not be lost at once.",
                [
                    Column("Table", "table", label=True, link=ROW_TABLE),
                    Column(
                        "Rows before",
                        of_table("rounds_table_previous_rows", SELECTED),
                        unit="locale",
                        decimals=0,
                        width=110,
                    ),
                    Column("Largest key", of_table("rounds_table_key_max", SELECTED), unit="none", width=110),
                    Column(
                        "Last scan",
                        f"1000 * {of_table('rounds_table_last_scan_timestamp_seconds', SELECTED)}",
                        unit="dateTimeFromNow",
                        width=150,
                    ),
                    Column(
                        "Counted since",
                        f"1000 * {of_table('rounds_table_baseline_timestamp_seconds', SELECTED)}",
                        unit="dateTimeFromNow",
                        width=150,
                    ),
                    *(
                        Column(
                            f"Anew: {REASON_WORDS.get(reason, reason)}",
                            of_table("rounds_table_rebaselines_total", SELECTED, f'reason="{reason}"'),
                            unit="locale",
                            decimals=0,
                            steps=((None, PLAIN), (1, DEGRADED)),
                            width=140 if reason in REASON_WORDS else 115,
                        )
                        for reason in REASONS
                    ),
                    Column(
                        "Schema changes",
                        of_table("rounds_table_schema_changes_total", SELECTED),
                        unit="locale",
                        decimals=0,
                        steps=((None, PLAIN), (1, DEGRADED)),
                        width=130,
                    ),
                    Column(
                        "Mass deletion",
                        of_table("rounds_table_mass_deletion_ratio", SELECTED),
                        unit="percentunit",
                        width=115,
                    ),
                ],
                WHOLE,
                no_value="No data: is the exporter up?",
                sort=("Table", False),
            ),
            grid(
                301,
                "Last change of each kind",
                "When rows were last found inserted, modified or deleted, how many then, and how many in all since "
                "the table is watched.",
                [
                    Column("Table", "table", label=True, link=ROW_TABLE),
                    Column("Change", "change", label=True, texts=CHANGE_WORDS, width=110),
                    Column("Found at", last_time, unit="dateTimeAsIso", width=190, empty="never"),
                    Column("Rows then", last_rows, unit="locale", decimals=0, width=110),
                    Column("In all", total, unit="locale", decimals=0, width=110),
                ],
                HALF,
                no_value="No data: is the exporter up?",
                sort=("Found at", True),
            ),
            note(308, "Which rows changed", "How to see single changes, and which rows they were.", WHICH_ROWS, HALF),
            graph(
                303,
                "Duration of checks",
                "How long the longest check of each table took. Little where nothing had to be read. A slow rise is a "
                "growing table; a jump is a busy database, or many changes.",
                [Query(longest, "{{table}}")],
                HALF,
                no_value="No check in this time",
                unit="s",
                points=BARS,
                log=True,
                link=ONE_TABLE,
            ),
            collectors.failures(
                306,
                "Failed checks by reason",
                "Checks that failed, by what went wrong. No answer, no connection: the network, or a busy database. "
                "Log-in refused: an old password; it is tried less and less often, lest the account be locked. "
                "Question refused: a right, a table or a column is missing.",
                SELECTED_COLLECTOR,
                HALF,
            ),
            graph(
                304,
                "Rows read from tables",
                "How many rows' fingerprints were fetched to find out which rows had changed: the whole table at its "
                "first check, a part of it afterwards. Much of this makes checks slow.",
                [
                    Query(
                        risen(f"rounds_table_rows_read_total{{{SELECTED}}}", "table"),
                        "{{table}}",
                    )
                ],
                HALF,
                no_value="No check in this time",
                unit="locale",
                decimals=0,
                style="bars",
                points=BARS,
                soft_maximum=1,
                link=ONE_TABLE,
            ),
            graph(
                305,
                "Growth of the largest key",
                "By how much the largest key, the number of a row, grew in the time shown. Where numbers are given "
                "in order, this counts every row that was ever inserted, even if it was deleted again at once.",
                [Query(of_window(f"{key} - min_over_time({key}[$__range] @ end())"), "{{table}}")],
                HALF,
                no_value="Not configured: no selected table has rows with numbers",
                unit="locale",
                style="steps",
                soft_maximum=1,
                decimals=0,
                link=ONE_TABLE,
            ),
        ],
    )


#: Metrics count rows; the journal in the ledger lists the checks that found changes, and keys.
WHICH_ROWS = """\
Metrics count rows and never name one. The **journal** in the ledger keeps each check that found changes for 30 days:

```
rounds changes --table patients
```

It lists time, kind and number of rows, and the keys of the rows as `keys` of the table has it:

- `keys: hashed`, the default: pseudonyms, which tell one row from another and name none
- `keys: raw`: the keys themselves, which then stand in the ledger too

With a ledger in MariaDB or PostgreSQL the journal can be a dashboard of its own: see *Journal* in `docs/dashboards.md`.
"""


def marks() -> list[Mark]:
    """Checks that found changes, or recorded a table anew, each at its own time."""
    time = f'1000 * max by (table) (rounds_table_last_change_timestamp_seconds{{{SELECTED},change="%s"}})'
    found = [
        Mark(change.capitalize(), time % change, f"{{{{table}}}}: rows {change}", "A check found them.", colour)
        for change, colour in CHANGE_COLOURS.items()
    ]
    anew = Mark(
        "Recorded anew",
        f"1000 * {of_table('rounds_table_baseline_timestamp_seconds', SELECTED)}",
        "{{table}}: recorded anew",
        "Changes are counted from here.",
        DEGRADED,
    )
    return [*found, anew]


def dashboard() -> str:
    """The dashboard's file."""
    return render(
        UID,
        "Tables",
        "What became of the rows of watched tables, and whether they are checked. Now shows all tables, History and "
        "Detail the selected ones.",
        variables=[
            Variable(
                "table",
                "Table",
                f"{INTERVAL}{{{EVERY_COLLECTOR}}}",
                values="collector",
                part="/^tables\\/(.+)$/",
            ),
        ],
        # Not the events: the marks tell of them, at the time of the check.
        alerts=f'component="tables",kind!="event",{SELECTED}',
        rows=[now(), history(), detail()],
        marks=marks(),
        time_from="now-24h",
    )
