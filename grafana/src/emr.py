"""The dashboard of the domain `emr`."""

from __future__ import annotations

from grafana.src import collectors, limits
from grafana.src.alerts import CALLING, GRAVEST, SEVERITIES, Alerts
from grafana.src.collectors import Collectors
from grafana.src.counters import risen, within
from grafana.src.kit import (
    BARS,
    DEGRADED,
    DOWN,
    NEUTRAL,
    NO_DATA,
    PARTS,
    SEVERITY_COLOURS,
    UNKNOWN,
    UP,
    WARNING,
    Column,
    Mark,
    Panel,
    Query,
    Row,
    Steps,
    Texts,
    Variable,
    always,
    bars,
    from_one,
    graph,
    grid,
    link_to,
    render,
    stat_panel,
    timeline,
)
from grafana.src.series import Metrics, is_

from rounds.emr.metrics import PROBLEMS, REASONS
from rounds.emr.names import CRASHES, DROPS, LEVELS, OUTCOMES, RETRIES, STATES
from rounds.emr.names import SEVERITIES as RAISED
from rounds.errors import FAILURE_REASONS

UID = "emr"
#: Between the parts of a series' name.
DOT = " \u00b7 "
APP = 'app=~"$app"'
METRICS = Metrics("rounds_emr_")
series, of, grown, rising = METRICS.series, METRICS.of, METRICS.grown, METRICS.rising
ALERTS = Alerts("emr")
COLLECTORS = Collectors("emr", "app")
#: That of the store, and that of the checks.
COLLECTOR = COLLECTORS.matching("$app(/health)?")

STATE_COLOURS = dict(zip(STATES, (UP, DEGRADED, DOWN, UNKNOWN), strict=True))
#: What a check found. The worse, the higher; what is not known is between.
CHECKED: Texts = {
    code: (name, STATE_COLOURS[name]) for code, name in enumerate(("healthy", "unknown", "degraded", "unhealthy"))
}
_CODES = {word: code for code, (word, _) in CHECKED.items()}
#: The server of language models, and the model that is wanted.
MODEL: Texts = {
    0: ("loaded", UP),
    1: ("installed", UP),
    2: ("not installed", DEGRADED),
    3: ("no answer", DOWN),
}
RUNS: Texts = {1: ("runs", NEUTRAL), 0: ("closed", UNKNOWN)}
WHOLE: Texts = {1: ("whole", UP), 0: ("damaged", DOWN)}
#: What takes points, in words. Grave first.
TAKES = dict(zip(REASONS, ("checks", "errors in 24 h", "slow operations in 1 h", "memory"), strict=True))
REASON_COLOURS = dict(zip(REASONS, (DOWN, DEGRADED, WARNING, PARTS[1]), strict=True))
#: Up to how many points are left where an unhealthy check took some, a degraded one, and something else.
POINTS: Steps = ((None, UNKNOWN), (0, DOWN), (51, DEGRADED), (81, WARNING), (99, UP))
OUTCOME_COLOURS = dict(zip(OUTCOMES, (PARTS[0], DOWN, PARTS[6], PARTS[2]), strict=True))
RETRY_WORDS = dict(zip(RETRIES, ("attempt failed", "then succeeded", "given up"), strict=True))
CRASH_WORDS = dict(zip(CRASHES, ("exception", "fatal signal", "without a word"), strict=True))
RAISED_COLOURS = dict(zip(RAISED, (DOWN, DEGRADED, WARNING, NEUTRAL), strict=True))
#: The four timings that the existing program names, with their panels' titles.
TIMINGS = {
    "consultation_duration": "Duration of consultations",
    "prescription_generation": "Duration of prescriptions",
    "search_latency": "Duration of searches",
    "llm_response": "Duration of the model's answers",
}
SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}

ALL = link_to(UID, "Show all applications", app="$__all")
ONE = link_to(UID, "Show this application", app="${__field.labels.app}")
ROW = link_to(UID, "Show this application", app="${__data.fields.Application}")
READING = link_to("exporter", "Look at the collectors")
#: Of a series of one check, or one backup, or one model.
NAME = f"{{{{app}}}}{DOT}"


def checked() -> str:
    """What each check found: a code of `CHECKED`."""
    states = {word: of("health_state", APP, is_("state", word), by="app, check") for word in _CODES}
    return " or ".join(f"{code} + 0 * ({states[word]} == 1)" for word, code in reversed(_CODES.items()))


def model() -> str:
    """How each configured model stands: a code of `MODEL`. While its server does not answer, it was known before."""
    known = f"max by (app, model) (last_over_time({series('llm_model_installed', APP)}[{limits.bridge()}]))"
    installed, loaded = (of(f"llm_model_{word}", APP, by="app, model") for word in ("installed", "loaded"))
    silent = f"({of('llm_up', APP, by='app')} == 0)"
    return (
        f"3 + 0 * {known} * on (app) group_left () {silent} or 2 + 0 * ({installed} == 0)"
        f" or 0 * ({loaded} == 1) or 1 + 0 * ({installed} == 1)"
    )


