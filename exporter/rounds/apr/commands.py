"""``rounds apr``: what is done to the tables by hand, and a look at them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection, inspect, text

from rounds.apr import show, tables
from rounds.apr.config import AprSection
from rounds.apr.metrics import VALIDATION_TYPES
from rounds.apr.writing.cleaning import RETENTION_DAYS, cleanup_old_monitoring_data, old_monitoring_data
from rounds.apr.writing.failures import WriteFailed
from rounds.apr.writing.history import backfill_history, proposals_without_history
from rounds.apr.writing.resolving import auto_resolve_invalid_records, resolvable_records
from rounds.apr.writing.summary import summary_of, update_daily_summary
from rounds.commands import Command
from rounds.databases.writing import writing
from rounds.errors import CollectorError, ConfigError
from rounds.resources import Resources

_BAR = 30


class _Progress:
    """A bar on a terminal, which is gone when the work is done; nothing elsewhere."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def at(self, done: int, of: int, text: str) -> None:
        """So much is done of so much."""
        filled = _BAR * done // max(1, of)
        self._print(f"[{'#' * filled}{'.' * (_BAR - filled)}] {text}")

    def end(self) -> None:
        """Take the bar away."""
        self._print("")

    def _print(self, line: str) -> None:
        if self._shown:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


@contextmanager
def _connected(section: AprSection | None, resources: Resources) -> Iterator[Connection]:
    """A connection that may write."""
    source = _configured(section).source
    try:
        with writing(source, resources.databases.source(source)) as connection:
            yield connection
    except WriteFailed as error:
        raise CollectorError("query", f"source '{source}': {error}") from None


def _configured(section: AprSection | None) -> AprSection:
    if section is None:
        raise ConfigError(["apr: there is no such section in the configuration"])
    return section


def _create_tables(options: argparse.Namespace, section: Any, resources: Resources) -> int:
    with _connected(section, resources) as connection:
        for table in tables.missing_tables(connection):
            for statement in tables.statements(table, connection.dialect):
                if options.dry_run:
                    print(f"{statement};")
                else:
                    connection.execute(text(statement))
            if not options.dry_run:
                connection.commit()
                print(f"{table.name}: made")
        for lack in _lacks(connection):
            print(lack)
    return 0


def _lacks(connection: Connection) -> Iterator[str]:
    """What tables that were there before lack. They are left as they are: other programs use them."""
    inspector = inspect(connection)
    present = inspector.get_table_names()
    for table in tables.METADATA.tables.values():
        if table.name not in present:
            continue
        found = {column["name"]: column for column in inspector.get_columns(table.name)}
        if missing := [column.name for column in table.columns if column.name not in found]:
            yield f"{table.name}: lacks {', '.join(missing)}"
        declared = getattr(found["VALIDATION_TYPE"]["type"], "enums", ()) if "VALIDATION_TYPE" in found else ()
        if declared and (missing := [each for each in VALIDATION_TYPES if each not in declared]):
            yield f"{table.name}: VALIDATION_TYPE lacks {', '.join(missing)}"


def _backfill(options: argparse.Namespace, section: Any, resources: Resources) -> int:
    progress = _Progress()
    with _connected(section, resources) as connection:
        days = _days(connection, since=options.since) if options.since else [_day(options, connection)]
        for number, each in enumerate(days):
            progress.at(number, len(days), each.isoformat())
            if options.dry_run:
                written = proposals_without_history(connection, each)
            else:
                written = backfill_history(connection, each)
                update_daily_summary(connection, each)
            progress.end()
            print(f"{each}: {'would write' if options.dry_run else 'wrote'} {written} rows of history and the summary")
    return 0


def _summarize(options: argparse.Namespace, section: Any, resources: Resources) -> int:
    with _connected(section, resources) as connection:
        each = _day(options, connection)
        found = (summary_of if options.dry_run else update_daily_summary)(connection, each)
    print(f"{each}: {'would write' if options.dry_run else 'wrote'} the summary")
    print(show.table(("WHAT", "VALUE"), [(name, str(value)) for name, value in found.items()]), end="")
    return 0


