"""The first screen: how each domain stands, what fires, what changed, how fresh all of it is, how it came to this."""

from __future__ import annotations

from collections.abc import Iterable

from grafana.src import limits
from grafana.src.alerts import CALLING, GRAVEST, SEVERITIES, Alerts
from grafana.src.cards import DOMAINS, FAILS, INTERVAL, JOB, STATES, WELL, Domain, card, texts
from grafana.src.counters import risen
from grafana.src.kit import (
    BARS,
    CARD,
    DEGRADED,
    DOWN,
    HALF,
    INSERTED,
    LONG_HALF,
    LONG_THIRD,
    NEUTRAL,
    NO_DATA,
    PARTS,
    SEVERITY_COLOURS,
    TALL_CARDS,
    THIRD,
    UNKNOWN,
    UP,
    WARNING,
    Column,
    Mark,
    Panel,
    Query,
    Row,
    Texts,
    from_one,
    graph,
    grid,
    link_to,
    render,
    runbook,
    stat_panel,
    timeline,
)
from grafana.src.series import Metrics, is_

UID = "overview"
#: Every alert that calls for somebody.
FIRING = f'ALERTS{{alertstate="firing",{CALLING}}}'
#: What tells alerts apart on this dashboard, besides their names: the labels of what they are about.
SUBJECTS = ("app", "check", "table", "organization", "validation_type", "collector", "source", "integration")
#: What of that a dashboard can be narrowed to, and the dashboard.
NARROWED = {"check": "services", "table": "tables", "organization": "syncs", "app": "emr", "collector": "exporter"}
APR, EMR, SYNCS, TABLES = (Metrics(f"rounds_{name}_") for name in ("apr", "emr", "sync", "table"))
PRODUCTION = is_("run_mode", "PRODUCTION")
PIPELINE_FAILED = is_("outcome", "failed")
SYNC_FAILED = 'state=~"failed|timeout"'
#: To what a row of a table is about.
GOTO = ("Look at it", "/d/${__data.fields.Goto}&${__url_time_range}&${datasource:queryparam}")
EXPORTER = link_to("exporter", "Look at the exporter")

#: How a domain stood, by its alerts.
UNREAD = 4
COURSE: Texts = {**GRAVEST, 0: STATES[WELL], UNREAD: STATES[FAILS]}
UP_OR_DOWN: Texts = {1: ("up", UP), 0: ("down", DOWN)}
#: In the colours of their collectors.
RUNS = {"sync runs": PARTS[3], "pipeline runs": PARTS[2], "failed": DOWN}
CHANGES = {"inserted": INSERTED, "modified": PARTS[1], "deleted": WARNING}
#: Since the last success; where there was none, since the exporter was told to look.
AGE = (
    f"(time() - max by (collector) (rounds_collector_last_success_timestamp_seconds{{{JOB}}})"
    f" or max by (collector) (0 * {INTERVAL} + on (job, instance) group_left ()"
    " (time() - rounds_config_last_reload_success_timestamp_seconds)))"
)
LIMIT = f"max by (collector) ({limits.collector_stale()})"
#: From 1 on, CollectorStale fires.
RATIO = f"{AGE} / {LIMIT}"


def of_domain(domain: Domain) -> Panel:
    """A domain's card."""
    leads = link_to(domain.name, f"Look at: {domain.title}")
    return stat_panel(
        110 + DOMAINS.index(domain),
        domain.title,
        "The gravest alert here, what it is about, and how many others fire. Red: act now. Orange: today, or it could "
        "not be read. Ochre: have a look. Green: no alert, and all that this needs is known. Grey: nothing is known, "
        "or nothing is watched.",
        [Query(card(domain), "{{about}} {{more}}")],
        CARD,
        no_value=NO_DATA,
        unit="none",
        texts=texts(domain.name),
        steps=((None, UNKNOWN),),
        link=leads,
        names=True,
        words=True,
    )


def now() -> Row:
    """What holds at this moment."""
    return Row(100, "Now", [*map(of_domain, DOMAINS), severities(), firing(), changed()])


def severities() -> Panel:
    """How many alerts fire."""
    return stat_panel(
        120,
        "How many alerts",
        "How many alerts fire now, by how grave they are. Critical: act now. Error: today. Warning: have a look. What "
        "is only told, such as new rows, is not counted.",
        [Query(f"count({firing_of(name)}) or vector(0)", name) for name in SEVERITY_COLOURS],
        TALL_CARDS,
        no_value=NO_DATA,
        unit="none",
        link=EXPORTER,
        names=True,
        steps=from_one(NEUTRAL),
        colours=SEVERITY_COLOURS,
    )


