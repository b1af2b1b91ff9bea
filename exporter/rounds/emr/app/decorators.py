"""The existing program's decorators. Each works with and without parentheses, on whatever can be called."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from rounds.emr.app.late import Late, LateWatch
from rounds.emr.app.retrying import Plan, retrying
from rounds.emr.app.severity import Severity, severity_of
from rounds.emr.app.telling import Alerting, Calls, Failure, Retries, Slow
from rounds.emr.app.wrapping import Watch, wrap
from rounds.emr.names import OTHER, label

if TYPE_CHECKING:
    from rounds.emr.app.system import MonitoringSystem

F = TypeVar("F", bound=Callable[..., Any])
#: What a severity may be given as: its name, or a member of an enumeration of them.
AnySeverity: TypeAlias = Any


@overload
def monitor_performance(operation_name: F) -> F: ...
@overload
def monitor_performance(operation_name: str | None = None) -> Callable[[F], F]: ...
def monitor_performance(operation_name: Any = None) -> Any:
    """Measure how long calls take and whether they fail."""

    def make(system: MonitoringSystem, names: _Names) -> Watch:
        return system.watch(_text(operation_name) or names.function, capture=False)

    return _decorator(operation_name, make)


@overload
def monitor_all(operation_name: F) -> F: ...
@overload
def monitor_all(
    operation_name: str | None = None,
    slow_threshold_ms: float = 1000,
    alert_on_failure: bool = True,
    alert_on_slow: bool = True,
) -> Callable[[F], F]: ...
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
        failure = Failure(system, Severity.ERROR, key=f"failure:{name}", function=name) if alert_on_failure else None
        slow = Slow(system, Severity.WARNING, name, seconds) if alert_on_slow else None
        return Alerting(system.watch(name, slow=seconds), failure, slow)

    return _decorator(operation_name, make)


@overload
def measure_and_alert(operation_name: F) -> F: ...
@overload
def measure_and_alert(
    operation_name: str | None = None, slow_threshold_ms: float = 1000, alert_severity: AnySeverity = Severity.WARNING
) -> Callable[[F], F]: ...
def measure_and_alert(
    operation_name: Any = None, slow_threshold_ms: float = 1000, alert_severity: AnySeverity = Severity.WARNING
) -> Any:
    """Measure calls, and alert of slow ones (``slow:NAME``), also of those that fail at last."""

    def make(system: MonitoringSystem, names: _Names) -> Watch:
        name = _text(operation_name) or names.function
        seconds = slow_threshold_ms / 1000
        slow = Slow(system, severity_of(alert_severity, Severity.WARNING), name, seconds)
        return Alerting(system.watch(name, slow=seconds, capture=False), None, slow, slow_failures=True)

    return _decorator(operation_name, make)


@overload
def alert_on_failure(severity: F) -> F: ...
@overload
def alert_on_failure(
    severity: AnySeverity = Severity.ERROR, title_template: str | None = None, message_template: str | None = None
) -> Callable[[F], F]: ...
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
        failure = Failure(
            system, kind, key=key, function=names.function, title=title_template, message=message_template
        )
        return Alerting(None, failure, None)

    return _decorator(severity, make)


@overload
def count_calls(metric_name: F) -> F: ...
@overload
def count_calls(metric_name: str | None = None, tags: Mapping[str, object] | None = None) -> Callable[[F], F]: ...
def count_calls(metric_name: Any = None, tags: Mapping[str, object] | None = None) -> Any:  # noqa: ARG001
    """Count calls before they are made, as the event ``FUNCTION_calls``. Tags are taken and not kept."""

    def make(system: MonitoringSystem, names: _Names) -> Watch:
        return Calls(system, _text(metric_name) or f"{names.function}_calls")

    return _decorator(metric_name, make)


@overload
def retry_with_monitoring(max_attempts: F) -> F: ...
@overload
def retry_with_monitoring(
    max_attempts: int = 3, delay_seconds: float = 1.0, backoff: float = 2.0, alert_on_all_failures: bool = True
) -> Callable[[F], F]: ...
def retry_with_monitoring(
    max_attempts: Any = 3, delay_seconds: float = 1.0, backoff: float = 2.0, alert_on_all_failures: bool = True
) -> Any:
    """Call again after any Exception, and alert when all attempts failed (``retry_failed:FUNCTION``).

    A generator function raises only once it is gone through, and that cannot be begun again: it is left as it is.

    Args:
        max_attempts: calls at most; less than 1 is 1.
        delay_seconds: what is waited after the first failure.
        backoff: by how much longer each wait is than the one before.
        alert_on_all_failures: whether to alert.
    """
    attempts = max_attempts if isinstance(max_attempts, int) else 3
    plan = Plan(attempts, delay_seconds, backoff, 0.0, (Exception,))

    def decorate(target: Any) -> Any:
        name = _Names(target).function
        retries = Late(lambda system: Retries(system, name, alert=alert_on_all_failures))

        def tell(said: str, error: BaseException | None = None) -> None:
            if retries.made is not None:
                retries.made.tell(said, error)

        return retrying(target, plan, tell) if _can_be_called(target) else target

    return decorate(max_attempts) if _is_target(max_attempts) else decorate


@overload
def capture_errors(context_func: F) -> F: ...
@overload
def capture_errors(*, context_func: Callable[..., Any] | None = None) -> Callable[[F], F]: ...
def capture_errors(context_func: Any = None) -> Any:
    """Capture what calls raise.

    Args:
        context_func: what the existing program asks for a context, such as whom a call was about. It is taken and not
            called, as no context is kept.
    """
    if context_func is None:
        return _capturing
    frame = sys._getframe(1)  # noqa: SLF001
    if not callable(context_func) or isinstance(context_func, type) or _is_defined_now(context_func, frame):
        return _capturing(context_func)
    if inspect.iscoroutinefunction(context_func) or inspect.isgeneratorfunction(context_func):
        return _capturing(context_func)
    return _capturing if getattr(context_func, "__name__", "") == "<lambda>" else _context_or_target(context_func)


def _capturing(target: Any) -> Any:
    return _decorator(target, lambda system, names: system.errors_of(names.function))


def _context_or_target(function: Callable[..., Any]) -> Any:
    """``@capture_errors(function)`` and ``capture_errors(function)`` look the same; what comes next tells which it was.

    Where it is called with a function that is just being defined, it is a decorator; else it is the decorated function.
    """
    decorated = _capturing(function)

    @functools.wraps(function)
    def either(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and _is_defined_now(args[0], sys._getframe(1)):  # noqa: SLF001
            return _capturing(args[0])
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
    return callable(value) or isinstance(value, classmethod | staticmethod | property)


def _can_be_called(target: object) -> bool:
    return isinstance(target, classmethod | staticmethod) or (callable(target) and not isinstance(target, type))


def _text(name: object) -> str | None:
    return name if isinstance(name, str) and name else None


def _decorator(first: Any, make: Callable[[MonitoringSystem, _Names], Watch]) -> Any:
    def decorate(target: Any) -> Any:
        names = _Names(target)
        return wrap(target, LateWatch(lambda system: make(system, names)))

    return decorate(first) if _is_target(first) else decorate
