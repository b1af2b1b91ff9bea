"""The exporter's metrics about itself: its build, its configuration, its collectors, its HTTP answers, its process."""

from __future__ import annotations

import platform
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import Metric as ClientMetric
from prometheus_client.registry import Collector as ClientCollector

from rounds.databases.databases import Databases
from rounds.domain import Job
from rounds.errors import FAILURE_REASONS
from rounds.exposition import Exposition
from rounds.metrics import Family, Kind, Metric
from rounds.scheduler import JobStatus
from rounds.version import program_revision, program_version

_REASON = (("reason", FAILURE_REASONS),)
_COLLECTOR = ("collector",)

BUILD_INFO = Metric(
    "rounds_build_info",
    "gauge",
    "Version of Rounds, revision of its source, version of Python. Always 1.",
    ("version", "revision", "python"),
)
RELOAD_SUCCESSFUL = Metric(
    "rounds_config_last_reload_successful",
    "gauge",
    "Whether the last attempt to load the configuration succeeded. After a failure the one before stays in use.",
)
RELOAD_TIME = Metric(
    "rounds_config_last_reload_success_timestamp_seconds",
    "gauge",
    "When the exporter began to use its configuration: when it was loaded, or the ledger's lease was taken. Absent"
    " while the exporter stands by.",
)
SUCCESS = Metric(
    "rounds_collector_success", "gauge", "Whether the last run of each of the collector's jobs succeeded.", _COLLECTOR
)
DURATION = Metric("rounds_collector_duration_seconds", "gauge", "Duration of the collector's last run.", _COLLECTOR)
INTERVAL = Metric(
    "rounds_collector_interval_seconds", "gauge", "Time from one run to the next: the longest of its jobs.", _COLLECTOR
)
LAST_RUN = Metric(
    "rounds_collector_last_run_timestamp_seconds", "gauge", "When the collector's last run ended.", _COLLECTOR
)
LAST_SUCCESS = Metric(
    "rounds_collector_last_success_timestamp_seconds",
    "gauge",
    "When the collector last succeeded: the oldest of its jobs. Absent until each of them has.",
    _COLLECTOR,
)
COLLECTOR_INFO = Metric(
    "rounds_collector_info",
    "gauge",
    "The configured source that the collector reads. Always 1. Absent where it reads none.",
    ("collector", "source"),
)
SAMPLES = Metric(
    "rounds_collector_samples", "gauge", "Time series that the collector exports; stale ones are dropped.", _COLLECTOR
)
MAX_SERIES = Metric(
    "rounds_collector_max_series",
    "gauge",
    "Configured max_series: a run that finds more time series fails.",
)
RUNS = Metric("rounds_collector_runs_total", "counter", "Runs that ended.", _COLLECTOR)
SKIPPED = Metric(
    "rounds_collector_skipped_total",
    "counter",
    "Runs that were not started because the one before had not ended.",
    _COLLECTOR,
)
FAILURES = Metric(
    "rounds_collector_failures_total", "counter", "Runs that failed.", ("collector", "reason"), values=_REASON
)
SOURCE_UP = Metric(
    "rounds_source_up",
    "gauge",
    "Whether the source answered when it was last used. Absent until it is used.",
    ("source",),
)
SOURCE_QUERIES = Metric(
    "rounds_source_queries_total",
    "counter",
    "Statements that were sent to the source, besides those that open a session.",
    ("source",),
)
HTTP_REQUESTS = Metric(
    "rounds_http_requests_total", "counter", "HTTP requests that the exporter answered.", ("handler", "code")
)

_OWN = (
    BUILD_INFO,
    RELOAD_SUCCESSFUL,
    RELOAD_TIME,
    SUCCESS,
    DURATION,
    INTERVAL,
    LAST_RUN,
    LAST_SUCCESS,
    COLLECTOR_INFO,
    SAMPLES,
    MAX_SERIES,
    RUNS,
    SKIPPED,
    FAILURES,
    SOURCE_UP,
    SOURCE_QUERIES,
    HTTP_REQUESTS,
)


