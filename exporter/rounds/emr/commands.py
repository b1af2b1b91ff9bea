"""``rounds emr``: what a store says of the last hours or days, and the removal of what is old."""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rounds.commands import Command, chosen
from rounds.databases.sqlite import fault
from rounds.emr.app.retention import remove_older
from rounds.emr.checks import HealthChecks
from rounds.emr.config import App
from rounds.emr.health.result import Health
from rounds.emr.report.build import Slow, build, since
from rounds.emr.report.figures import DEFAULT_PERIOD, PERIODS
from rounds.emr.report.read import read
from rounds.emr.report.text import text
from rounds.errors import CollectorError
from rounds.resources import Resources
from rounds.sources import SqliteSource

_MEGABYTE = 1_000_000


@contextmanager
def _store(app: App, resources: Resources) -> Iterator[Path]:
    """An application's store, to do something with.

    Raises:
        CollectorError: it cannot be had.
    """
    source = resources.databases.source(app.source)
    if not isinstance(source, SqliteSource):
        raise TypeError(f"source '{app.source}' is no SQLite file")
    try:
        yield source.path
    except FileNotFoundError:
        raise CollectorError("connect", f"source '{app.source}': there is no such file; check path") from None
    except sqlite3.Error as error:
        raise fault(app.source, error) from None


def _zone(app: App) -> ZoneInfo | None:
    return None if app.time_zone is None else ZoneInfo(app.time_zone)


def _health(app: App) -> Mapping[str, Health]:
    """What the configured checks find now."""
    checks = HealthChecks()

    async def run() -> None:
        # A check that fails in a way that nobody expected leaves the others their results.
        await asyncio.gather(*(job.collect() for job in checks.jobs(app)), return_exceptions=True)

    asyncio.run(run())
    return checks.board.results


def _report(options: argparse.Namespace, section: Any, resources: Resources) -> int:
    apps = chosen(section, "emr", "app", options.app)
    reports: dict[str, dict[str, Any]] = {}
    for app in apps:
        now, zone = time.time(), _zone(app)
        with _store(app, resources) as path:
            facts = read(path, since(options.period, now), zone)
        slow = Slow(app.operations.slow_after, app.operations.slow)
        reports[app.name] = build(facts, options.period, now, health=_health(app), slow=slow, zone=zone)
    if options.format == "json":
        shown = reports[options.app] if options.app is not None else reports
        print(json.dumps(shown, indent=2))
    else:
        print("\n".join(text(report, name) for name, report in reports.items()), end="")
    return 0


def _cleanup(options: argparse.Namespace, section: Any, resources: Resources) -> int:
    for app in chosen(section, "emr", "app", options.app):
        with _store(app, resources) as path:
            before = path.stat().st_size
            removed = remove_older(path, options.days, dry_run=options.dry_run)
            freed = before - path.stat().st_size
        print(f"{app.name}: {_told(removed, freed, options)}")
    return 0


def _told(removed: Mapping[str, int], freed: int, options: argparse.Namespace) -> str:
    rows = sum(removed.values())
    if not rows:
        return f"nothing is older than {options.days} days"
    tables = ", ".join(f"{table} {count}" for table, count in removed.items() if count)
    if options.dry_run:
        return f"would remove {rows} rows: {tables}"
    return f"removed {rows} rows: {tables}; the file shrank by {max(0, freed) / _MEGABYTE:.1f} MB"


def _days(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' should be a number of days, 1 or more")
    return int(text)


def _one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--app", metavar="NAME", help="only this application (default: all)")


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument("--period", choices=list(PERIODS), default=DEFAULT_PERIOD, help="(default: %(default)s)")
    parser.add_argument("--format", choices=["text", "json"], default="text", help="(default: %(default)s)")


def _cleanup_arguments(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument(
        "--days",
        type=_days,
        default=90,
        help="keep this many; alerts a third, hourly figures twice as many (default: %(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, and say what would be")


COMMANDS: tuple[Command, ...] = (
    Command(("emr", "report"), "report what applications' stores say", _report_arguments, _report),
    Command(("emr", "cleanup"), "remove what is old from applications' stores", _cleanup_arguments, _cleanup),
)