def firing() -> Panel:
    """Which alerts fire."""
    by = "part, alertname, severity, about, goto"
    labels = ", ".join(f'"{label}"' for label in SUBJECTS)
    since = f'label_join(time() - ALERTS_FOR_STATE and ignoring (alertstate) {FIRING}, "about", " ", {labels})'
    since = f'label_replace({since}, "about", "$1", "about", " *(.*?) *")'
    since = f'label_replace({since}, "goto", "$1?", "component", "(.*)")'
    for domain in DOMAINS:
        since = f'label_replace({since}, "part", "{domain.title}", "component", "{domain.name}")'
    for label, uid in NARROWED.items():
        since = f'label_replace({since}, "goto", "{uid}?var-{label}=$1", "{label}", "(.+)")'
    return grid(
        121,
        "Which alerts fire",
        "Alerts that call for somebody, the gravest and latest first. Click the name of one to read what to do, and "
        "what it is about to see it on its dashboard.",
        [
            Column("Severity", "severity", label=True, width=80, texts=SEVERITIES),
            Column("Part", "part", label=True, width=130, link=GOTO),
            Column("Alert", "alertname", label=True, link=runbook("Alert")),
            Column("About", "about", label=True, link=GOTO),
            Column("For", f"sort(max by ({by}) ({since}))", unit="s", decimals=0, width=75),
            Column("Goto", "goto", label=True, hidden=True),
        ],
        LONG_HALF,
        no_value="No alert is firing",
        sort=("Severity", False),
    )


def changed() -> Panel:
    """What changed lately."""
    return grid(
        122,
        "What changed",
        "What happened in the last hour, and in the last 24: rows that came, changed and went in watched tables, runs "
        "of the pipeline and of syncs, programs that were started, and versions of them. Click a line to see more.",
        [
            Column("What", "what", label=True, link=GOTO),
            Column("1 hour", events("1h"), unit="locale", decimals=0, width=75),
            Column("24 hours", events("1d"), unit="locale", decimals=0, width=85),
            Column("Goto", "goto", label=True, hidden=True),
        ],
        LONG_THIRD,
        no_value="Nothing is known: is the exporter up?",
        sort=("What", False),
    )


def events(window: str) -> str:
    """How often each of these happened in a time. Their names sort by what they belong to."""
    restarted = f"sum(changes(process_start_time_seconds{{{JOB}}}[{window}]))"
    counted = [
        ("emr", "Application crashes", EMR.grown("crashes_total", window)),
        ("exporter", "Deployments", deployed(window)),
        ("exporter", "Exporter restarts", restarted),
        ("apr", "Pipeline runs", APR.grown("runs_total", window, PRODUCTION)),
        ("apr", "Pipeline runs failed", APR.grown("runs_total", window, PRODUCTION, PIPELINE_FAILED)),
        *(
            ("tables", f"Rows {change}", TABLES.grown("changes_total", window, is_("change", change)))
            for change in CHANGES
        ),
        ("syncs", "Sync runs", SYNCS.grown("runs_total", window)),
        ("syncs", "Sync runs failed", SYNCS.grown("runs_total", window, SYNC_FAILED)),
    ]
    return " or ".join(
        f'label_replace(label_replace({expr}, "what", "{what}", "", ""), "goto", "{uid}?", "", "")'
        for uid, what, expr in counted
    )


def deployed(window: str) -> str:
    """How many versions of the exporter and of applications came up that were not there in the week before."""

    def seen(span: str) -> str:
        exporter, applications = (
            f"last_over_time({series}{span})" for series in (f"rounds_build_info{{{JOB}}}", EMR.series("app_info"))
        )
        return f"group by (app, version) ({exporter} or {applications})"

    new = f"{seen(f'[{window}]')} unless on (app, version) {seen(f'[7d] offset {window}')}"
    return f"count({new}) or 0 * count(up{{{JOB}}})"


