"""The dashboard of the domain `emr`, and its row Now."""

from __future__ import annotations

from grafana.src import limits
from grafana.src.alerts import CALLING
from grafana.src.emr_causes import detail
from grafana.src.emr_course import history
from grafana.src.emr_queries import (
    ALERTS,
    ALL,
    APP,
    CHECKED,
    CHECKED_CODES,
    CRASH_WORDS,
    MODEL,
    ONE,
    POINTS,
    ROW,
    RUNS,
    STATE_COLOURS,
    TAKES,
    UID,
    age,
    backup_age,
    checked,
    grown,
    left,
    model,
    of,
    old,
    risen_in_range,
    series,
)
from grafana.src.kit import (
    CARD,
    DEGRADED,
    DOWN,
    HALF,
    NEUTRAL,
    NO_DATA,
    NONE,
    NOT_CONFIGURED,
    PLAIN,
    SMALL_CARD,
    THIRD,
    TWO_THIRDS,
    UNKNOWN,
    UP,
    WARNING,
    WIDE_CARD,
    Column,
    Mark,
    Panel,
    Query,
    Row,
    Variable,
    always,
    bars,
    grid,
    render,
    stat_panel,
)
from grafana.src.series import is_

#: What an alert on an application may be about.
SUBJECTS = ("check", "operation", "backup", "model", "crash")


def now() -> Row:
    """What holds at this moment."""
    return Row(
        100,
        "Now",
        [
            stat_panel(
                101,
                "Health score",
                "Of 100 points, what is left, for a look in passing; no alert uses it. Ochre: some are missing. "
                "Orange: 20 or more, as for a degraded check. Red: 50 or more, as for an unhealthy one. Below "
                "stands what took them.",
                [Query(of("health_score", APP, by="app"), "{{app}}")],
                CARD,
                no_value=NO_DATA,
                unit="none",
                decimals=0,
                steps=POINTS,
                link=ONE,
                names=True,
            ),
            stat_panel(
                102,
                "State",
                "The worst that the checks of each application found. Healthy: it has what it needs. Degraded: it "
                "works, but not as it should. Unhealthy: something that it needs does not work.",
                [Query(f"max by (app) ({checked()})", "{{app}}")],
                CARD,
                no_value=NO_DATA,
                unit="none",
                texts=CHECKED,
                steps=((None, UNKNOWN),),
                link=ONE,
                names=True,
            ),
            stat_panel(
                105,
                "Active consultations",
                "How many patients are being seen at the moment, as the application says. If it stays while nobody "
                "works, the application forgot to take it back.",
                [Query(of("gauge", APP, is_("name", "active_consultations"), by="app"), "{{app}}")],
                CARD,
                no_value=NOT_CONFIGURED,
                unit="none",
                decimals=0,
                link=ONE,
                names=True,
            ),
            stat_panel(
                103,
                "Checks by state",
                "How many checks found what the application needs healthy, degraded or unhealthy. Which, and why, "
                "stands below.",
                [
                    Query(f"count(({checked()}) == {code}) or 0 * count({checked()})", word)
                    for word, code in reversed(CHECKED_CODES.items())
                ],
                WIDE_CARD,
                no_value=NO_DATA,
                unit="none",
                decimals=0,
                link=ALL,
                names=True,
                colours=STATE_COLOURS,
            ),
            ALERTS.card(104, APP, link=ALL, by="app, alertname, check, backup, operation"),
            stat_panel(
                106,
                "Language model",
                "The program that writes notes. Loaded: it answers at once. Installed: its first answer takes "
                "longer, as it should. Not installed: install the model again. No answer: start its server again.",
                [Query(model(), "{{model}}")],
                WIDE_CARD,
                no_value=NOT_CONFIGURED,
                unit="none",
                texts=MODEL,
                steps=((None, UNKNOWN),),
                link=ALL,
                names=True,
            ),
            stat_panel(
                107,
                "Newest backup",
                "How long ago the newest good backup, a copy of the data, was made. Orange: it is too old; make one "
                "now.",
                [
                    Query(f"{backup_age()} unless {old()}", "{{backup}}"),
                    Query(old(), "{{backup}}, too old", colour=DEGRADED),
                ],
                WIDE_CARD,
                no_value=NONE,
                unit="s",
                decimals=1,
                steps=always(UP),
                link=ALL,
                names=True,
            ),
            *(
                stat_panel(
                    number,
                    f"{what.capitalize()} left",
                    f"Which share of the {what} is left, of the computer that has the least. Ochre under {limit:.0%}"
                    f"{more}.",
                    [Query(f"min({left(what)})", what)],
                    SMALL_CARD,
                    no_value=NOT_CONFIGURED,
                    unit="percentunit",
                    decimals=0,
                    steps=((None, UNKNOWN), (0, WARNING), (limit, NEUTRAL)),
                    link=ALL,
                )
                for number, what, limit, more in (
                    (
                        108,
                        "disk",
                        limits.emr_disk(),
                        ": delete what nobody needs. An alert fires if it also gets less fast",
                    ),
                    (114, "memory", limits.emr_memory(), ": close what nobody uses. An alert fires if it stays so"),
                )
            ),
            stat_panel(
                109,
                "Last crash",
                "How long ago an application last ended badly: by a fault in it (exception), ended by the computer "
                "(fatal signal), or without a word, as when the power fails; that is noticed at its next start.",
                [
                    Query(f"min({age('last_crash_timestamp_seconds', is_('kind', kind), by='app')})", word)
                    for kind, word in CRASH_WORDS.items()
                ],
                WIDE_CARD,
                no_value=NONE,
                unit="s",
                decimals=1,
                link=ALL,
                names=True,
            ),
            grid(
                110,
                "Checks",
                "What each check found when it last ran, and why it is not healthy. `docs/emr.md` says what each "
                "looks at, and from when on it is degraded or unhealthy.",
                [
                    Column("Application", "app", label=True, link=ROW),
                    Column("Check", "check", label=True),
                    Column("State", checked(), texts=CHECKED, unit="none", width=110),
                    Column("Reason", "reason", label=True),
                    Column("Took", of("health_duration_seconds", APP, by="app, check"), unit="s", decimals=1, width=90),
                    Column(
                        "Ran",
                        f"1000 * {of('health_last_run_timestamp_seconds', APP, by='app, check')}",
                        unit="dateTimeFromNow",
                        width=150,
                    ),
                ],
                HALF,
                rows=f"max by (app, check, reason) ({series('health_reason', APP)} == 1) or on (app, check)"
                f" {of('health_interval_seconds', APP, by='app, check')}",
                no_value="Not configured: no check",
                sort=("State", True),
            ),
            ALERTS.listed(
                111,
                [
                    Column("Application", "app", label=True, link=ROW, width=120),
                    Column("About", "subject", label=True),
                ],
                alerting(),
            ),
            applications(),
            bars(
                113,
                "What took points",
                "The points that the health score lacks, by what took them: of the selected applications, the most. "
                "Checks take as many as the worst of them.",
                [
                    Query(f"max({series('health_score_deduction', APP, is_('reason', reason))})", word)
                    for reason, word in TAKES.items()
                ],
                THIRD,
                no_value="No data: is the exporter up?",
                unit="none",
                steps=((None, UNKNOWN), (0, UP), (1, WARNING), (20, DEGRADED), (50, DOWN)),
                maximum=100,
                decimals=0,
            ),
        ],
    )


