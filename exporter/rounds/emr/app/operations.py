"""Calls that are measured: how long they took, what they came to, what they raised."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from time import perf_counter
from types import TracebackType
from typing import Any, TypeVar

from rounds.emr.app.errors import OUTER, SEEN, add_innermost, look, mark, seen
from rounds.emr.app.intake import ERROR, FAILURE, ODD_FAILURE, TIMING, Intake, Record
from rounds.emr.app.scrubbing import Scrubber
from rounds.emr.app.wrapping import wrap
from rounds.emr.names import OTHER, OUTCOMES, label

F = TypeVar("F", bound=Callable[..., Any])

#: Kinds of exceptions that an operation remembers.
_KINDS = 100


class Watch:
    """Tells the intake of an operation's calls, as quickly as that can be done."""

    __slots__ = ("_capture", "_error_if", "_expected", "_kinds", "_messages", "_name", "_put", "_slow", "begin")

    def __init__(
        self,
        intake: Intake,
        scrub: Scrubber,
        name: str,
        slow: float | None,
        *,
        expected: tuple[type[BaseException], ...] | type[BaseException],
        error_if: Callable[[Any], bool] | None,
        capture: bool,
    ) -> None:
        self._put = intake.put
        self._messages = scrub.message if scrub.messages else None
        self._name = name
        self._slow = slow
        self._expected = expected
        self._error_if = error_if
        self._capture = capture
        self._kinds: dict[type[BaseException], str] = {}
        self.begin = perf_counter

    def ok(self, begin: float, result: object) -> None:
        end = perf_counter()
        outcome = "ok"
        if self._error_if is not None:
            try:
                outcome = "error" if self._error_if(result) else "ok"
            except Exception:
                outcome = "ok"
        self._put((TIMING, begin, end, self._name, outcome, self._slow))

    def failed(self, begin: float, error: BaseException) -> None:
        end = perf_counter()
        try:
            kind = self._kinds.get(type(error))
            if kind is None or SEEN in (marks := error.__dict__):
                self._odd(begin, end, error)
                return
            # The first entry is the decorator's.
            trace = error.__traceback__.tb_next  # type: ignore[union-attr]
            record: list[Any] = [FAILURE, begin, end, self._name, self._slow, kind]
            for _ in OUTER:
                if trace is None:
                    break
                frame = trace.tb_frame
                record += frame.f_code, trace.tb_lasti, frame.f_globals["__name__"]
                trace = trace.tb_next
            else:
                add_innermost(record, trace)
            # The collector of garbage forgets a tuple of such things, but never a list: many of them would make it go
            # through all that the application has.
            self._put(tuple(record))
            marks[SEEN] = len(record) // 3 - 2
        except Exception:
            # Something about the exception is odd.
            self.left(begin, end, error)

    def left(self, begin: float, end: float, error: BaseException) -> None:
        """A block that has no decorator raised this, or a function something out of the ordinary."""
        try:
            self._odd(begin, end, error)
        except Exception:
            self._put((TIMING, begin, end, self._name, "error", self._slow))

    def _odd(self, begin: float, end: float, error: BaseException) -> None:
        outcome = "error"
        if not isinstance(error, Exception):
            # It ends a program, a task or a generator on purpose.
            outcome = "cancelled"
        elif isinstance(error, StopIteration | StopAsyncIteration):
            # The end of an iterator that is written as a class.
            outcome = "ok"
        elif self._capture and not isinstance(error, self._expected) and not seen(error):
            sight = look(error, error.__traceback__, self._name)
            self._learn(error, sight[0])
            message = None if self._messages is None else self._messages(error)
            self._put((ODD_FAILURE, begin, end, self._name, self._slow, sight, message))
            # Last, as at the limit of recursion any of this may fail; who calls this function then has more room.
            mark(error, sight)
            return
        self._put((TIMING, begin, end, self._name, outcome, self._slow))

    def _learn(self, error: Exception, kind: str) -> None:
        """Take the quick way with the next ones, unless more has to be noted of them than their frames."""
        if self._messages is None and not isinstance(error, BaseExceptionGroup):
            if len(self._kinds) >= _KINDS:
                self._kinds.clear()
            with suppress(Exception):
                self._kinds[type(error)] = kind

    def ended(self, begin: float, outcome: str) -> None:
        """A block ended, and said itself what it came to."""
        self._put((TIMING, begin, perf_counter(), self._name, outcome, self._slow))


def error_of(record: Record) -> Record | None:
    """The error that an operation's record tells of, by itself; None where it tells of none."""
    if record[0] == FAILURE:
        _, _, end, name, _, kind, *frames = record
        return ERROR, end, "captured", (kind, frames, (), name), None, None
    if record[0] == ODD_FAILURE:
        _, _, end, _, _, sight, message = record
        return ERROR, end, "captured", sight, message, None
    return None


class Span:
    """A block of an operation that is under way."""

    __slots__ = ("begin", "owner", "said")

    def __init__(self, begin: float, owner: object) -> None:
        self.begin = begin
        self.owner = owner
        self.said: str | None = None

    def outcome(self, outcome: str) -> None:
        """Say what it came to, one of ok, error, cancelled and skipped, unless an exception leaves it."""
        if outcome in OUTCOMES:
            self.said = outcome


class Operation:
    """A decorator, and a context manager, plain and async, that may be entered again while it is entered."""

    __slots__ = ("_make", "_name", "_spans", "_watch")

    def __init__(self, name: str | None, make: Callable[[str], Watch]) -> None:
        self._name = name
        self._make = make
        self._watch: Watch | None = None
        self._spans: list[Span] = []

    def __call__(self, target: F) -> F:
        """Decorate a function, or what else can be called."""
        decorated: F = wrap(target, self._make(self._name or name_of(target)))
        return decorated

    def __enter__(self) -> Span:
        """Begin to measure."""
        return self._begin(get_ident())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say how it ended. The exception goes on."""
        self._end(get_ident(), error)

    async def __aenter__(self) -> Span:
        """Begin to measure."""
        return self._begin(_task())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say how it ended. The exception goes on."""
        self._end(_task(), error)

    def _begin(self, owner: object) -> Span:
        if self._watch is None:
            self._watch = self._make(self._name or OTHER)
        span = Span(perf_counter(), owner)
        self._spans.append(span)
        return span

    def _end(self, owner: object, error: BaseException | None) -> None:
        watch, spans = self._watch, self._spans
        if watch is None or not spans:
            return
        # Threads and tasks may share an operation: each ends its own block.
        span = next((each for each in reversed(spans) if each.owner == owner), spans[-1])
        spans.remove(span)
        if error is not None:
            watch.left(span.begin, perf_counter(), error)
        elif span.said is not None:
            watch.ended(span.begin, span.said)
        else:
            watch.ok(span.begin, None)


def _task() -> object:
    """What tells this task from others. Its number may be another's later, but not before its block has ended."""
    asyncio = sys.modules.get("asyncio")
    try:
        return get_ident(), id(asyncio.current_task() if asyncio is not None else None)
    except RuntimeError:
        # Another library runs this coroutine.
        return get_ident(), 0


def name_of(target: Any) -> str:
    """The name of a function, in its class but not in the function that made it."""
    function = getattr(target, "__func__", None) or getattr(target, "fget", None) or target
    name = getattr(function, "__qualname__", None) or getattr(type(function), "__qualname__", "")
    return label(str(name).rpartition("<locals>.")[2])
