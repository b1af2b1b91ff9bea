"""What the programs that change synthetic tables have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rounds.demo.pacing import follow


@dataclass(frozen=True)
class Line:
    at: float
    text: str
    pauses: tuple[float, ...] = ()


def test_lines_that_take_longer_go_on_beside_others() -> None:
    said: list[str] = []
    waited: list[float] = []

    def do(line: Line) -> Iterator[float] | None:
        said.append(line.text)
        return going_on(line) if line.pauses else None

    def going_on(line: Line) -> Iterator[float]:
        for number, pause in enumerate(line.pauses, 1):
            yield pause
            said.append(f"{line.text} {number}")

    script = [Line(1000, "long", (1000, 3000)), Line(1500, "short"), Line(2000, "as soon"), Line(2500, "next")]
    follow(script, do, waited.append, length=4000, speed=10)

    # Where two are due at the same time a new line goes first; what outlasts the script is brought to its end.
    assert said == ["long", "short", "as soon", "long 1", "next", "long 2"]
    # Until each has its turn, by a clock that did not move.
    assert [round(each, -1) for each in waited] == [100, 150, 200, 200, 250, 500, 400]
