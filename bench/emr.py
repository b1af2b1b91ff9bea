"""What the library of ``emr`` costs the application that it measures, against the same calls without it.

Each measurement is a process of its own, and those with and without the library take turns. In the loop, the calls are
made in pieces that the intake has room for, and time is taken of the calls alone; paced calls and the storm go on while
the writer writes. Errors are raised some frames below the operation.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

# What only the parent needs is imported there, as memory is measured in the children.

#: Calls of a piece of the loop: half of what the intake holds is written before it is full.
PIECE = 5_000
#: Frames between the operation and where its errors are raised.
DEPTH = 5
MODES = ("bare", "rounds")
PAGE = os.sysconf("SC_PAGE_SIZE")


class FailedError(Exception):
    """What operations raise."""


def work(value: int) -> int:
    """An operation that succeeds."""
    return value


def fail(depth: int) -> int:
    """An operation that does not."""
    if depth:
        return fail(depth - 1)
    raise FailedError


@dataclass
class Calls:
    """Operations, bare or decorated."""

    ok: Callable[[int], Any]
    error: Callable[[int], Any]
    flush: Callable[[], object]


def calls(mode: str, folder: Path) -> Calls:
    """What is measured. The library is imported only where it is."""
    if mode == "bare":
        return Calls(work, fail, lambda: None)
    from rounds.emr import Monitor  # noqa: PLC0415 - its memory is measured

    monitor = Monitor("bench", "1", store=folder / "monitoring.db")
    operation = monitor.operation
    return Calls(operation("work", slow=1.0)(work), operation("fail")(fail), lambda: monitor.flush(60))


def loop(mode: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Nanoseconds of a call in a loop: the median of many pieces, and the least, which others disturb less."""
    each = calls(mode, folder)

    def succeed(times: range) -> None:
        call = each.ok
        for _ in times:
            call(1)

    def raise_below(depth: int) -> Callable[[range], None]:
        def run(times: range) -> None:
            call = each.error
            for _ in times:
                with_error(call, depth)

        return run

    found = {}
    for name, run in (("ok", succeed), ("error", raise_below(0)), ("deep", raise_below(DEPTH))):
        taken = []
        for _ in range(options.pieces):
            begin = perf_counter()
            run(range(PIECE))
            taken.append((perf_counter() - begin) / PIECE * 1e9)
            each.flush()
        found[name], found[f"{name}_least"] = quantile(taken, 0.5), min(taken)
    return found


def with_error(call: Callable[[int], Any], depth: int) -> None:
    """A call that fails, and whose error is handled."""
    try:
        call(depth)
    except FailedError:
        return


