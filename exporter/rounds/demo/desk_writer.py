"""Runs the simulated clinic's desktop program on a script: ``python -m rounds.demo.desk_writer``.

It is a process of its own, as :mod:`rounds.demo.writer` is, and says the same kinds of lines. The program is a child of
it, as somebody has to start it again.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from typing import NoReturn

from rounds.demo.desk import MODEL
from rounds.demo.desk_room import Clinic, Program
from rounds.demo.desk_script import SCRIPT, SCRIPT_SECONDS, Practice, Scene
from rounds.demo.ollama import Ollama
from rounds.demo.pacing import beat, follow, keep_writing, made, parser, say
from rounds.demo.ports import LOOPBACK

#: Seconds that an answer of the model takes.
_ANSWER = 0.5
#: Seconds from one look at the program to the next.
_LOOK = 0.5


def main(arguments: list[str] | None = None) -> NoReturn:
    """Start the program and play until told to end."""
    taken = parser("desk_writer")
    taken.add_argument("--models", metavar="HOST:PORT", help="where the server of language models listens")
    options = taken.parse_args(arguments)
    if not options.file or not options.models:
        taken.error("give --file and --models")
    keep_writing(_write, options, lambda _: False)


def _write(options: argparse.Namespace) -> None:
    host, _, port = options.models.rpartition(":")
    clinic = Clinic(options.file.parent)
    clinic.prepare()
    with contextlib.ExitStack() as stack:
        models = stack.enter_context(Ollama((MODEL,), port=int(port), host=host, answer_after=_ANSWER))
        # It is on the same machine, wherever the server can be reached from.
        program = Program(options.file, f"{LOOPBACK}:{models.port}", options.speed)
        practice = Practice(clinic, stack.enter_context(contextlib.closing(program)), models)
        program.start()
        made(options)

        def do(scene: Scene) -> Iterator[float] | None:
            if scene.text:
                say(f"emr: {scene.text}")
            return scene.do(practice)

        def wait(seconds: float) -> None:
            end = time.monotonic() + seconds
            while True:
                program.tend()
                left = end - time.monotonic()
                beat(options.heartbeat, max(0.0, min(left, _LOOK)))
                if left <= _LOOK:
                    return

        while True:
            follow(SCRIPT, do, wait, SCRIPT_SECONDS, options.speed)
            # Nobody looks at them, and there will be more.
            models.requests.clear()


if __name__ == "__main__":
    main()
