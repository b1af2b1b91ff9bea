"""What happens in the synthetic pipeline, and when. It is played again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rounds.demo.pipeline import Pipeline, SourceUnavailable

SCRIPT_SECONDS = 270.0

#: Between two runs that are neither slow nor left out, and the first: at once, since those of the past are over for as
#: long as the demo took to start.
_EVERY, _FIRST = 8, 1
#: When no run begins: while one is slow and for as long as it takes to be seen, and as if the scheduler had stopped.
_PAUSES = (range(129, 152), range(208, 256))
_FAILING = (80, 88, 96)
_SLOW = (128,)
_DRY = (112,)
#: Seconds of a run, and of a slow one.
_WORK, _SLOW_WORK = 1.0, 12.0


@dataclass(frozen=True)
class Scene:
    """What befalls one group of proposals, or comes in as one.

    Attributes:
        at: seconds after the script began.
        text: says it, as "apr: ...".
        do: does it, to the pipeline.
    """

    at: float
    text: str
    do: Callable[[Pipeline], object]


@dataclass(frozen=True)
class Run:
    """A run of the pipeline. ``slow`` and ``fails`` say how it goes; a ``dry`` one writes nothing."""

    at: float
    slow: bool = False
    fails: bool = False
    dry: bool = False

    @property
    def text(self) -> str:
        """What is worth telling; empty for a run as ever."""
        if self.fails:
            return "a run fails"
        if self.slow:
            return f"a run takes {_SLOW_WORK:.0f} s"
        return "a dry run" if self.dry else ""


def _come(group: str, count: int = 1, fault: str = "", place: int = 0) -> Callable[[Pipeline], object]:
    return lambda pipeline: pipeline.day.come(group, count, fault=fault, place=place)


def _set(group: str, **values: object) -> Callable[[Pipeline], object]:
    def change(pipeline: Pipeline) -> None:
        for each in pipeline.day.of(group):
            for name, value in values.items():
                setattr(each, name, value)

    return change


_SCENES = (
    Scene(2, "4 proposals come in", _come("morning", 4)),
    Scene(3, "a proposal comes in of which nobody knows who does it", _come("sleeper")),
    Scene(4, "a proposal comes in that is ready to sign", _come("orphan", place=6)),
    Scene(5, "the bot will forget to confirm it", _set("orphan", neglected=True)),
    Scene(6, "a proposal comes in without the key of its invoice", _come("forgotten", fault="NFECHAVE")),
    Scene(20, "a proposal comes in with a title number out of range", _come("odd", fault="SEUNO")),
    Scene(21, "nobody works on one proposal", _set("sleeper", asleep=True)),
    Scene(29, "a proposal comes in with more than 100 cheques", _come("cheques", fault="CHEQUE")),
    Scene(30, "a proposal comes in, well", _come("flapper")),
    Scene(45, "it is invalid", _set("flapper", fault="DUPLICATA")),
    Scene(51, "the title number is right now", _set("odd", fault="")),
    Scene(54, "it is valid", _set("flapper", fault="")),
    Scene(61, "it is invalid again", _set("flapper", fault="DUPLICATA")),
    Scene(70, "it is valid again", _set("flapper", fault="")),
    Scene(71, "there are fewer cheques", _set("cheques", fault="")),
    Scene(105, "3 proposals come in", _come("noon", 3)),
    Scene(145, "6 proposals come in, with malformed duplicates", _come("delivery", 6, fault="DUPLICATA")),
    Scene(190, "these are corrected", _set("delivery", fault="")),
    Scene(198, "the key of the invoice is there", _set("forgotten", fault="")),
    Scene(207, "the scheduler stops", lambda _: None),
    Scene(255, "the scheduler runs", lambda _: None),
    Scene(258, "work goes on on the proposal that waited", _set("sleeper", asleep=False)),
    Scene(260, "what the bot did is confirmed by hand", lambda pipeline: pipeline.confirm("orphan")),
)
_RUNS = tuple(
    Run(at, slow=at in _SLOW, fails=at in _FAILING, dry=at in _DRY)
    for at in (_FIRST, *range(_EVERY, int(SCRIPT_SECONDS), _EVERY))
    if not any(at in pause for pause in _PAUSES)
)
SCRIPT: tuple[Scene | Run, ...] = tuple(sorted((*_SCENES, *_RUNS), key=lambda line: line.at))


def perform(line: Scene | Run, pipeline: Pipeline, wait: Callable[[float], object], speed: float) -> None:
    """Do what a line says.

    Args:
        line: of the script.
        pipeline: whose.
        wait: waits so many seconds.
        speed: how many times faster than written runs are.
    """
    if isinstance(line, Scene):
        line.do(pipeline)
        return
    if line.dry:
        pipeline.try_out()
        return

    def read() -> None:
        wait((_SLOW_WORK if line.slow else _WORK) / speed)
        if line.fails:
            raise SourceUnavailable

    pipeline.run(read)
