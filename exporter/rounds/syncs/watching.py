"""Runs as they go on, for a person at a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from rounds.databases.databases import Databases
from rounds.errors import CollectorError
from rounds.fields import format_duration
from rounds.syncs.config import Sync
from rounds.syncs.organizations import label_of, organization_of
from rounds.syncs.progress import Point, Progress
from rounds.syncs.reading import Reading
from rounds.syncs.runs import Run, interpret
from rounds.syncs.states import SUCCESSFUL

#: Seconds from one look to the next.
_INTERVAL = 1.0
#: Rows that are looked at first, the newest.
_FIRST = 2000
#: Characters of a bar.
_BAR = 24
#: Seconds of a run's records that its rate is of, at least.
_RATED = 2.0
#: Characters that would do something to a terminal; others of the kind are taken out of names already.
_INVISIBLE = dict.fromkeys((*range(32), *range(127, 160), *range(0x2028, 0x202F)), "\N{REPLACEMENT CHARACTER}")


@dataclass
class _Seen:
    """A run that was seen under way, and since when its records are counted."""

    run: Run
    point: Point
    since: float
    records: int

    def rate(self, now: float) -> float | None:
        """Records in a second."""
        done, seconds = (self.point.live.processed or 0) - self.records, now - self.since
        return done / seconds if done > 0 and seconds >= _RATED else None


class Watch:
    """Follows the runs of one log."""

    def __init__(self, sync: Sync, databases: Databases) -> None:
        self._sync = sync
        self._reading = Reading(sync, databases)
        self._progress = Progress()
        self._seen: dict[str, _Seen] = {}
        # Runs that have ended and are glimpsed again.
        self._over: set[str] = set()
        self._found: dict[tuple[str, str], int] = {}
        self._first = True
        self._now = 0.0

    def look(self) -> list[str]:
        """Look at the log, and describe the runs that were under way and have ended.

        Raises:
            CollectorError: the log cannot be read.
        """
        with self._reading.open() as log:
            self._now = log.now()
            if self._first:
                since = self._now - max(self._sync.overlap, self._sync.orphaned_after)
                records = list(islice(log.recent(since, _FIRST), _FIRST))
            else:
                glimpsed = {each.id for each in log.glimpses(self._now - self._sync.overlap)}
                self._over &= glimpsed
                records = list(log.records([*self._seen, *(glimpsed - self._over - self._seen.keys())]))
        self._first = False
        now, totals = self._now, self._sync.running_totals
        return self._take([interpret(record, now, seen=now, running_totals=totals) for record in records])

    def under_way(self) -> list[_Seen]:
        """Runs that have not ended, without those that were given up; the oldest first."""
        silent = self._now - self._sync.orphaned_after
        return sorted((each for each in self._seen.values() if each.run.said >= silent), key=lambda each: each.run.at)

    def lines(self) -> list[str]:
        """A line for each of them."""
        return [self._line(each) for each in self.under_way()]

    def _take(self, runs: list[Run]) -> list[str]:
        ended = [run for run in runs if run.ended]
        self._over.update(run.id for run in ended)
        for run in sorted(ended, key=lambda run: run.at):
            if run.state in SUCCESSFUL and run.found is not None:
                self._found[run.organization, run.operation] = run.found
        told = [self._ending(run) for run in ended if self._seen.pop(run.id, None)]
        before, self._seen = self._seen, {}
        for run in runs:
            if not run.ended:
                point = self._progress.point(run, self._now, self._found.get((run.organization, run.operation)))
                records = point.live.processed or 0
                last = before.get(run.id)
                kept = last is not None and last.records <= records and (last.point.live.processed or 0) > 0
                since, first = (last.since, last.records) if last is not None and kept else (self._now, records)
                self._seen[run.id] = _Seen(run, point, since, first)
        self._progress.keep(each.run.row for each in self._seen.values())
        return told

    def _line(self, seen: _Seen) -> str:
        live, ratio = seen.point.live, seen.point.ratio
        filled = int(_BAR * ratio)
        told = [live.step.replace("_", " ")] if live.step else []
        if live.processed is not None and live.total:
            told.append(f"{live.processed} of {live.total}")
        elif live.total:
            told.append(f"{live.total} patients")
        if live.page is not None:
            told.append(f"page {live.page} of {live.pages}" if live.pages else f"page {live.page}")
        if rate := seen.rate(self._now):
            told.append(f"{rate:.1f}/s")
            if live.total and live.processed is not None:
                told.append(f"{format_duration(max(0, round((live.total - live.processed) / rate)))} left")
        if self._now - seen.run.said > self._sync.stale_after:
            told.append(f"STALE for {format_duration(round(self._now - seen.run.said))}")
        bar = "#" * filled + "." * (_BAR - filled)
        return f"{self.named(seen.run)} [{bar}] {ratio:4.0%} {', '.join(told)}"

    def _ending(self, run: Run) -> str:
        counts = run.counts
        told: list[str] = [run.state]
        if counts and counts.succeeded is not None:
            told.append(f"{counts.succeeded} stored")
        if counts and counts.failed:
            told.append(f"{counts.failed} failed")
        if run.error:
            told.append(f"error {run.error}")
        if run.duration is not None:
            told.append(f"took {format_duration(round(run.duration))}")
        return f"{self.named(run)} {', '.join(told)}"

    def named(self, run: Run) -> str:
        """Whose run it is, in what a terminal can show."""
        return named(self._sync, run)


def named(sync: Sync, run: Run) -> str:
    """Whose run it is, in what a terminal can show."""
    organization = label_of(organization_of(run.organization), sync.organizations)
    words = (sync.name, organization, organization_of(run.operation))
    return " ".join(word.translate(_INVISIBLE) for word in words if word)


def tail(syncs: Sequence[Sync], databases: Databases, *, once: bool) -> None:
    """Show runs under way until interrupted, or once.

    Raises:
        CollectorError: a log cannot be read, where it is only looked at once.
    """
    watches = [Watch(sync, databases) for sync in syncs]
    screen = _Screen(live=sys.stdout.isatty() and not once)
    while True:
        lines = []
        for watch in watches:
            try:
                for line in watch.look():
                    screen.tell(line)
            except CollectorError as error:
                if once:
                    raise
                screen.complain(str(error))
            lines += watch.lines()
        screen.show(lines)
        if once:
            return
        time.sleep(_INTERVAL)


class _Screen:
    """Lines that change in place on a terminal; elsewhere those that are new."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._shown: list[str] = []
        self._complaint = ""

    def tell(self, line: str) -> None:
        """A line that stays."""
        self._clear()
        print(line, flush=True)

    def complain(self, text: str) -> None:
        """The same about a fault, once for each."""
        if text != self._complaint:
            self._complaint = text
            self._clear()
            print(f"rounds: {text}", file=sys.stderr, flush=True)

    def show(self, lines: list[str]) -> None:
        """What holds now."""
        lines = lines or ["no run is under way"]
        if self._live:
            size = shutil.get_terminal_size()
            self._clear()
            # A line that wraps, or scrolls away, could not be taken back.
            self._shown = [line[: size.columns - 1] for line in lines[: max(1, size.lines - 1)]]
            print("\n".join(self._shown), flush=True)
            return
        for line in lines:
            if line not in self._shown:
                print(line, flush=True)
        self._shown = lines

    def _clear(self) -> None:
        if self._live and self._shown:
            print(f"\x1b[{len(self._shown)}A\x1b[J", end="")
            self._shown = []
