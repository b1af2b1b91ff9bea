"""Checks of the application's own, in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rounds.emr.health.result import Health

UNKNOWN = Health("unknown", "not_run", "has not run yet")
#: Seconds that are between two runs at least.
_SHORTEST_INTERVAL = 0.01


class Check:
    """Runs one check again and again, in a daemon thread of its own, so that one that hangs holds up no other.

    A run that takes longer than ``timeout`` seconds makes the result unhealthy; it is never started a second time
    meanwhile, and what it gives at last is the result then. In a forked child there are no runs.

    Args:
        run: gives a :class:`Health`, True, False, or None for healthy. What it raises is unhealthy, by its kind alone.
        interval: seconds from one begin to the next.
        timeout: seconds.
    """

    def __init__(self, name: str, run: Callable[[], object], interval: float, timeout: float) -> None:
        self.name = name
        self._run = run
        self._interval = max(_SHORTEST_INTERVAL, interval)
        self._timeout = timeout
        self._ended = threading.Event()
        self._result = UNKNOWN
        self._began: float | None = None

    def start(self) -> None:
        """Begin. Where no thread can be had, the result stays unknown."""
        try:
            threading.Thread(target=self._loop, name=f"rounds-emr-check-{self.name}", daemon=True).start()
        except RuntimeError:
            return

    def stop(self) -> None:
        """Begin no run any more."""
        self._ended.set()

    def result(self) -> Health:
        """The last run's, or that the one under way takes too long."""
        began = self._began
        if began is not None and time.monotonic() - began > self._timeout:
            return Health.unhealthy(f"takes longer than {self._timeout:g} s", reason="timeout")
        return self._result

    def _loop(self) -> None:
        while not self._ended.is_set():
            self._began = began = time.monotonic()
            try:
                found = _health(self._run())
            except Exception as error:
                # Its text may hold anything.
                found = Health.unhealthy(f"raised {type(error).__name__}", reason="error")
            # A late result is one of a moment that has passed, but there is none of a later moment.
            self._result = found
            self._began = None
            self._ended.wait(max(0.0, began + self._interval - time.monotonic()))


def _health(found: object) -> Health:
    if isinstance(found, Health):
        return found
    if found is None or found is True:
        return Health.ok()
    if found is False:
        return Health.unhealthy("the check said so", reason="check")
    return Health.unhealthy("the check gave what is no result", reason="result")