def alerting() -> str:
    """When each firing alert began, told by what it is about."""
    return ALERTS.since_about("app, alertname, severity", SUBJECTS, CALLING, APP)


def applications() -> Panel:
    """What is known of each application's processes."""
    return grid(
        112,
        "Applications",
        "What runs, since when, and in which version. A program that is closed is no fault: what is told of it is "
        "as it was then. Crashes and errors are those of the time shown.",
        [
            Column("Application", "app", label=True, link=ROW),
            Column("Version", "version", label=True, width=90),
            Column("State", f"{of('app_running', APP, by='app')} > bool 0", texts=RUNS, unit="none", width=80),
            Column(
                "Began",
                f"1000 * {of('app_start_timestamp_seconds', APP, by='app')}",
                unit="dateTimeFromNow",
                width=140,
            ),
            Column(
                "Sign of life",
                f"1000 * {of('app_heartbeat_timestamp_seconds', APP, by='app')}",
                unit="dateTimeFromNow",
                width=140,
            ),
            Column("Memory", of("process_resident_memory_bytes", APP, by="app"), unit="bytes", decimals=1, width=100),
            Column(
                "Crashes",
                grown("crashes_total", "$__range", APP, by="app"),
                unit="locale",
                decimals=0,
                width=80,
                steps=((None, PLAIN), (1, DOWN)),
            ),
            Column(
                "Errors",
                f"sum by (app) ({risen_in_range('errors_total', 'app, error_type, source')})",
                unit="locale",
                decimals=0,
                width=80,
                steps=((None, PLAIN), (1, WARNING)),
            ),
            Column("Python", "python", label=True, width=80),
            Column("System", "os", label=True),
        ],
        TWO_THIRDS,
        rows=of("app_info", APP, by="app, version, python, os"),
        no_value="No data: is the exporter up, and does the application keep a store?",
        sort=("Application", False),
    )


def marks() -> list[Mark]:
    """Crashes, with the version that ended so, and starts."""
    version = f"* on (app) group_left (version) {of('app_info', APP, by='app, version')}"
    crash = of("last_crash_timestamp_seconds", APP, by="app, kind")
    start = of("app_start_timestamp_seconds", APP, by="app")
    # Of a crash that is not young any more, the version of now may be another one.
    return [
        Mark(
            "Crashes",
            f"(1000 * {crash} and time() - {crash} < 300) {version}",
            "{{app}} {{version}} crashed",
            "{{kind}}",
            DEGRADED,
        ),
        Mark("Starts", f"1000 * {start} {version}", "{{app}} {{version}} began", "start", NEUTRAL, shown=False),
    ]


def dashboard() -> str:
    """The dashboard's file."""
    return render(
        UID,
        "Applications",
        "Whether desktop applications have what they need, what goes wrong in them, and how fast they are. Each tells "
        "of itself in a store on its computer; the exporter looks at that, and at what the application needs.",
        variables=[Variable("app", "Application", series("health_interval_seconds"))],
        alerts=f'component="emr",{APP}',
        rows=[now(), history(), detail()],
        marks=marks(),
        time_from="now-6h",
    )
