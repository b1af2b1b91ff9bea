"""What an application asks to be monitored with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rounds.emr.app.scrubbing import Scrubber
from rounds.emr.health.result import Health

F = TypeVar("F", bound=Callable[..., Any])


class Monitor:
    """Measures an application and stores what it finds, without ever getting in its way.

    Args:
        app: the application's name.
        version: its version.
        store: the file of the store; None keeps everything in memory, for ``listen``.
        listen: ``host:port`` to serve ``/metrics`` at, such as ``127.0.0.1:0``.
        scrub: what may be stored besides names.
        max_store_mb: how large the store may become.
        retention_days: how long it keeps what it can.
    """

    def __init__(
        self,
        app: str,
        version: str = "",
        *,
        store: Path | str | None,
        listen: str | None = None,
        scrub: Scrubber | None = None,
        max_store_mb: float = 50,
        retention_days: float = 90,
    ) -> None:
        raise NotImplementedError

    def operation(
        self,
        name: str | None = None,
        *,
        slow: float | None = None,
        expected: tuple[type[BaseException], ...] = (),
        error_if: Callable[[Any], bool] | None = None,
        capture: bool = True,
    ) -> Any:
        """A decorator for functions, coroutine functions, generator functions and methods; also a context manager."""
        raise NotImplementedError

    def count(self, name: str, value: int = 1) -> Any:
        """Count an event now; the result can also decorate a function, whose calls are counted then."""
        raise NotImplementedError

    def gauge(self, name: str) -> Any:
        """A gauge with ``set`` and ``add``."""
        raise NotImplementedError

    def timing(self, name: str, seconds: float, outcome: str = "ok") -> None:
        """Record an operation that was measured elsewhere."""
        raise NotImplementedError

    def capture(
        self,
        error: BaseException | None = None,
        *,
        source: str = "captured",
        operation: str | None = None,
        tags: Mapping[str, object] | None = None,
        fingerprint: str | None = None,
    ) -> str:
        """Record an error, the one being handled when none is given; gives its fingerprint."""
        raise NotImplementedError

    def message(self, level: str = "info") -> None:
        """Count a message by its level. Its text goes nowhere."""
        raise NotImplementedError

    def retry(
        self,
        attempts: int = 3,
        *,
        delay: float = 1.0,
        backoff: float = 2.0,
        jitter: float = 0.1,
        on: tuple[type[BaseException], ...] = (Exception,),
        name: str | None = None,
    ) -> Callable[[F], F]:
        """A decorator that calls again after an error; each failed attempt is counted once, the last error too."""
        raise NotImplementedError

    def alert(self, severity: str, title: str, message: str = "", *, key: str = "") -> None:
        """Raise an alert: an event in the store, an alert in Prometheus, a notification on the desktop."""
        raise NotImplementedError

    def check(self, name: str, *, interval: float = 30, timeout: float = 5) -> Callable[[F], F]:
        """A decorator for a check of the application's own, which gives a :class:`Health`; run in the background."""
        raise NotImplementedError

    def health(self) -> Mapping[str, Health]:
        """The checks' last results."""
        raise NotImplementedError

    def install_hooks(
        self,
        *,
        sys: bool = True,
        threads: bool = True,
        executors: bool = True,
        asyncio: bool = True,
        unraisable: bool = True,
        faulthandler: bool = True,
        sigterm: bool = True,
    ) -> None:
        """Notice what nobody catches. :meth:`close` puts everything back that is still as it was set here."""
        raise NotImplementedError

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until what was said so far is in the store."""
        raise NotImplementedError

    def close(self, timeout: float = 2.0) -> None:
        """Store what was said, and say that the process ends well. Called at exit too."""
        raise NotImplementedError