def _resolve(options: argparse.Namespace, section: Any, resources: Resources) -> int:
    with _connected(section, resources) as connection:
        each = _day(options, connection)
        resolved = (resolvable_records if options.dry_run else auto_resolve_invalid_records)(connection, each)
    print(f"{each}: {'would resolve' if options.dry_run else 'resolved'} {resolved} invalid records")
    return 0


def _cleanup(options: argparse.Namespace, section: Any, resources: Resources) -> int:
    progress = _Progress()
    with _connected(section, resources) as connection:
        expected = old_monitoring_data(connection, options.retention_days)
        if options.dry_run:
            deleted = expected
        else:
            deleted = cleanup_old_monitoring_data(
                connection,
                options.retention_days,
                lambda table, done: progress.at(done, expected.get(table, 0), f"{table}: {done}"),
            )
            progress.end()
    for table, rows in deleted.items():
        print(f"{table}: {'would delete' if options.dry_run else 'deleted'} {rows} rows")
    return 0


def _show(options: argparse.Namespace, section: Any, resources: Resources) -> int:
    configured = _configured(section)
    with resources.databases.open(configured.source, timeout=configured.timeout) as session:
        for part in show.parts(session, names=options.names, limit=options.limit):
            print(part)
    return 0


def _day(options: argparse.Namespace, connection: Connection) -> date:
    """The day that was asked for, or the latest business date."""
    if options.date:
        return date.fromisoformat(str(options.date))
    latest = connection.execute(text("SELECT MAX(DATA) FROM apr_valid_records")).scalar()
    connection.rollback()
    if latest is None:
        raise CollectorError("value", "apr_valid_records is empty, so there is no current date; say --date")
    return date.fromisoformat(str(latest))


def _days(connection: Connection, since: date) -> Sequence[date]:
    """The business dates from one on."""
    found = connection.execute(
        text("SELECT DISTINCT DATA FROM apr_valid_records WHERE DATA >= :since ORDER BY DATA"),
        {"since": since.isoformat()},
    )
    days = [date.fromisoformat(str(each)) for each in found.scalars()]
    connection.rollback()
    return days


def _iso(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{value}' is no date such as 2026-01-31") from None


def _not_negative(value: str) -> int:
    # A retention of more days than the calendar has is none.
    if not value.isdecimal() or int(value) > timedelta.max.days:
        raise argparse.ArgumentTypeError(f"'{value}' is no number of days")
    return int(value)


def _dry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="write nothing, and say what would be")


def _dated(parser: argparse.ArgumentParser) -> Any:
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--date", type=_iso, metavar="DATE", help="business date (default: the latest in apr_valid_records)"
    )
    _dry(parser)
    return group


def _backfill_arguments(parser: argparse.ArgumentParser) -> None:
    _dated(parser).add_argument("--since", type=_iso, metavar="DATE", help="every business date from this one on")


def _cleanup_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--retention-days",
        type=_not_negative,
        default=RETENTION_DAYS,
        metavar="DAYS",
        help="days that are kept (default: %(default)s)",
    )
    _dry(parser)


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--names", action="store_true", help="list open records with the names of clients")
    parser.add_argument("--limit", type=int, default=10, metavar="N", help="rows of a list (default: %(default)s)")


COMMANDS = (
    Command(
        ("apr", "create-tables"), "make the tables that are missing, and tell what others lack", _dry, _create_tables
    ),
    Command(
        ("apr", "backfill"),
        "write first rows of history for proposals that have none, and the summary",
        _backfill_arguments,
        _backfill,
    ),
    Command(("apr", "summarize"), "write the summary of a day", _dated, _summarize),
    Command(("apr", "resolve"), "resolve open records of proposals that became valid", _dated, _resolve),
    Command(("apr", "cleanup"), "delete what is older than the retention, in batches", _cleanup_arguments, _cleanup),
    Command(("apr", "show"), "print open invalid records, statuses and the last runs", _show_arguments, _show),
)
