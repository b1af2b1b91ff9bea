"""What is asked about applications, and the words and colours of the answers."""

from __future__ import annotations

from grafana.src import limits
from grafana.src.alerts import Alerts
from grafana.src.collectors import Collectors
from grafana.src.counters import within
from grafana.src.kit import (
    DEGRADED,
    DOWN,
    NEUTRAL,
    PARTS,
    UNKNOWN,
    UP,
    WARNING,
    Steps,
    Texts,
    link_to,
)
from grafana.src.series import Metrics, is_

from rounds.emr.metrics import REASONS
from rounds.emr.names import CRASHES, OUTCOMES, RETRIES, STATES
from rounds.emr.names import SEVERITIES as RAISED

UID = "emr"
#: Between the parts of a series' name.
DOT = " \u00b7 "
APP = 'app=~"$app"'
METRICS = Metrics("rounds_emr_")
series, of, grown, rising = METRICS.series, METRICS.of, METRICS.grown, METRICS.rising
ALERTS = Alerts("emr", "applications")
COLLECTORS = Collectors("emr", "app")
#: That of the store, and that of the checks.
COLLECTOR = COLLECTORS.matching("$app(/health)?")

STATE_COLOURS = dict(zip(STATES, (UP, DEGRADED, DOWN, UNKNOWN), strict=True))
#: What a check found. The worse, the higher; what is not known is between.
CHECKED: Texts = {
    code: (name, STATE_COLOURS[name]) for code, name in enumerate(("healthy", "unknown", "degraded", "unhealthy"))
}
CHECKED_CODES = {word: code for code, (word, _) in CHECKED.items()}
#: The server of language models, and the model that is wanted.
MODEL: Texts = {
    0: ("loaded", UP),
    1: ("installed", UP),
    2: ("not installed", DEGRADED),
    3: ("no answer", DOWN),
}
RUNS: Texts = {1: ("runs", NEUTRAL), 0: ("closed", UNKNOWN)}
SOUND: Texts = {1: ("sound", UP), 0: ("damaged", DOWN)}
#: What takes points, in words. Grave first.
TAKES = dict(zip(REASONS, ("checks", "errors in 24 h", "slow operations in 1 h", "memory"), strict=True))
REASON_COLOURS = dict(zip(REASONS, (DOWN, DEGRADED, WARNING, PARTS[1]), strict=True))
#: Up to how many points are left where an unhealthy check took some, a degraded one, and something else.
POINTS: Steps = ((None, UNKNOWN), (0, DOWN), (51, DEGRADED), (81, WARNING), (99, UP))
OUTCOME_WORDS = dict(zip(OUTCOMES, ("done", "failed", "cancelled", "skipped"), strict=True))
OUTCOME_COLOURS = dict(zip(OUTCOME_WORDS.values(), (PARTS[0], DOWN, PARTS[6], PARTS[2]), strict=True))
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

ALL = link_to(UID, "Show all applications", app="$__all")
ONE = link_to(UID, "Show this application", app="${__field.labels.app}")
ROW = link_to(UID, "Show this application", app="${__data.fields.Application}")
READING = link_to("exporter", "Look at the collectors")
#: Of a series of one check, or one backup, or one model.
NAME = f"{{{{app}}}}{DOT}"


def checked() -> str:
    """What each check found: a code of `CHECKED`."""
    states = {word: of("health_state", APP, is_("state", word), by="app, check") for word in CHECKED_CODES}
    return " or ".join(f"{code} + 0 * ({states[word]} == 1)" for word, code in reversed(CHECKED_CODES.items()))


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
