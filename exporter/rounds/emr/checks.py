"""The jobs that check what an application needs."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from zoneinfo import ZoneInfo

from rounds.domain import STALE_INTERVALS, Job
from rounds.emr.config import App, BackupCheck, DatabaseCheck, DiskCheck, LlmCheck, MemoryCheck
from rounds.emr.health.backup import Backups
from rounds.emr.health.database import Database
from rounds.emr.health.disk import disk
from rounds.emr.health.llm import Llm
from rounds.emr.health.memory import memory
from rounds.emr.health.result import Health, worst
from rounds.emr.metrics import CATALOGUE, CHECK_DURATION, CHECK_INTERVAL, CHECK_LAST_RUN, REASON, STATE
from rounds.emr.names import CHECKS, STATES
from rounds.emr.score import Board
from rounds.metrics import Family
from rounds.threads import in_daemon_thread

#: A check ends by itself at its time-out where it can. What takes so many seconds more hangs, and is given up.
_MARGIN = 2.0
#: The scheduler's deadline is behind that, so that it never comes to it.
_JOB_MARGIN = 5.0

_NOT_RUN = Health("unknown", "", "has not run yet")
_METRICS = {metric.name: metric for metric in CATALOGUE}


class _Part:
    """One place that a check looks at; only that of backups has more than one.

    Args:
        name: what it is called.
        look: runs in a thread.
        timeout: seconds after which it is given up; its thread is waited for again by the next run.
        lasting: whether its figures hold on when it cannot be looked at: times of what was made.
    """

    def __init__(self, name: str, look: Callable[[], Health], timeout: float, *, lasting: bool) -> None:
        self.name = name
        self.timeout = timeout
        self._look = look
        self._lasting = lasting
        self._thread: asyncio.Future[Health] | None = None
        self._last: Health | None = None

    async def run(self) -> tuple[Health, bool]:
        """Its result, and whether it came back in time."""
        if self._thread is None or self._thread.done():
            self._thread = in_daemon_thread(self._look, f"check {self.name}")
            # Once given up, its outcome is of no interest, but must be looked at or asyncio complains.
            self._thread.add_done_callback(lambda thread: thread.cancelled() or thread.exception())
        try:
            async with asyncio.timeout(self.timeout):
                self._last = await asyncio.shield(self._thread)
        except TimeoutError:
            kept = self._last.figures if self._last is not None and self._lasting else {}
            return Health("unknown", "timeout", f"has not come back within {self.timeout:g} s", kept), False
        return self._last, True


class _Check:
    """One check, again and again: each part in a thread of its own, so that one that hangs holds up no other."""

    def __init__(self, app: str, name: str, interval: float, parts: Sequence[_Part], board: Board) -> None:
        self.name = name
        self.interval = interval
        self.timeout = max(part.timeout for part in parts) + _JOB_MARGIN
        self._app = app
        self._parts = parts
        self._board = board
        self._duration: float | None = None
        self._ended: float | None = None
        self._result = _NOT_RUN

    async def collect(self) -> list[Family]:
        """Run once. That something is found unhealthy, or not found out in time, is no failure of the run."""
        began = time.perf_counter()
        try:
            found = await asyncio.gather(*(part.run() for part in self._parts))
        except Exception:
            # A fault of the check, which the scheduler tells; what it found before is not to be taken for the present.
            self._joined([Health("unknown", "", "the check itself failed")])
            raise
        if all(is_back for _, is_back in found):
            self._duration = time.perf_counter() - began
            self._ended = time.time()
        self._result = self._joined([result for result, _ in found])
        return self.families()

    def _joined(self, results: Sequence[Health]) -> Health:
        joined = worst(results) or _NOT_RUN
        if len(results) > 1:
            told = zip(self._parts, results, strict=True)
            text = "; ".join(f"{part.name}: {each.text}" for part, each in told)
            figures = {key: value for each in results for key, value in each.figures.items()}
            joined = replace(joined, text=text, figures=figures)
        self._board.results = {**self._board.results, self.name: joined}
        return joined

    def families(self) -> list[Family]:
        """What is known now."""
        key, result = (self._app, self.name), self._result
        return [
            STATE.family(((*key, state), int(state == result.state)) for state in STATES),
            REASON.family([((*key, result.reason), 1)] if result.reason else ()),
            CHECK_DURATION.family([(key, self._duration)]),
            CHECK_LAST_RUN.family([(key, self._ended)]),
            CHECK_INTERVAL.family([(key, self.interval)]),
            *self._of_figures(result.figures),
        ]

    def _of_figures(self, figures: Mapping[tuple[str, ...], float]) -> Iterator[Family]:
        samples = defaultdict(list)
        for (name, *labels), value in figures.items():
            samples[name].append(((self._app, *labels), value))
        return (_METRICS[f"rounds_emr_{name}"].family(found) for name, found in samples.items())

    def found(self) -> str:
        """State and text, for people."""
        return f"{self._result.state}: {self._result.text}"


class HealthChecks:
    """The checks of one application, for the life of the process.

    A check whose configuration is the same after a reload goes on with what it knows: when it last looked at all pages
    of a database, and that a thread of its hangs.
    """

    def __init__(self) -> None:
        self.board = Board({})
        self._kept: dict[str, tuple[object, _Check]] = {}

    def jobs(self, app: App) -> list[Job]:
        """A job for each configured check, all of the collector ``emr/NAME/health``; results go to the board."""
        kept, self._kept = self._kept, {}
        for name, sections in _sections(app).items():
            key = (sections, app.time_zone)
            known = kept.get(name)
            check = known[1] if known is not None and known[0] == key else self._check(app, name, sections)
            self._kept[name] = (key, check)
        self.board.results = {name: health for name, health in self.board.results.items() if name in self._kept}
        return [_job(app.name, check) for _, check in self._kept.values()]

    def _check(self, app: App, name: str, sections: Sequence[_Section]) -> _Check:
        parts = []
        for section in sections:
            backup = section if isinstance(section, BackupCheck) else None
            part = backup.name if backup else name
            look = _look_of(section, app)
            parts.append(_Part(part, look, section.timeout + _MARGIN, lasting=backup is not None))
        # Those of one check are looked at together, as often as the most frequent of them wants.
        interval = min(section.interval for section in sections)
        self.board.results = {each: health for each, health in self.board.results.items() if each != name}
        return _Check(app.name, name, interval, parts, self.board)


_Section = DatabaseCheck | LlmCheck | DiskCheck | MemoryCheck | BackupCheck


def _sections(app: App) -> dict[str, list[_Section]]:
    """What is configured, by the check's name."""
    checks = app.checks
    alone: tuple[_Section | None, ...] = (checks.database, checks.llm, checks.disk, checks.memory)
    found = {name: [section] for name, section in zip(CHECKS, alone, strict=False) if section is not None}
    return {**found, "backup": list(checks.backups)} if checks.backups else found


