"""What befalls the simulated clinic's desktop program, and when. It is played again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rounds.demo.desk import MODEL, Trouble
from rounds.demo.desk_room import Clinic, Program
from rounds.demo.ollama import Ollama

SCRIPT_SECONDS = 360.0


@dataclass(frozen=True)
class Practice:
    """Everything that the script reaches."""

    clinic: Clinic
    program: Program
    models: Ollama


@dataclass(frozen=True)
class Scene:
    """A line of the script.

    Attributes:
        at: seconds after the script began.
        text: says what happens; empty for what is as usual.
        do: does it; what takes longer comes as an iterator over the seconds until it goes on.
    """

    at: float
    text: str
    do: Callable[[Practice], Iterator[float] | None]


def _backups(times: int) -> Callable[[Practice], Iterator[float]]:
    return lambda practice: practice.clinic.keep_backing_up(times)


def _lock(seconds: float) -> Callable[[Practice], Iterator[float]]:
    return lambda practice: practice.clinic.lock(seconds)


def _befall(trouble: Trouble, seconds: float = 0) -> Callable[[Practice], None]:
    return lambda practice: practice.program.tell(trouble, seconds)
