"""CPU time of a scrape of 10,000 series: Rounds beside prometheus_client's own server, in one run.

Three cases for Rounds: nothing has changed since the last scrape; one job of a hundred has; all have. Each scrape asks
for gzip over a kept connection, as Prometheus does. The figures are CPU time of the serving process alone.
"""

from __future__ import annotations

import argparse
import http.client
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import cpu_seconds, free_port, resident_mib, running, this
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route

from rounds import server
from rounds.domain import Domain, Job
from rounds.exporter import Exporter
from rounds.fields import Model
from rounds.logs import configure_logs
from rounds.metrics import Family, Metric
from rounds.resources import Resources

METRICS = [
    Metric(f"bench_metric_{number}_seconds", "gauge", "A metric of the benchmark.", ("job", "region", "item"))
    for number in range(20)
]
JOBS = 100


class Nothing(Model):
    """A section without keys."""


class Synthetic(Domain):
    """As many series as asked for, in a hundred jobs; ``POST /publish?jobs=N`` replaces those of N jobs."""

    name = "synthetic"
    section = Nothing
    catalogue = tuple(METRICS)

    def __init__(self, series: int) -> None:
        self._items = series // len(METRICS) // JOBS
        self._exporter: Exporter | None = None

    def attach(self, exporter: Exporter) -> None:
        """Publish into this exporter's snapshot."""
        self._exporter = exporter

    async def configure(self, section: Any | None, resources: Resources) -> Sequence[Job]:  # noqa: ARG002
        """A hundred jobs that run once in this benchmark."""

        def job(number: int) -> Job:
            async def collect() -> list[Family]:
                return self._families(number)

            return Job(f"synthetic/{number}", self.name, 3600, 10, 7200, collect)

        return [job(number) for number in range(JOBS)]

    def _families(self, number: int) -> list[Family]:
        return [
            metric.family(((f"job-{number}", "somewhere", f"item-{item}"), item * 1.37) for item in range(self._items))
            for metric in METRICS
        ]

    def routes(self) -> Sequence[BaseRoute]:
        """The benchmark's own."""

        async def publish(request: Request) -> PlainTextResponse:
            for number in range(int(request.query_params["jobs"])):
                if self._exporter:
                    self._exporter.exposition.publish(f"synthetic/{number}", self.name, self._families(number))
            return PlainTextResponse("published\n")

        return [Route("/publish", publish, methods=["POST"])]


def serve_rounds(port: int, series: int) -> None:
    """Serve the series with Rounds."""
    configure_logs("error", "logfmt")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rounds.yml"
        file.write_text("max_series: 1000000\nsynthetic: {}\n", encoding="utf-8")
        domain = Synthetic(series)
        exporter = Exporter([file], [domain])
        domain.attach(exporter)
        server.run(exporter, [f"127.0.0.1:{port}"], None, lifecycle=False)


def serve_client(port: int, series: int) -> None:
    """Serve the series with the client library's server."""
    registry = CollectorRegistry()
    for metric in METRICS:
        gauge = Gauge(metric.name, metric.help, metric.labels, registry=registry)
        for number in range(JOBS):
            for item in range(series // len(METRICS) // JOBS):
                gauge.labels(f"job-{number}", "somewhere", f"item-{item}").set(item * 1.37)
    _, thread = start_http_server(port, "127.0.0.1", registry)
    thread.join()


def measure(kind: str, series: int, scrapes: int, changed: int = 0) -> tuple[float, float]:
    """CPU milliseconds of a scrape, without what the change itself costs, and MiB of memory."""
    port = free_port()
    with running(this("--serve", kind, "--port", str(port), "--series", str(series)), port) as process:
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def ask(method: str, path: str) -> int:
            connection.request(method, path, headers={"Accept-Encoding": "gzip"})
            return len(connection.getresponse().read())

        while kind == "rounds" and ask("GET", "/-/ready") > len("Rounds is ready.\n"):
            pass
        for _ in range(3):
            ask("GET", "/metrics")
        spent = 0.0
        begin = cpu_seconds(process.pid)
        for _ in range(scrapes):
            if changed:
                before = cpu_seconds(process.pid)
                ask("POST", f"/publish?jobs={changed}")
                spent += cpu_seconds(process.pid) - before
            ask("GET", "/metrics")
        return (cpu_seconds(process.pid) - begin - spent) / scrapes * 1000, resident_mib(process.pid)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--scrapes", type=int, default=200)
    parser.add_argument("--serve", choices=("rounds", "client"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        (serve_rounds if options.serve == "rounds" else serve_client)(options.port, options.series)
        return
    peer, peer_memory = measure("client", options.series, max(10, options.scrapes // 10))
    print(f"{options.series} series, gzip; CPU per scrape, ratio to prometheus_client's server, memory")
    print(f"{'prometheus_client':34} {peer:8.2f} ms   1.000   {peer_memory:4.0f} MiB")
    for title, changed in (("nothing changed", 0), ("1 of 100 jobs changed", 1), ("all jobs changed", JOBS)):
        spent, memory = measure("rounds", options.series, options.scrapes, changed)
        print(f"{'Rounds, ' + title:34} {spent:8.2f} ms   {spent / peer:5.3f}   {memory:4.0f} MiB")


if __name__ == "__main__":
    main()
