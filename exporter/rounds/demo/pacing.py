"""What the programs that change synthetic tables have in common: they wait, play a script in time, and tell."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

import httpx

#: Said when the tables are there.
MADE = "The tables are there."


class Timed(Protocol):
    """A line of a script."""

    @property
    def at(self) -> float:
        """Seconds after the script began."""


Line = TypeVar("Line", bound=Timed)


def follow(
    script: Iterable[Line], do: Callable[[Line], object], wait: Callable[[float], object], length: float, speed: float
) -> None:
    """Play a script once. Time is kept whatever its lines take.

    Args:
        script: its lines in order of time.
        do: does what a line says.
        wait: waits so many seconds.
        length: seconds that the script takes.
        speed: how many times faster than written it is played.
    """
    begin = time.monotonic()

    def until(at: float) -> None:
        wait(max(0.0, begin + at / speed - time.monotonic()))

    for line in script:
        until(line.at)
        do(line)
    until(length)


def say(sentence: str) -> None:
    """Print a line that whoever started this program repeats."""
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def end_when_told() -> None:
    """SIGTERM and SIGINT end the program with code 0."""

    def end(*_: object) -> None:
        sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def wait_for(url: str, heartbeat: Path | None) -> None:
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