def age(timestamp: str, *matchers: str, by: str) -> str:
    """Seconds since then."""
    return f"(time() - {of(timestamp, APP, *matchers, by=by)})"


def backup_age() -> str:
    """Seconds since each newest good backup."""
    return age("backup_last_success_timestamp_seconds", by="app, backup")


def backup_limits() -> str:
    """The configured ages, told by what each backup is called."""
    configured = series("backup_max_age_seconds", APP)
    return f'max by (app, check) (label_replace({configured}, "check", "$1", "backup", "(.+)"))'


def old() -> str:
    """The ages of backups that are past their configured age, for which the check is degraded."""
    return f"({backup_age()} > {of('backup_max_age_seconds', APP, by='app, backup')})"


def left(what: str) -> str:
    """The part of the disk or the memory that is left."""
    free, size = {"disk": ("disk_free_bytes", "disk_size_bytes")}.get(
        what, ("memory_available_bytes", "memory_size_bytes")
    )
    return f"{of(free, APP, by='app')} / {of(size, APP, by='app')}"


def quantile(share: float, operation: str, by: str = "") -> str:
    """How long so many of the operations in the time before took at most."""
    grouping = f"le, {by}" if by else "le"
    bucket = within(series("operation_duration_seconds_bucket", APP, operation), limits.emr_window())
    return f"histogram_quantile({share:g}, sum by ({grouping}) ({bucket}))"


def since(counter: str, labels: str, span: str) -> str:
    """By how much counters rose in the time before, one value for each combination of labels.

    A kind of error has no series until it is seen: where the store was known before, it was 0 then.
    """
    known, seen = series(counter, APP), series("store_bytes", APP)
    now_ = f"max by ({labels}) (last_over_time({known}[1h]))"
    before = f"max by ({labels}) (last_over_time({known}[1h] offset {span}))"
    witness = f"max by (app) (last_over_time({seen}[1h] offset {span}))"
    return f"clamp_min({now_} - ({before} or 0 * {now_} and on (app) {witness}), 0)"


