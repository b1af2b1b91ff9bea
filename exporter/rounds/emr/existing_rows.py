"""What rows of the existing program's tables mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import tzinfo

from rounds.databases.session import Row
from rounds.emr import metrics
from rounds.emr.findings import Findings, number
from rounds.emr.moments import moment, parse
from rounds.emr.names import CHANNELS, label, operation
from rounds.emr.reading import OPTIONAL, REQUIRED, text

#: Longest time that an operation can have taken, in milliseconds: a year. Most events of one row.
_LONGEST = 365 * 86_400_000.0
_MOST = 1e12

#: What the names of counts end with that tell how an operation or an attempt of it ended. The longer ones come first.
_RETRIES = (("_retry_attempt", "attempt"), ("_retry_success", "success"), ("_retry_failed", "failed"))
_OUTCOMES = (("_success", "ok"), ("_error", "error"))


class Interpreter:
    """Interprets the rows of one store, each once.

    Args:
        findings: gets what they mean.
        gauges: names of gauges that are exported.
        zone: the zone of local times, None where it is not configured.
    """

    def __init__(self, findings: Findings, gauges: frozenset[str], zone: tzinfo | None) -> None:
        self._findings = findings
        self._gauges = gauges
        self._zone = zone
        self._of: Mapping[str, Callable[[Row, bool], None]] = {
            "errors": self._error,
            "messages": self._message,
            "transactions": self._transaction,
            "metrics": self._metric,
            "alerts": self._alert,
        }

    def take(self, table: str, row: Row, *, past: bool) -> None:
        """A row that was not read before; ``past`` where nobody had looked when it was written."""
        if parse(text(row[1])) is None:
            self._findings.reject("time")
        self._of[table](row, past)

    def at(self, table: str, row: Row) -> float | None:
        """When a row says that it happened."""
        created = row[len(REQUIRED[table]) + OPTIONAL[table].index("created_at")]
        return moment(text(row[1]), text(created), self._zone)

    # --- tables ---------------------------------------------------------------------------------------------------

    def _error(self, row: Row, past: bool) -> None:
        findings = self._findings
        findings.error(text(row[2]), "captured")
        group = text(row[3])
        if group:
            findings.group(group, self.at("errors", row), past=past)

    def _message(self, row: Row, _: bool) -> None:
        if not self._findings.message(text(row[2]).lower()):
            self._findings.reject("value")

    def _transaction(self, row: Row, _: bool) -> None:
        name, took, success = label(text(row[2])), number(row[3], _LONGEST), row[4]
        if took is not None:
            self._findings.took(name, took / 1000)
        if success in (0, 1):
            self._findings.operation(name, "ok" if success else "error")
        if took is None or success not in (0, 1):
            self._findings.reject("value")

    def _metric(self, row: Row, _: bool) -> None:
        findings, name, kind = self._findings, text(row[2]), text(row[3])
        if row[5] is not None and not isinstance(_document(row[5]), dict):
            findings.reject("tags")
        value = number(row[4], _LONGEST if kind == "timing" else _MOST)
        if kind == "gauge":
            if isinstance(row[4], int | float) and abs(row[4]) < float("inf"):
                self._gauge(name, float(row[4]), row)
            else:
                findings.reject("value")
        elif value is None or kind not in ("timing", "count"):
            findings.reject("value")
        elif kind == "timing":
            findings.took(operation(name), value / 1000)
        else:
            self._count(name, value)

    def _count(self, name: str, value: float) -> None:
        findings = self._findings
        for ending, outcome in _RETRIES:
            if name.endswith(ending) and name != ending:
                findings.retry(name.removesuffix(ending), outcome, value)
                return
        for ending, outcome in _OUTCOMES:
            if name.endswith(ending) and name != ending:
                findings.operation(name.removesuffix(ending), outcome, value)
                return
        findings.event(name, value)

    def _gauge(self, name: str, value: float, row: Row) -> None:
        if name in self._gauges:
            self._findings.known.gauges.put((name,), (value, self.at("metrics", row) or self._findings.now))

    def _alert(self, row: Row, past: bool) -> None:
        findings, severity = self._findings, text(row[2]).lower()
        channels = [] if row[3] is None else _document(row[3])
        if not isinstance(channels, list):
            findings.reject("tags")
            channels = []
        known = [each for each in channels if each in CHANNELS[:-1]]
        taken = findings.alert(severity, known)
        if not taken or len(known) < len(channels):
            findings.reject("value")
        if taken:
            findings.notice(metrics.LAST_ALERT, severity, self.at("alerts", row), past=past)


def _document(value: object) -> object:
    """A JSON document; None where it is none."""
    try:
        return json.loads(text(value))
    except (ValueError, RecursionError):
        return None
