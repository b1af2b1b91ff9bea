"""Synchronises the simulated clinics on a script: ``python -m rounds.demo.clinic_writer``.

It is a process of its own, as :mod:`rounds.demo.writer` is, and says the same kinds of lines.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NoReturn

from sqlalchemy import URL, create_engine
from sqlalchemy.exc import SQLAlchemyError

from rounds.demo.clinic_log import Log
from rounds.demo.clinic_script import SCRIPT, SCRIPT_SECONDS, Clinics, Scene
from rounds.demo.pacing import beat, follow, keep_writing, made, parser, password, say, takes_password, use_wal

#: The database, where it is a server's, and who writes there. Nobody in it is real, so the password is no secret.
DATABASE, USER, PASSWORD = "clinic", "sync", "synthetic"


def main(arguments: list[str] | None = None) -> NoReturn:
    """Make the log and play until told to end; from the beginning where the database does not answer."""
    taken = parser("clinic_writer")
    taken.add_argument(
        "--postgresql", metavar="HOST:PORT", help=f"a server with a database {DATABASE}, instead of a file"
    )
    takes_password(taken)
    options = taken.parse_args(arguments)
    if bool(options.postgresql) == bool(options.file):
        taken.error("give --postgresql or --file")
    keep_writing(_write, options, lambda error: isinstance(error, SQLAlchemyError | OSError))


def _write(options: argparse.Namespace) -> None:
    engine = create_engine(_url(options), hide_parameters=True)
    try:
        clinics = Clinics(Log(engine))
        clinics.prepare()
        made(options)

        def do(scene: Scene) -> Iterator[float] | None:
            clinics.log.check()
            say(f"syncs: {scene.text}")
            return scene.do(clinics)

        while True:
            follow(SCRIPT, do, lambda seconds: beat(options.heartbeat, seconds), SCRIPT_SECONDS, options.speed)
    finally:
        engine.dispose()


def _url(options: argparse.Namespace) -> URL:
    if options.file:
        use_wal(options.file)
        return URL.create("sqlite", database=str(options.file))
    host, _, port = options.postgresql.rpartition(":")
    return URL.create("postgresql+psycopg", USER, password(options, PASSWORD), host, int(port), DATABASE)


if __name__ == "__main__":
    main()
