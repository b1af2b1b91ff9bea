"""Runs jobs on their own intervals, never inside a scrape.

Every job is one task, so a job never overlaps itself. Starts are spread over the interval by a stable hash of the job's
name and keep to that grid: a late run does not move the next. After a failure the pause doubles up to a cap.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from rounds.errors import FAILURE_REASONS, CollectorError, FailureReason
from rounds.threads import StillRunning

if TYPE_CHECKING:
    from rounds.domain import Job
    from rounds.exposition import Exposition

#: First runs are spread over the interval, but over no more than this, so that a newcomer need not wait an hour.
FIRST_RUN_WITHIN = 10.0
#: Longest pause after failures, unless the interval itself is longer.
BACKOFF_CAP = 300.0
#: The same after a refused login, for every interval: attempts that go on may lock the account.
AUTH_BACKOFF_CAP = 6 * 3600.0
#: A failure that repeats itself is logged again after this many seconds.
REPEAT_LOG_AFTER = 3600.0

log = structlog.get_logger()


@dataclass
class JobStatus:
    """What is known of a job's runs. Written by the scheduler's loop, read by others.

    Times are Unix seconds, None where there was none yet; ``duration`` is in seconds.
    """

    runs: int = 0
    skipped: int = 0
    failures: dict[FailureReason, int] = field(default_factory=lambda: dict.fromkeys(FAILURE_REASONS, 0))
    running: bool = False
    last_run: float | None = None
    last_success: float | None = None
    duration: float | None = None
    next_run: float | None = None
    consecutive_failures: int = 0
    error: str | None = None
    reason: FailureReason | None = None

    @property
    def state(self) -> str:
        """``waiting`` before the first run, then ``ok`` or ``failed``."""
        if self.last_run is None:
            return "waiting"
        return "failed" if self.reason else "ok"


def spread(name: str) -> float:
    """Where in its interval a job starts, from 0 up to 1: the same on every machine and at every start."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


def backoff(interval: float, failures: int, reason: FailureReason | None = None) -> float:
    """Seconds from one start to the next after so many failures in a row, the last of which had this reason."""
    doubled = interval * 2.0 ** min(max(failures - 1, 0), 32)
    return min(doubled, max(interval, AUTH_BACKOFF_CAP if reason == "auth" else BACKOFF_CAP))


@dataclass
class _Entry:
    job: Job
    status: JobStatus
    task: asyncio.Task[None] | None = None
    due: float | None = None
    #: Failures in a row since the last reload, which the pause grows with.
    failures: int = 0
    logged: tuple[str, float] = ("", float("-inf"))
    unlogged: int = 0


