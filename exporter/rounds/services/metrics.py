"""The catalogue of ``services``."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

from rounds.metrics import Kind, Metric
from rounds.services.result import PHASES, REASONS, STATES

#: Histogram bounds in seconds. 1 and 5 are the default thresholds, 10 the default timeout.
BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

LABELS = ("check", "tier")
LEVELS = ("degraded", "down")


def _metric(name: str, kind: Kind, text: str, label: str = "", values: tuple[str, ...] = ()) -> Metric:
    closed = ((label, values),) if values else ()
    return Metric(f"rounds_check_{name}", kind, text, (*LABELS, label) if label else LABELS, values=closed)


STATE = _metric(
    "state",
    "gauge",
    "State of the check after thresholds and hysteresis, 1 for the one that holds. Absent before the first probe.",
    "state",
    STATES,
)
RESPONSE = _metric(
    "response_seconds",
    "gauge",
    "Duration of the last probe from name resolution to the end of the body, also where it timed out. "
    "Absent where nothing answered.",
)
DURATION = _metric("duration_seconds", "histogram", "Durations of all probes that were answered or timed out.")
PHASE = _metric(
    "phase_seconds",
    "gauge",
    "Duration of each phase of the last probe, summed over redirects. Only phases that happened.",
    "phase",
    PHASES,
)
STATUS_CODE = _metric("http_status_code", "gauge", "Status code of the last HTTP response. Absent without a response.")
TLS_EXPIRY = _metric(
    "tls_expiry_timestamp_seconds",
    "gauge",
    "When the certificate that the server showed in the last probe expires.",
)
PROBES = _metric("probes_total", "counter", "Probes that ended, whatever they found.")
FAILURES = _metric(
    "failures_total", "counter", "Probes that found the service down, by the reason of failure.", "reason", REASONS
)
CONSECUTIVE_FAILURES = _metric("consecutive_failures", "gauge", "Failed probes since the last one that did not fail.")
LAST_TRANSITION = _metric(
    "last_transition_timestamp_seconds", "gauge", "When the state last changed, or was first known."
)
LAST_PROBE = _metric("last_probe_timestamp_seconds", "gauge", "When the last probe ended.")
INTERVAL = _metric("interval_seconds", "gauge", "Configured time from one probe to the next.")
TIMEOUT = _metric("timeout_seconds", "gauge", "Configured longest duration of a probe.")
THRESHOLD = _metric(
    "threshold_seconds", "gauge", "Configured response time from which the check has this state.", "level", LEVELS
)
INFO = replace(
    _metric("info", "gauge", "What is checked, without credentials and query. Always 1."),
    labels=(*LABELS, "kind", "target"),
    values=(("kind", ("http", "tcp")),),
)

CATALOGUE = (
    STATE,
    RESPONSE,
    DURATION,
    PHASE,
    STATUS_CODE,
    TLS_EXPIRY,
    PROBES,
    FAILURES,
    CONSECUTIVE_FAILURES,
    LAST_TRANSITION,
    LAST_PROBE,
    INTERVAL,
    TIMEOUT,
    THRESHOLD,
    INFO,
)


@functools.cache
def with_labels(extra: tuple[str, ...]) -> Mapping[str, Metric]:
    """The catalogue by name, with these labels behind ``check`` and ``tier``."""
    return {
        metric.name: replace(metric, labels=(*LABELS, *extra, *metric.labels[len(LABELS) :])) for metric in CATALOGUE
    }
