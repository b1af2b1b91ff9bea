"""The row Detail of the dashboard of the domain `emr`: what is needed to find the cause."""

from __future__ import annotations

from grafana.src import collectors, limits, words
from grafana.src.counters import within
from grafana.src.emr_queries import (
    APP,
    COLLECTOR,
    COLLECTORS,
    METRICS,
    NAME,
    ONE,
    READING,
    ROW,
    SOUND,
    backup_limits,
    grown,
    of,
    risen_in_range,
    rising,
    series,
)
from grafana.src.kit import (
    BARS,
    CARDS,
    DEGRADED,
    DOWN,
    HALF,
    NEUTRAL,
    NO_DATA,
    NOT_CONFIGURED,
    PARTS,
    PLAIN,
    SHARES,
    THIRD,
    TWO_THIRDS,
    UP,
    WARNING,
    WHOLE,
    Column,
    Query,
    Row,
    from_one,
    graph,
    grid,
    stat_panel,
    timeline,
)
from grafana.src.series import is_

from rounds.emr.names import LEVELS


def detail() -> Row:
    """What is needed to find the cause."""
    by = "app, operation"
    failed = grown("operations_total", "$__range", APP, is_("outcome", "error"), by=by)
    done = grown("operations_total", "$__range", APP, by=by)
    bucket = within(series("operation_duration_seconds_bucket", APP), "$__range")
    judged = grown("operations_total", "$__range", APP, 'outcome=~"ok|error"', by=by)

    def of_done(expr: str) -> str:
        # Names that are configured, or that stand for the rest, are known before anything of theirs was done.
        return f"({expr} and on ({by}) {done} > 0)"

    return Row(
        300,
        "Detail: $app",
        [
            grid(
                301,
                "Operations in the time shown",
                "What was done: how often, how often it failed, how long it took on average, how long half of them "
                "took at most, and 95 and 99 of 100, how often it was slow, and from when on it is.",
                [
                    Column("Operation", "operation", label=True),
                    Column("Application", "app", label=True, link=ROW, width=130),
                    Column("Done", f"{done} > 0", unit="locale", decimals=0, width=80),
                    Column(
                        "Failed",
                        of_done(failed),
                        unit="locale",
                        decimals=0,
                        steps=((None, PLAIN), (1, WARNING)),
                        width=80,
                    ),
                    Column(
                        "Share",
                        f"{failed} / ({judged} > 0)",
                        unit="percentunit",
                        decimals=1,
                        steps=((None, PLAIN), (limits.emr_error_ratio(), WARNING)),
                        width=80,
                    ),
                    Column(
                        "Average",
                        METRICS.average("operation_duration_seconds", "$__range", APP, by=by),
                        unit="s",
                        decimals=1,
                        width=90,
                    ),
                    *(
                        Column(
                            name.capitalize(),
                            of_done(f"histogram_quantile({SHARES[name]:g}, sum by (le, {by}) ({bucket}))"),
                            unit="s",
                            decimals=1,
                            width=100,
                        )
                        for name in ("half of them", "95 of 100", "99 of 100")
                    ),
                    Column(
                        "Slow",
                        of_done(grown("slow_operations_total", "$__range", APP, by=by)),
                        unit="locale",
                        decimals=0,
                        width=80,
                    ),
                    Column(
                        "Slow from", of_done(of("operation_slow_threshold_seconds", APP, by=by)), unit="s", width=95
                    ),
                ],
                WHOLE,
                no_value="Nothing was done in this time",
                sort=("Done", True),
            ),
            grid(
                302,
                "Errors in the time shown",
                "By kind and by who noticed it. Captured: the application itself. Main: nobody, so that it crashed. "
                "The others: nobody, and it went on. `rounds emr report` says where in the program each was.",
                [
                    Column("Kind", "error_type", label=True),
                    Column("Noticed by", "source", label=True, width=90),
                    Column("Application", "app", label=True, link=ROW, width=100),
                    Column(
                        "Number",
                        f"{risen_in_range('errors_total', 'app, error_type, source')} > 0",
                        unit="locale",
                        decimals=0,
                        width=90,
                        bar=WARNING,
                    ),
                ],
                THIRD,
                no_value="No error in this time",
                sort=("Number", True),
            ),
            grid(
                303,
                "Limits",
                "How often each check runs, and how old a backup may be, as configured. Alerts begin there, too.",
                [
                    Column("Check", "check", label=True),
                    Column("Application", "app", label=True, link=ROW, width=130),
                    Column("Every", of("health_interval_seconds", APP, by="app, check"), unit="s", width=90),
                    Column("Age up to", backup_limits(), unit="s", width=100),
                ],
                THIRD,
                no_value="Not configured: no check",
                sort=("Check", False),
            ),
            graph(
                309,
                "Messages",
                "How many messages the application wrote down, by how grave it finds them. Their texts stay on its "
                "computer.",
                [
                    Query(f"sum({rising('messages_total', APP, is_('level', level), by='app, level')})", level)
                    for level in reversed(LEVELS)
                ],
                THIRD,
                no_value="No data: was a store read in this time?",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=dict(zip(LEVELS, (PARTS[8], NEUTRAL, WARNING, DEGRADED), strict=True)),
                decimals=0,
            ),
            stat_panel(
                304,
                "Different errors, 24 h",
                "How many different errors there were in the last 24 hours. The same fault counts once, however "
                "often it comes.",
                [Query(of("error_groups", APP, by="app"), "{{app}}")],
                CARDS,
                no_value=NO_DATA,
                unit="locale",
                steps=from_one(NEUTRAL),
                link=ONE,
                names=True,
            ),
            stat_panel(
                305,
                "Unsent reports",
                "How many reports of crashes have not been sent to whoever makes the program, as there is no "
                "network, or nobody has said where to.",
                [Query(of("crash_reports_unsubmitted", APP, by="app"), "{{app}}")],
                CARDS,
                no_value=NO_DATA,
                unit="locale",
                steps=from_one(NEUTRAL),
                link=ONE,
                names=True,
            ),
            stat_panel(
                308,
                "Time for one word",
                "How long the language model took to say one word, where `generate_every` asks it to. That finds a "
                "server that answers, but writes nothing.",
                [Query(of("llm_generation_seconds", APP, by="app, model"), "{{model}}")],
                CARDS,
                no_value=NOT_CONFIGURED,
                unit="s",
                link=ONE,
                names=True,
            ),
            grid(
                306,
                "Databases",
                "The database of each application, when it was last looked at. Locked: another program was writing. "
                "Damaged: restore a backup.",
                [
                    Column("Application", "app", label=True, link=ROW),
                    Column("Size", of("database_bytes", APP, by="app"), unit="bytes", decimals=1, width=100),
                    Column("Answer", of("database_response_seconds", APP, by="app"), unit="s", decimals=1, width=90),
                    Column(
                        "Locked",
                        of("database_locked", APP, by="app"),
                        texts={0: ("no", UP), 1: ("locked", DEGRADED)},
                        unit="none",
                        width=80,
                    ),
                    Column("File", of("database_integrity_ok", APP, by="app"), texts=SOUND, unit="none", width=90),
                ],
                HALF,
                no_value="Not configured: no database is checked",
                sort=("Application", False),
            ),
            graph(
                307,
                "Duration of checks",
                "How long each check took. One that takes longer and longer will fail soon: look at what it checks.",
                [Query(of("health_duration_seconds", APP, by="app, check"), f"{NAME}{{{{check}}}}")],
                HALF,
                no_value="No data: is the exporter up?",
                unit="s",
                link=ONE,
            ),
            grid(
                310,
                "Stores",
                "The files in which applications keep what they say of themselves. Damaged: how often one was set "
                "aside and begun anew; look at the disk. Replaced: how often another file was found in its place.",
                [
                    Column("Application", "app", label=True, link=ROW),
                    Column("Size", of("store_bytes", APP, by="app"), unit="bytes", decimals=1, width=100),
                    Column("To be merged", of("store_wal_bytes", APP, by="app"), unit="bytes", decimals=1, width=110),
                    Column(
                        "Rows",
                        f"sum by (app) ({of('store_rows', APP, by='app, table')})",
                        unit="locale",
                        decimals=0,
                        width=90,
                    ),
                    Column("File", of("store_integrity_ok", APP, by="app"), texts=SOUND, unit="none", width=90),
                    Column(
                        "Looked at",
                        f"1000 * {of('store_integrity_check_timestamp_seconds', APP, by='app')}",
                        unit="dateTimeFromNow",
                        width=150,
                    ),
                    Column(
                        "Damaged",
                        grown("store_corruptions_total", "$__range", APP, by="app"),
                        unit="locale",
                        decimals=0,
                        width=90,
                        steps=((None, PLAIN), (1, DOWN)),
                    ),
                    Column(
                        "Replaced",
                        grown("store_replaced_total", "$__range", APP, by="app"),
                        unit="locale",
                        decimals=0,
                        width=90,
                    ),
                ],
                TWO_THIRDS,
                no_value="No data: was a store read?",
                sort=("Application", False),
            ),
            grid(
                311,
                "Rows of stores",
                "What fills the stores. The oldest rows go when they are too old, or when the file is full.",
                [
                    Column("Table", "table", label=True),
                    Column("Application", "app", label=True, link=ROW, width=130),
                    Column("Rows", of("store_rows", APP, by="app, table"), unit="locale", decimals=0, width=100),
                ],
                THIRD,
                no_value="No data: was a store read?",
                sort=("Rows", True),
            ),
            graph(
                312,
                "Told, but not kept",
                "How much the application said of itself that was not kept. Anything here makes other numbers too "
                "low, and an alert fires. Could not be written: look at the disk. Too much at once: report it.",
                [
                    Query(
                        f"sum({rising('telemetry_dropped_total', APP, is_('reason', reason), by='app, reason')})",
                        word,
                    )
                    for reason, word in words.DROPS.items()
                ],
                THIRD,
                no_value="No data: was a store read in this time?",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=words.colours(words.DROPS.values()),
                decimals=0,
            ),
            graph(
                313,
                "Stored rows that make no sense",
                "How many rows of a store cannot be right, so that something of them is left out: another version "
                "of the program, or a wrong clock.",
                [
                    Query(f"sum({rising('rows_rejected_total', APP, is_('reason', reason), by='app, reason')})", word)
                    for reason, word in words.STORED_ROWS.items()
                ],
                THIRD,
                no_value="No data: was a store read in this time?",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=words.colours(words.STORED_ROWS.values()),
                decimals=0,
            ),
            grid(
                314,
                "Missing in the stores",
                "Tables or columns that are missing, so that something cannot be shown. `docs/emr.md` says how to "
                "mend it.",
                [
                    Column("Application", "app", label=True, link=ROW, width=130),
                    Column("Problem", "problem", label=True),
                ],
                THIRD,
                rows=of("schema_problem", APP, by="app, problem"),
                no_value="Nothing is missing",
                sort=("Application", False),
            ),
            timeline(
                315,
                "Reading",
                "Whether Rounds can read each store, and run its checks. While it fails or is overdue, what is "
                "shown here is old or missing; `rounds status` says why.",
                [Query(COLLECTORS.state(COLLECTOR, limits.collector_stale()), "{{app}}")],
                THIRD,
                no_value="No data: is the exporter up?",
                texts=collectors.STATES,
                link=READING,
            ),
            graph(
                316,
                "Duration of reading",
                "How long reading each store took at most, and its longest check. A slow rise is a growing store.",
                [
                    Query(
                        COLLECTORS.of(f"max_over_time(rounds_collector_duration_seconds{{{COLLECTOR}}}[$__interval])"),
                        "{{app}}",
                    )
                ],
                THIRD,
                no_value="No data: is the exporter up?",
                unit="s",
                points=BARS,
                link=READING,
            ),
            collectors.failures(
                317,
                "Failed reading by reason",
                "How often a store could not be read, by what went wrong. No connection: the file is not there, or may "
                "not be read. No answer in time: another program holds it, or the disk is slow. Question refused: a "
                "table or column is missing.",
                COLLECTOR,
                THIRD,
            ),
        ],
    )
