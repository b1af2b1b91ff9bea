"""What an application asks to be monitored with."""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, overload

from rounds.emr.app.aggregate import Aggregate
from rounds.emr.app.alerting import Alerts
from rounds.emr.app.batch import Batch
from rounds.emr.app.checking import Check
from rounds.emr.app.errors import Portraits, given, look, mark, recall, seen, type_name
from rounds.emr.app.instruments import Count, Gauge, amount
from rounds.emr.app.intake import ALERT, COUNT, ERROR, TIMING, Intake
from rounds.emr.app.lookout import Lookout
from rounds.emr.app.memory import NoRun, NoStore
from rounds.emr.app.operations import Operation, Watch, name_of
from rounds.emr.app.retrying import Plan, retrying
from rounds.emr.app.runs import Run
from rounds.emr.app.scrubbing import Scrubber
from rounds.emr.app.store import Limits, Store
from rounds.emr.app.writer import Writer
from rounds.emr.health.result import Health
from rounds.emr.names import LEVELS, OTHER, OUTCOMES, RETRIES, label

if TYPE_CHECKING:
    from rounds.emr.app.hooks import Hooks
    from rounds.emr.app.serving import Server, Totals

F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger("rounds.emr")

_MEBIBYTE = 1024 * 1024
#: Gauges that an application may have; all others are one.
_GAUGES = 500
#: Operations that are made known before they are first called.
_SEEDED = 500

