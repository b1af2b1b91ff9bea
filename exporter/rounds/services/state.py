"""What is known of one check: its state after thresholds and hysteresis, its counts, and both as metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rounds.metrics import Family, HistogramCounter, Metric
from rounds.services import metrics
from rounds.services.config import Check, HttpCheck
from rounds.services.result import REASONS, STATES, ProbeResult, Reason, State


def verdict(result: ProbeResult, check: Check) -> tuple[State, Reason | None]:
    """The state that one probe alone speaks for, and why it failed where it did.

    Thresholds belong to the worse side: exactly ``degraded_after`` is degraded, exactly ``down_after`` is down.
    """
    if result.reason is not None:
        return "down", result.reason
    if result.elapsed >= check.down_after:
        return "down", "slow"
    return ("degraded" if result.elapsed >= check.degraded_after else "up"), None


@dataclass
class CheckState:
    """What is known of one check. Lives as long as a check of its name, across reloads."""

    state: State | None = None
    since: float | None = None
    probes: int = 0
    failures: dict[Reason, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    consecutive_failures: int = 0
    consecutive_successes: int = 0
    durations: HistogramCounter = field(default_factory=lambda: HistogramCounter(metrics.BOUNDS))
    last: ProbeResult | None = None
    reason: Reason | None = None
    ended: float | None = None

    def update(self, result: ProbeResult, check: Check) -> None:
        """Take in what a probe found."""
        state, self.reason = verdict(result, check)
        self.last = result
        self.ended = result.started + result.elapsed
        self.probes += 1
        if result.answered:
            self.durations.observe(result.elapsed)
        if self.reason:
            self.failures[self.reason] += 1
            self.consecutive_failures += 1
            self.consecutive_successes = 0
        else:
            self.consecutive_failures = 0
            self.consecutive_successes += 1
        if self._holds_back(state, check):
            return
        if state != self.state:
            self.since = self.ended
        self.state = state

    def _holds_back(self, state: State, check: Check) -> bool:
        """Whether too few probes in a row speak for going down, or for coming up again."""
        if self.state is None or state == self.state:
            return False
        if state == "down":
            return self.consecutive_failures < check.failures_before_down
        return self.state == "down" and self.consecutive_successes < check.successes_before_up

    @property
    def error(self) -> str | None:
        """The last probe's failure in words, without anything of the answer's body."""
        if self.last is None or self.reason is None:
            return None
        if self.reason == "slow":
            return f"slow: answered after {self.last.elapsed:.3f} s"
        return f"{self.reason}: {self.last.detail}"


class CheckMetrics:
    """Turns a check's state into families.

    Args:
        check: the check.
        extra: the names of the configured extra labels, in order.
    """

    def __init__(self, check: Check, extra: Sequence[str] = ()) -> None:
        self._check = check
        self._labels = (check.name, check.tier, *(check.labels.get(label, "") for label in extra))
        self._metrics = metrics.with_labels(tuple(extra))
        self._settings = tuple(self._of_settings())

    def counters(self, state: CheckState) -> Iterable[Family]:
        """What only grows. Known before the first probe."""
        yield self._one(metrics.PROBES, state.probes)
        yield self._each(metrics.FAILURES, state.failures.items())
        yield self._metrics[metrics.DURATION.name].family([(self._labels, state.durations.value())])

    def gauges(self, state: CheckState) -> Iterable[Family]:
        """The configured values, and what the last probe found."""
        yield from self._settings
        last = state.last
        if last is None:
            return
        yield self._each(metrics.STATE, ((name, int(name == state.state)) for name in STATES))
        yield self._one(metrics.RESPONSE, last.elapsed if last.answered else None)
        yield self._each(metrics.PHASE, last.phases.items())
        yield self._one(metrics.STATUS_CODE, last.status_code)
        yield self._one(metrics.TLS_EXPIRY, last.tls_expiry)
        yield self._one(metrics.CONSECUTIVE_FAILURES, state.consecutive_failures)
        yield self._one(metrics.LAST_TRANSITION, state.since)
        yield self._one(metrics.LAST_PROBE, state.ended)

    def families(self, state: CheckState) -> list[Family]:
        """Everything."""
        return [*self.counters(state), *self.gauges(state)]

    def _of_settings(self) -> Iterable[Family]:
        check = self._check
        yield self._one(metrics.INTERVAL, check.interval)
        yield self._one(metrics.TIMEOUT, check.timeout)
        yield self._each(metrics.THRESHOLD, (("degraded", check.degraded_after), ("down", check.down_after)))
        yield self._metrics[metrics.INFO.name].family([((*self._labels, check.kind, target(check)), 1)])

    def _one(self, metric: Metric, value: float | None) -> Family:
        return self._metrics[metric.name].family([(self._labels, value)])

    def _each(self, metric: Metric, values: Iterable[tuple[str, float]]) -> Family:
        return self._metrics[metric.name].family(((*self._labels, label), value) for label, value in values)


def target(check: Check) -> str:
    """What a check probes, without its query."""
    return check.url.partition("?")[0] if isinstance(check, HttpCheck) else f"{check.host}:{check.port}"


def finding(state: CheckState) -> str:
    """What is known of a check, in a few words for people: ``up in 0.038 s``, ``down (timeout: ...)``."""
    took = f" in {state.last.elapsed:.3f} s" if state.last and state.last.answered else ""
    return f"{state.state or 'not probed yet'}{took}" + (f" ({state.error})" if state.error else "")
