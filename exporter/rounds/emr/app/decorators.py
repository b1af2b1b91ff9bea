"""The existing program's decorators. Each works with and without parentheses, on whatever can be called."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from time import perf_counter
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from rounds.emr.app.errors import look
from rounds.emr.app.instruments import Count
from rounds.emr.app.intake import ERROR
from rounds.emr.app.late import LateWatch
from rounds.emr.app.operations import first_sight
from rounds.emr.app.severity import Severity, severity_of
from rounds.emr.app.wrapping import Watch, wrap
from rounds.emr.names import OTHER, label

if TYPE_CHECKING:
    from rounds.emr.app.system import MonitoringSystem

F = TypeVar("F", bound=Callable[..., Any])
Decorator: TypeAlias = Callable[[F], F]
#: What a severity may be given as: its name, or a member of an enumeration of them.
AnySeverity: TypeAlias = Any

_TEXT_LENGTH = 500


@overload
def monitor_performance(operation_name: F) -> F: ...
@overload
def monitor_performance(operation_name: str | None = None) -> Decorator[Any]: ...
def monitor_performance(operation_name: Any = None) -> Any:
    """Measure how long calls take and whether they fail."""

    def make(system: MonitoringSystem, names: _Names, name: str | None) -> Watch:
        return system.watch(name or names.function, capture=False)

    return _decorator(operation_name, lambda system, names: make(system, names, _text(operation_name)))


@overload
def monitor_all(operation_name: F) -> F: ...
@overload
def monitor_all(
    operation_name: str | None = None,
    slow_threshold_ms: float = 1000,
    alert_on_failure: bool = True,
    alert_on_slow: bool = True,
) -> Decorator[Any]: ...
def monitor_all(
    operation_name: Any = None,
    slow_threshold_ms: float = 1000,
    alert_on_failure: bool = True,
    alert_on_slow: bool = True,
) -> Any:
    """Measure calls, capture what they raise, alert of failures (``failure:NAME``) and of slow ones (``slow:NAME``)."""

    def make(system: MonitoringSystem, names: _Names) -> Watch:
        name = _text(operation_name) or names.function
        seconds = slow_threshold_ms / 1000
        failure = _Failure(system, Severity.ERROR, f"failure:{name}", name) if alert_on_failure else None
        slow = _Slow(system, Severity.WARNING, name, seconds) if alert_on_slow else None
        return _Alerting(system.watch(name, slow=seconds), failure, slow)

    return _decorator(operation_name, make)


@overload
def measure_and_alert(operation_name: F) -> F: ...
@overload
def measure_and_alert(
    operation_name: str | None = None, slow_threshold_ms: float = 1000, alert_severity: AnySeverity = Severity.WARNING
) -> Decorator[Any]: ...
def measure_and_alert(
    operation_name: Any = None, slow_threshold_ms: float = 1000, alert_severity: AnySeverity = Severity.WARNING
) -> Any:
    """Measure calls, and alert of slow ones (``slow:NAME``), also of those that fail at last."""

    def make(system: MonitoringSystem, names: _Names) -> Watch:
        name = _text(operation_name) or names.function
        seconds = slow_threshold_ms / 1000
        slow = _Slow(system, severity_of(alert_severity, Severity.WARNING), name, seconds)
        return _Alerting(system.watch(name, slow=seconds, capture=False), None, slow, slow_failures=True)

    return _decorator(operation_name, make)


@overload
def alert_on_failure(severity: F) -> F: ...
@overload
def alert_on_failure(
    severity: AnySeverity = Severity.ERROR, title_template: str | None = None, message_template: str | None = None
) -> Decorator[Any]: ...
def alert_on_failure(
    severity: Any = Severity.ERROR, title_template: str | None = None, message_template: str | None = None
) -> Any:
    """Alert of calls that raise (``failure:MODULE.FUNCTION``).

    Args:
        severity: critical, error, warning or info.
        title_template: with ``{function_name}`` and ``{error}``, which are replaced; all else stays as it is.
        message_template: the same.
    """
    bare = _is_target(severity)

    def make(system: MonitoringSystem, names: _Names) -> Watch:
        kind = Severity.ERROR if bare else severity_of(severity, Severity.ERROR)
        key = f"failure:{names.module}.{names.function}"
        return _Alerting(None, _Failure(system, kind, key, names.function, title_template, message_template), None)

    return _decorator(severity, make)


@overload
def count_calls(metric_name: F) -> F: ...
@overload
def count_calls(metric_name: str | None = None, tags: Mapping[str, object] | None = None) -> Decorator[Any]: ...
def count_calls(metric_name: Any = None, tags: Mapping[str, object] | None = None) -> Any:  # noqa: ARG001
    """Count calls before they are made, as the event ``FUNCTION_calls``. Tags are taken and not kept."""

    def make(system: MonitoringSystem, names: _Names) -> Watch:
        return _Calls(system, _text(metric_name) or f"{names.function}_calls")

    return _decorator(metric_name, make)


@overload
def capture_errors(context_func: F) -> F: ...
@overload
def capture_errors(context_func: None = None) -> Decorator[Any]: ...
def capture_errors(context_func: Any = None) -> Any:
    """Capture what calls raise.

    Args:
        context_func: is given the call's arguments, and gives tags; those that the scrubber allows are kept. It is not
            called where none are allowed.
    """
    if context_func is None:
        return functools.partial(_capturing, None)
    if inspect.isfunction(context_func) and not _is_defined_now(context_func, sys._getframe(1)):
        return _context_or_target(context_func)
    return _capturing(None, context_func)


def _capturing(context: Callable[..., Any] | None, target: Any) -> Any:
    return _decorator(target, lambda system, names: _Captured(system, context, names.function))


def _context_or_target(function: FunctionType) -> Any:
    """``@capture_errors(function)`` and ``capture_errors(function)`` look the same; what comes next tells which it was.

    Where it is called with a function that is just being defined, it is a decorator; else it is the decorated function.
    """
    if function.__name__ == "<lambda>":
        return functools.partial(_capturing, function)
    decorated = _capturing(None, function)
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return decorated

    @functools.wraps(function)
    def either(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and _is_defined_now(args[0], sys._getframe(1)):
            return _capturing(function, args[0])
        return decorated(*args, **kwargs)

    return either


def _is_defined_now(target: object, frame: FrameType) -> bool:
    """Whether this function, or what is in a decorator's, is of a ``def`` that is under way in the frame."""
    if isinstance(target, classmethod | staticmethod):
        return True
    inner = inspect.unwrap(target) if callable(target) else target
    if not isinstance(inner, FunctionType) or inner.__name__ == "<lambda>":
        return False
    if all(constant is not inner.__code__ for constant in frame.f_code.co_consts):
        return False
    bound = frame.f_locals.get(inner.__name__)
    return bound is not inner and bound is not target