def freshness() -> Row:
    """How old what is known is, against how old it may be."""
    ages, limits_ = zip(*told(), strict=True)
    return Row(
        200,
        "Freshness",
        [
            grid(
                201,
                "Age of collectors",
                "How long ago each part of the exporter last read what it watches, and which share that is of the age "
                "from which there is an alert: twice its interval and a minute. Orange: past that. The latest is "
                "at the top; click it to see why.",
                [
                    Column(
                        "Collector",
                        "collector",
                        label=True,
                        link=link_to("exporter", "Show this collector", collector="${__data.fields.Collector}"),
                    ),
                    Column("Age", AGE, unit="s", decimals=0, width=75),
                    Column("Interval", f"max by (collector) ({INTERVAL})", unit="s", width=70),
                    share(RATIO),
                ],
                THIRD,
                no_value="No collector is known: is the exporter up?",
                sort=("Of its limit", True),
            ),
            grid(
                202,
                "Age of sources",
                "Whether each database or server could be used when it was last read, and the age of the oldest of "
                "what is read from it, as a share of the age from which there is an alert. The latest is at the top; "
                "click it to see since when.",
                [
                    Column("Source", "source", label=True, link=EXPORTER),
                    Column(
                        "State", f"min by (source) (rounds_source_up{{{JOB}}})", unit="none", texts=UP_OR_DOWN, width=60
                    ),
                    Column("Age", of_source(AGE), unit="s", decimals=0, width=75),
                    share(of_source(RATIO)),
                ],
                THIRD,
                no_value="No source has been read: none is configured, or the exporter is not up",
                sort=("Of its limit", True),
            ),
            grid(
                203,
                "Age of what they tell",
                "How old the newest is that was found: the last success of each organisation's syncs, the last run of "
                "the pipeline, the newest good backup; as a share of the age at which it is late. Orange: late, which "
                "the pipeline may be on days off.",
                [
                    Column("What", "what", label=True),
                    Column("Age", by_what(ages), unit="s", decimals=0, width=80),
                    share(f"{by_what(ages)} / {by_what(limits_)}"),
                ],
                THIRD,
                no_value="No age is known: is the exporter up, and are these configured?",
                sort=("Of its limit", True),
            ),
        ],
    )


def share(expr: str) -> Column:
    """A column of ages as shares of those from which they are told."""
    return Column(
        "Of its limit",
        expr,
        unit="percentunit",
        decimals=0,
        steps=((None, UP), (1, DEGRADED)),
        bar=UP,
        full=1,
        width=105,
    )


def of_source(expr: str) -> str:
    """The highest of what holds of the collectors that read a source."""
    reads = f"max by (collector, source) (rounds_collector_info{{{JOB}}})"
    return f"max by (source) ({reads} * on (collector) group_left () ({expr}))"


def told() -> list[tuple[str, str]]:
    """What the sources tell: how old the newest of it is, and how old it may be."""
    organisation = 'organization!=""'
    success = SYNCS.of("last_success_timestamp_seconds", organisation, by="organization")
    expected = SYNCS.of("expected_interval_seconds", organisation, by="organization")
    backup = EMR.of("backup_last_success_timestamp_seconds", by="app")
    allowed = EMR.of("backup_max_age_seconds", by="app")
    run = APR.of("last_run_timestamp_seconds", PRODUCTION)
    every = APR.of("threshold_seconds", is_("threshold", "run_every"))

    def named(expr: str, text: str, label: str) -> str:
        return f'label_replace({expr}, "what", "{text}", "{label}", "(.*)")'

    return [
        (
            named(f"time() - {success}", "$1: last success", "organization"),
            named(f"{limits.sync_overdue():g} * {expected}", "$1: last success", "organization"),
        ),
        (
            named(f"time() - {backup}", "$1: newest backup", "app"),
            named(f"{allowed} + {limits.emr_backup_slack()}", "$1: newest backup", "app"),
        ),
        (named(f"time() - {run}", "pipeline: last run", ""), named(every, "pipeline: last run", "")),
    ]


def by_what(exprs: Iterable[str]) -> str:
    """All of these, told apart by nothing else."""
    return f"max by (what) ({' or '.join(exprs)})"


def course(domain: Domain) -> str:
    """How a domain stood: a code of `COURSE`; nothing where nothing is known of it."""
    alerts = Alerts(domain.name, domain.title)
    graver = [f"{code} * group({alerts.firing(is_('severity', COURSE[code][0]))})" for code in (3, 2, 1)]
    strange = f"1 * group({alerts.firing(CALLING)})"
    unread = f"{UNREAD} * group(rounds_collector_success{{{domain.collectors}}} == 0)"
    return " or on () ".join([*graver, strange, unread, f"0 * group({INTERVAL}{{{domain.collectors}}})"])


def course_of_alerts() -> str:
    """The grave ones of all alerts: a code of `COURSE`."""
    each = (f"{code} * max by (alertname) ({firing_of(COURSE[code][0])})" for code in (3, 2))
    return " or ".join(each)


def firing_of(severity: str) -> str:
    """The firing alerts of a severity."""
    return f"{FIRING[:-1]},{is_('severity', severity)}}}"


