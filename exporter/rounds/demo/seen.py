"""What has been seen so far of each domain: its states, by the exporter's metrics, and its alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import Metric

Labels = tuple[tuple[str, str], ...]

#: What the script shows, by domain.
STATES: Mapping[str, tuple[str, ...]] = {
    "services": ("up", "degraded", "down"),
    "tables": ("inserted", "modified", "deleted", "mass deletion"),
    "apr": ("invalid", "resolved", "failed run", "slow run", "missing run"),
    "syncs": ("running", "completed", "partial", "failed", "stuck", "stale"),
    "emr": ("healthy", "degraded", "unhealthy", "crash"),
}

_CHANGES = "rounds_table_changes_total"
_ROWS = "rounds_table_last_change_rows"


class Look:
    """The samples of one look at the exporter, and of the look before it.

    Args:
        families: an exposition's.
        now: Unix time.
        before: the look before; None where this is the first.

    Attributes:
        samples: values by name and labels.
    """

    def __init__(self, families: Iterable[Metric], now: float, before: Look | None) -> None:
        self.now = now
        self.samples: dict[str, dict[Labels, float]] = {}
        for family in families:
            for sample in family.samples:
                self.samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
        self._before: dict[str, dict[Labels, float]] = before.samples if before else self.samples

    def values(self, name: str, **labels: str) -> dict[Labels, float]:
        """Samples of a metric that have these labels."""
        wanted = labels.items()
        return {key: value for key, value in self.samples.get(name, {}).items() if wanted <= dict(key).items()}

    def is_any(self, name: str, **labels: str) -> bool:
        """Whether one of these is above 0."""
        return any(value > 0 for value in self.values(name, **labels).values())

    def grew(self, name: str, **labels: str) -> bool:
        """Whether one of these counters is higher than at the look before."""
        before = self._before.get(name, {})
        return any(value > before.get(key, value) for key, value in self.values(name, **labels).items())

    def limit(self, name: str, threshold: str) -> float:
        """A configured limit."""
        return max(self.values(name, threshold=threshold).values(), default=float("inf"))


@dataclass(frozen=True)
class Sight:
    """How a state is known from the exporter's metrics."""

    domain: str
    state: str
    holds: Callable[[Look], bool]


def _checked(metric: str, state: str) -> Callable[[Look], bool]:
    return lambda look: look.is_any(metric, state=state)


def _grown(metric: str, **labels: str) -> Callable[[Look], bool]:
    return lambda look: look.grew(metric, **labels)


def _mass_deletion(look: Look) -> bool:
    limits = look.values("rounds_table_mass_deletion_ratio")
    before = look.values("rounds_table_previous_rows")
    return look.grew(_CHANGES, change="deleted") and any(
        rows > limits.get((table,), 1.0) * before.get((table,), float("inf"))
        for (_, table), rows in look.values(_ROWS, change="deleted").items()
    )


def _slow_run(look: Look) -> bool:
    limit = look.limit("rounds_apr_threshold_seconds", "slow_run_after")
    return any(took > limit for took in look.values("rounds_apr_last_run_duration_seconds").values())


def _missing_run(look: Look) -> bool:
    last = look.values("rounds_apr_last_run_timestamp_seconds", run_mode="PRODUCTION").values()
    return any(look.now - at > look.limit("rounds_apr_threshold_seconds", "run_every") for at in last)


def _stuck(look: Look) -> bool:
    limit = look.limit("rounds_sync_threshold_seconds", "stuck_after")
    last = look.values("rounds_sync_run_last_progress_timestamp_seconds").values()
    return any(look.now - at > limit for at in last)


SIGHTS = (
    *(Sight("services", state, _checked("rounds_check_state", state)) for state in STATES["services"]),
    *(Sight("tables", change, _grown(_CHANGES, change=change)) for change in STATES["tables"][:3]),
    Sight("tables", "mass deletion", _mass_deletion),
    Sight("apr", "invalid", lambda look: look.is_any("rounds_apr_invalid_records")),
    Sight("apr", "resolved", _grown("rounds_apr_invalid_records_resolved_total")),
    Sight("apr", "failed run", lambda look: look.is_any("rounds_apr_last_run_failed")),
    Sight("apr", "slow run", _slow_run),
    Sight("apr", "missing run", _missing_run),
    Sight("syncs", "running", lambda look: look.is_any("rounds_sync_runs_active")),
    *(Sight("syncs", end, _grown("rounds_sync_runs_total", state=end)) for end in STATES["syncs"][1:4]),
    Sight("syncs", "stuck", _stuck),
    Sight("syncs", "stale", lambda look: look.is_any("rounds_sync_runs_stale")),
    *(Sight("emr", state, _checked("rounds_emr_health_state", state)) for state in STATES["emr"][:3]),
    Sight("emr", "crash", _grown("rounds_emr_crashes_total")),
)


@dataclass
class _Domain:
    states: set[str]
    fired: int = 0
    over: int = 0


class Seen:
    """What has been seen since the demo began.

    Args:
        alerting: whether there are alerts to be seen.
    """

    def __init__(self, *, alerting: bool = True) -> None:
        self._alerting = alerting
        self._domains = {name: _Domain(set()) for name in STATES}
        self._holding: set[tuple[str, str]] = set()

    def look(self, look: Look) -> list[tuple[str, str]]:
        """Take in what the exporter says. Gives domain and state of what did not hold before, in order."""
        holding = [(sight.domain, sight.state) for sight in SIGHTS if sight.holds(look)]
        entered = [each for each in holding if each not in self._holding]
        self._holding = set(holding)
        for domain, state in holding:
            self._domains[domain].states.add(state)
        return entered

    def alert(self, domain: str, *, firing: bool) -> None:
        """An alert began to fire, or ceased."""
        if domain in self._domains:
            seen = self._domains[domain]
            seen.fired, seen.over = seen.fired + firing, seen.over + (not firing)

    @property
    def complete(self) -> bool:
        """Whether each domain has shown all states, and an alert of each has fired and is over."""
        return all(
            len(seen.states) == len(STATES[name]) and (not self._alerting or (seen.fired and seen.over))
            for name, seen in self._domains.items()
        )

    def lines(self) -> list[str]:
        """For people: a line for each domain."""
        return [f"{name:<10}{self._of(seen, STATES[name])}" for name, seen in self._domains.items()]

    def _of(self, seen: _Domain, states: Iterable[str]) -> str:
        words = [state if state in seen.states else f"({state})" for state in states]
        alerts = f"alerts: {seen.fired:>3} fired, {seen.over:>3} over   " if self._alerting else ""
        return f"{alerts}states: {', '.join(words)}"