#: What programs call levels that have another name here.
_LEVELS = {**{level: level for level in LEVELS}, "warn": "warning", "critical": "error", "fatal": "error"}


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
        crash_report_url: where reports of crashes are sent to, by https; ``CRASH_REPORT_URL`` where it is None.
        notify: the least severity of alerts that are shown on the desktop; None shows none.
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
        crash_report_url: str | None = None,
        notify: str | None = "error",
    ) -> None:
        self.app = app
        self.version = version
        self.scrub = scrub or Scrubber()
        self.intake = Intake()
        self.portraits = Portraits()
        self._gauges: dict[str, Gauge] = {}
        self._seeded: set[str] = set()
        self._checks: dict[str, Check] = {}
        self._aggregate = Aggregate(self.intake, self._gauges, self.portraits)
        self._totals: Totals | None = None
        self._server: Server | None = None
        self.writer: Writer | None = None
        self._alerts = Alerts(app, self.scrub, lambda alert: self.intake.must((ALERT, alert)), least=notify)
        self._lookout: Lookout | None = None
        self._hooks: Hooks | None = None
        try:
            self._start(store, crash_report_url, Limits(int(max_store_mb * _MEBIBYTE), retention_days))
            if listen is not None:
                self._serve(listen)
        except Exception as error:
            log.warning("cannot monitor (%s); the application goes on without", type(error).__name__)
            self.intake.close()

    def _start(self, path: Path | str | None, report_url: str | None, limits: Limits) -> None:
        store = NoStore(self.app) if path is None else Store(Path(path), self.app, limits, version=self.version)
        self._lookout = Lookout(
            None if path is None else store.path,
            self.app,
            self.version,
            scrub=self.scrub,
            portraits=self.portraits,
            alerts=self._alerts,
            report_url=report_url,
        )
        run = NoRun(store) if path is None else Run(store, self._lookout.examine)
        self.writer = Writer(store, run, self._collect)
        self.intake.wake = self.writer.wake
        if not self.writer.start():
            raise RuntimeError("no thread could be started")
        self._lookout.attach(self.writer, self.note)
        atexit.register(self.close)

    def _serve(self, listen: str) -> None:
        from rounds.emr.app.serving import Served, Totals, serve  # noqa: PLC0415 - seldom, and not small

        self._totals = Totals()
        self._server = serve(listen, Served(self.app, self.version, self._totals, self.health))

    def _collect(self) -> Batch:
        batch = Batch()
        self._aggregate.collect(batch)
        if self._lookout is not None:
            self._lookout.actions.measured(batch.timings)
            self._lookout.offer(batch.groups)
        if self._totals is not None:
            self._totals.add(batch)
        return batch

    @property
    def port(self) -> int | None:
        """Where ``/metrics`` is served; None where it is not."""
        return None if self._server is None else self._server.port

    @overload
    def operation(
        self,
        name: str | None = None,
        *,
        slow: float | None = None,
        expected: tuple[type[BaseException], ...] | type[BaseException] = (),
        error_if: Callable[[Any], bool] | None = None,
        capture: bool = True,
    ) -> Operation: ...
    @overload
    def operation(self, name: F) -> F: ...
    def operation(
        self,
        name: Any = None,
        *,
        slow: float | None = None,
        expected: tuple[type[BaseException], ...] | type[BaseException] = (),
        error_if: Callable[[Any], bool] | None = None,
        capture: bool = True,
    ) -> Any:
        """A decorator for functions, coroutine functions, generator functions and methods; also a context manager.

        Args:
            name: the operation's; by default that of the function. A function where it is used without parentheses.
            slow: seconds; calls that take longer are counted in ``slow_operations_total``.
            expected: exceptions that are part of the work: the outcome is an error, but they are not captured.
            error_if: what is given a result, and says whether it is an error.
            capture: whether exceptions are captured.
        """

        def make(operation: str) -> Watch:
            self.seed(operation, slow)
            return Watch(
                self.intake, self.scrub, operation, slow, expected=expected, error_if=error_if, capture=capture
            )

        if name is None or isinstance(name, str):
            return Operation(name, make)
        return Operation(None, make)(name)

    def seed(self, operation: str, slow: float | None) -> None:
        """Make counters known before they grow: one that is born as 1 has not grown for Prometheus."""
        operation = label(operation)
        if operation in self._seeded or len(self._seeded) > _SEEDED:
            return
        self._seeded.add(operation)
        for outcome in OUTCOMES:
            self.intake.put((COUNT, "operations_total", (operation, outcome), 0))
        self.intake.put((COUNT, "operation_duration_seconds_bucket", (operation, "+Inf"), 0))
        self.intake.put((COUNT, "operation_duration_seconds_sum", (operation,), 0))
        if slow is not None:
            self.intake.put((COUNT, "slow_operations_total", (operation,), 0))

    def count(self, name: str, value: float = 1) -> Count:
        """Count an event now; the result can also decorate a function, whose calls are counted then."""
        return Count(self.intake, name, value)

    def gauge(self, name: str) -> Gauge:
        """A gauge with ``set`` and ``add``."""
        known = label(name)
        gauge = self._gauges.get(known)
        if gauge is None:
            known = known if len(self._gauges) < _GAUGES else OTHER
            gauge = self._gauges.setdefault(known, Gauge())
        return gauge

    def timing(self, name: object, seconds: float, outcome: str = "ok") -> None:
        """Record an operation that was measured elsewhere."""
        end = perf_counter()
        taken = amount(seconds)
        if taken is not None and taken >= 0:
            operation = name if isinstance(name, str) else OTHER
            self.intake.put((TIMING, end - taken, end, operation, _outcome(outcome), None))

    def capture(
        self,
        error: BaseException | None = None,
        *,
        source: str = "captured",
        operation: str | None = None,
        fingerprint: str | None = None,
    ) -> str:
        """Record an error, the one being handled when none is given; gives its fingerprint."""
        try:
            error = sys.exc_info()[1] if error is None else error
            if error is None:
                return ""
            own = None if fingerprint is None else given(str(fingerprint))
            self.note(error, source=source, operation=operation, fingerprint=own)
            known = recall(error)
            return known if isinstance(known, str) else self.portraits.of(known).fingerprint
        except Exception:
            return ""

    def note(
        self,
        error: BaseException,
        *,
        source: str = "captured",
        operation: str | None = None,
        fingerprint: str | None = None,
    ) -> None:
        """Record an error unless it was recorded; without the fingerprint, which takes longer than all else."""
        at = perf_counter()
        try:
            if not seen(error):
                sight = look(error, error.__traceback__, operation or "")
                mark(error, sight, fingerprint)
                self.intake.put((ERROR, at, source, sight, self.scrub.message(error), fingerprint))
        except Exception:
            self.intake.put((COUNT, "errors_total", (type_name(type(error)), source), 1))

    def message(self, level: object = "info") -> None:
        """Count a message by its level. Its text goes nowhere."""
        known = _LEVELS.get(level, "info") if isinstance(level, str) else "info"
        self.intake.put((COUNT, "messages_total", (known,), 1))

    def retry(
        self,
        attempts: int = 3,
        *,
        delay: float = 1.0,
        backoff: float = 2.0,
        jitter: float = 0.1,
        on: tuple[type[BaseException], ...] | type[BaseException] = Exception,
        name: str | None = None,
    ) -> Callable[[F], F]:
        """A decorator that calls again after an error; each failed attempt is counted once, the last error too.

        Args:
            attempts: at most; less than 1 is 1.
            delay: seconds after the first attempt.
            backoff: by how much longer each wait is than the one before.
            jitter: up to which part longer still, by chance.
            on: errors after which it is attempted again. What is no Exception is none of them.
            name: the operation's; by default that of the function.
        """
        plan = Plan(attempts, delay, backoff, jitter, on)

        def decorate(function: F) -> F:
            operation = label(name) if name else name_of(function)
            for outcome in RETRIES:
                self.intake.put((COUNT, "retries_total", (operation, outcome), 0))

            def tell(said: str, error: BaseException | None = None) -> None:
                self.intake.put((COUNT, "retries_total", (operation, said), 1))
                if error is not None:
                    self.note(error, operation=operation)

            decorated: F = retrying(function, plan, tell)
            return decorated

        return decorate

    def alert(self, severity: str, title: str, message: str = "", *, key: str = "") -> None:
        """Raise an alert: an event in the store, an alert in Prometheus, a notification on the desktop.

        Args:
            severity: critical, error, warning or info; anything else is an error.
            title: what the desktop shows. Stored only where messages were opted in, and so is the message.
            message: more of it.
            key: what it is about, an identifier such as ``backup:old``: the same is shown once in an hour.
        """
        self._alerts.alert(severity, title, message, key=key)

    def action(self, name: str) -> None:
        """Remember what the application does, by the name that its code gives it: a crash's report tells the last."""
        if self._lookout is not None:
            self._lookout.actions.add(name)

    def check(self, name: str, *, interval: float = 30, timeout: float = 5) -> Callable[[F], F]:
        """A decorator for a check of the application's own, which gives a :class:`Health`; run in the background.

        Args:
            name: the check's.
            interval: seconds from one run to the next.
            timeout: seconds after which a run that has not ended makes the result unhealthy.
        """

        def decorate(function: F) -> F:
            check = Check(label(name), function, interval, timeout)
            former = self._checks.get(check.name)
            if former is not None:
                former.stop()
            self._checks[check.name] = check
            if self.writer is not None:
                check.start()
            return function

        return decorate

    def health(self) -> Mapping[str, Health]:
        """The checks' last results."""
        return {name: check.result() for name, check in self._checks.copy().items()}

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
        if self._lookout is None or self.writer is None:
            return
        if self._hooks is None:
            from rounds.emr.app.hooks import Hooks  # noqa: PLC0415 - brings asyncio, which not every application has

            self._hooks = Hooks(self._lookout, self._lookout.fatal_file(self.writer.run.started))
        wanted = {
            "sys": sys,
            "threads": threads,
            "executors": executors,
            "asyncio": asyncio,
            "unraisable": unraisable,
            "faulthandler": faulthandler,
            "sigterm": sigterm,
        }
        self._hooks.install(*(name for name, is_wanted in wanted.items() if is_wanted))

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until what was said so far is in the store; gives whether it is."""
        if self.writer is None:
            return False
        end = perf_counter() + timeout
        settled = self._alerts.settle(timeout)
        return self.writer.flush(end - perf_counter()) and settled

    def close(self, timeout: float = 2.0) -> None:
        """Store what was said, and say that the process ends well. Called at exit too."""
        end = perf_counter() + timeout
        if self._hooks is not None:
            self._hooks.remove()
        if self.writer is not None:
            atexit.unregister(self.close)
            for check in self._checks.copy().values():
                check.stop()
            # What the desktop takes its time for must not cost what is to be stored.
            self._alerts.settle(timeout / 2)
            self._alerts.abandon()
            if self._lookout is not None:
                self._lookout.last_words(end - perf_counter())
            self.writer.close(end - perf_counter())
        if self._lookout is not None:
            self._lookout.settle(end - perf_counter())
            self._lookout.stop()
        if self._server is not None:
            self._server.close()
        self.intake.close()


def _outcome(said: object) -> str:
    return said if isinstance(said, str) and said in OUTCOMES else "ok"