def _look_of(section: _Section, app: App) -> Callable[[], Health]:
    """What runs a check once."""
    match section:
        case DatabaseCheck():
            return Database(
                section.path,
                slow_after=section.slow_after,
                timeout=section.timeout,
                integrity_every=section.integrity_every,
                integrity_timeout=section.integrity_timeout,
            ).run
        case LlmCheck():
            return Llm(
                section.url,
                model=section.model,
                timeout=section.timeout,
                generate_every=section.generate_every,
                generate_timeout=section.generate_timeout,
            ).run
        case DiskCheck():
            return functools.partial(
                disk,
                section.path,
                unhealthy_free_bytes=section.unhealthy_free_bytes,
                degraded_free_bytes=section.degraded_free_bytes,
                degraded_used_ratio=section.degraded_used_ratio,
            )
        case MemoryCheck():
            return functools.partial(
                memory,
                unhealthy_available_bytes=section.unhealthy_available_bytes,
                degraded_available_bytes=section.degraded_available_bytes,
                degraded_used_ratio=section.degraded_used_ratio,
            )
        case BackupCheck():
            zone = section.time_zone or app.time_zone
            return Backups(
                folder=section.folder,
                table=section.table,
                name=section.name,
                pattern=section.pattern,
                status=section.status,
                zone=ZoneInfo(zone) if zone else None,
                max_age=section.max_age,
                timeout=section.timeout,
            ).run


def _job(app: str, check: _Check) -> Job:
    return Job(
        name=f"emr/{app}/health/{check.name}",
        collector=f"emr/{app}/health",
        interval=check.interval,
        timeout=check.timeout,
        stale_after=STALE_INTERVALS * check.interval + check.timeout,
        collect=check.collect,
        found=check.found,
        initial=check.families(),
    )
