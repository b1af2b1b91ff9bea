"""``rounds syncs``: a live view of runs, and the closing of those that were given up."""

from __future__ import annotations

import argparse
from typing import Any

from pydantic_core import PydanticCustomError

from rounds.commands import Command, chosen
from rounds.errors import CollectorError, ConfigError
from rounds.fields import format_duration, parse_duration
from rounds.resources import Resources
from rounds.sources import HttpSource
from rounds.syncs.reaping import reap
from rounds.syncs.watching import named, tail


def _tail(options: argparse.Namespace, section: Any, resources: Resources) -> int:
    try:
        tail(chosen(section, "syncs", "sync", options.sync), resources.databases, once=options.once)
    except KeyboardInterrupt:
        print()
    return 0


def _reap(options: argparse.Namespace, section: Any, resources: Resources) -> int:
    syncs = chosen(section, "syncs", "sync", options.sync)
    for sync in syncs:
        if options.older_than is not None and options.older_than < sync.stale_after:
            shortest = format_duration(sync.stale_after)
            raise ConfigError([f"--older-than: should be no shorter than {shortest}, stale_after of sync {sync.name}"])
        if isinstance(resources.databases.source(sync.source), HttpSource):
            text = f"sync '{sync.name}': its log is behind an HTTP API, where rows cannot be closed; say --sync"
            raise CollectorError("query", text)
    for sync in syncs:
        older_than = options.older_than or sync.orphaned_after
        count = 0
        for run, silent in reap(sync, resources.databases, older_than, dry_run=options.dry_run):
            count += 1
            done = "would close" if options.dry_run else "closed"
            print(f"{named(sync, run)}: {done} a run that has said nothing for {format_duration(round(silent))}")
        if not count:
            print(f"{sync.name}: no run has said nothing for longer than {format_duration(older_than)}")
    return 0


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except PydanticCustomError as error:
        raise argparse.ArgumentTypeError(f"'{text}' {error.message()}") from None


def _one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sync", metavar="NAME", help="only this sync (default: all)")


def _tail_arguments(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument("--once", action="store_true", help="show what is under way now, and end")


def _reap_arguments(parser: argparse.ArgumentParser) -> None:
    _one(parser)
    parser.add_argument(
        "--older-than",
        type=_duration,
        metavar="DURATION",
        help="close runs that have said nothing for longer, such as 1h (default: the sync's orphaned_after)",
    )
    parser.add_argument("--dry-run", action="store_true", help="write nothing, and say what would be")


COMMANDS: tuple[Command, ...] = (
    Command(("syncs", "tail"), "show runs under way and their progress, until interrupted", _tail_arguments, _tail),
    Command(("syncs", "reap"), "close runs that were given up, as failed", _reap_arguments, _reap),
)
