"""The cards of the overview: one for each domain, and the PromQL that makes its colour and its words.

A card is one series: its value is a code that is mapped to words and a colour, and its label `about` tells what of. So
the reason stands on the card, and nothing is green unless everything that green needs is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from grafana.src import limits
from grafana.src.alerts import CALLING, Alerts
from grafana.src.kit import DEGRADED, NO_DATA, QUIET, SEVERITY_COLOURS, UNKNOWN, UP, Texts
from grafana.src.series import is_

#: What the gravest alert of a domain means, in the few words that a card has room for. The gravest is told; of two that
#: are as grave, the one further down.
PHRASES: dict[str, dict[str, str]] = {
    "services": {
        "ErrorBudgetBurnSlow": "fails often",
        "CertificateExpiresSoon": "certificate ends soon",
        "ServiceFlapping": "comes and goes",
        "ServiceSlow": "very slow",
        "ServiceDegraded": "slow",
        "FrontendDown": "page down",
        "CheckStale": "not checked",
        "CertificateExpiresVerySoon": "certificate ends",
        "ErrorBudgetBurnFast": "fails too often",
        "ServiceDown": "down",
    },
    "tables": {
        "TableRowsDeleted": "rows deleted",
        "TableSchemaChanged": "columns changed",
        "TableCheckFailing": "check fails",
        "TableBaselineLost": "recorded anew",
        "TableCheckOverdue": "check overdue",
        "TableShrinking": "is shrinking",
        "TableMassDeletion": "many rows deleted",
    },
    "apr": {
        "AprRunSlow": "run slow",
        "AprFlapping": "record comes and goes",
        "AprUnconfirmed": "not confirmed",
        "AprProposalsStuck": "proposals stuck",
        "AprInvalidOpenTooLong": "invalid for too long",
        "AprSummaryStale": "summary too old",
        "AprInvalidRatioJumped": "many invalid",
        "AprSchemaProblem": "database incomplete",
        "AprRunFailed": "run failed",
        "AprRunMissing": "run missing",
    },
    "syncs": {
        "SyncSchemaProblem": "log incomplete",
        "SyncRunTooLong": "run takes long",
        "SyncStuck": "run stuck",
        "SyncRunStale": "run silent",
        "SyncPartial": "run incomplete",
        "SyncSuccessRatioLow": "fails often",
        "SyncLastRunFailed": "last run failed",
        "SyncNeverSucceeded": "never succeeded",
        "SyncFoundShrink": "patients missing",
        "SyncAuthFailed": "password refused",
        "SyncOverdue": "sync overdue",
        "SyncMassDeletion": "patients deleted",
    },
    "emr": {
        "EmrTelemetryLost": "telemetry lost",
        "EmrOperationSlow": "slow",
        "EmrErrorRatioHigh": "many errors",
        "EmrCheckStale": "check missing",
        "EmrModelMissing": "model missing",
        "EmrCheckDegraded": "partly works",
        "EmrMemoryLow": "memory low",
        "EmrDiskWillFill": "disk fills up",
        "EmrBackupStale": "backup too old",
        "EmrBackupMissing": "backup missing",
        "EmrAppAlert": "reports",
        "EmrUncleanShutdown": "ended unexpectedly",
        "EmrCheckUnhealthy": "unhealthy",
        "EmrStoreCorrupt": "store damaged",
        "EmrCrashed": "crashed",
        "EmrCrashLoop": "keeps crashing",
    },
    "exporter": {
        "ConfigReloadFailed": "configuration refused",
        "ExporterRedundancyLost": "one of two is down",
        "CollectorFailing": "collector fails",
        "RuleEvaluationFailing": "rules fail",
        "NotificationsFailing": "messages lost",
        "CollectorStale": "data stale",
        "SourceDown": "source down",
        "LedgerQuarantined": "ledger was damaged",
        "LedgerDown": "ledger down",
        "LeaseNotHeld": "nobody reads",
        "ExporterDown": "no answer",
    },
}

#: Codes of a card that tells no alert.
WELL, OVERDUE, FAILS, STARTING, UNKNOWN_NOW, OFF = range(6)
STATES: Texts = {
    WELL: ("no alerts", UP),
    OVERDUE: ("reading overdue", DEGRADED),
    FAILS: ("reading fails", DEGRADED),
    STARTING: ("starting", UNKNOWN),
    UNKNOWN_NOW: (NO_DATA, UNKNOWN),
    OFF: ("not configured", QUIET),
}
#: Alerts have higher codes: those of a severity this one and the next hundred.
BASES = {"warning": 200, "error": 300, "critical": 400}
#: An alert of a severity that nobody told us of.
OTHER = 100

JOB = 'job="rounds"'
INTERVAL = "rounds_collector_interval_seconds"
KEY = "alertname, severity"
#: Whether rules are evaluated, without which no alert means nothing.
WATCHDOG = 'ALERTS{alertname="Watchdog",alertstate="firing"}'


@dataclass(frozen=True)
class Domain:
    """A domain and how its card speaks of it.

    Attributes:
        name: the domain's, which is also its component, its collectors' prefix and its dashboard.
        title: of its card and its dashboard.
        subjects: the labels that say what an alert is about.
        noun: what it watches, in the plural.
        watched: PromQL: how many of these there are.
        itself: what an alert without any of these labels is about.
        several: what the subjects of alerts are called together.
    """

    name: str
    title: str
    subjects: tuple[str, ...]
    noun: str
    watched: str
    itself: str
    several: str

    @property
    def collectors(self) -> str:
        """The matcher of its collectors."""
        return f'collector=~"{self.name}(/.+)?"' if self.name != "exporter" else 'collector=~".+"'


DOMAINS = (
    Domain(
        "services", "Services", ("check",), "services", "group by (check) (rounds_check_state)", "services", "services"
    ),
    Domain("tables", "Tables", ("table",), "tables", "group by (table) (rounds_table_rows)", "tables", "tables"),
    Domain(
        "apr",
        "Proposal pipeline",
        ("validation_type",),
        "proposals",
        "max(rounds_apr_proposals_current)",
        "pipeline",
        "types",
    ),
    Domain(
        "syncs",
        "Syncs",
        ("organization",),
        "organisations",
        "group by (sync, organization) (rounds_sync_first_seen_timestamp_seconds)",
        "syncs",
        "organisations",
    ),
    Domain(
        "emr",
        "Applications",
        ("app",),
        "applications",
        "group by (app) (rounds_emr_app_running)",
        "applications",
        "applications",
    ),
    Domain(
        "exporter",
        "Rounds itself",
        ("collector", "source", "integration", "rule_group"),
        "collectors",
        f"group by (collector) ({INTERVAL})",
        "exporter",
        "parts",
    ),
)


def codes(domain: str) -> dict[tuple[str, str], int]:
    """The code of each alert of a domain with each of its severities."""
    found = {}
    for place, name in enumerate(PHRASES[domain], 1):
        said = limits.severity(name)
        for severity in [said] if said else BASES:
            found[name, severity] = BASES[severity] + place
    return found


def texts(domain: str) -> Texts:
    """Words and colours of a domain's codes."""
    strange = {base: (f"{name} alert", SEVERITY_COLOURS[name]) for name, base in BASES.items()}
    known = {}
    for (name, severity), code in codes(domain).items():
        phrase = PHRASES[domain][name] if limits.severity(name) else f"{PHRASES[domain][name]}: {severity}"
        known[code] = (phrase, SEVERITY_COLOURS[severity])
    return {**STATES, OTHER: ("alert", SEVERITY_COLOURS["warning"]), **strange, **known}