class Scheduler:
    """Runs jobs on the running loop and publishes what they find."""

    def __init__(self, exposition: Exposition, clock: Callable[[], float] = time.time) -> None:
        self._exposition = exposition
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    @property
    def jobs(self) -> list[tuple[Job, JobStatus]]:
        """All jobs with their status."""
        return [(entry.job, entry.status) for entry in list(self._entries.values())]

    async def apply(self, jobs: Sequence[Job]) -> None:
        """Run exactly these jobs from now on. A job that was there before keeps its place in time and its counts.

        One that failed runs soon: whoever loads a configuration has perhaps changed what it failed of.
        """
        wanted = {job.name: job for job in jobs}
        for name in self._entries.keys() - wanted.keys():
            del self._entries[name]
            self._exposition.withdraw(name)
        for name, job in wanted.items():
            entry = self._entries.get(name)
            if entry is None:
                entry = self._entries[name] = _Entry(job, JobStatus())
                with suppress(CollectorError):  # more series than are allowed: the first run fails of it, and says so
                    self._exposition.publish(name, job.collector, job.initial)
            elif entry.job.interval != job.interval or entry.failures:
                entry.due = None
                entry.failures = 0
            entry.job = job
            entry.task = asyncio.create_task(self._drive(entry), name=name)

    async def pause(self) -> None:
        """Stop starting runs and cancel those that are under way."""
        tasks = [entry.task for entry in self._entries.values() if entry.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run_once(self, jobs: Sequence[Job]) -> bool:
        """Run every job once, all at the same time, in place of :meth:`apply`. Returns whether all succeeded."""
        self._entries = {job.name: _Entry(job, JobStatus()) for job in jobs}
        await asyncio.gather(*(self._run(entry) for entry in self._entries.values()))
        return not any(entry.status.reason for entry in self._entries.values())

    async def _drive(self, entry: _Entry) -> None:
        loop = asyncio.get_running_loop()
        interval = entry.job.interval
        if entry.due is None:
            entry.due = loop.time() + spread(entry.job.name) * min(interval, FIRST_RUN_WITHIN)
        while True:
            wait = entry.due - loop.time()
            entry.status.next_run = self._clock() + max(wait, 0)
            await asyncio.sleep(wait)
            await self._run(entry)
            step = entry.job.pace() if entry.job.pace and not entry.failures else interval
            pause = backoff(step, entry.failures, entry.status.reason)
            missed = max(0, int((loop.time() - entry.due) // step))
            entry.status.skipped += missed
            entry.due += max(pause, (missed + 1) * step)

    async def _run(self, entry: _Entry) -> None:
        job, status = entry.job, entry.status
        started = time.perf_counter()
        status.running = True
        try:
            async with asyncio.timeout(job.timeout):
                families = await job.collect()
            self._exposition.publish(job.name, job.collector, families, job.stale_after)
        except StillRunning:
            status.skipped += 1
            return
        except TimeoutError:
            self._failed(entry, "timeout", f"took longer than {job.timeout:g} s", started)
        except CollectorError as error:
            self._failed(entry, error.reason, str(error), started)
        except Exception as error:  # noqa: BLE001  # a fault of one collector must not stop the others
            # Its message may quote data, so only its kind is told.
            self._failed(entry, "internal", f"unexpected {type(error).__name__}", started, error)
        else:
            self._succeeded(entry, started)
        finally:
            status.running = False

    def _succeeded(self, entry: _Entry, started: float) -> None:
        status = entry.status
        if status.reason:
            log.info("collector recovered", **_where(entry), failures=status.consecutive_failures)
        self._ended(status, started)
        status.last_success = status.last_run
        status.consecutive_failures = entry.failures = 0
        status.reason = status.error = None
        entry.logged, entry.unlogged = ("", float("-inf")), 0

    def _failed(
        self, entry: _Entry, reason: FailureReason, message: str, started: float, error: BaseException | None = None
    ) -> None:
        status = entry.status
        self._ended(status, started)
        status.failures[reason] += 1
        status.consecutive_failures += 1
        entry.failures += 1
        status.reason, status.error = reason, message
        identity, now = f"{reason} {message}", self._clock()
        if identity == entry.logged[0] and now - entry.logged[1] < REPEAT_LOG_AFTER:
            entry.unlogged += 1
            return
        repeated = {"repeated": entry.unlogged} if entry.unlogged else {}
        log.error(
            "collector failed",
            **_where(entry),
            reason=reason,
            error=message,
            duration=round(status.duration or 0, 3),
            **repeated,
        )
        if error is not None:
            log.debug("where it failed", **_where(entry), at=_origin(error))
        entry.logged, entry.unlogged = (identity, now), 0

    def _ended(self, status: JobStatus, started: float) -> None:
        status.runs += 1
        status.duration = time.perf_counter() - started
        status.last_run = self._clock()


def _where(entry: _Entry) -> dict[str, str]:
    job = entry.job
    more = {"job": job.name if job.name != job.collector else "", "source": job.source}
    return {"collector": job.collector, **{key: value for key, value in more.items() if value}}


def _origin(error: BaseException) -> str:
    """The places of a traceback, without its message and its source lines: these may hold data."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} in {code.co_name}")
        trace = trace.tb_next
    return " > ".join(places)