def paced(mode: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Microseconds of calls that come a hundred times a second; memory and processor time of the process."""
    each = calls(mode, folder)
    taken: dict[str, list[float]] = {"ok": [], "error": []}
    begin = due = perf_counter()
    processor = time.process_time()
    count = int(options.rate * options.seconds)
    for number in range(count):
        due += 1 / options.rate
        time.sleep(max(0.0, due - perf_counter()))
        start = perf_counter()
        if number % 2:
            each.ok(1)
        else:
            with_error(each.error, DEPTH)
        taken["ok" if number % 2 else "error"].append((perf_counter() - start) * 1e6)
    used = time.process_time() - processor
    return {
        **{f"{name}_{part}": quantile(values, part) for name, values in taken.items() for part in (0.5, 0.99)},
        "cpu": 100 * used / (perf_counter() - begin),
        "rss": int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE / 1024**2,
    }


def storm(mode: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Milliseconds of calls that all fail, a hundred thousand a second; what of them is in the store."""
    each = calls(mode, folder)
    taken = []
    begin = due = perf_counter()
    end = begin + options.storm
    while due < end:
        start = perf_counter()
        if start < due:
            continue
        with_error(each.error, DEPTH)
        taken.append((perf_counter() - start) * 1e3)
        due += 1e-5
    seconds = perf_counter() - begin
    each.flush()
    found: dict[str, Any] = {
        "rate": len(taken) / seconds,
        **{str(part): quantile(taken, part) for part in (0.5, 0.99, 0.999, 1.0)},
    }
    if mode != "bare":
        # Everything that was said is in the store or counted as dropped.
        found["stored"], found["dropped"] = stored(folder)
        assert found["stored"] + found["dropped"] == len(taken), (found, len(taken))
    return found


def stored(folder: Path) -> tuple[int, int]:
    """Failed operations that the store knows of, and records that were dropped."""
    import sqlite3  # noqa: PLC0415

    with sqlite3.connect(folder / "monitoring.db") as store:
        values = dict(
            store.execute(
                "SELECT name, value FROM rounds_counter WHERE name = 'operations_total' AND labels LIKE '%\"error\"%'"
                " UNION SELECT name, value FROM rounds_counter"
                " WHERE name = 'telemetry_dropped_total' AND labels = '[\"queue_full\"]'"
            )
        )
    store.close()
    return int(values["operations_total"]), int(values.get("telemetry_dropped_total", 0))


def quantile(values: list[float], part: float) -> float:
    """The value that this part of all is not above."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


MEASURES = {"loop": loop, "paced": paced, "storm": storm}


def measure(what: str, options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """What processes of both modes found, taking turns."""
    import subprocess  # noqa: PLC0415
    import tempfile  # noqa: PLC0415

    found: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    for _ in range(options.turns):
        for mode in MODES:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, __file__, *sys.argv[1:], "--child", what, mode, folder]
                run = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            found[mode].append(json.loads(run.stdout))
    return found


def show(found: dict[str, list[dict[str, Any]]], names: dict[str, tuple[str, str, float]]) -> None:
    """A line for each figure: medians of both, their difference, their ratio, and what the difference may be."""
    for name, (title, unit, goal) in names.items():
        bare, ours = (quantile([each[name] for each in found[mode]], 0.5) for mode in MODES)
        ratio = f"{ours / bare:>8.2f}x" if bare else ""
        verdict = "" if goal != goal or ours - bare <= goal else "  above"  # noqa: PLR0124 - NaN is no goal
        limit = f"{goal:>8g}" if goal == goal else f"{'':8}"  # noqa: PLR0124
        print(f"{title:34}{bare:>11.3f}{ours:>11.3f}{ours - bare:>11.3f}{ratio:>9}{limit} {unit}{verdict}")


NONE = float("nan")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--turns", type=int, default=4, help="processes of each mode, for each measurement")
    parser.add_argument("--pieces", type=int, default=40, help=f"of the loop, {PIECE} calls each")
    parser.add_argument("--rate", type=float, default=100.0, help="calls per second")
    parser.add_argument("--seconds", type=float, default=25.0, help="of the paced calls")
    parser.add_argument("--storm", type=float, default=5.0, help="seconds")
    parser.add_argument("--only", choices=MEASURES, help="one measurement")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, mode, folder = options.child
        with suppress(BrokenPipeError):
            print(json.dumps(MEASURES[what](mode, options, Path(folder))))
        return
    print(f"{os.cpu_count()} processors, medians of {options.turns} processes of each, taking turns")
    print(f"{'':34}{'bare':>11}{'measured':>11}{'added':>11}{'ratio':>9}{'goal':>8}")
    if options.only in (None, "loop"):
        names = {
            "ok": ("a call that succeeds", "ns", 2000.0),
            "ok_least": ("  the least of all pieces", "ns", NONE),
            "error": ("one that raises", "ns", 2000.0),
            "error_least": ("  the least", "ns", NONE),
            "deep": (f"one that raises {DEPTH} frames below", "ns", NONE),
            "deep_least": ("  the least", "ns", NONE),
        }
        show(measure("loop", options), names)
    if options.only in (None, "paced"):
        rate = f"at {options.rate:g}/s: "
        names = {
            "ok_0.5": (f"{rate}success, p50", "us", NONE),
            "ok_0.99": (f"{rate}success, p99", "us", 250.0),
            "error_0.5": (f"{rate}error, p50", "us", NONE),
            "error_0.99": (f"{rate}error, p99", "us", 250.0),
            "cpu": (f"{rate}processor", "%", 0.5),
            "rss": (f"{rate}memory", "MiB", 25.0),
        }
        show(measure("paced", options), names)
    if options.only in (None, "storm"):
        found = measure("storm", options)
        names = {
            "rate": ("storm: errors per second", "", NONE),
            "0.5": ("storm: p50", "ms", NONE),
            "0.99": ("storm: p99", "ms", NONE),
            "0.999": ("storm: p99.9", "ms", 10.0),
            "1.0": ("storm: longest", "ms", NONE),
        }
        show(found, names)
        kept, lost = (sum(each[name] for each in found["rounds"]) for name in ("stored", "dropped"))
        print(f"storm: {kept} errors stored and {lost} counted as dropped, which are all")


if __name__ == "__main__":
    main()