#: What a card may say, in its colour.
COLOURS = {word: colour for name in PHRASES for word, colour in texts(name).values()}


def card(domain: Domain) -> str:
    """PromQL: the one series of a domain's card. What comes first is told, and the rest is not."""
    return " or on () ".join([_alert(domain), *_unknown(domain), *_unread(domain), *_well(domain)])


def about(expr: str, text: str) -> str:
    """One series that says this."""
    return f'label_replace(group({expr}), "about", "{text}", "", "")'


def counted(expr: str, noun: str, by: str = "") -> str:
    """A number in words, for each combination of labels."""
    grouping = f" by ({by})" if by else ""
    return _one(f'label_replace(count_values{grouping} ("n", {expr}), "about", "$1 {noun}", "n", "(.+)")', noun)


def _one(expr: str, noun: str) -> str:
    return f'label_replace({expr}, "about", "$1", "about", "(1 {noun[:-1]})s")'


def named(subjects: str, noun: str, by: str = "") -> str:
    """What it is, where there is one, and otherwise how many they are. The subjects have the label `about`."""
    grouping = f" by ({by})" if by else ""
    number = f"count{grouping} ({subjects})"
    one = f"{subjects} and on ({by}) {number} == 1"
    return f"({one} or {counted(f'{number} > 1', noun, by)})"


