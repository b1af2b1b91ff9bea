"""The row Detail of the dashboard of the domain `emr`: what is needed to find the cause."""

from __future__ import annotations

from grafana.src import collectors, limits
from grafana.src.counters import risen, within
from grafana.src.emr_queries import (
    APP,
    COLLECTOR,
    COLLECTORS,
    METRICS,
    NAME,
    ONE,
    READING,
    ROW,
    SHARES,
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
    PARTS,
    PLAIN,
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

from rounds.emr.metrics import PROBLEMS
from rounds.emr.names import DROPS, LEVELS
from rounds.errors import FAILURE_REASONS


def detail() -> Row:
    """What is needed to find the cause."""
    by = "app, operation"
    failed = grown("operations_total", "$__range", APP, is_("outcome", "error"), by=by)
    judged = grown("operations_total", "$__range", APP, 'outcome=~"ok|error"', by=by)
    failures = f'rounds_collector_failures_total{{{COLLECTOR},reason="%s"}}'
    return Row(
        300,
        "Detail: $app",
        [
            grid(
                301,
                "Operations in the time shown",
                "Each operation: how often, how often it failed, how long it took on average, how long half of them "
                "took at most, and 95 and 99 of 100, and from when on it is slow.",
                [
                    Column("Operation", "operation", label=True),
                    Column("Application", "app", label=True, link=ROW, width=130),
                    Column("Done", grown("operations_total", "$__range", APP, by=by), unit="locale", width=80),
                    Column("Failed", failed, unit="locale", decimals=0, steps=((None, PLAIN), (1, WARNING)), width=80),
                    Column(
                        "Part",
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
                        width=95,
                    ),
                    *(
                        Column(
                            name,
                            f"histogram_quantile({SHARES[name]:g}, sum by (le, {by})"
                            f" ({within(series('operation_duration_seconds_bucket', APP), '$__range')}))",
                            unit="s",
                            width=95,
                        )
                        for name in ("p50", "p95", "p99")
                    ),
                    Column("Slow", grown("slow_operations_total", "$__range", APP, by=by), unit="locale", width=80),
                    Column("Slow from", of("operation_slow_threshold_seconds", APP, by=by), unit="s", width=95),
                ],
                WHOLE,
                no_value="No operation is known",
                sort=("Done", True),
            ),
            grid(
                302,
                "Errors in the time shown",
                "By kind of exception and by who noticed it. captured: the application's own code. main: nobody, so it "
                "crashed. thread, asyncio, executor, unraisable: nobody, and the application went on. `rounds emr "
                "report` says where each was raised.",
                [
                    Column("Kind", "error_type", label=True),
                    Column("Noticed by", "source", label=True, width=110),
                    Column("Application", "app", label=True, link=ROW, width=130),
                    Column(
                        "Number",
                        f"{risen_in_range('errors_total', 'app, error_type, source')} > 0",
                        unit="locale",
                        decimals=0,
                        width=100,
                        bar=WARNING,
                    ),
                ],
                THIRD,
                no_value="No error is known",
                sort=("Number", True),
            ),
            grid(
                303,
                "Limits",
                "How often each check runs, and how old a backup may be, as configured in the exporter. The alerts use "
                "the same.",
                [
                    Column("Check", "check", label=True),
                    Column("Application", "app", label=True, link=ROW, width=130),
                    Column("Every", of("health_interval_seconds", APP, by="app, check"), unit="s", width=90),
                    Column("Age up to", backup_limits(), unit="s", width=100),
                ],
                THIRD,
                no_value="No check is configured",
                sort=("Check", False),
            ),
            graph(
                309,
                "Messages",
                "Messages that the application recorded, by level. Their texts stay on its computer.",
                [
                    Query(f"sum({rising('messages_total', APP, is_('level', level), by='app, level')})", level)
                    for level in reversed(LEVELS)
                ],
                THIRD,
                no_value="No store was read in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=dict(zip(LEVELS, (PARTS[8], NEUTRAL, WARNING, DEGRADED), strict=True)),
                decimals=0,
            ),
            grid(
                306,
                "Databases",
                "Those of the applications: the check's last look. Locked: somebody else was writing.",
                [
                    Column("Application", "app", label=True, link=ROW),
                    Column("Size", of("database_bytes", APP, by="app"), unit="bytes", width=100),
                    Column("Answer", of("database_response_seconds", APP, by="app"), unit="s", width=90),
                    Column(
                        "Locked",
                        of("database_locked", APP, by="app"),
                        texts={0: ("no", UP), 1: ("locked", DEGRADED)},
                        unit="none",
                        width=80,
                    ),
                    Column("Pages", of("database_integrity_ok", APP, by="app"), texts=SOUND, unit="none", width=90),
                ],
                HALF,
                no_value="No database is checked",
                sort=("Application", False),
            ),
            stat_panel(
                304,
                "Errors in 24 h",
                "How many different errors there were. The same fault counts once, however often it comes.",
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
                "Crash reports that have not been sent to whoever makes the program, as there is no network, or nobody "
                "has said where to.",
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
                "A word of the model",
                "How long the language model took to say one word, where `generate_every` asks for it: that finds a "
                "server that answers, but does not generate.",
                [Query(of("llm_generation_seconds", APP, by="app, model"), "{{model}}")],
                CARDS,
                no_value="it is not asked",
                unit="s",
                link=ONE,
                names=True,
            ),
            graph(
                307,
                "Duration of checks",
                "How long each check took. One that comes near its time-out will be degraded soon.",
                [Query(of("health_duration_seconds", APP, by="app, check"), f"{NAME}{{{{check}}}}")],
                HALF,
                no_value="No check has run in this time",
                unit="s",
                link=ONE,
            ),
            graph(
                312,
                "Telemetry lost",
                "What the application said and its store does not have. queue_full: it said more than could be "
                "written. size: the store is full. age: too old. error: the file could not be written. Anything here "
                "makes figures above too low; EmrTelemetryLost fires.",
                [
                    Query(
                        f"sum({rising('telemetry_dropped_total', APP, is_('reason', reason), by='app, reason')})",
                        reason,
                    )
                    for reason in DROPS
                ],
                THIRD,
                no_value="No store was read in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=dict(zip(DROPS, PARTS, strict=False)),
                decimals=0,
            ),
            grid(
                310,
                "Stores",
                "The files in which applications keep what they say of themselves. Damaged: the library set it aside "
                "and began anew; have a look at the disk. Replaced: how often another file was found in its place.",
                [
                    Column("Application", "app", label=True, link=ROW),
                    Column("Size", of("store_bytes", APP, by="app"), unit="bytes", width=90),
                    Column("Log", of("store_wal_bytes", APP, by="app"), unit="bytes", width=90),
                    Column("Rows", f"sum by (app) ({of('store_rows', APP, by='app, table')})", unit="locale", width=90),
                    Column("Pages", of("store_integrity_ok", APP, by="app"), texts=SOUND, unit="none", width=90),
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
                        "Replaced", grown("store_replaced_total", "$__range", APP, by="app"), unit="locale", width=90
                    ),
                ],
                TWO_THIRDS,
                no_value="No store has been read",
                sort=("Application", False),
            ),
            grid(
                311,
                "Rows of stores",
                "What fills them. The oldest go when they are old, or when the file is full.",
                [
                    Column("Table", "table", label=True),
                    Column("Application", "app", label=True, link=ROW, width=130),
                    Column("Rows", of("store_rows", APP, by="app, table"), unit="locale", decimals=0, width=100),
                ],
                THIRD,
                no_value="No store has been read",
                sort=("Rows", True),
            ),
            graph(
                313,
                "Rows that make no sense",
                "Rows of an existing store of which something is not exported: a value that is no number, a time that "
                "is none, tags that cannot be read.",
                [
                    Query(f"sum({rising('rows_rejected_total', APP, is_('reason', reason), by='app, reason')})", reason)
                    for reason in PROBLEMS
                ],
                THIRD,
                no_value="No store was read in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=dict(zip(PROBLEMS, PARTS, strict=False)),
                decimals=0,
            ),
            grid(
                314,
                "What stores lack",
                "Tables or columns that are missing, so that something cannot be told. `docs/emr.md` has the remedies.",
                [
                    Column("Application", "app", label=True, link=ROW, width=130),
                    Column("Problem", "problem", label=True),
                ],
                THIRD,
                rows=of("schema_problem", APP, by="app, problem"),
                no_value="They lack nothing",
                sort=("Application", False),
            ),
            timeline(
                315,
                "Reading",
                "Whether the exporter reads each store, and runs its checks. While it fails or is overdue, what is "
                "shown here is old or missing; `rounds status` says why.",
                [Query(COLLECTORS.state(COLLECTOR, limits.collector_stale()), "{{app}}")],
                THIRD,
                no_value="No look at a store is known in this time: is the exporter up?",
                texts=collectors.STATES,
                link=READING,
            ),
            graph(
                316,
                "Duration of looks",
                "How long the longest look at each store, and its longest check, took.",
                [
                    Query(
                        COLLECTORS.of(f"max_over_time(rounds_collector_duration_seconds{{{COLLECTOR}}}[$__interval])"),
                        "{{app}}",
                    )
                ],
                THIRD,
                no_value="No look at a store is known in this time: is the exporter up?",
                unit="s",
                points=BARS,
                link=READING,
            ),
            graph(
                317,
                "Failed looks by reason",
                "connect: the file is not there, or cannot be read. timeout: it is locked, or on a slow disk. query: a "
                "table or column is missing.",
                [Query(f"sum({risen(failures % reason, 'collector')})", reason) for reason in FAILURE_REASONS],
                THIRD,
                no_value="No look at a store is known in this time: is the exporter up?",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=dict(zip(FAILURE_REASONS, PARTS, strict=False)),
                decimals=0,
            ),
        ],
    )
