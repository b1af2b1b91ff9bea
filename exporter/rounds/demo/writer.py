"""Makes the synthetic tables and changes them on a script: ``python -m rounds.demo.writer``.

It is a process of its own, since a database that does not answer must hold up nothing else of the demo. What it says on
standard output the demo shows: first :data:`~rounds.demo.pacing.MADE`, then each change.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
from pathlib import Path
from typing import Any, NoReturn

from rounds.demo.pacing import beat, keep_writing, made, parser, say, use_wal
from rounds.demo.records import Table, play

#: How a source names the tables, where it is Snowflake. All are in one database, as the stand-in describes no tables of
#: others than the session's.
WAREHOUSE = {"patients": "development.patients.patients", "appointments": "development.clinic.appointments"}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Make the tables and play until told to end; from the beginning where the database does not answer."""
    taken = parser("writer")
    taken.add_argument("--warehouse", metavar="HOST:PORT", help="where the stand-in for Snowflake is; has the patients")
    options = taken.parse_args(arguments)
    if not (options.warehouse or options.file):
        taken.error("give --warehouse or --file")
    keep_writing(_write, options, lambda error: isinstance(error, OSError | sqlite3.Error) or _is_snowflake(error))


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
        made(options)
        while True:
            play(tables, say, lambda seconds: beat(options.heartbeat, seconds), speed=options.speed)


def _table(name: str, connection: Any) -> Table:
    if isinstance(connection, sqlite3.Connection):
        return Table(name, connection, name, "INTEGER PRIMARY KEY")
    database, schema, _ = WAREHOUSE[name].split(".")
    cursor = connection.cursor()
    cursor.execute(f"CREATE DATABASE IF NOT EXISTS {database}")
    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {database}.{schema}")
    return Table(name, connection, WAREHOUSE[name], "NUMBER(38,0) NOT NULL")


def _sqlite(file: Path) -> sqlite3.Connection:
    use_wal(file)
    return sqlite3.connect(file, timeout=30, isolation_level=None)


def _snowflake(address: str) -> Any:
    import snowflake.connector  # noqa: PLC0415 - takes a while

    from rounds.databases.snowflake import arguments  # noqa: PLC0415
    from rounds.demo.warehouse import source  # noqa: PLC0415
    from rounds.sources import SnowflakeSource  # noqa: PLC0415

    return snowflake.connector.connect(**arguments(SnowflakeSource.model_validate(source(address, "writer")), 30))


def _is_snowflake(error: Exception) -> bool:
    """Without importing the connector where it is not used."""
    return type(error).__module__.startswith("snowflake.connector")


if __name__ == "__main__":
    main()
