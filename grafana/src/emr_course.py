"""The row History of the dashboard of the domain `emr`: how it came to what holds now."""

from __future__ import annotations

from grafana.src import limits
from grafana.src.emr_queries import (
    ALERTS,
    ALL,
    APP,
    CHECKED,
    CRASH_WORDS,
    MODEL,
    NAME,
    ONE,
    OUTCOME_COLOURS,
    RAISED_COLOURS,
    REASON_COLOURS,
    RETRY_WORDS,
    RUNS,
    SHARES,
    TAKES,
    TIMINGS,
    backup_age,
    checked,
    left,
    model,
    of,
    quantile,
    rising,
    series,
    since,
)
from grafana.src.kit import (
    BARS,
    DEGRADED,
    DOWN,
    HALF,
    PARTS,
    THIRD,
    UP,
    WARNING,
    WHOLE,
    Panel,
    Query,
    Row,
    graph,
    timeline,
)
from grafana.src.series import is_

from rounds.emr.names import OUTCOMES
from rounds.emr.names import SEVERITIES as RAISED


def history() -> Row:
    """How it came to this."""
    counted = "app, operation, outcome"
    return Row(
        200,
        "History: $app",
        [
            timeline(
                201,
                "Checks",
                "What each check found. A gap is time in which nothing is known: look at the exporter.",
                [Query(checked(), f"{NAME}{{{{check}}}}")],
                WHOLE,
                no_value="No check has run in this time",
                texts=CHECKED,
                link=ONE,
            ),
            graph(
                202,
                "Health score",
                "The score, and on top of it what took points: together they are 100. Of several applications, the "
                "average.",
                [
                    Query(f"avg({of('health_score', APP, by='app')})", "score"),
                    *(
                        Query(f"avg({of('health_score_deduction', APP, is_('reason', reason), by='app')})", word)
                        for reason, word in TAKES.items()
                    ),
                ],
                HALF,
                no_value="No score is known in this time",
                unit="none",
                style="area",
                decimals=0,
                soft_maximum=100,
                colours={"score": UP, **{TAKES[reason]: colour for reason, colour in REASON_COLOURS.items()}},
            ),
            timeline(
                203,
                "Versions",
                "Which version ran when. A line that is grey is a program that is closed; short pieces one after the "
                "other are one that keeps crashing.",
                [
                    Query(
                        f"{of('app_info', APP, by='app, version')} * on (app) group_left ()"
                        f" ({of('app_running', APP, by='app')} > bool 0)",
                        "{{app}} {{version}}",
                    )
                ],
                HALF,
                no_value="No application was seen in this time",
                texts=RUNS,
                link=ONE,
            ),
            graph(
                204,
                "Operations",
                "What the application did, by what came of it. Skipped: there was nothing to do, or somebody thought "
                "better of it. A bar stands for the time since the one before it; its numbers are exact.",
                [
                    Query(f"sum({rising('operations_total', APP, is_('outcome', outcome), by=counted)})", outcome)
                    for outcome in OUTCOMES
                ],
                HALF,
                no_value="The application did nothing in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=OUTCOME_COLOURS,
                decimals=0,
            ),
            graph(
                205,
                f"Error ratio, {limits.emr_window()}",
                f"The part of each operation that failed, of those in the {limits.emr_window()} before that were done "
                "or failed. Above the dashed line EmrErrorRatioHigh fires, from five failures on.",
                [
                    Query(
                        f"max by (app, operation) (app:rounds_emr_operations_failed:ratio5m{{{APP}}})",
                        f"{NAME}{{{{operation}}}}",
                    ),
                    Query(f"vector({limits.emr_error_ratio():g})", "high", limit=WARNING),
                ],
                HALF,
                no_value="The application did nothing in this time",
                unit="percentunit",
                decimals=0,
                soft_maximum=0.1,
                link=ONE,
            ),
            graph(
                206,
                "Errors by type",
                "Errors that the application noticed, by the kind of exception. ConnectionRefusedError, TimeoutError: "
                "something that it needs does not answer. OperationalError: its database, as when it is locked.",
                [
                    Query(
                        f"sum by (error_type) ({since('errors_total', 'app, error_type, source', '$__interval')})",
                        "{{error_type}}",
                    )
                ],
                HALF,
                no_value="No error in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                decimals=0,
            ),
            graph(
                207,
                "New errors",
                "Errors that had not been seen before: raised at a place, or of a kind, that is new. Many after an "
                "update are its faults.",
                [Query(f"sum by (app) ({rising('error_groups_seen_total', APP, by='app')})", "{{app}}")],
                HALF,
                no_value="No store was read in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colour=PARTS[1],
                decimals=0,
                link=ONE,
            ),
            *(latency(208 + place, operation, title) for place, (operation, title) in enumerate(TIMINGS.items())),
            graph(
                212,
                "Duration of other operations, p95",
                f"95 of 100 of them in the {limits.emr_window()} before took no longer.",
                [
                    Query(
                        quantile(0.95, f'operation!~"{"|".join(TIMINGS)}"', "app, operation"),
                        f"{NAME}{{{{operation}}}}",
                    )
                ],
                HALF,
                no_value="No other operation in this time",
                unit="s",
                link=ONE,
            ),
            graph(
                213,
                "Slow operations",
                "Operations that took longer than they should, which the table of operations below has. Slow searches: "
                "the database, or the disk. Slow answers: the language model, which needs memory.",
                [
                    Query(
                        f"sum by (operation) ({rising('slow_operations_total', APP, by='app, operation')})",
                        "{{operation}}",
                    )
                ],
                HALF,
                no_value="No operation was slow in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                decimals=0,
            ),
            graph(
                214,
                "Events",
                "What the application counts, such as patients it was told of and visits it saved. None in working "
                "hours is worth a look.",
                [Query(f"sum by (event) ({since('events_total', 'app, event', '$__interval')})", "{{event}}")],
                HALF,
                no_value="The application counted nothing in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                decimals=0,
            ),
            graph(
                215,
                "Active consultations",
                "Patients who are being seen, as the application says.",
                [Query(of("gauge", APP, is_("name", "active_consultations"), by="app"), "{{app}}")],
                HALF,
                no_value="The application does not say",
                unit="none",
                style="steps",
                decimals=0,
                soft_maximum=1,
                link=ONE,
            ),
            graph(
                216,
                "Retries",
                "What was tried again. Then succeeded: nobody noticed. Given up: somebody did.",
                [
                    Query(
                        f"sum({rising('retries_total', APP, is_('outcome', outcome), by='app, operation, outcome')})",
                        word,
                    )
                    for outcome, word in RETRY_WORDS.items()
                ],
                THIRD,
                no_value="Nothing was tried again in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=dict(zip(RETRY_WORDS.values(), (WARNING, PARTS[0], DOWN), strict=True)),
                decimals=0,
            ),
            graph(
                217,
                "Crashes",
                "How often the application ended badly: by an exception that nobody caught, by a fatal signal, or "
                "without a word. The marks at the top of each graph name the version.",
                [
                    Query(f"sum({rising('crashes_total', APP, is_('kind', kind), by='app, kind')})", word)
                    for kind, word in CRASH_WORDS.items()
                ],
                THIRD,
                no_value="No store was read in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=dict(zip(CRASH_WORDS.values(), (DOWN, PARTS[1], DEGRADED), strict=True)),
                decimals=0,
            ),
            graph(
                218,
                "Alerts of the application",
                "Alerts that the application raised itself, once for each way by which they were told. What they say "
                "stays on its computer.",
                [
                    Query(
                        f"sum({rising('alerts_total', APP, is_('severity', name), by='app, severity, channel')})", name
                    )
                    for name in reversed(RAISED)
                ],
                THIRD,
                no_value="No store was read in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=RAISED_COLOURS,
                decimals=0,
            ),
            *resources(),
            ALERTS.over_time(225, "app, alertname", "{{app}} {{alertname}}", APP),
        ],
    )


