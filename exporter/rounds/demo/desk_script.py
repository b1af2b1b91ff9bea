"""What befalls the simulated clinic's desktop program, and when. It is played again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rounds.demo.desk import MODEL, Trouble
from rounds.demo.desk_room import Clinic, Program
from rounds.demo.ollama import Condition, Ollama

SCRIPT_SECONDS = 360.0
#: What is installed where the program's own model is not.
OTHER_MODEL = "llama3.2:3b"


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


def _models(*names: str, condition: Condition = Condition.INSTALLED) -> Callable[[Practice], None]:
    def do(practice: Practice) -> None:
        practice.models.models = names
        practice.models.show(condition)

    return do


def _kill(practice: Practice) -> None:
    practice.program.kill()


def _update(practice: Practice) -> None:
    practice.program.update()


SCRIPT = (
    Scene(0, "", _backups(4)),
    Scene(8, "the printer takes no prescriptions", _befall(Trouble.PRINTER, 50)),
    Scene(42, "somebody keeps the database to himself", _lock(15)),
    Scene(62, "backups are made no more", lambda _: None),
    Scene(75, "the program stumbles over a form that nobody expected", _befall(Trouble.CRASH)),
    Scene(100, "the language model's server is gone", _models(condition=Condition.ABSENT)),
    Scene(140, "it is back, without the model", _models(OTHER_MODEL)),
    Scene(150, "searches take their time", _befall(Trouble.SLOW_SEARCH, 120)),
    Scene(215, "somebody installs the model again", _models(MODEL)),
    Scene(240, "somebody kills the program", _kill),
    Scene(270, "backups are made again", _backups(5)),
    Scene(290, "the language model's server hangs", _models(MODEL, condition=Condition.HANGING)),
    Scene(315, "it answers again", _models(MODEL)),
    Scene(320, "reminders cannot be sent", _befall(Trouble.REMINDERS, 15)),
    Scene(345, "the program is updated", _update),
)
