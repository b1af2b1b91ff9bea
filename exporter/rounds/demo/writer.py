"""Makes the synthetic tables and changes them on a script: ``python -m rounds.demo.writer``.

It is a process of its own, since a database that does not answer must hold up nothing else of the demo. What it says on
standard output the demo shows: first :data:`MADE`, then each change.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from rounds.demo.records import Table, play

#: Said when the tables are there.
MADE = "The tables are there."

_PAUSE = 3.0

#: How a source names the tables, where it is Snowflake. All are in one database, as the stand-in describes no tables of
#: others than the session's.
WAREHOUSE = {"patients": "development.patients.patients", "appointments": "development.clinic.appointments"}


def main(arguments: list[str] | None = None) -> int:
    """Make the tables and play until told to end; from the beginning where the database does not answer."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not (options.warehouse or options.file):
        parser.error("give --warehouse or --file")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    while True:
        try:
            _write(options)
        except Exception as error:
            if not isinstance(error, OSError | sqlite3.Error) and not _is_snowflake(error):
                raise
            _say(f"The tables cannot be written ({type(error).__name__}); they are made anew.")
            _beat(options.heartbeat, _PAUSE)


def _write(options: argparse.Namespace) -> None:
    with contextlib.ExitStack() as stack:
        warehouse = file = None
        if options.warehouse:
            warehouse = stack.enter_context(contextlib.closing(_snowflake(options.warehouse)))
        if options.file:
            file = stack.enter_context(contextlib.closing(_sqlite(options.file)))
        homes = {"patients": warehouse or file, "appointments": file or warehouse}
        tables = {name: _table(name, home) for name, home in homes.items()}
        for table in tables.values():
            table.create()
        _say(MADE)
        _beat(options.heartbeat, 0)
        if options.after:
            _await(options.after, options.heartbeat)
        while True:
            play(tables, _say, lambda seconds: _beat(options.heartbeat, seconds), speed=options.speed)


def _end(*_: object) -> None:
    sys.exit(0)


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def _table(name: str, connection: Any) -> Table:
    if isinstance(connection, sqlite3.Connection):
        return Table(name, connection, name, "INTEGER PRIMARY KEY")
    database, schema, _ = WAREHOUSE[name].split(".")
    cursor = connection.cursor()
    cursor.execute(f"CREATE DATABASE IF NOT EXISTS {database}")
    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {database}.{schema}")
    return Table(name, connection, WAREHOUSE[name], "NUMBER(38,0) NOT NULL")


def _sqlite(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=30, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")  # a check that reads and this program do not wait for each other
    return connection


def _snowflake(address: str) -> Any:
    import snowflake.connector  # noqa: PLC0415 - takes a while

    from rounds.databases.snowflake import arguments  # noqa: PLC0415
    from rounds.demo.warehouse import source  # noqa: PLC0415
    from rounds.sources import SnowflakeSource  # noqa: PLC0415

    return snowflake.connector.connect(**arguments(SnowflakeSource.model_validate(source(address, "writer")), 30))


def _is_snowflake(error: Exception) -> bool:
    """Without importing the connector where it is not used."""
    return type(error).__module__.startswith("snowflake.connector")


def _await(url: str, heartbeat: Path | None) -> None:
    """Wait until the exporter has seen the tables: else it would take the first changes for what always was."""
    with httpx.Client(trust_env=False, timeout=2.0) as client:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if client.get(url).status_code == httpx.codes.OK:
                    return
            _beat(heartbeat, 0.2)


def _beat(heartbeat: Path | None, seconds: float) -> None:
    """Wait, and touch the file every second meanwhile."""
    end = time.monotonic() + seconds
    while True:
        if heartbeat:
            heartbeat.touch()
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, 1.0))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rounds.demo.writer", allow_abbrev=False)
    parser.add_argument("--warehouse", metavar="HOST:PORT", help="where the stand-in for Snowflake is")
    parser.add_argument(
        "--file", type=Path, help="a SQLite file, for appointments, and for patients without a warehouse"
    )
    parser.add_argument("--after", metavar="URL", help="begin when this is answered with 200")
    parser.add_argument("--heartbeat", type=Path, metavar="FILE", help="is touched every second")
    parser.add_argument("--speed", type=float, default=1.0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
