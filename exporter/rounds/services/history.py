"""The last results of a check, and apart from them its last failures, which many successes must not push out."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

#: How many results and how many failures are kept.
KEPT = 10


class History:
    """Remembers lines such as ``2026-01-31T08:00:00Z up in 0.038 s``."""

    def __init__(self, kept: int = KEPT) -> None:
        self._results: deque[tuple[float, str]] = deque(maxlen=kept)
        self._failures: deque[tuple[float, str]] = deque(maxlen=kept)

    def add(self, ended: float, line: str, *, failed: bool) -> None:
        """Remember one result."""
        self._results.append((ended, line))
        if failed:
            self._failures.append((ended, line))

    def lines(self) -> list[str]:
        """What is remembered, newest first: the last results, and the failures that are older than these."""
        return [_line(*entry) for entry in sorted({*self._results, *self._failures}, reverse=True)]


def _line(ended: float, text: str) -> str:
    return f"{datetime.fromtimestamp(ended, UTC):%Y-%m-%dT%H:%M:%SZ} {text}"
