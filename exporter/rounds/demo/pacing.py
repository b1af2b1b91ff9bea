"""What the programs that change synthetic tables have in common: they wait, play a script in time, and tell."""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

import httpx

#: Said when the tables are there.
MADE = "The tables are there."

#: Seconds after which a database that did not answer is tried again.
_PAUSE = 3.0


class Timed(Protocol):
    """A line of a script."""

    @property
    def at(self) -> float:
        """Seconds after the script began."""


Line = TypeVar("Line", bound=Timed)


def parser(program: str) -> argparse.ArgumentParser:
    """Takes the arguments that all such programs have: ``file``, ``after``, ``heartbeat`` and ``speed``."""
    made = argparse.ArgumentParser(prog=f"rounds.demo.{program}", allow_abbrev=False)
    made.add_argument("--file", type=Path, help="the SQLite file with the tables")
    made.add_argument("--after", metavar="URL", help="begin when this is answered with 200")
    made.add_argument("--heartbeat", type=Path, metavar="FILE", help="is touched every second")
    made.add_argument("--speed", type=float, default=1.0)
    return made


def takes_password(parser: argparse.ArgumentParser) -> None:
    """Let a program that writes to a server be given its password."""
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="with the password on the server, where it is not `synthetic`",
    )


def password(options: argparse.Namespace, usual: str) -> str:
    """The password on the server."""
    return str(options.password_file.read_text(encoding="utf-8").strip()) if options.password_file else usual


def keep_writing(
    write: Callable[[argparse.Namespace], object], options: argparse.Namespace, is_lost: Callable[[Exception], bool]
) -> NoReturn:
    """Write until told to end; from the beginning where the database does not answer.

    Args:
        write: makes the tables and plays.
        options: its arguments, by :func:`parser`.
        is_lost: whether an error is the database's.
    """
    _end_when_told()
    while True:
        try:
            write(options)
        except Exception as error:
            if not is_lost(error):
                raise
            say(f"The tables cannot be written ({type(error).__name__}); they are made anew.")
            beat(options.heartbeat, _PAUSE)


def made(options: argparse.Namespace) -> None:
    """Say that the tables are there, and wait until the exporter has seen them, where that is wanted."""
    say(MADE)
    beat(options.heartbeat, 0)
    if options.after:
        _wait_for(options.after, options.heartbeat)


def use_wal(file: Path) -> None:
    """Let those who read a SQLite file and the one who writes it not wait for each other. The file is made."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def follow(
    script: Iterable[Line],
    do: Callable[[Line], Iterator[float] | None],
    wait: Callable[[float], object],
    length: float,
    speed: float,
) -> None:
    """Play a script once. Time is kept whatever its lines take.

    Args:
        script: its lines in order of time.
        do: does what a line says. What takes longer comes as an iterator, which gives the seconds until it wants to go
            on; meanwhile other lines have their turn.
        wait: waits so many seconds.
        length: seconds that the script takes.
        speed: how many times faster than written it is played.
    """
    begin = time.monotonic()

    def until(at: float) -> None:
        wait(max(0.0, begin + at / speed - time.monotonic()))

    def played(line: Line) -> Iterator[float]:
        yield from do(line) or ()

    numbers = itertools.count()  # else what is due at the same time would be compared
    due = [(line.at, next(numbers), played(line)) for line in script]
    while due:
        at, _, playing = heapq.heappop(due)
        until(at)
        pause = next(playing, None)
        if pause is not None:
            heapq.heappush(due, (at + pause, next(numbers), playing))
    until(length)


def say(sentence: str) -> None:
    """Print a line that whoever started this program repeats."""
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def _end_when_told() -> None:
    """SIGTERM and SIGINT end the program with code 0."""

    def end(*_: object) -> None:
        sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _wait_for(url: str, heartbeat: Path | None) -> None:
    """Wait until the exporter has seen the tables: else it would take the first changes for what always was."""
    with httpx.Client(trust_env=False, timeout=2.0) as client:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if client.get(url).status_code == httpx.codes.OK:
                    return
            beat(heartbeat, 0.2)


def beat(heartbeat: Path | None, seconds: float) -> None:
    """Wait, and touch the file every second meanwhile."""
    end = time.monotonic() + seconds
    while True:
        if heartbeat:
            heartbeat.touch()
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, 1.0))
