"""Decorators that are applied before there is a monitor: they begin to measure once there is one."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rounds.emr.app.wrapping import Watch

if TYPE_CHECKING:
    from rounds.emr.app.system import MonitoringSystem


T = TypeVar("T")

#: A set of weak references may not be read while something is added to it.
_guard = threading.Lock()
#: Those of decorated functions that are still there.
_all: weakref.WeakSet[Late[Any]] = weakref.WeakSet()


class Current:
    """The system that is in use, of which there is one in a process at most."""

    __slots__ = ("system",)

    def __init__(self) -> None:
        self.system: MonitoringSystem | None = None

    def use(self, system: MonitoringSystem | None) -> None:
        """From now on it is this one."""
        self.system = system
        self._bind_all()

    def renew(self, system: MonitoringSystem) -> None:
        """This one tells something else now."""
        if self.system is system:
            self._bind_all()

    def _bind_all(self) -> None:
        with _guard:
            everything = list(_all)
        for late in everything:
            late.bind()

    def leave(self, system: MonitoringSystem) -> None:
        """It is not this one any more."""
        if self.system is system:
            self.use(None)


#: What every decorator asks.
current = Current()


class Late(Generic[T]):
    """What a decorated function tells, of the system that is in use; None while there is none.

    Args:
        make: makes it for a system. Called once for each, so that counters are known before they grow.
    """

    __slots__ = ("__weakref__", "_make", "made")

    def __init__(self, make: Callable[[MonitoringSystem], T]) -> None:
        self._make = make
        self.made: T | None = None
        with _guard:
            _all.add(self)
        self.bind()

    def bind(self) -> None:
        """Take the system that is in use."""
        system = current.system
        try:
            self.made = None if system is None else self._make(system)
        except Exception:
            self.made = None


class LateWatch(Late[Watch]):
    """Is told of a decorated function's calls."""

    __slots__ = ()

    def begin(self) -> float:
        """A call begins."""
        watch = self.made
        return perf_counter() if watch is None else watch.begin()

    def ok(self, begin: float, result: object) -> None:
        """It gave a result."""
        watch = self.made
        if watch is not None:
            watch.ok(begin, result)

    def failed(self, begin: float, error: BaseException) -> None:
        """It raised this."""
        watch = self.made
        if watch is not None:
            watch.failed(begin, error)
