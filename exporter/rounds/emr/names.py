"""Words that application, store, exporter and rules share. Closed sets, in the order in which they are shown."""

from __future__ import annotations

import re

#: What an operation came to.
OUTCOMES = ("ok", "error", "cancelled", "skipped")
#: Who noticed an error: the application's code, or a hook.
SOURCES = ("captured", "main", "thread", "asyncio", "unraisable", "executor")
#: How a process ended that did not end well: by an exception, by a fatal signal, or without a word.
CRASHES = ("python", "fatal_signal", "unclean")
SEVERITIES = ("critical", "error", "warning", "info")
#: Where an alert of the application went to; ``none`` where it went nowhere but to the store.
CHANNELS = ("notification", "email", "slack", "webhook", "custom", "none")
LEVELS = ("debug", "info", "warning", "error")
#: A failed attempt, a success behind one, a failure of the last one.
RETRIES = ("attempt", "success", "failed")
#: Why something that the application said is not in its store.
DROPS = ("queue_full", "size", "age", "error")
#: The checks, and what each can come to.
CHECKS = ("database", "llm", "disk", "memory", "backup")
STATES = ("healthy", "degraded", "unhealthy", "unknown")

#: What stands for names beyond a limit, or that cannot be labels.
OTHER = "_other"

#: Upper bounds of durations in seconds: answers of a language model need 30 and 60.
DURATION_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: The same as texts, as the store and the ledger call their buckets.
DURATION_BUCKETS = (*(f"{bound:g}" for bound in DURATION_BOUNDS), "+Inf")

#: The timings, events and gauges that the existing program names; timings lose their ``_ms``, as they become seconds.
OPERATIONS = ("consultation_duration", "prescription_generation", "search_latency", "llm_response")
EVENTS = ("patients_created", "visits_saved")
GAUGES = ("active_consultations", "memory_usage_mb")

_NAME = re.compile(r"[A-Za-z_<][\w.:<>-]{0,99}", re.ASCII)


def label(name: object) -> str:
    """A name given by code, such as an operation's or an exception's, as a label.

    Names are identifiers with dots, at most 100 characters long. Anything else may be a text about a patient and
    becomes ``_other``.
    """
    return name if isinstance(name, str) and _NAME.fullmatch(name) else OTHER


def operation(metric: str) -> str:
    """The operation that a timing in milliseconds is of: its name without ``_ms``."""
    return label(metric.removesuffix("_ms"))
