"""What ended a run, by the kind of the exception alone: its text may hold anything, a patient's name too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from rounds.syncs.states import ErrorClass

#: How a run can end that an exception left.
Ending: TypeAlias = Literal["completed", "failed", "timeout", "cancelled"]

#: How deep the causes of an exception are looked at.
_DEEPEST = 20
#: By what HTTP says. 407 is a proxy's 401.
_STATUSES: dict[int, ErrorClass] = {
    401: "auth",
    403: "auth",
    407: "auth",
    408: "timeout",
    429: "rate_limit",
    502: "network",
    503: "network",
    504: "timeout",
}
#: By the first two digits of an SQLSTATE, or all five.
_SQLSTATES: dict[str, ErrorClass] = {
    "08": "network",
    "23": "constraint",
    "28": "auth",
    "57014": "timeout",
    "55P03": "timeout",
}
#: By what the name of a class holds, as libraries call them; the first that fits. A failed connection may have been
#: too slow, and a login be refused by a limit of the rate.
_NAMES: tuple[tuple[str, ErrorClass], ...] = (
    ("timeout", "timeout"),
    ("timedout", "timeout"),
    ("ratelimit", "rate_limit"),
    ("toomanyrequests", "rate_limit"),
    ("throttl", "rate_limit"),
    ("nocredentials", "config"),
    ("missingcredentials", "config"),
    ("config", "config"),
    ("settings", "config"),
    ("unauthorized", "auth"),
    ("unauthenticated", "auth"),
    ("forbidden", "auth"),
    ("authentication", "auth"),
    ("authorization", "auth"),
    ("autherror", "auth"),
    ("credential", "auth"),
    ("integrity", "constraint"),
    ("constraint", "constraint"),
    ("violation", "constraint"),
    ("connect", "network"),
    ("network", "network"),
    ("transport", "network"),
    ("protocolerror", "network"),
    ("gaierror", "network"),
    ("sslerror", "network"),
)


def ending(error: BaseException | None) -> Ending:
    """How a run ends that this exception leaves, or none.

    ``timeout`` is for Python's own TimeoutError, which a limit on the whole run raises; a request that was too slow is
    a failure, of the class timeout. What is no Exception ends a program or a task on purpose.
    """
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return "completed"
    if isinstance(error, TimeoutError):
        return "timeout"
    return "failed" if isinstance(error, Exception | SystemExit) else "cancelled"


def error_class(error: BaseException) -> ErrorClass:
    """The class of an exception: its own, or that of the first of its causes that has one."""
    return next((found for each in _with_causes(error) if (found := _class_of(each))), "other")


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, and what it was raised from or wraps; the nearest first."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < _DEEPEST:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        context = None if each.__suppress_context__ else each.__context__
        waiting += [
            cause
            # A DBAPIError of SQLAlchemy has the driver's own error there.
            for cause in (getattr(each, "orig", None), each.__cause__, context)
            if isinstance(cause, BaseException)
        ]


def _class_of(error: BaseException) -> ErrorClass | None:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionError):
        return "network"
    if found := _STATUSES.get(_http_status(error)):
        return found
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if isinstance(state, str) and (found := _SQLSTATES.get(state) or _SQLSTATES.get(state[:2])):
        return found
    if getattr(error, "connection_invalidated", False) is True:
        return "network"
    names = [each.__name__.lower() for each in type(error).__mro__]
    return next((found for part, found in _NAMES if any(part in name for name in names)), None)


def _http_status(error: BaseException) -> int:
    """What HTTP clients keep of the answer: requests and httpx ``response``, aiohttp ``status``, urllib ``code``."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status", "code"):
            status = getattr(holder, name, None)
            if isinstance(status, int):
                return status
    return 0
