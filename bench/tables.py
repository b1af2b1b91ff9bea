"""What a check of a watched table costs, beside the cheapest scan there is and beside other ways to the same answer.

    python bench/tables.py [--rows 1000000 10000000] [--snowflake-rows 1000000] [--keys raw hashed] [--json FILE]

Starts MariaDB, and fakesnow's server where it is installed, makes a table of keys and names there, changes known rows
of it and has Rounds check it. Peers in the same run are

- floor: one bare aggregate over all columns of all rows, run just before and just after everything else; the ratio to
  the mean of the two is what counts, since a busy machine slows all three,
- pull: all rows into memory, compared with those of the last time as dictionaries, and written to a JSON file. Its cost
  does not depend on what changed,
- reladiff, which compares two tables, where ROUNDS_RELADIFF names its program.

Every run has a process of its own. Its time begins when everything is imported, and includes the login; its memory is
the most that the process ever had, and includes the imports. Fails when a check does not find exactly what was changed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import this
from table_servers import Changed, Mariadb, Server, fakesnow, mariadb
from table_work import LISTED, Run
from table_work import main as work

from rounds.demo import warehouse

_HOUR, _DAY = 3600, 86_400
_MIB = 2**20
#: Bytes that pulling a row of the table takes in memory, with room.
_PULLED_ROW = 1000
#: From this size on the ratios to the floor are judged: below it, what a check costs besides scanning weighs more.
_LARGE = 10_000_000
_FEW = 100
_RELADIFF_MANY = 1_000_000


@dataclass
class Case:
    """Runs of one kind.

    Attributes:
        title: what changed, or who ran.
        runs: one or more.
        ratios: of their wall time to that of the floor.
        loads: the same for the server's processor time.
    """

    title: str
    runs: list[Run] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)

    def median(self, name: str) -> float:
        """The median of one of the figures of the runs."""
        return float(statistics.median(getattr(run, name) for run in self.runs))

    @property
    def ratio(self) -> float | None:
        """The median ratio to the floor."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def peak(self) -> float:
        """The most memory of all runs, in MiB."""
        return max(run.peak for run in self.runs)


