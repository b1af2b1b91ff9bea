"""Runs the synthetic pipeline on a script: ``python -m rounds.demo.pipeline_writer``.

It is a process of its own, as :mod:`rounds.demo.writer` is, and says the same kinds of lines.
"""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from rounds.databases.writing import writing
from rounds.demo.pacing import beat, follow, keep_writing, made, parser, password, say, takes_password, use_wal
from rounds.demo.pipeline import Pipeline
from rounds.demo.pipeline_script import SCRIPT, SCRIPT_SECONDS, Run, Scene, perform
from rounds.errors import CollectorError
from rounds.sources import MariadbSource, SqliteSource

#: The database, where it is a server's, and who writes there. Nobody in it is real, so the password is no secret.
DATABASE, USER, PASSWORD = "BMA", "pipeline", "synthetic"


def main(arguments: list[str] | None = None) -> NoReturn:
    """Make the tables and play until told to end; from the beginning where the database does not answer."""
    taken = parser("pipeline_writer")
    taken.add_argument("--mariadb", metavar="HOST:PORT", help=f"a server with a database {DATABASE}, instead of a file")
    takes_password(taken)
    options = taken.parse_args(arguments)
    if bool(options.mariadb) == bool(options.file):
        taken.error("give --mariadb or --file")
    lost = (CollectorError, SQLAlchemyError, OSError, sqlite3.Error)
    keep_writing(_write, options, lambda error: isinstance(error, lost))


def _write(options: argparse.Namespace) -> None:
    with _connected(options) as connection:
        _run(Pipeline(connection), options)


def _run(pipeline: Pipeline, options: argparse.Namespace) -> None:
    pipeline.prepare()
    made(options)

    def wait(seconds: float) -> None:
        beat(options.heartbeat, seconds)

    def do(line: Scene | Run) -> None:
        if line.text:
            say(f"apr: {line.text}")
        perform(line, pipeline, wait, options.speed)

    while True:
        pipeline.begin_round()
        follow(SCRIPT, do, wait, SCRIPT_SECONDS, options.speed)


@contextmanager
def _connected(options: argparse.Namespace) -> Iterator[Connection]:
    if options.file:
        use_wal(options.file)
        with writing("apr", SqliteSource(kind="sqlite", path=options.file)) as connection:
            connection.execute(text("PRAGMA synchronous = OFF"))  # it need not outlast the machine
            yield connection
        return
    host, _, port = options.mariadb.rpartition(":")
    place: dict[str, Any] = {"host": host, "port": int(port), "database": DATABASE}
    given = {"kind": "mariadb", **place, "user": USER, "password": password(options, PASSWORD)}
    source = MariadbSource.model_validate(given)
    with writing("apr", source) as connection:
        yield connection


if __name__ == "__main__":
    main()
