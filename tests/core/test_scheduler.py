"""The scheduler, on a loop whose clock jumps."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from rounds.domain import Job
from rounds.errors import CollectorError
from rounds.exposition import Exposition
from rounds.metrics import Family, Metric
from rounds.scheduler import BACKOFF_CAP, FIRST_RUN_WITHIN, REPEAT_LOG_AFTER, Scheduler, backoff, spread
from rounds.threads import BlockingCollect
from support import loop as jumping

ROWS = Metric("rounds_test_rows", "gauge", "Rows of a test.", ("table",))
FAMILIES = [ROWS.family([(("a",), 1)])]


class Scripted:
    """A collector that notes when it was started and does what its script says."""

    def __init__(self, *script: float | Exception) -> None:
        self.script = list(script)
        self.starts: list[float] = []
        self.overlaps = 0
        self._running = False

    async def __call__(self) -> Sequence[Family]:
        self.overlaps += self._running
        self._running = True
        self.starts.append(asyncio.get_running_loop().time())
        step = self.script.pop(0) if self.script else 0.0
        try:
            if isinstance(step, Exception):
                raise step
            await asyncio.sleep(step)
        finally:
            self._running = False
        return FAMILIES


def job(collect: Callable[[], Awaitable[Sequence[Family]]], name: str = "test/a", interval: float = 10.0) -> Job:
    return Job(name, "test", interval, timeout=8.0, stale_after=30.0, collect=collect)


async def run_for(seconds: float, *jobs: Job) -> tuple[Scheduler, Exposition]:
    loop = asyncio.get_running_loop()
    exposition = Exposition(clock=loop.time)
    scheduler = Scheduler(exposition, clock=loop.time)
    await scheduler.apply(jobs)
    await asyncio.sleep(seconds)
    await scheduler.pause()
    return scheduler, exposition


def test_starts_keep_to_a_grid_that_late_runs_do_not_move() -> None:
    collect = Scripted(0, 3, 0.5, 7)
    jumping.run(run_for(60, job(collect)))
    first = collect.starts[0]
    assert [round(start - first, 6) for start in collect.starts] == [0, 10, 20, 30, 40, 50]


def test_the_first_run_is_spread_by_a_stable_hash() -> None:
    fractions = [spread(f"services/check-{number}") for number in range(1000)]
    assert fractions == [spread(f"services/check-{number}") for number in range(1000)]
    tenths = [sum(tenth <= 10 * each < tenth + 1 for each in fractions) for tenth in range(10)]
    assert min(tenths) > 60
    assert spread("tables/patients") == pytest.approx(0.69979, abs=1e-5), "a change moves every user's schedule"


def test_an_hourly_job_does_not_wait_an_hour_for_its_first_run() -> None:
    collect = Scripted()
    jumping.run(run_for(FIRST_RUN_WITHIN + 1, job(collect, interval=3600)))
    assert len(collect.starts) == 1


def test_a_run_longer_than_the_interval_skips_starts_and_never_overlaps() -> None:
    collect = Scripted(25, 0, 0)
    slow = replace(job(collect), timeout=100.0)
    scheduler, _ = jumping.run(run_for(58, slow))
    first = collect.starts[0]
    assert [round(start - first, 6) for start in collect.starts[:3]] == [0, 30, 40]
    assert collect.overlaps == 0
    assert scheduler.jobs[0][1].skipped == 2


def test_the_deadline_ends_a_run_with_the_reason_timeout() -> None:
    collect = Scripted(100, 100)
    with capture_logs():
        scheduler, _ = jumping.run(run_for(20, job(collect)))
    status = scheduler.jobs[0][1]
    assert status.failures["timeout"] == status.runs > 0
    assert status.reason == "timeout"


def test_failures_back_off_up_to_a_cap_and_recovery_ends_it() -> None:
    collect = Scripted(*[CollectorError("connect", "refused")] * 7, 0, 0)
    with capture_logs():
        jumping.run(run_for(2000, job(collect)))
    pauses = [round(after - before, 6) for before, after in zip(collect.starts, collect.starts[1:], strict=False)]
    assert pauses[:9] == [10, 20, 40, 80, 160, 300, 300, 10, 10]
    assert backoff(3600, 5) == 3600
    assert backoff(15, 10_000) == BACKOFF_CAP


def paced(collect: Scripted, *paces: float) -> Job:
    """A job that says after each run when the next one is to begin, and the last of it for ever."""
    left = list(paces)
    return replace(job(collect, interval=15.0), pace=lambda: left.pop(0) if len(left) > 1 else left[0])


def pauses_of(collect: Scripted) -> list[float]:
    return [round(after - before, 6) for before, after in itertools.pairwise(collect.starts)]


def test_a_job_may_go_faster_for_a_while() -> None:
    collect = Scripted()
    scheduler, _ = jumping.run(run_for(100, paced(collect, 15, 3, 3, 3, 15)))
    assert pauses_of(collect)[:7] == [15, 3, 3, 3, 15, 15, 15]
    assert scheduler.jobs[0][1].skipped == 0


def test_a_late_run_of_a_faster_job_skips_starts_of_its_own_grid() -> None:
    collect = Scripted(0, 7, 0, 2.5, 0)
    scheduler, _ = jumping.run(run_for(60, paced(collect, 3)))
    assert pauses_of(collect)[:4] == [3, 9, 3, 3], "at 3 s it takes 7 s, so starts at 6 and 9 s are left out"
    assert scheduler.jobs[0][1].skipped == 2


def test_a_job_that_fails_goes_by_its_interval_again() -> None:
    failures = [CollectorError("connect", "refused")] * 3
    collect = Scripted(0, 0, *failures, 0, 0)
    with capture_logs():
        scheduler, _ = jumping.run(run_for(200, paced(collect, 3)))
    assert pauses_of(collect)[:7] == [3, 3, 15, 30, 60, 3, 3]
    assert scheduler.jobs[0][1].skipped == 0


def test_a_faster_job_that_hangs_and_fails_begins_no_sooner_than_its_interval() -> None:
    collect = Scripted(0, 100, 0)  # until its deadline of 8 s
    with capture_logs():
        scheduler, _ = jumping.run(run_for(60, paced(collect, 3)))
    assert pauses_of(collect)[:3] == [3, 15, 3]
    assert scheduler.jobs[0][1].skipped == 0, "no start of the interval's grid was left out"
    assert scheduler.jobs[0][1].failures["timeout"] == 1


def test_after_a_refused_login_attempts_grow_rare_whatever_the_interval() -> None:
    hour = 3600.0
    assert [backoff(hour, failures, "auth") / hour for failures in (1, 2, 3, 4, 9)] == [1, 2, 4, 6, 6]
    assert backoff(9 * hour, 5, "auth") == 9 * hour
    collect = Scripted(*[CollectorError("auth", "refused")] * 7, CollectorError("connect", "refused"), 0, 0)
    with capture_logs():
        jumping.run(run_for(40 * hour, job(collect, interval=hour)))
    pauses = [round((after - before) / hour, 6) for before, after in itertools.pairwise(collect.starts)]
    assert pauses[:10] == [1, 2, 4, 6, 6, 6, 6, 1, 1, 1]


def test_a_reload_lets_jobs_that_failed_run_at_once() -> None:
    failing, fine = Scripted(*[CollectorError("auth", "refused")] * 9), Scripted()

    async def main() -> tuple[list[float], float]:
        loop = asyncio.get_running_loop()
        scheduler = Scheduler(Exposition(clock=loop.time), clock=loop.time)
        jobs = [job(failing, "test/failing", 3600.0), job(fine, "test/fine", 3600.0)]
        await scheduler.apply(jobs)
        await asyncio.sleep(4 * 3600)
        await scheduler.pause()
        before = len(failing.starts)
        reloaded = loop.time()
        await scheduler.apply(jobs)
        await asyncio.sleep(2 * 3600)
        await scheduler.pause()
        status = {each.name: status for each, status in scheduler.jobs}["test/failing"]
        assert status.consecutive_failures == len(failing.starts), "what is told of the job does not forget"
        return [start - reloaded for start in failing.starts[before:]], reloaded

    with capture_logs():
        starts, _ = jumping.run(main())
    assert starts[0] < FIRST_RUN_WITHIN
    assert round(starts[1] - starts[0], 6) == 3600, "and the pauses grow anew"
    assert {round(start - fine.starts[0], 6) % 3600 for start in fine.starts} == {0}


def test_samples_of_a_failing_collector_are_kept_until_they_are_stale() -> None:
    collect = Scripted(0, *[CollectorError("connect", "refused")] * 50)

    async def main() -> list[bytes]:
        loop = asyncio.get_running_loop()
        exposition = Exposition(clock=loop.time)
        scheduler = Scheduler(exposition, clock=loop.time)
        await scheduler.apply([job(collect)])
        await asyncio.sleep(FIRST_RUN_WITHIN)
        seen = []
        for _ in range(5):
            seen.append(exposition.render())
            await asyncio.sleep(10)
        await scheduler.pause()
        return seen

    with capture_logs():
        seen = jumping.run(main())
    assert b"rounds_test_rows" in seen[0]
    assert b"rounds_test_rows" in seen[1]
    assert seen[4] == b""


def test_one_failing_collector_does_not_hide_another() -> None:
    broken = Scripted(*[ValueError("unexpected")] * 9)
    with capture_logs():
        scheduler, exposition = jumping.run(run_for(15, job(broken, "test/broken"), job(Scripted(), "test/fine")))
    assert b'rounds_test_rows{table="a"} 1' in exposition.render()
    states = {each.name: status.state for each, status in scheduler.jobs}
    assert states == {"test/broken": "failed", "test/fine": "ok"}


def test_an_unexpected_error_is_internal_and_its_message_is_not_told() -> None:
    with capture_logs() as logs:
        scheduler, _ = jumping.run(run_for(11, job(Scripted(ValueError("Jane Doe, born 1970")))))
    assert scheduler.jobs[0][1].failures["internal"] == 1
    assert "Jane" not in str(logs)
    assert "Jane" not in str(scheduler.jobs[0][1])


def test_too_many_series_fail_with_the_reason_limit() -> None:
    async def many() -> Sequence[Family]:
        return [ROWS.family(((str(number),), 1) for number in range(20))]

    async def main() -> Scheduler:
        scheduler = Scheduler(Exposition(max_series=19))
        assert not await scheduler.run_once([job(many)])
        return scheduler

    with capture_logs():
        scheduler = jumping.run(main())
    assert scheduler.jobs[0][1].reason == "limit"


def test_too_many_series_at_first_do_not_keep_other_jobs_from_running() -> None:
    collect = Scripted()

    async def main() -> Scheduler:
        scheduler = Scheduler(Exposition(max_series=0))
        await scheduler.apply([replace(job(collect, "test/many"), initial=FAMILIES), job(collect, "test/other")])
        await asyncio.sleep(FIRST_RUN_WITHIN)
        await scheduler.pause()
        return scheduler

    with capture_logs():
        scheduler = jumping.run(main())
    assert {status.reason for _, status in scheduler.jobs} == {"limit"}


def test_identical_failures_are_logged_once_an_hour_and_recovery_is_told() -> None:
    failures: list[float | Exception] = [CollectorError("connect", "refused")] * 20
    with capture_logs() as logs:
        jumping.run(run_for(REPEAT_LOG_AFTER * 2, job(Scripted(*failures, CollectorError("query", "no table")))))
    events = [(entry["event"], entry.get("reason"), entry.get("repeated")) for entry in logs]
    assert events[0] == ("collector failed", "connect", None)
    assert events[1][:2] == ("collector failed", "connect")
    assert (events[1][2] or 0) > 10
    assert ("collector failed", "query", None) in [(event, reason, None) for event, reason, _ in events]
    assert events[-1][0] == "collector recovered"
    assert len(events) < 7
    assert {"collector", "job", "duration", "error"} <= logs[0].keys()


def test_reload_keeps_counts_and_place_in_time_and_withdraws_what_is_gone() -> None:
    stays, goes, comes = Scripted(), Scripted(), Scripted()

    async def main() -> tuple[Scheduler, Exposition]:
        loop = asyncio.get_running_loop()
        exposition = Exposition(clock=loop.time)
        scheduler = Scheduler(exposition, clock=loop.time)
        await scheduler.apply([job(stays, "test/stays"), job(goes, "test/goes")])
        await asyncio.sleep(25)
        await scheduler.pause()
        await scheduler.apply([job(stays, "test/stays"), job(comes, "test/comes")])
        await asyncio.sleep(20)
        await scheduler.pause()
        return scheduler, exposition

    scheduler, exposition = jumping.run(main())
    assert {round((start - stays.starts[0]) % 10, 6) for start in stays.starts} == {0}
    runs = {each.name: status.runs for each, status in scheduler.jobs}
    assert runs["test/stays"] == len(stays.starts) >= 4
    assert "test/goes" not in runs
    assert exposition.samples("test/goes") == 0
    assert exposition.samples("test/comes") == 1


def test_a_blocking_collector_that_outlives_its_deadline_is_cancelled_and_not_started_twice() -> None:
    release, cancelled, entered = threading.Event(), threading.Event(), threading.Semaphore(0)

    def blocked() -> Sequence[Family]:
        entered.release()
        release.wait(10)
        return FAMILIES

    async def main() -> tuple[int, int, int]:
        exposition = Exposition()
        scheduler = Scheduler(exposition)
        stuck = replace(job(BlockingCollect(blocked, cancelled.set, "blocked"), interval=0.05), timeout=0.02)
        await scheduler.apply([stuck])
        status = scheduler.jobs[0][1]
        while status.skipped < 2:
            await asyncio.sleep(0)
        timeouts = status.failures["timeout"]
        release.set()
        while status.last_success is None:
            await asyncio.sleep(0)
        await scheduler.pause()
        return timeouts, status.skipped, exposition.samples("test/a")

    with capture_logs():
        timeouts, skipped, samples = asyncio.run(main())
    assert cancelled.is_set()
    assert timeouts == 1, "a run that is still stuck is skipped, not started again"
    assert skipped >= 2
    assert samples == 1
