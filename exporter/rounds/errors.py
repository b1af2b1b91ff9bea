"""The errors that cross module boundaries."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

FailureReason: TypeAlias = Literal["timeout", "connect", "auth", "query", "value", "limit", "internal"]

FAILURE_REASONS: tuple[FailureReason, ...] = get_args(FailureReason)


class CollectorError(Exception):
    """A run that failed for a reason that its operator can act on.

    ``reason`` is the label of ``rounds_collector_failures_total``; the message reaches logs and pages, so it must hold
    no secret and nothing of a patient.
    """

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason: FailureReason = reason


class ConfigError(Exception):
    """A configuration that is refused. Each problem is one line: ``file:line: path: message``."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
