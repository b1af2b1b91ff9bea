"""How bad an alert is."""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """The severities, as the existing program calls them."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


def severity_of(value: object, default: Severity = Severity.ERROR) -> Severity:
    """What somebody means by a severity: its name in whatever case, or a member of an enumeration of their own."""
    text = getattr(value, "value", value)
    try:
        return Severity(str(text).lower())
    except ValueError:
        return default
