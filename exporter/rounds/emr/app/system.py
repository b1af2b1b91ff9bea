"""The existing program's facade: one object with everything, over a :class:`Monitor`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rounds.emr.app.dashboard import Alerting, Dashboard, HealthChecker
from rounds.emr.app.facade import SLOW_SECONDS, ErrorTracker, Metrics, Performance
from rounds.emr.app.intake import Record
from rounds.emr.app.late import current
from rounds.emr.app.monitor import Monitor
from rounds.emr.app.operations import Operation, Watch, error_of
from rounds.emr.app.quiet import quiet
from rounds.emr.app.retention import remove_older
from rounds.emr.app.scrubbing import Scrubber
from rounds.emr.app.severity import Severity
from rounds.emr.names import label

log = logging.getLogger("rounds.emr")

#: How the keys of the existing program's alerts are spelt that have to do with channels, limits and repetitions.
_ALERTMANAGERS = ("email", "smtp", "slack", "webhook", "custom", "max_alerts", "deduplicate", "dedupe")


class MonitoringSystem:
    """Monitoring of this process, as the existing program offers it.

    Nothing here raises a fault of its own. What cannot be read is empty or 0 then.

    Args:
        db_path: the store. An existing ``monitoring.db`` is gone on with: its tables stay as they are, beside new ones.
        clinic_db_path: the application's database, for the checks of database, disk and backups.
        app_version: the application's version.
        alert_config: ``enable_notifications`` (or any key with ``notification`` in its name) says whether alerts are
            shown on the desktop. Keys of other channels, of limits and of repetitions are taken and not used: that is
            Alertmanager's now.
        app: the application's name.
        scrub: what may be stored besides names.
    """

    def __init__(
        self,
        db_path: Path | str = "data/monitoring.db",
        clinic_db_path: Path | str | None = "data/clinic.db",
        app_version: str = "",
        alert_config: Any = None,
        *,
        app: str = "app",
        scrub: Scrubber | None = None,
    ) -> None:
        # The application may change its folder.
        self.db_path = Path(db_path).absolute()
        self.clinic_db_path = None if clinic_db_path is None else Path(clinic_db_path).absolute()
        self.app_version = app_version
        self.app = app
        self._scrub = scrub
        self._notifications = _notifications(alert_config)
        self._started = False
        self._stopped = False
        self.user: dict[str, Any] = {}
        """Who works with the application, as :meth:`set_user` was told; in memory alone."""
        self.error_tracker = ErrorTracker(self)
        self.metrics = Metrics(self)
        self.performance = Performance(self)
        self.alerting = Alerting(self)
        self.health = HealthChecker(self)
        self.dashboard = Dashboard(self)
        self.monitor = self._make_monitor()

    def _make_monitor(self) -> Monitor:
        return Monitor(
            self.app,
            self.app_version,
            store=self.db_path,
            scrub=self._scrub,
            notify="error" if self._notifications else None,
        )

    def start(self) -> Self:
        """Notice what nobody catches, run the checks, and let decorated functions tell this system."""
        if self._stopped:
            self.monitor = self._make_monitor()
            self._stopped = False
        if not self._started:
            self._started = True
            self.monitor.install_hooks()
            self.health.start()
        current.use(self)
        return self

    def stop(self) -> None:
        """Store what was said, and take the hooks away."""
        current.leave(self)
        self.monitor.close()
        self._started, self._stopped = False, True

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop. The exception goes on."""
        self.stop()

    @quiet(lambda: False)
    def is_healthy(self) -> bool:
        """Whether all checks find what they check healthy."""
        results = self.health.check_all()
        return bool(results) and all(result.state == "healthy" for result in results.values())

    @quiet(dict[str, Any])
    def get_summary(self) -> dict[str, Any]:
        """The state of things in a few figures."""
        return self.dashboard.get_summary()

    @quiet(str)
    def generate_report(self, period: str = "24h", format: str = "text") -> str:  # noqa: A002
        """The report as text, or as JSON where ``format`` is ``json``."""
        return self.dashboard.export_json(period=period) if format == "json" else self.dashboard.export_text(period)

    @quiet(dict[str, int])
    def cleanup(self, days: int = 90) -> dict[str, int]:
        """Remove what is older, also from the existing program's tables; gives how many rows, by table."""
        self.monitor.flush()
        return remove_older(self.db_path, days)

    def aggregate_metrics(self) -> None:
        """Write what was said. It is added up by hours and days when it is read."""
        self.monitor.flush()

    @quiet(lambda: None)
    def set_user(self, user_id: object = None, user_data: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Remember who works with the application, in memory; it is stored and sent nowhere."""
        self.user = {"user_id": user_id, **(user_data or {}), **more}

    # What the decorators use.

    def watch(self, name: str, *, slow: float | None = SLOW_SECONDS, capture: bool = True) -> Watch:
        """What is told of an operation's calls."""
        self.monitor.seed(name, slow)
        monitor = self.monitor
        kind = _Watch if self.performance.handlers else Watch
        watch = kind(monitor.intake, monitor.scrub, label(name), slow, expected=(), error_if=None, capture=capture)
        if isinstance(watch, _Watch):
            watch.tell_too(self.performance)
        return watch

    def errors_of(self, name: str) -> Watch:
        """What is told of calls of which only errors are recorded."""
        return _Errors(self.monitor, label(name))

    def block(self, name: str) -> Operation:
        """A block to be measured, plain or async, or a decorator. What leaves it is not captured."""
        return Operation(label(name), lambda operation: self.watch(operation, capture=False))

    def raise_alert(self, severity: Severity, title: str, message: str, *, key: str) -> None:
        """Raise an alert."""
        try:
            self.monitor.alert(severity, title, message, key=key)
        except Exception:
            log.debug("cannot raise an alert", exc_info=True)


class _Watch(Watch):
    """Also tells those who want to hear of slow operations."""

    __slots__ = ()

    def tell_too(self, performance: Performance) -> None:
        """Tell them behind what is recorded."""
        record = self._put

        def put(said: Record) -> None:
            record(said)
            _, begin, end, name, *_ = said
            performance.tell(name, end - begin)

        self._put = put  # type: ignore[assignment]  # it is taken for the type of that very method


class _Errors(Watch):
    """Records errors without the operations that they are of."""

    __slots__ = ()

    def __init__(self, monitor: Monitor, name: str) -> None:
        super().__init__(monitor.intake, monitor.scrub, name, None, expected=(), error_if=None, capture=True)
        record = self._put

        def put(said: Record) -> None:
            error = error_of(said)
            if error is not None:
                record(error)

        self._put = put  # type: ignore[assignment]  # it is taken for the type of that very method


def _notifications(config: Any) -> bool:
    """Whether alerts are to be shown on the desktop; tells once of what is not used."""
    if config is None:
        return True
    try:
        given = dict(config) if isinstance(config, Mapping) else dict(vars(config))
        names = [str(name) for name in given]
        unused = sorted(name for name in names if any(part in name.lower() for part in _ALERTMANAGERS))
        if unused:
            log.warning(
                "%s of alert_config are not used: Alertmanager sends alerts now, and knows limits and repetitions",
                ", ".join(unused),
            )
        return all(given[name] is not False for name in given if "notification" in str(name).lower())
    except Exception:
        log.warning("alert_config is not understood and not used")
        return True