class SelfMetrics:
    """Gathers them. Thread-safe.

    Attributes:
        reload_successful: whether the last attempt to load the configuration succeeded.
        reload_time: when the configuration in use was loaded, as Unix seconds.
        used_since: when jobs began to run by it: then, or when the lease was taken.
    """

    def __init__(self, exposition: Exposition, databases: Databases) -> None:
        self._exposition = exposition
        self._databases = databases
        self._requests: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._process: tuple[ClientCollector, ...] = (ProcessCollector(registry=None), PlatformCollector(registry=None))
        self.reload_successful = True
        self.reload_time: float | None = None
        self.used_since: float | None = None

    def expect_requests(self, handlers: Iterable[str]) -> None:
        """Begin counting these handlers' good answers at 0."""
        self._requests.update({(handler, "200"): 0 for handler in handlers})

    def count_request(self, handler: str, code: int) -> None:
        """Count one answer."""
        with self._lock:
            self._requests[handler, str(code)] += 1

    def catalogue(self) -> list[Metric]:
        """Every metric that this can export."""
        return [*_OWN, *(family.metric for family in self._of_process())]

    def families(self, jobs: Sequence[tuple[Job, JobStatus]], *, standby: bool = False) -> list[Family]:
        """The families as they are now; of an exporter that stands by only what concerns itself."""
        with self._lock:
            requests = sorted(self._requests.items())
        return [
            BUILD_INFO.family([((program_version(), program_revision(), platform.python_version()), 1)]),
            RELOAD_SUCCESSFUL.family([((), int(self.reload_successful))]),
            RELOAD_TIME.family([((), None if standby else self.used_since)]),
            MAX_SERIES.family([((), None if standby else self._exposition.max_series)]),
            *([] if standby else [*self.of_collectors(jobs), *self._of_sources()]),
            HTTP_REQUESTS.family(requests),
            *self._of_process(),
        ]

    def of_collectors(self, jobs: Sequence[tuple[Job, JobStatus]]) -> list[Family]:
        """Only what says how these jobs' collectors fare."""
        return list(self._of_collectors(jobs))

    def _of_collectors(self, jobs: Sequence[tuple[Job, JobStatus]]) -> Iterable[Family]:
        collectors: defaultdict[str, list[tuple[Job, JobStatus]]] = defaultdict(list)
        for job, status in jobs:
            collectors[job.collector].append((job, status))
        statuses = {name: [status for _, status in members] for name, members in collectors.items()}
        succeeded = {name: [each.last_success for each in group] for name, group in statuses.items()}
        latest = {name: max(group, key=lambda each: each.last_run or 0) for name, group in statuses.items()}
        ran = {name: group for name, group in statuses.items() if all(each.last_run for each in group)}
        yield SUCCESS.family(((name,), int(not any(each.reason for each in group))) for name, group in ran.items())
        yield DURATION.family(((name,), each.duration) for name, each in latest.items())
        yield INTERVAL.family(((name,), max(job.interval for job, _ in each)) for name, each in collectors.items())
        yield LAST_RUN.family(((name,), each.last_run) for name, each in latest.items())
        yield LAST_SUCCESS.family(
            ((name,), min(time for time in times if time) if all(times) else None) for name, times in succeeded.items()
        )
        reads = {(job.collector, job.source) for job, _ in jobs if job.source}
        yield COLLECTOR_INFO.family((labels, 1) for labels in sorted(reads))
        yield SAMPLES.family(
            ((name,), sum(self._exposition.samples(job.name) for job, _ in each)) for name, each in collectors.items()
        )
        yield RUNS.family(((name,), sum(each.runs for each in group)) for name, group in statuses.items())
        yield SKIPPED.family(((name,), sum(each.skipped for each in group)) for name, group in statuses.items())
        yield FAILURES.family(
            ((name, reason), sum(each.failures[reason] for each in group))
            for name, group in statuses.items()
            for reason in FAILURE_REASONS
        )

    def _of_sources(self) -> Iterable[Family]:
        health = self._databases.health
        yield SOURCE_UP.family(((name,), each.up) for name, each in health.items())
        yield SOURCE_QUERIES.family(((name,), each.queries) for name, each in health.items())

    def _of_process(self) -> list[Family]:
        return [_adopt(metric) for collector in self._process for metric in collector.collect()]


def _adopt(metric: ClientMetric) -> Family:
    """A family of the Prometheus client library as one of ours."""
    kind: Kind = "counter" if metric.type == "counter" else "gauge"
    name = metric.samples[0].name if metric.samples else metric.name
    labels = tuple(metric.samples[0].labels) if metric.samples else ()
    ours = Metric(name, kind, metric.documentation.rstrip(".") + ".", labels)
    return ours.family((tuple(sample.labels.values()), sample.value) for sample in metric.samples)
