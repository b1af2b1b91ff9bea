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
    OUTCOME_WORDS,
    RAISED_COLOURS,
    REASON_COLOURS,
    RETRY_WORDS,
    RUNS,
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
    SHARE_COLOURS,
    SHARES,
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
                "State of each check",
                "What each check found when. A gap is time in which nothing is known: look at the exporter.",
                [Query(checked(), f"{NAME}{{{{check}}}}")],
                WHOLE,
                no_value="No data: is the exporter up?",
                texts=CHECKED,
                link=ONE,
            ),
            graph(
                202,
                "Health score over time",
                "The score, and on top of it what took points: together they are 100. Of several applications it is "
                "the average.",
                [
                    Query(f"avg({of('health_score', APP, by='app')})", "score"),
                    *(
                        Query(f"avg({of('health_score_deduction', APP, is_('reason', reason), by='app')})", word)
                        for reason, word in TAKES.items()
                    ),
                ],
                HALF,
                no_value="No data: is the exporter up?",
                unit="none",
                style="area",
                decimals=0,
                soft_maximum=100,
                colours={"score": UP, **{TAKES[reason]: colour for reason, colour in REASON_COLOURS.items()}},
            ),
            timeline(
                203,
                "Versions over time",
                "Which version ran when. Grey: the program was closed. Short pieces one after the other: it keeps "
                "crashing, perhaps since an update.",
                [
                    Query(
                        f"{of('app_info', APP, by='app, version')} * on (app) group_left ()"
                        f" ({of('app_running', APP, by='app')} > bool 0)",
                        "{{app}} {{version}}",
                    )
                ],
                HALF,
                no_value="No data: was an application seen in this time?",
                texts=RUNS,
                link=ONE,
            ),
            graph(
                204,
                "Operations",
                "How often the application did something, by what came of it. Skipped: there was nothing to do, or "
                "somebody thought better of it. A bar stands for the time since the one before it; its numbers are "
                "exact.",
                [
                    Query(f"sum({rising('operations_total', APP, is_('outcome', outcome), by=counted)})", word)
                    for outcome, word in OUTCOME_WORDS.items()
                ],
                HALF,
                no_value="Nothing was done in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=OUTCOME_COLOURS,
                decimals=0,
            ),
            graph(
                205,
                f"Share that failed, {words_of(limits.emr_window())}",
                f"Which share of each operation failed in the {words_of(limits.emr_window())} before. Above the "
                "dashed line an alert fires, from five failures on: see Errors by type for the cause.",
                [
                    Query(
                        f"max by (app, operation) (app:rounds_emr_operations_failed:ratio5m{{{APP}}})",
                        f"{NAME}{{{{operation}}}}",
                    ),
                    Query(f"vector({limits.emr_error_ratio():g})", "high", limit=WARNING),
                ],
                HALF,
                no_value="Nothing was done in this time",
                unit="percentunit",
                soft_maximum=0.1,
                maximum=1,
                link=ONE,
            ),
            graph(
                206,
                "Errors by type",
                "How many errors the application noticed, as its programmers call them. `ConnectionRefusedError`, "
                "`TimeoutError`: something that it needs does not answer. `OperationalError`: its database, as when "
                "another program holds it.",
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
                "How many errors had never been seen before: in a new place, or of a new kind. Many after an update "
                "are its faults: tell whoever makes the program.",
                [Query(f"sum by (app) ({rising('error_groups_seen_total', APP, by='app')})", "{{app}}")],
                HALF,
                no_value="No data: was a store read in this time?",
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
                "Duration of other operations",
                f"How long at most 95 of 100 of each took in the {words_of(limits.emr_window())} before. A jump "
                "shows what has become slow.",
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
                "How often something took longer than it should; from when on stands under Operations in the time "
                "shown. Slow searches: the database, or the disk. Slow answers: the language model, which needs "
                "memory.",
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
                "What the application counts, such as patients that were entered and visits that were saved. None "
                "in working hours is worth a look.",
                [Query(f"sum by (event) ({since('events_total', 'app, event', '$__interval')})", "{{event}}")],
                HALF,
                no_value="Nothing was counted in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                decimals=0,
            ),
            graph(
                215,
                "Consultations over time",
                "How many patients were being seen, as the application says.",
                [Query(of("gauge", APP, is_("name", "active_consultations"), by="app"), "{{app}}")],
                HALF,
                no_value="Not configured: the application does not say",
                unit="none",
                style="steps",
                decimals=0,
                soft_maximum=1,
                link=ONE,
            ),
            graph(
                216,
                "Retries",
                "How often something was tried again. Then succeeded: nobody noticed. Given up: somebody did.",
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
                "How often the application ended badly: by a fault in it (exception), ended by the computer (fatal "
                "signal), or without a word. The marks in each graph name the version.",
                [
                    Query(f"sum({rising('crashes_total', APP, is_('kind', kind), by='app, kind')})", word)
                    for kind, word in CRASH_WORDS.items()
                ],
                THIRD,
                no_value="No data: was a store read in this time?",
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
                "Alerts that the application itself raised, once for each way by which it told them. What they say "
                "stays on its computer.",
                [
                    Query(
                        f"sum({rising('alerts_total', APP, is_('severity', name), by='app, severity, channel')})", name
                    )
                    for name in reversed(RAISED)
                ],
                THIRD,
                no_value="No data: was a store read in this time?",
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


def words_of(window: str) -> str:
    """A time of PromQL, as people write it."""
    return window.replace("m", " min")


def latency(number: int, operation: str, title: str) -> Panel:
    """How long an operation takes, against the time from which it is slow."""
    matcher = is_("operation", operation)
    slow = f"min({series('operation_slow_threshold_seconds', APP, matcher)})"
    near = f"{slow} and on () max({quantile(0.99, matcher)}) > {slow} / 3"
    return graph(
        number,
        title,
        f"How long half of those in the {words_of(limits.emr_window())} before took at most, and how long 90, 95 and "
        "99 of 100. Where the line of 95 stays above the dashed one, which is drawn once they come near, an alert "
        "fires.",
        [
            *(Query(quantile(share, matcher), name) for name, share in SHARES.items()),
            Query(near, "slow", limit=WARNING),
        ],
        HALF,
        no_value="Nothing of this kind in this time",
        unit="s",
        colours=SHARE_COLOURS,
    )


def resources() -> list[Panel]:
    """The computer, the language model and the backups over time."""
    own = f"1048576 * {of('gauge', APP, is_('name', 'memory_usage_mb'), by='app')}"
    limit = {"disk": limits.emr_disk(), "memory": limits.emr_memory()}
    parts = {
        "disk": ("Disk left over time", "An alert fires if it also gets less so fast that nothing is left in a day."),
        "memory": (
            "Memory left over time",
            "If it stays so, an alert fires: the computer gets slow, then ends programs.",
        ),
    }
    return [
        *(
            graph(
                219 + place,
                title,
                f"Which share of the computer's {what} is left. Under the dashed line it is little. {text}",
                [
                    Query(left(what), "{{app}}"),
                    Query(f"vector({limit[what]:g})", "little", limit=WARNING),
                ],
                THIRD,
                no_value=f"Not configured: the {what} is not checked",
                unit="percentunit",
                soft_maximum=1,
                link=ONE,
            )
            for place, (what, (title, text)) in enumerate(parts.items())
        ),
        graph(
            221,
            "Memory of the application",
            "How much memory the application takes, and what it says itself. A line that only rises for days is a "
            "fault.",
            [
                Query(of("process_resident_memory_bytes", APP, by="app"), "{{app}}"),
                Query(own, "{{app}} says"),
            ],
            THIRD,
            no_value="Nothing runs in this time",
            unit="bytes",
            link=ONE,
        ),
        graph(
            222,
            "Processor",
            "How much of one processor the application takes. If it stays at 100 %, the application is stuck.",
            [
                Query(
                    f"sum by (app) (rate({series('process_cpu_seconds_total', APP)}[$__rate_interval]))",
                    "{{app}}",
                    step="30s",
                )
            ],
            THIRD,
            no_value="No data: was a store read in this time?",
            unit="percentunit",
            link=ONE,
        ),
        timeline(
            223,
            "Language model over time",
            "Whether the program that writes notes could answer. Installed, but not loaded, is as it should be after a "
            "while without a question.",
            [Query(model(), "{{model}}")],
            THIRD,
            no_value="Not configured: no language model",
            texts=MODEL,
            link=ALL,
        ),
        graph(
            224,
            "Age of backups",
            "How old the newest good backup is. It falls when one is made. Above the dashed line the check is "
            f"degraded, and {limits.emr_backup_slack() // 3600} hours later an alert fires.",
            [
                Query(backup_age(), f"{NAME}{{{{backup}}}}"),
                Query(of("backup_max_age_seconds", APP, by="app, backup"), "too old", limit=DEGRADED),
            ],
            THIRD,
            no_value="No good backup",
            unit="s",
            link=ONE,
        ),
    ]
