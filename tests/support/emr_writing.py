"""Applications that write to a store of the library: in this process, and in processes of their own."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from rounds.emr.app.batch import Batch, Group
from rounds.emr.app.monitor import Monitor
from rounds.emr.app.runs import Run
from rounds.emr.app.store import Store
from rounds.emr.app.writer import Writer


class Said:
    """What an application says, until the writer collects it."""

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()

    def say(self, batch: Batch) -> None:
        self._batches.append(batch)

    def count(self, name: str, value: int = 1) -> None:
        self.say(Batch(counters=Counter({("events_total", (name,)): value})))

    def collect(self) -> Batch:
        batch = Batch()
        while self._batches:
            batch.add(self._batches.popleft())
        return batch


class Application:
    """A writer with all that belongs to it."""

    def __init__(self, path: Path, **store: Any) -> None:
        self.said = Said()
        self.store = Store(path, "clinic", **store)
        self.run = Run(self.store)
        self.writer = Writer(self.store, self.run, self.said.collect)

    def start(self) -> Application:
        assert self.writer.start()
        return self


def timings(number: int, at: float = 1_000.0) -> Batch:
    """So many operations, a second apart."""
    return Batch(timings=[(at + second, "search_latency", 0.25, "ok") for second in range(number)])


def group(first: float = 1_000.0, last: float = 1_000.0, slots: dict[int, int] | None = None) -> Group:
    """What is new of a group of errors."""
    return Group("ValueError", "app:save", "app:save:1", None, first, last, Counter(slots or {3: 1}))


def rows(path: Path, statement: str, *values: object) -> list[Any]:
    """What the store has, as another program sees it."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(statement, values).fetchall()


def counter(path: Path, name: str, labels: str = "[]") -> float:
    """A counter's value, 0 where it is not there."""
    found = rows(path, "SELECT value FROM rounds_counter WHERE name = ? AND labels = ?", name, labels)
    return float(found[0][0]) if found else 0.0


def events(path: Path, name: str) -> float:
    """How often an event was counted."""
    return counter(path, "events_total", f'["{name}"]')


def start(path: Path, *words: str, **options: Any) -> subprocess.Popen[str]:
    """Start an application of its own, which does what the first of these words says."""
    return subprocess.Popen(
        [sys.executable, "-m", "support.emr_writing", str(path), *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def say(*words: object) -> None:
    """Tell whoever started this process."""
    print(*words, flush=True)


def _count_forever(application: Application, name: str) -> None:
    """Count, and tell the number each time that the writer says that it is in the store."""
    counted = 0
    luck = random.Random(name)
    while True:
        for _ in range(luck.randrange(1, 200)):
            application.said.count(name)
            counted += 1
        if application.writer.flush(30):
            say(counted)
        time.sleep(luck.random() / 100)


def _count(application: Application, name: str, number: str) -> None:
    """Count so many, in pieces, and end well."""
    for piece in range(0, int(number), 50):
        application.said.count(name, 50)
        application.said.say(timings(50, at=float(piece)))
        application.writer.flush(30)
    say(application.writer.close(30))


def _wait(application: Application) -> None:
    """Begin, and wait until whoever started this says a line; end well."""
    application.writer.flush(30)
    say("began")
    sys.stdin.readline()
    say(application.writer.close(30))


def _begin_together(application: Application) -> None:
    """Begin when whoever started this says so."""
    say("ready")
    sys.stdin.readline()
    application.start()
    say(application.writer.flush(30))
    sys.stdin.readline()


def work(path: str, number: int) -> None:
    """What a worker does that was started afresh: nobody closes its monitor, as it ends well by itself."""
    monitor = Monitor("clinic", store=path)
    monitor.count("worked", number)


def main(path: str, what: str, *words: str) -> None:
    application = Application(Path(path))
    if what == "begin_together":
        _begin_together(application)
        return
    application.start()
    doings: dict[str, Callable[..., None]] = {"count_forever": _count_forever, "count": _count, "wait": _wait}
    doings[what](application, *words)


if __name__ == "__main__":
    main(*sys.argv[1:])