def risen_in_range(counter: str, labels: str) -> str:
    """The same for the time shown; by how much what is known of it rose, where it begins before the first look."""
    return f"({since(counter, labels, '$__range')} or {grown(counter, '$__range', APP, by=labels)})"


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
                (4, 4),
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
                (4, 4),
                no_value="No check has run",
                unit="none",
                texts=CHECKED,
                steps=((None, UNKNOWN),),
                link=ONE,
                names=True,
            ),
            stat_panel(
                103,
                "Checks",
                "How many checks found what. Which they are, and why, stands below.",
                [
                    Query(f"count(({checked()}) == {code}) or 0 * count({checked()})", word)
                    for word, code in reversed(_CODES.items())
                ],
                (8, 4),
                no_value="No check has run",
                unit="none",
                link=ALL,
                names=True,
                colours=STATE_COLOURS,
            ),
            stat_panel(
                104,
                "Firing alerts",
                "Alerts on applications by severity. Critical: act now. Error: today. Warning: have a look.",
                ALERTS.counts(APP, by="app, alertname, check, backup, operation"),
                (8, 4),
                no_value="no alerts",
                steps=from_one(DOWN),
                link=ALL,
                names=True,
                colours=SEVERITY_COLOURS,
            ),
            stat_panel(
                105,
                "Active consultations",
                "Patients who are being seen at the moment, as the application says. A number that stays while nobody "
                "works is one that the application forgot to take back.",
                [Query(of("gauge", APP, is_("name", "active_consultations"), by="app"), "{{app}}")],
                (4, 4),
                no_value="The application does not say",
                unit="none",
                decimals=0,
                link=ONE,
                names=True,
            ),
            stat_panel(
                106,
                "Language model",
                "The model that writes notes. Loaded: it answers at once. Installed: the first answer takes longer, "
                "which is as it should be. Not installed: the server is there, the model is not. No answer: the server "
                "is not there, or hangs.",
                [Query(model(), "{{model}}")],
                (5, 4),
                no_value="No model is configured",
                unit="none",
                texts=MODEL,
                steps=((None, UNKNOWN),),
                link=ALL,
                names=True,
                text_sizes=(14, 28),
            ),
            stat_panel(
                107,
                "Newest backup",
                "How long ago the newest good backup was made. Orange: longer than it should be.",
                [
                    Query(f"{backup_age()} unless {old()}", "{{backup}}"),
                    Query(old(), "{{backup}}, too old", colour=DEGRADED),
                ],
                (5, 4),
                no_value="There is no good backup",
                unit="s",
                decimals=0,
                steps=always(UP),
                link=ALL,
                names=True,
                text_sizes=(14, 28),
            ),
            *(
                stat_panel(
                    number,
                    f"{what.capitalize()} left",
                    f"The part of the {what} that is left, of the computer that has the least. Ochre under {limit:.0%}"
                    f"{more}.",
                    [Query(f"min({left(what)})", what)],
                    (3, 4),
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
                (4, 4),
                no_value="None is known",
                unit="s",
                decimals=0,
                link=ALL,
                names=True,
                text_sizes=(14, 28),
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
                (14, 8),
                rows=f"max by (app, check, reason) ({series('health_reason', APP)} == 1) or on (app, check)"
                f" {of('health_interval_seconds', APP, by='app, check')}",
                no_value="No check is configured",
                sort=("State", True),
            ),
            grid(
                111,
                "Firing alerts",
                "Alerts on applications, the latest first. Each has a page of its name among the runbooks, which says "
                "what to do.",
                [
                    Column("Application", "app", label=True, link=ROW, width=105),
                    Column("Severity", "severity", label=True, width=75, texts=SEVERITIES),
                    Column("Alert", "alertname", label=True, width=165),
                    Column("Of", "subject", label=True),
                    Column("Since", alerting(), unit="dateTimeFromNow", width=140),
                ],
                (10, 8),
                no_value="No alert is firing",
                sort=("Since", True),
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
                (8, 6),
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
    told_by = "app, alertname, severity"
    subjects = ("check", "operation", "backup", "model", "crash")
    since = ALERTS.since(f"{told_by}, {', '.join(subjects)}", CALLING, APP)
    names = ", ".join(f'"{name}"' for name in subjects)
    return f'max by ({told_by}, subject) (label_join({since}, "subject", "", {names}))'


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
                steps=((None, "text"), (1, DOWN)),
            ),
            Column(
                "Errors",
                f"sum by (app) ({risen_in_range('errors_total', 'app, error_type, source')})",
                unit="locale",
                decimals=0,
                width=80,
                steps=((None, "text"), (1, WARNING)),
            ),
            Column("Python", "python", label=True, width=80),
            Column("System", "os", label=True),
        ],
        (16, 6),
        rows=of("app_info", APP, by="app, version, python, os"),
        no_value="No application has been seen: is the exporter up, and is there a store?",
        sort=("Application", False),
    )


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
                (24, 8),
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
                (12, 8),
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
                (12, 8),
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
                (12, 8),
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
                (12, 8),
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
                (12, 8),
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
                (12, 8),
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
                (12, 8),
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
                (12, 8),
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
                (12, 8),
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
                (12, 8),
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
                (8, 8),
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
                (8, 8),
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
                (8, 8),
                no_value="No store was read in this time",
                unit="locale",
                style="bars",
                points=BARS,
                soft_maximum=1,
                colours=RAISED_COLOURS,
                decimals=0,
            ),
            *resources(),
            timeline(
                225,
                "Alerts",
                "When alerts fired on each application. Their end includes the time for which Prometheus keeps them.",
                [Query(ALERTS.gravest("app, alertname", APP), "{{app}} {{alertname}}")],
                (24, 9),
                no_value="No alert fired in this time",
                texts=GRAVEST,
            ),
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
        (12, 8),
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
                (8, 8),
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
            (8, 8),
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
            (8, 8),
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
            (8, 8),
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
            (8, 8),
            no_value="There is no good backup",
            unit="s",
            link=ONE,
        ),
    ]


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
                    Column("Failed", failed, unit="locale", decimals=0, steps=((None, "text"), (1, WARNING)), width=80),
                    Column(
                        "Part",
                        f"{failed} / ({judged} > 0)",
                        unit="percentunit",
                        decimals=1,
                        steps=((None, "text"), (limits.emr_error_ratio(), WARNING)),
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
                (24, 9),
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
                (10, 9),
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
                (8, 9),
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
                (6, 9),
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
                    Column("Pages", of("database_integrity_ok", APP, by="app"), texts=WHOLE, unit="none", width=90),
                ],
                (12, 5),
                no_value="No database is checked",
                sort=("Application", False),
            ),
            stat_panel(
                304,
                "Errors in 24 h",
                "How many different errors there were. The same fault counts once, however often it comes.",
                [Query(of("error_groups", APP, by="app"), "{{app}}")],
                (4, 5),
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
                (4, 5),
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
                (4, 5),
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
                (12, 8),
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
                (12, 8),
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
                    Column("Pages", of("store_integrity_ok", APP, by="app"), texts=WHOLE, unit="none", width=90),
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
                        steps=((None, "text"), (1, DOWN)),
                    ),
                    Column(
                        "Replaced", grown("store_replaced_total", "$__range", APP, by="app"), unit="locale", width=90
                    ),
                ],
                (16, 6),
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
                (8, 6),
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
                (8, 7),
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
                (8, 7),
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
                (8, 7),
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
                (12, 7),
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
                (12, 7),
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