class Bench:
    """Measures on one server with one table."""

    def __init__(self, server: Server, pairs: int) -> None:
        self._server = server
        self._pairs = pairs
        self._now = 1_800_000_000
        self.floors: list[tuple[float, float]] = []

    def peers(self, *, pull: bool) -> list[Case]:
        """The other ways, over the same few changes."""
        server, cases = self._server, []
        reladiff = Path(os.environ.get("ROUNDS_RELADIFF", ""))
        compares = isinstance(server, Mariadb) and reladiff.is_file()
        with tempfile.TemporaryDirectory(prefix="rounds-bench-") as folder:
            if pull:
                cases.append(self._case("pull, first run", lambda: self._pull(folder)))
            if isinstance(server, Mariadb) and compares:
                server.copy()
                cases.append(self._case("reladiff, no change", lambda: _reladiff(reladiff, server, None)))
            changed = server.change(_FEW)
            if pull:
                cases.append(self._case(f"pull, {_FEW} changes", lambda: self._pull(folder, changed)))
            if isinstance(server, Mariadb) and compares:
                title = f"reladiff, {_FEW} changes"
                cases.append(self._case(title, lambda: _reladiff(reladiff, server, changed)))
                if server.rows <= _RELADIFF_MANY:
                    server.copy()
                    many = server.change(server.rows // 100)
                    cases.append(self._case("reladiff, 1 % changes", lambda: _reladiff(reladiff, server, many)))
                server.sql("DROP TABLE patients_before")
        return cases

    def checks(self, keys: str) -> list[Case]:
        """Rounds."""
        server = self._server
        with tempfile.TemporaryDirectory(prefix="rounds-bench-") as folder:
            few, none, gate = Case(f"{_FEW} changes"), Case("no change"), Case("nothing committed")
            first = self._case("first run", lambda: self._check(folder, keys))
            for _ in range(self._pairs):
                self._measure(few, lambda changed: self._check(folder, keys, changed), _FEW)
            many = Case("1 % changes")
            self._measure(many, lambda changed: self._check(folder, keys, changed), server.rows // 100)
            server.settle()
            for _ in range(self._pairs):
                self._measure(none, lambda _: self._check(folder, keys))
            gate.runs = [self._check(folder, keys, after=_HOUR) for _ in range(5)]
        for case, scanned in ((first, True), (few, True), (many, True), (none, True), (gate, False)):
            if any(run.scanned != scanned for run in case.runs):
                raise SystemExit(f"{case.title}: the table should {'' if scanned else 'not '}have been scanned")
        return [first, none, few, many, gate]

    def _case(self, title: str, run: Callable[[], Run]) -> Case:
        case = Case(title)
        self._measure(case, lambda _: run())
        return case

    def _measure(self, case: Case, run: Callable[[Changed | None], Run], change: int = 0) -> None:
        """Add a run to a case, with the floor before it and after it."""
        changed = self._server.change(change) if change else None
        if changed or not self.floors:
            self.floors.append(self._server.floor())
        found = run(changed)
        self.floors.append(self._server.floor())
        seconds, load = (statistics.mean(each) for each in zip(*self.floors[-2:], strict=True))
        case.runs.append(found)
        case.ratios.append(found.seconds / seconds)
        case.loads.append(found.load / load)

    def _check(self, folder: str, keys: str, changed: Changed | None = None, after: int = _DAY) -> Run:
        self._now += after
        run = self._run("check", folder, "state.db", keys=keys)
        _verify(run, changed, listed=keys == "raw")
        return run

    def _pull(self, folder: str, changed: Changed | None = None) -> Run:
        run = self._run("pull", folder, "state.json")
        _verify(run, changed)
        return run

    def _run(self, kind: str, folder: str, kept: str, **more: str) -> Run:
        """A run in a process of its own."""
        server = self._server
        about = {"source": server.source, "table": server.table, "now": self._now}
        task = {"work": kind, "folder": folder, **about, **more}
        with subprocess.Popen(this("--work"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            if not process.stdin or not process.stdout:
                raise TypeError
            print(json.dumps(task), file=process.stdin, flush=True)
            if process.stdout.readline() != "ready\n":
                raise SystemExit(f"{kind}: the process failed")
            before, spent = server.sent(), server.cpu()
            print(file=process.stdin, flush=True)
            answer = process.stdout.readline()
            if not answer:
                raise SystemExit(f"{kind}: the process failed")
            run = Run(**json.loads(answer))
            run.sent, run.load = server.sent() - before, server.cpu() - spent
        run.kept = sum(file.stat().st_size for file in Path(folder).glob(f"{kept}*"))
        return run


def _reladiff(program: Path, server: Mariadb, changed: Changed | None) -> Run:
    """A run of reladiff, from its start to its end."""
    tables = [server.url, "patients_before", "patients"]
    arguments = ["-k", "id", "-c", "name", "-a", "hashdiff", "--json", "--skip-sort-results"]
    before, spent, begin = server.sent(), server.cpu(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        # Its lines are wrapped, whatever is in them.
        wide = {**os.environ, "COLUMNS": "1000"}
        process = subprocess.Popen(
            [str(program), *tables, *arguments], stdout=output, stderr=subprocess.DEVNULL, env=wide
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds, sent, load = time.perf_counter() - begin, server.sent() - before, server.cpu() - spent
        output.seek(0)
        lines = [json.loads(line) for line in output if line.startswith("[")]
    came, gone = (Counter(str(row[0]) for sign, row in lines if sign == wanted) for wanted in "+-")
    both = came & gone
    counts = {"inserted": came - both, "deleted": gone - both, "modified": both}
    found = {kind: keys.total() for kind, keys in counts.items()}
    run = Run(seconds, usage.ru_utime + usage.ru_stime, 0, usage.ru_maxrss / 1024, found, sent=sent, load=load)
    _verify(run, changed)
    return run


def _verify(run: Run, changed: Changed | None, *, listed: bool = False) -> None:
    """Fail unless a run found exactly what was changed."""
    truth = vars(changed or Changed([], [], []))
    counts = {kind: len(keys) for kind, keys in truth.items()}
    wrong = run.found != counts
    if listed and not wrong and sum(counts.values()) <= LISTED:
        wrong = any(sorted(map(int, run.keys.get(kind, []))) != keys for kind, keys in truth.items())
    if wrong:
        raise SystemExit(f"changed were {counts}, found were {run.found}, or other rows")


# --- what is printed --------------------------------------------------------------------------------------------------

_HEAD = (
    f"{'':24}{'wall s':>9}{'/ floor':>9}{'load':>7}{'/ pull':>9}{'CPU s':>9}"
    f"{'before':>8}{'peak':>8}{'rows read':>12}{'sent':>10}{'kept':>8}"
)


def _lines(cases: Sequence[Case], pull: Case | None) -> Iterator[str]:
    for case in cases:
        wall = case.median("seconds")
        ratio = f"{case.ratio:.2f}" if case.ratio else ""
        load = f"{statistics.median(case.loads):.2f}" if case.loads else ""
        to_pull = f"{wall / pull.median('seconds'):.3f}" if pull else ""
        yield (
            f"{case.title:24}{wall:9.3f}{ratio:>9}{load:>7}{to_pull:>9}{case.median('cpu'):9.3f}"
            f"{case.median('before'):8.0f}{case.peak:8.0f}{case.median('rows_read'):12,.0f}"
            f"{case.median('sent') / _MIB:10.3f}{case.median('kept') / _MIB:8.1f}"
        )


def _against(few: Case, pull: Case) -> str:
    names = {"seconds": "wall", "cpu": "CPU", "peak": "memory", "sent": "bytes", "kept": "kept"}
    ratios = (f"{title} {few.median(name) / pull.median(name):.3g}" for name, title in names.items())
    return f"{few.title}, ratio to pull: {', '.join(ratios)}"


def _goals(keys: str, rows: int, cases: Sequence[Case]) -> Iterator[tuple[str, float, bool]]:
    """What was aimed at, what was reached, and whether that is enough."""
    by_title = {case.title: case for case in cases}
    none, few, gate = by_title["no change"], by_title[f"{_FEW} changes"], by_title["nothing committed"]
    if rows >= _LARGE:
        for case, most in ((none, 1.3 if keys == "raw" else 2.5), (few, 1.5 if keys == "raw" else 2.5)):
            yield f"{case.title}: at most {most} times the floor", case.ratio or 0, (case.ratio or 0) <= most
    if keys == "raw":
        for case, mib in ((none, 1), (few, 5)):
            sent = case.median("sent") / _MIB
            yield f"{case.title}: less than {mib} MiB sent", sent, sent < mib
        peak = max(case.peak for case in cases)
        yield "peak memory below 100 MiB", peak, peak < 100
    milliseconds = gate.median("seconds") * 1000
    yield "nothing committed: no scan, less than 50 ms", milliseconds, milliseconds < 50


def _measure(server: Server, rows: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure with a table of that many rows, and print."""
    begin = time.monotonic()
    server.fill(rows)
    bench = Bench(server, options.pairs)
    print(f"\n{server.title}, {rows:,} rows (made in {time.monotonic() - begin:.0f} s)")
    pulls = rows <= options.existing_rows
    if pulls and rows * _PULLED_ROW > _available():
        pulls = False
        print(f"pull is left out: it would take {rows * _PULLED_ROW / 2**30:.0f} GiB of memory")
    elif not pulls:
        print("pull is left out: see --existing-rows")
    peers = bench.peers(pull=pulls)
    pull = next((case for case in peers if case.title == f"pull, {_FEW} changes"), None)
    print(_HEAD)
    for line in _lines(peers, pull):
        print(line)
    result: dict[str, Any] = {"server": server.title, "rows": rows, "peers": [vars(case) for case in peers]}
    for keys in options.keys:
        cases = bench.checks(keys)
        print(f"Rounds, keys: {keys}", *_lines(cases, pull), sep="\n")
        if pull:
            print(_against(next(case for case in cases if case.title == f"{_FEW} changes"), pull))
        goals = list(_goals(keys, rows, cases)) if isinstance(server, Mariadb) else []
        for goal, reached, met in goals:
            print(f"  {'yes' if met else 'NO ':3}  {goal}: {reached:.3g}")
        result[keys] = {"cases": [vars(case) for case in cases], "goals": goals}
    floors = sorted(seconds for seconds, _ in bench.floors)
    print(f"floor: median of {len(floors)} {statistics.median(floors):.3f} s, {floors[0]:.3f} to {floors[-1]:.3f} s")
    return {**result, "floors": bench.floors}


def _available() -> int:
    """Bytes of memory that are free to be used."""
    return int(Path("/proc/meminfo").read_text(encoding="ascii").partition("MemAvailable:")[2].split()[0]) * 1024


def _rows(text: str) -> int:
    rows = int(text)
    if rows % 5000:
        raise argparse.ArgumentTypeError("should be a multiple of 5000")
    return rows


def main() -> None:
    """Measure and print."""
    if "--work" in sys.argv:
        work()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=_rows, nargs="*", default=[1_000_000, 10_000_000], help="of tables in MariaDB")
    parser.add_argument("--snowflake-rows", type=_rows, nargs="*", default=[1_000_000], help="of tables in fakesnow")
    parser.add_argument("--keys", choices=("raw", "hashed"), nargs="+", default=["raw", "hashed"])
    parser.add_argument("--pairs", type=int, default=3, help="runs with no change and with few, each beside the floor")
    parser.add_argument("--existing-rows", type=int, default=1_000_000, help="the largest table that pull is run with")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    options = parser.parse_args()
    results = []
    print("load: the server's processor time, ratio to the floor's; CPU: of the process that asks")
    print("MiB of memory before the run and at most; MiB that the server sent; MiB that are kept for the next run")
    if not os.environ.get("ROUNDS_RELADIFF"):
        print("reladiff is left out: ROUNDS_RELADIFF does not name its program")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rounds-bench-")))
        if options.rows:
            server = stack.enter_context(mariadb(folder))
            results += [_measure(server, rows, options) for rows in options.rows]
        python = warehouse.python()
        if options.snowflake_rows and python:
            stand_in = stack.enter_context(fakesnow(python))
            results += [_measure(stand_in, rows, options) for rows in options.snowflake_rows]
        elif options.snowflake_rows:
            print(f"\nfakesnow is left out: {warehouse.VARIABLE} does not name a Python that has it")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1, default=vars), encoding="utf-8")


if __name__ == "__main__":
    main()
