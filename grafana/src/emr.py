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
                "Of 100 points, what is left. It is for a look in passing, and no alert uses it: Score below says what "
                "took points. Ochre: some are missing. Orange: 20 or more, which is what a degraded check takes. Red: "
                "50 or more, which is what an unhealthy one takes.",
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
                "The worst of what the checks of each application found. Healthy: it has what it needs. Degraded: it "
                "works, but not as it should. Unhealthy: something that it needs does not work.",
                [Query(f"max by (app) ({checked()})", "{{app}}")],
                CARD,
                no_value="No check has run",
                unit="none",
                texts=CHECKED,
                steps=((None, UNKNOWN),),
                link=ONE,
                names=True,
            ),
            stat_panel(
                105,
                "Active consultations",
                "Patients who are being seen at the moment, as the application says. A number that stays while nobody "
                "works is one that the application forgot to take back.",
                [Query(of("gauge", APP, is_("name", "active_consultations"), by="app"), "{{app}}")],
                CARD,
                no_value="The application does not say",
                unit="none",
                decimals=0,
                link=ONE,
                names=True,
            ),
            stat_panel(
                103,
                "Checks",
                "How many checks found what. Which they are, and why, stands below.",
                [
                    Query(f"count(({checked()}) == {code}) or 0 * count({checked()})", word)
                    for word, code in reversed(CHECKED_CODES.items())
                ],
                WIDE_CARD,
                no_value="No check has run",
                unit="none",
                link=ALL,
                names=True,
                colours=STATE_COLOURS,
            ),
            ALERTS.card(104, APP, link=ALL, by="app, alertname, check, backup, operation"),
            stat_panel(
                106,
                "Language model",
                "The model that writes notes. Loaded: it answers at once. Installed: the first answer takes longer, "
                "which is as it should be. Not installed: the server is there, the model is not. No answer: the server "
                "is not there, or hangs.",
                [Query(model(), "{{model}}")],
                WIDE_CARD,
                no_value="No model is configured",
                unit="none",
                texts=MODEL,
                steps=((None, UNKNOWN),),
                link=ALL,
                names=True,
            ),
            stat_panel(
                107,
                "Newest backup",
                "How long ago the newest good backup was made. Orange: longer than it should be.",
                [
                    Query(f"{backup_age()} unless {old()}", "{{backup}}"),
                    Query(old(), "{{backup}}, too old", colour=DEGRADED),
                ],
                WIDE_CARD,
                no_value="There is no good backup",
                unit="s",
                decimals=0,
                steps=always(UP),
                link=ALL,
                names=True,
            ),
            *(
                stat_panel(
                    number,
                    f"{what.capitalize()} left",
                    f"The part of the {what} that is left, of the computer that has the least. Ochre under {limit:.0%}"
                    f"{more}.",
                    [Query(f"min({left(what)})", what)],
                    SMALL_CARD,
                    no_value="not checked",
                    unit="percentunit",
                    decimals=0,
                    steps=((None, UNKNOWN), (0, WARNING), (limit, NEUTRAL)),
                    link=ALL,
                )
                for number, what, limit, more in (
                    (108, "disk", limits.emr_disk(), ", where there is an alert if it also gets less fast"),
                    (114, "memory", limits.emr_memory(), ", where there is an alert if it stays so"),
                )
            ),
            stat_panel(
                109,
                "Last crash",
                "How long ago an application last ended by an exception that nobody caught, by a fatal signal, or "
                "without a word, as when somebody kills it or the power fails. The last kind is noticed when it is "
                "started again.",
                [
                    Query(f"min({age('last_crash_timestamp_seconds', is_('kind', kind), by='app')})", word)
                    for kind, word in CRASH_WORDS.items()
                ],
                WIDE_CARD,
                no_value="None is known",
                unit="s",
                decimals=0,
                link=ALL,
                names=True,
            ),
            grid(
                110,
                "Checks",
                "What each check found when it last ran, and why it is not healthy. `docs/emr.md` says what each looks "
                "at, and from when on it is degraded or unhealthy.",
                [
                    Column("Application", "app", label=True, link=ROW),
                    Column("Check", "check", label=True),
                    Column("State", checked(), texts=CHECKED, unit="none", width=110),
                    Column("Reason", "reason", label=True),
                    Column("Took", of("health_duration_seconds", APP, by="app, check"), unit="s", width=90),
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
                no_value="No check is configured",
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
                "Score: what took points",
                "The points that are missing from 100, by what took them: of the selected applications, the most. "
                "Checks take as many as the worst of them.",
                [
                    Query(f"max({series('health_score_deduction', APP, is_('reason', reason))})", word)
                    for reason, word in TAKES.items()
                ],
                THIRD,
                no_value="No score is known",
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
        "What runs, since when, and in which version. A program that is closed is no fault: what is told of it is as "
        "it was then.",
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
            Column("Memory", of("process_resident_memory_bytes", APP, by="app"), unit="bytes", decimals=0, width=90),
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
        no_value="No application has been seen: is the exporter up, and is there a store?",
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