def history() -> Row:
    """How it came to this."""
    objective = limits.objective()
    return Row(
        300,
        "History",
        [
            timeline(
                301,
                "Parts, by their gravest alert",
                "How each part stood, by the gravest alert that fired. A gap is time in which the exporter did not "
                "answer or the part was not configured, and nothing is known. What began at the same time in several "
                "parts has a common cause: the network, or the computer.",
                [Query(course(domain), domain.title) for domain in DOMAINS],
                HALF,
                no_value="No data: was the exporter up?",
                texts=COURSE,
            ),
            timeline(
                302,
                "Grave alerts",
                "Which critical alerts and errors fired when; warnings stand on the dashboards of the parts. One that "
                "comes and goes wants its cause found; one that stays wants somebody.",
                [Query(course_of_alerts(), "{{alertname}}")],
                HALF,
                no_value="No grave alert fired in this time",
                texts=COURSE,
            ),
            graph(
                303,
                "Availability over 1 hour",
                f"For each service the share of probes in the hour before that did not find it down. Dashed: the "
                f"objective, {objective:.1%}. A line that falls is an outage; it rises an hour after its end.",
                [
                    Query("max by (check) (check:rounds_check_availability:ratio_rate1h)", "{{check}}"),
                    Query(f"0 * count(up{{{JOB}}}) + {objective:g}", "objective", limit=DOWN),
                ],
                THIRD,
                no_value="No service is checked, or nothing is recorded yet",
                unit="percentunit",
                minimum=None,
                soft_maximum=1,
                link=link_to("services", "Show this check", check="${__field.labels.check}"),
            ),
            graph(
                304,
                "Rows changed",
                "Rows of watched tables that came, changed and went, in each slice of the time shown. Many at once are "
                "an import, or a mistake.",
                [
                    Query(f"sum({risen(TABLES.series('changes_total', is_('change', change)), 'table')})", change)
                    for change in CHANGES
                ],
                THIRD,
                no_value="No change is known: are tables configured?",
                unit="locale",
                style="bars",
                points=BARS,
                decimals=0,
                soft_maximum=1,
                colours=CHANGES,
                link=link_to("tables", "Look at the tables"),
            ),
            graph(
                305,
                "Runs",
                "Runs of the pipeline and of syncs that ended, in each slice of the time shown, and those that failed.",
                runs(),
                THIRD,
                no_value="No run is known: are syncs or the pipeline configured?",
                unit="locale",
                style="bars",
                points=BARS,
                decimals=0,
                soft_maximum=1,
                colours=RUNS,
            ),
        ],
    )


def runs() -> list[Query]:
    """Runs that ended in each slice of a graph."""
    of_sync = "sync, organization, operation, state"
    syncs = f"sum({risen(SYNCS.series('runs_total'), of_sync)})"
    syncs_failed = f"sum({risen(SYNCS.series('runs_total', SYNC_FAILED), of_sync)})"
    pipeline = f"sum({risen(APR.series('runs_total', PRODUCTION), 'outcome')})"
    pipeline_failed = f"sum({risen(APR.series('runs_total', PRODUCTION, PIPELINE_FAILED), 'outcome')})"
    return [
        Query(f"{syncs} - {syncs_failed}", "sync runs"),
        Query(f"{pipeline} - {pipeline_failed}", "pipeline runs"),
        Query(f"{syncs_failed} + {pipeline_failed} or {syncs_failed} or {pipeline_failed}", "failed"),
    ]


def marks() -> list[Mark]:
    """Versions that were not there a day before."""
    app = EMR.of("app_info", by="app, version")
    began = f"{EMR.of('app_start_timestamp_seconds', by='app')} * on (app) group_right () {app}"
    before = f"max by (app, version) (last_over_time({EMR.series('app_info')}[1d] offset 5m))"
    build = f"max by (version) (process_start_time_seconds{{{JOB}}} * on (instance) group_right () rounds_build_info)"
    old = "max by (version) (last_over_time(rounds_build_info[1d] offset 5m))"
    exporter = f'label_replace({build} unless on (version) {old}, "app", "Rounds exporter", "", "")'
    return [
        Mark(
            "Deployments",
            f"1000 * ({began} unless on (app, version) {before} or {exporter})",
            "{{app}} {{version}}",
            "A version that was not there the day before",
            NEUTRAL,
        )
    ]


def dashboard() -> str:
    """The dashboard's file."""
    return render(
        UID,
        "Overview",
        "The first screen: how each part stands and why, which alerts fire and what to do about them, what changed "
        "lately, and how fresh all of this is.",
        variables=[],
        alerts=CALLING,
        rows=[now(), freshness(), history()],
        marks=marks(),
    )