def _alert(domain: Domain) -> str:
    """The gravest alert, what it is about, and how many others fire."""
    alerts = Alerts(domain.name, domain.title)
    firing = alerts.firing(CALLING)
    subject = f'label_join({firing}, "about", " ", {", ".join(map(_quoted, domain.subjects))})'
    trimmed = f'label_replace({subject}, "about", "$1", "about", " *(.*?) *")'
    said = f'label_replace({trimmed}, "about", "{domain.itself}", "about", "")'
    subjects = f"group by ({KEY}, about) ({said})"
    coded = [
        f"{code} * {alerts.firing(is_('alertname', name), is_('severity', severity))}"
        for (name, severity), code in codes(domain.name).items()
    ]
    coded += [f"{base} * {alerts.firing(is_('severity', severity))}" for severity, base in BASES.items()]
    gravest = f"topk(1, max by ({KEY}) ({' or '.join([*coded, f'{OTHER} * {firing}'])}))"
    others = f'count_values by ({KEY}) ("n", scalar(count({subjects})) - count by ({KEY}) ({subjects}))'
    more = f'label_replace({others}, "more", "+ $1 more", "n", "([1-9].*)")'
    return (
        f"max by (about, more) ({gravest}"
        f" * on ({KEY}) group_left (about) {named(subjects, domain.several, KEY)}"
        f" * on ({KEY}) group_left (more) {more})"
    )


def _unknown(domain: Domain) -> Iterable[str]:
    """Whether nothing is known of it: neither rules nor the exporter say anything."""
    silent = f"absent(up{{{JOB}}} == 1)"
    gone = f"up{{{JOB}}} == 0 and on (instance) (last_over_time({INTERVAL}{{{domain.collectors}}}[1h]) unless on ("
    gone += f"collector) {INTERVAL}{{{domain.collectors}}})"
    yield f"{UNKNOWN_NOW} * {about(silent, 'exporter down')}"
    yield f"{UNKNOWN_NOW} * {about(gone, 'exporter down')}"
    unheld = f"max(rounds_ledger_lease_held{{{JOB}}}) == 0"
    yield f"{UNKNOWN_NOW} * {about(unheld, 'no exporter reads')}"
    yield f"{UNKNOWN_NOW} * {about(f'absent({WATCHDOG})', 'rules not evaluated')}"


def _unread(domain: Domain) -> Iterable[str]:
    """Whether its collectors fail, are late, or have not found anything yet."""
    of = domain.collectors
    success = f"rounds_collector_last_success_timestamp_seconds{{{of}}}"
    stale = limits.collector_stale().replace(INTERVAL, f"{INTERVAL}{{{of}}}")
    for code, which in (
        (FAILS, f"rounds_collector_success{{{of}}} == 0"),
        (OVERDUE, f"time() - {success} > {stale}"),
        (STARTING, f"{INTERVAL}{{{of}}} unless on (collector) {success}"),
    ):
        short = f'label_replace({which}, "about", "$2", "collector", "({domain.name}/)?(.+)")'
        yield f"{code} * group by (about) ({named(f'group by (about) ({short})', 'collectors')})"


def _well(domain: Domain) -> Iterable[str]:
    """What it watches where all is well; otherwise there is nothing to watch."""
    here = f"{INTERVAL}{{{domain.collectors}}}"
    watched = domain.watched if domain.watched.startswith("max") else f"count({domain.watched})"
    yield f"0 * ({counted(watched, domain.noun)} and on () {here})"
    yield f"0 * {about(here, 'watched')}"
    yield f"{OFF} * {about(f'up{{{JOB}}} == 1', 'nothing is watched')}"


def _quoted(text: str) -> str:
    return f'"{text}"'
