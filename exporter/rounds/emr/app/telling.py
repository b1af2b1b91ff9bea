"""What the existing program's decorators tell of calls."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from rounds.emr.app.instruments import Count
from rounds.emr.app.intake import COUNT
from rounds.emr.app.severity import Severity
from rounds.emr.app.wrapping import Watch
from rounds.emr.names import RETRIES

if TYPE_CHECKING:
    from rounds.emr.app.system import MonitoringSystem

#: Characters of an error's text that a notification may show.
_TEXT_LENGTH = 500


def text_of(error: BaseException) -> str:
    """An error as a person at the screen reads it. It is stored nowhere."""
    try:
        return f"{type(error).__name__}: {error}"[:_TEXT_LENGTH]
    except Exception:
        return type(error).__name__


class Failure:
    """The alert of a call that raised.

    Args:
        title: with ``{function_name}`` and ``{error}``.
        message: the same.
    """

    __slots__ = ("_function", "_key", "_message", "_severity", "_system", "_title")

    def __init__(
        self,
        system: MonitoringSystem,
        severity: Severity,
        *,
        key: str,
        function: str,
        title: str | None = None,
        message: str | None = None,
    ) -> None:
        self._system = system
        self._severity = severity
        self._key = key
        self._function = function
        self._title = title or "Failure in {function_name}"
        self._message = message or "{error}"

    def raised(self, error: BaseException) -> None:
        """It raised this."""
        text = text_of(error)
        self._system.raise_alert(
            self._severity, self._fill(self._title, text), self._fill(self._message, text), key=self._key
        )

    def _fill(self, template: str, error: str) -> str:
        # Not by format(), which an error's braces, or a template's, would make raise.
        parts = template.split("{error}")
        return error.join(part.replace("{function_name}", self._function) for part in parts)


class Slow:
    """The alert of a call that took longer than so many seconds."""

    __slots__ = ("_name", "_seconds", "_severity", "_system")

    def __init__(self, system: MonitoringSystem, severity: Severity, name: str, seconds: float) -> None:
        self._system = system
        self._severity = severity
        self._name = name
        self._seconds = seconds

    def took(self, seconds: float) -> None:
        """It took so long."""
        if seconds > self._seconds:
            text = f"{seconds * 1000:.0f} ms, more than {self._seconds * 1000:g} ms"
            self._system.raise_alert(self._severity, f"Slow operation: {self._name}", text, key=f"slow:{self._name}")


class Alerting:
    """Tells another watch, and alerts."""

    __slots__ = ("_failure", "_inner", "_slow", "_slow_failures", "begin")

    def __init__(
        self, inner: Watch | None, failure: Failure | None, slow: Slow | None, *, slow_failures: bool = False
    ) -> None:
        self._inner = inner
        self._failure = failure
        self._slow = slow
        self._slow_failures = slow_failures
        self.begin = perf_counter

    def ok(self, begin: float, result: object) -> None:
        """It gave a result."""
        if self._inner is not None:
            self._inner.ok(begin, result)
        if self._slow is not None:
            self._slow.took(perf_counter() - begin)

    def failed(self, begin: float, error: BaseException) -> None:
        """It raised this."""
        if self._inner is not None:
            self._inner.failed(begin, error)
        # What is no Exception ends a program, a task or a generator on purpose; an iterator's end is no failure.
        if not isinstance(error, Exception) or isinstance(error, StopIteration | StopAsyncIteration):
            return
        if self._failure is not None:
            self._failure.raised(error)
        if self._slow is not None and self._slow_failures:
            self._slow.took(perf_counter() - begin)


class Calls:
    """Counts calls before they are made."""

    __slots__ = ("_intake", "_name")

    def __init__(self, system: MonitoringSystem, name: str) -> None:
        self._intake = system.monitor.intake
        self._name = name
        self._intake.put((COUNT, "events_total", (name,), 0))

    def begin(self) -> float:
        """One begins."""
        Count(self._intake, self._name, 1)
        return 0.0

    def ok(self, begin: float, result: object) -> None:
        """Counted already."""

    def failed(self, begin: float, error: BaseException) -> None:
        """Counted already."""


class Retries:
    """Counts attempts, and alerts when the last one failed."""

    __slots__ = ("_alert", "_name", "_system")

    def __init__(self, system: MonitoringSystem, name: str, *, alert: bool) -> None:
        self._system = system
        self._name = name
        self._alert = alert
        for said in RETRIES:
            system.monitor.intake.put((COUNT, "retries_total", (name, said), 0))

    def tell(self, said: str, error: BaseException | None) -> None:
        """One of :data:`rounds.emr.names.RETRIES`, with the error of the last attempt."""
        self._system.monitor.intake.put((COUNT, "retries_total", (self._name, said), 1))
        if error is not None and self._alert:
            title = f"All attempts failed: {self._name}"
            self._system.raise_alert(Severity.ERROR, title, text_of(error), key=f"retry_failed:{self._name}")
