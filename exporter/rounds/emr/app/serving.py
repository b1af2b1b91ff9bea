"""``/metrics`` of the application itself, for a Prometheus that reaches it. Needs ``prometheus_client``.

The names are those that the exporter gives to what is in a store; what it says itself, such as a store's size, is not
among them.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from rounds.emr.app import process
from rounds.emr.app.batch import Batch, Labels
from rounds.emr.health.result import Health
from rounds.emr.names import DURATION_BOUNDS, DURATION_BUCKETS, STATES

if TYPE_CHECKING:
    from prometheus_client.core import Metric

log = logging.getLogger("rounds.emr")

#: Seconds that the application waits for the server's end; it looks twice a second.
_PATIENCE = 1.0
_PREFIX = "rounds_emr_"
_DURATION = "operation_duration_seconds"
#: Counters by their names in a batch: labels besides ``app``, and help.
_COUNTERS: Mapping[str, tuple[Labels, str]] = {
    "operations_total": (("operation", "outcome"), "Operations by what they came to."),
    "slow_operations_total": (("operation",), "Operations that took longer than their threshold."),
    "retries_total": (
        ("operation", "outcome"),
        "Attempts that failed, operations that succeeded behind one, and those that failed at last.",
    ),
    "events_total": (("event",), "Events that the application counts."),
    "errors_total": (("error_type", "source"), "Errors by kind of exception and by who noticed them."),
    "error_groups_seen_total": ((), "Errors that were seen for the first time in this process."),
    "messages_total": (("level",), "Messages that the application recorded."),
    "alerts_total": (("severity", "channel"), "Alerts that the application raised."),
    "telemetry_dropped_total": (("reason",), "What the application said and was not recorded."),
}


class Totals:
    """What batches have come to since the process began.

    The writer adds, other threads read. There is no lock, which a fork could leave locked: all that is read is read in
    one step.
    """

    def __init__(self) -> None:
        self._counters: dict[tuple[str, Labels], float] = {("error_groups_seen_total", ()): 0.0}
        self._gauges: dict[str, float] = {}
        self._groups: set[str] = set()

    def add(self, batch: Batch) -> None:
        """Add a batch."""
        counters = self._counters
        for key, value in batch.counters.items():
            counters[key] = counters.get(key, 0.0) + value
        self._groups.update(batch.groups)
        counters["error_groups_seen_total", ()] = float(len(self._groups))
        self._gauges.update((name, value) for name, (value, _) in batch.gauges.items())

    def counters(self) -> dict[tuple[str, Labels], float]:
        """Counters as they are now, histograms among them."""
        return self._counters.copy()

    def gauges(self) -> dict[str, float]:
        """Gauges as they are now."""
        return self._gauges.copy()


class Served:
    """What is served, as prometheus_client asks for it.

    Args:
        health: gives the results of the application's own checks.
    """

    def __init__(self, app: str, version: str, totals: Totals, health: Callable[[], Mapping[str, Health]]) -> None:
        self._app = app
        self._version = version
        self._totals = totals
        self._health = health

    def collect(self) -> Iterator[Metric]:
        """All families."""
        from prometheus_client.core import (  # noqa: PLC0415 - where it is served only
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        counters = self._totals.counters()
        by_name: dict[str, list[tuple[Labels, float]]] = defaultdict(list)
        for (name, labels), value in counters.items():
            by_name[name].append((labels, value))
        for name, (labels, text) in _COUNTERS.items():
            yield self._family(CounterMetricFamily, name, text, labels, by_name[name])
        histogram = HistogramMetricFamily(
            _PREFIX + _DURATION, "How long operations took, those that failed too.", labels=("app", "operation")
        )
        for (operation,), total in by_name[f"{_DURATION}_sum"]:
            buckets = [counters.get((f"{_DURATION}_bucket", (operation, bound)), 0) for bound in DURATION_BUCKETS]
            histogram.add_metric(
                (self._app, operation), list(zip(_BOUNDS, accumulate(buckets), strict=True)), sum_value=total
            )
        yield histogram
        for name, text, labels, values in self._gauge_values():
            yield self._family(GaugeMetricFamily, name, text, labels, values)
        yield self._family(
            CounterMetricFamily,
            "process_cpu_seconds_total",
            "Processor time of the application's process.",
            (),
            [((), process.cpu_seconds())],
        )

    def _gauge_values(self) -> Iterator[tuple[str, str, Labels, list[tuple[Labels, float]]]]:
        set_by_app: list[tuple[Labels, float]] = [((name,), value) for name, value in self._totals.gauges().items()]
        yield "gauge", "Gauges that the application sets, in units of its own.", ("name",), set_by_app
        about = (self._version, platform.python_version(), f"{platform.system()} {platform.release()}")
        text = "1: versions of the application, of Python, and the operating system."
        yield "app_info", text, ("version", "python", "os"), [(about, 1.0)]
        resident = process.resident_bytes()
        values: list[tuple[Labels, float]] = [] if resident is None else [((), float(resident))]
        yield "process_resident_memory_bytes", "Memory of the application's process.", (), values
        states: list[tuple[Labels, float]] = [
            ((check, state), float(health.state == state))
            for check, health in self._health().items()
            for state in STATES
        ]
        text = "1 for the state in which the last run of the application's own check found what it checks."
        yield "health_state", text, ("check", "state"), states

    def _family(self, kind: Any, name: str, text: str, labels: Labels, values: list[tuple[Labels, float]]) -> Metric:
        family: Metric = kind(_PREFIX + name, text, labels=("app", *labels))
        for each, value in values:
            family.add_metric((self._app, *each), value)  # type: ignore[attr-defined]
        return family


#: As Prometheus writes them.
_BOUNDS = (*(str(bound) for bound in DURATION_BOUNDS), "+Inf")


class Server:
    """Serves in threads of its own.

    Args:
        listen: ``host:port``; port 0 is any that is free.

    Raises:
        OSError: it cannot listen there, as when the port is taken.
        ImportError: there is no prometheus_client.
        ValueError: that is no address.
    """

    def __init__(self, listen: str, served: Served) -> None:
        from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415 - only where it is served

        host, _, port = listen.rpartition(":")
        registry = CollectorRegistry(auto_describe=False)
        # It asks for no description, so that nothing is collected now.
        registry.register(served)
        self._server, _ = start_http_server(int(port), host.strip("[]") or "127.0.0.1", registry)
        self.port: int = self._server.server_port
        _servers.add(self)

    def close(self) -> None:
        """Serve no more, as soon as that is noticed."""
        _servers.discard(self)
        ending = threading.Thread(target=self._end, name="rounds-emr-server-end", daemon=True)
        try:
            ending.start()
        except RuntimeError:
            # The interpreter ends, and the server with it.
            return
        ending.join(_PATIENCE)

    def _end(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forsake(self) -> None:
        """In a forked child: the parent serves; the child must not hold its port when the parent has ended."""
        self._server.socket.close()


def serve(listen: str, served: Served) -> Server | None:
    """Serve, or say why not: the application goes on without."""
    try:
        return Server(listen, served)
    except (OSError, ImportError, ValueError, OverflowError) as error:
        log.warning("cannot serve metrics at %s: %s", listen, error)
        return None


_servers: weakref.WeakSet[Server] = weakref.WeakSet()


def _after_fork() -> None:
    for server in list(_servers):
        server.forsake()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
