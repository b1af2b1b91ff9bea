"""``rounds changes`` and ``rounds tables import``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from rounds.commands import Command
from rounds.config import did_you_mean
from rounds.errors import ConfigError
from rounds.fields import parse_duration
from rounds.resources import Resources
from rounds.tables import journal, monitor_state, record
from rounds.tables.config import WatchedTable
from rounds.tables.journal import Entry

#: Keys of one entry that the table shows.
_SHOWN_KEYS = 8


def _since(text: str) -> float:
    """Unix seconds of a time, or of a duration before now."""
    try:
        return time.time() - parse_duration(text)
    except PydanticCustomError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is neither a duration such as 24h nor a time such as 2026-01-31T08:00"
        ) from None


def _watched(section: Any, name: str) -> WatchedTable:
    tables: dict[str, WatchedTable] = {each.name: each for each in section or []}
    if name not in tables:
        raise ConfigError([f"--table: no table '{name}' is watched{did_you_mean(name, tables)}"])
    return tables[name]


def _changes(options: argparse.Namespace, _: Any, resources: Resources) -> int:
    with resources.ledger().reading() as connection:
        found = journal.entries(connection, table=options.table, since=options.since)
        if options.format == "json":
            for entry in found:
                print(json.dumps(dataclasses.asdict(entry)))
        else:
            _print_table(found)
    return 0


def _print_table(found: Iterable[Entry]) -> None:
    print(f"{'TIME':<20} {'TABLE':<20} {'CHANGE':<9} {'ROWS':>9}  KEYS")
    for entry in found:
        at = datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        print(f"{at:<20} {entry.table:<20} {entry.change:<9} {entry.rows:>9}  {_keys(entry)}".rstrip())


def _keys(entry: Entry) -> str:
    shown = entry.keys[:_SHOWN_KEYS]
    more = entry.rows - len(shown)
    return ", ".join(shown) + (f"{' and' if shown else ''} {more} more" if more else "")


def _changes_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--table", metavar="NAME", help="only this table's")
    parser.add_argument(
        "--since",
        type=_since,
        default="24h",
        metavar="WHEN",
        help="how far back: a duration, or a time such as 2026-01-31T08:00 (default: %(default)s)",
    )
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="json: one object a line, with all listed keys"
    )


def _import(options: argparse.Namespace, section: Any, resources: Resources) -> int:
    watched = _watched(section, options.table)
    at, rows = monitor_state.read(options.file)
    ledger = resources.ledger()
    with resources.databases.open(watched.source, timeout=watched.timeout) as session:
        taken = monitor_state.take_over(watched, session, ledger, rows, at)
    print(
        f"{watched.name}: recorded {taken.row_count} rows as of {datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}."
    )
    print("The next check counts what changed since. Delete the file: it holds every name in clear.", file=sys.stderr)
    return 0


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the older monitor's monitor_state.json")
    parser.add_argument("--table", required=True, metavar="NAME", help="the watched table that it belongs to")


def _reset(options: argparse.Namespace, section: Any, resources: Resources) -> int:
    watched = _watched(section, options.table)
    with resources.ledger().writing() as connection:
        record.reset(connection, watched.name)
    print(f"{watched.name}: the next check records it anew, and counts no change.")
    return 0


def _reset_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--table", required=True, metavar="NAME", help="the watched table")


COMMANDS = (
    Command(("changes",), "list what checks of watched tables found, from the ledger", _changes_arguments, _changes),
    Command(
        ("tables", "import"),
        "make the state file of an older monitor the record of a table, before its first check",
        _import_arguments,
        _import,
    ),
    Command(
        ("tables", "reset"),
        "have the next check record a table as it is, without counting what changed since the last one",
        _reset_arguments,
        _reset,
    ),
)