class _Names:
    """What a decorated function is called."""

    __slots__ = ("function", "module")

    def __init__(self, target: Any) -> None:
        function = getattr(target, "__func__", None) or getattr(target, "fget", None) or target
        self.function = label(getattr(function, "__name__", None) or type(function).__name__)
        self.module = label(getattr(function, "__module__", None) or OTHER)


def _is_target(value: object) -> bool:
    """Whether a decorator's first argument is what it decorates: it stands there without parentheses."""
    return isinstance(value, classmethod | staticmethod | property) or (callable(value) and not isinstance(value, type))


def _text(name: object) -> str | None:
    return name if isinstance(name, str) and name else None


def _decorator(first: Any, make: Callable[[MonitoringSystem, _Names], Watch]) -> Any:
    def decorate(target: Any) -> Any:
        names = _Names(target)
        return wrap(target, LateWatch(lambda system: make(system, names)))

    return decorate(first) if _is_target(first) else decorate


class _Failure:
    """The alert of a call that raised."""

    __slots__ = ("_function", "_key", "_message", "_severity", "_system", "_title")

    def __init__(
        self,
        system: MonitoringSystem,
        severity: str,
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
        try:
            text = f"{type(error).__name__}: {error}"[:_TEXT_LENGTH]
        except Exception:
            text = type(error).__name__
        self._system.raise_alert(self._severity, self._fill(self._title, text), self._fill(self._message, text), self._key)

    def _fill(self, template: str, error: str) -> str:
        # Not by format(): an error's text may have braces, and so may a template.
        before, mark, behind = template.partition("{error}")
        name = self._function
        return before.replace("{function_name}", name) + (error if mark else "") + behind.replace("{function_name}", name)


class _Slow:
    """The alert of a call that took long."""

    __slots__ = ("_key", "_name", "_seconds", "_severity", "_system")

    def __init__(self, system: MonitoringSystem, severity: str, name: str, seconds: float) -> None:
        self._system = system
        self._severity = severity
        self._key = f"slow:{name}"
        self._name = name
        self._seconds = seconds

    def took(self, seconds: float) -> None:
        if seconds > self._seconds:
            text = f"{seconds * 1000:.0f} ms, more than {self._seconds * 1000:g} ms"
            self._system.raise_alert(self._severity, f"Slow operation: {self._name}", text, self._key)


class _Alerting:
    """Tells another watch, and alerts."""

    __slots__ = ("_failure", "_inner", "_slow", "_slow_failures", "begin")

    def __init__(
        self, inner: Watch | None, failure: _Failure | None, slow: _Slow | None, *, slow_failures: bool = False
    ) -> None:
        self._inner = inner
        self._failure = failure
        self._slow = slow
        self._slow_failures = slow_failures
        self.begin = perf_counter

    def ok(self, begin: float, result: object) -> None:
        if self._inner is not None:
            self._inner.ok(begin, result)
        if self._slow is not None:
            self._slow.took(perf_counter() - begin)

    def failed(self, begin: float, error: BaseException) -> None:
        if self._inner is not None:
            self._inner.failed(begin, error)
        # What is no Exception ends a program, a task or a generator on purpose.
        if self._failure is not None and isinstance(error, Exception):
            self._failure.raised(error)
        if self._slow is not None and self._slow_failures:
            self._slow.took(perf_counter() - begin)


class _Calls:
    """Counts calls."""

    __slots__ = ("_intake", "_name")

    def __init__(self, system: MonitoringSystem, name: str) -> None:
        self._intake = system.monitor.intake
        self._name = name
        Count(self._intake, name, 0)

    def begin(self) -> float:
        Count(self._intake, self._name, 1)
        return 0.0

    def ok(self, begin: float, result: object) -> None:
        """Counted already."""

    def failed(self, begin: float, error: BaseException) -> None:
        """Counted already."""


class _Captured:
    """Captures what calls raise."""

    __slots__ = ("_context", "_name", "_system", "begin")

    def __init__(self, system: MonitoringSystem, context: Callable[..., Any] | None, name: str) -> None:
        self._system = system
        self._context = context
        self._name = name
        self.begin = perf_counter

    def ok(self, begin: float, result: object) -> None:
        """Nothing to capture."""

    def failed(self, begin: float, error: BaseException) -> None:
        if isinstance(error, Exception) and first_sight(error):
            with_own = error.__traceback__
            try:
                monitor = self._system.monitor
                sight = look(error, with_own and with_own.tb_next, self._name)
                tags = monitor.scrub.tags(self._tags(error))
                monitor.intake.put((ERROR, perf_counter(), "captured", sight, monitor.scrub.message(error), tags, None))
            except Exception:
                return

    def _tags(self, error: BaseException) -> Mapping[str, object] | None:
        trace = error.__traceback__
        if self._context is None or trace is None or not self._system.monitor.scrub.keys:
            return None
        # The decorator's own frame, in which the call's arguments are.
        call = trace.tb_frame.f_locals
        found = self._context(*call["args"], **call["kwargs"])
        return found if isinstance(found, Mapping) else None
