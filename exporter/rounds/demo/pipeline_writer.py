"""Runs the synthetic pipeline on a script: ``python -m rounds.demo.pipeline_writer``.

It is a process of its own, as :mod:`rounds.demo.writer` is, and says the same kinds of lines.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from rounds.databases.writing import writing
from rounds.demo.pacing import MADE, beat, end_when_told, follow, say, wait_for
from rounds.demo.pipeline import Pipeline
from rounds.demo.pipeline_script import SCRIPT, SCRIPT_SECONDS, Run, Scene, perform
from rounds.errors import CollectorError
from rounds.sources import MariadbSource, SqliteSource

#: The database, where it is a server's, and who writes there. Nobody in it is real, so the password is no secret.
DATABASE, USER, PASSWORD = "BMA", "pipeline", "synthetic"

_PAUSE = 3.0


def main(arguments: list[str] | None = None) -> int:
    """Make the tables and play until told to end; from the beginning where the database does not answer."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if bool(options.mariadb) == bool(options.file):
        parser.error("give --mariadb or --file")
    end_when_told()
    while True:
        try:
            with _connected(options) as connection:
                _write(Pipeline(connection), options)
        except (CollectorError, SQLAlchemyError, OSError, sqlite3.Error) as error:
            say(f"The tables cannot be written ({type(error).__name__}); they are made anew.")
            beat(options.heartbeat, _PAUSE)


def _write(pipeline: Pipeline, options: argparse.Namespace) -> None:
    pipeline.prepare()
    say(MADE)
    beat(options.heartbeat, 0)
    if options.after:
        wait_for(options.after, options.heartbeat)

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
        with contextlib.closing(sqlite3.connect(options.file)) as file:
            file.execute("PRAGMA journal_mode = WAL")  # a run that reads and this program do not wait for each other
        with writing("apr", SqliteSource(kind="sqlite", path=options.file)) as connection:
            connection.execute(text("PRAGMA synchronous = OFF"))  # it need not outlast the machine
            yield connection
        return
    host, _, port = options.mariadb.rpartition(":")
    place: dict[str, Any] = {"host": host, "port": int(port), "database": DATABASE}
    source = MariadbSource.model_validate({"kind": "mariadb", **place, "user": USER, "password": PASSWORD})
    with writing("apr", source) as connection:
        yield connection


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rounds.demo.pipeline_writer", allow_abbrev=False)
    parser.add_argument("--mariadb", metavar="HOST:PORT", help=f"a server with a database {DATABASE}")
    parser.add_argument("--file", type=Path, help="a SQLite file instead")
    parser.add_argument("--after", metavar="URL", help="begin when this is answered with 200")
    parser.add_argument("--heartbeat", type=Path, metavar="FILE", help="is touched every second")
    parser.add_argument("--speed", type=float, default=1.0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