def latency(number: int, operation: str, title: str) -> Panel:
    """How long an operation takes, against the time from which it is slow."""
    matcher = is_("operation", operation)
    slow = f"min({series('operation_slow_threshold_seconds', APP, matcher)})"
    near = f"{slow} and on () max({quantile(0.99, matcher)}) > {slow} / 3"
    return graph(
        number,
        title,
        f"p50: half of those in the {limits.emr_window()} before took no longer; p99: 99 of 100. Where p95 stays above "
        "the dashed line, EmrOperationSlow fires. The line is drawn once they come near.",
        [
            *(Query(quantile(share, matcher), name) for name, share in SHARES.items()),
            Query(near, "slow", limit=WARNING),
        ],
        HALF,
        no_value="None in this time",
        unit="s",
        colours=dict(zip(SHARES, (PARTS[2], PARTS[0], PARTS[5], PARTS[3]), strict=True)),
    )


def resources() -> list[Panel]:
    """The computer, the language model and the backups over time."""
    own = f"1048576 * {of('gauge', APP, is_('name', 'memory_usage_mb'), by='app')}"
    limit = {"disk": limits.emr_disk(), "memory": limits.emr_memory()}
    parts = {
        "disk": ("Disk left", "If it also gets less so fast that nothing is left in a day, EmrDiskWillFill fires."),
        "memory": ("Memory left", "After a while EmrMemoryLow fires: the computer gets slow, and then ends programs."),
    }
    return [
        *(
            graph(
                219 + place,
                title,
                f"The part of the computer's {what} that is left. Under the dashed line it is little. {text}",
                [
                    Query(left(what), "{{app}}"),
                    Query(f"vector({limit[what]:g})", "little", limit=WARNING),
                ],
                THIRD,
                no_value=f"The {what} is not checked",
                unit="percentunit",
                decimals=0,
                soft_maximum=1,
                link=ONE,
            )
            for place, (what, (title, text)) in enumerate(parts.items())
        ),
        graph(
            221,
            "Memory of the application",
            "What its processes take, and what it says itself. A line that only rises is a leak.",
            [
                Query(of("process_resident_memory_bytes", APP, by="app"), "{{app}}"),
                Query(own, "{{app}} says"),
            ],
            THIRD,
            no_value="The application does not run",
            unit="bytes",
            link=ONE,
        ),
        graph(
            222,
            "Processor",
            "How much of one processor the application takes. 100 % for long is one that is stuck.",
            [
                Query(
                    f"sum by (app) (rate({series('process_cpu_seconds_total', APP)}[$__rate_interval]))",
                    "{{app}}",
                    step="30s",
                )
            ],
            THIRD,
            no_value="No store was read in this time",
            unit="percentunit",
            link=ONE,
        ),
        timeline(
            223,
            "Language model",
            "Whether the model could answer. Installed but not loaded is as it should be after a while without a "
            "question.",
            [Query(model(), "{{model}}")],
            THIRD,
            no_value="No model is configured",
            texts=MODEL,
            link=ALL,
        ),
        graph(
            224,
            "Age of backups",
            "How old the newest good backup is. It falls when one is made. Above the dashed line the check is "
            f"degraded, and {limits.emr_backup_slack() // 3600} hours later EmrBackupStale fires.",
            [
                Query(backup_age(), f"{NAME}{{{{backup}}}}"),
                Query(of("backup_max_age_seconds", APP, by="app, backup"), "too old", limit=DEGRADED),
            ],
            THIRD,
            no_value="There is no good backup",
            unit="s",
            link=ONE,
        ),
    ]
