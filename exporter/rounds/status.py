"""What the exporter knows of its collectors, as plain data: for the API, the landing page and ``rounds status``."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from rounds.version import program_revision, program_version

if TYPE_CHECKING:
    from rounds.domain import Job
    from rounds.exporter import Exporter
    from rounds.scheduler import JobStatus


def status_of(exporter: Exporter) -> dict[str, Any]:
    """The status. Times are Unix seconds, None where there was none yet; durations are seconds."""
    collectors: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for job, status in exporter.jobs:
        collectors[job.collector].append(_job(job, status, exporter.exposition.samples(job.name)))
    return {
        "version": program_version(),
        "revision": program_revision(),
        "started": exporter.started,
        "ready": not exporter.waiting,
        "lease": _lease(exporter),
        "config": {
            "last_reload_successful": exporter.own.reload_successful,
            "loaded": exporter.own.reload_time,
        },
        "collectors": [
            {"name": name, "state": _worst([each["state"] for each in jobs]), "jobs": jobs}
            for name, jobs in collectors.items()
        ],
        "off": exporter.off,
    }


def _lease(exporter: Exporter) -> dict[str, Any] | None:
    """Who holds the lease, as far as is known here, and since when this exporter has held it or stood by."""
    lease = exporter.lease
    if lease is None:
        return None
    seen = lease.seen
    return {
        "held": not exporter.standing_by,
        "since": lease.since,
        "this": lease.holder,
        "holder": seen.holder if seen and seen.in_force else None,
        "epoch": seen.epoch if seen else None,
    }


def _job(job: Job, status: JobStatus, samples: int) -> dict[str, Any]:
    return {
        "name": job.name,
        "source": job.source,
        "found": job.found() if job.found else "",
        "state": status.state,
        "running": status.running,
        "interval": job.interval,
        "last_run": status.last_run,
        "last_success": status.last_success,
        "next_run": status.next_run,
        "duration": status.duration,
        "runs": status.runs,
        "skipped": status.skipped,
        "failures": sum(status.failures.values()),
        "reason": status.reason,
        "error": status.error,
        "samples": samples,
    }


def _worst(states: list[str]) -> str:
    return next((state for state in ("failed", "waiting") if state in states), "ok")
