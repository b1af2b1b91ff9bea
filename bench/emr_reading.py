"""What a look at a long store of an application costs, beside the least that a look at any file can cost.

    PYTHONPATH=exporter:tests python bench/emr_reading.py [--rows 1000000] [--looks 30]

The store is an existing monitoring.db whose table of metrics has these rows, one a second. Prints how long the first
looks take to read all of them, and what the ledger takes then; as medians, in turn, a look without news, a look after
ten new rows, and their floor, which is a session that fetches one row by its key; and how long it takes to read all
rows again because another file is found in the store's place. Goals, for a million rows: a look without news at most
25 ms, and 20,000 rows a second when all are read.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import structlog

from support.databases import databases_for
from support.emr import ExistingStore, local, utc
from support.emr_looking import Watch

GOAL, GOAL_RATE = 0.025, 20_000
#: How rows are distributed over what they measure.
_KINDS = (
    ("search_latency_ms", "timing"),
    ("llm_response_ms", "timing"),
    ("save_visit_success", "count"),
    ("patients_created", "count"),
    ("active_consultations", "gauge"),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--looks", type=int, default=30)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = ExistingStore(folder / "monitoring.db")
        fill(store, arguments.rows)
        print(f"{arguments.rows:,} rows, {store.path.stat().st_size / 2**20:.0f} MiB", flush=True)
        watch = Watch(store.path, folder)
        rate = arguments.rows / read_all(watch, "first looks")
        size = (folder / "state.db").stat().st_size
        print(f"  {'the ledger':<28} {size / 2**20:>8.1f} MiB", flush=True)
        median = compare(store, watch, arguments.looks)
        with closing(sqlite3.connect(folder / "copy.db")) as copy, closing(sqlite3.connect(store.path)) as source:
            source.backup(copy)
        (folder / "copy.db").replace(store.path)
        rate = min(rate, arguments.rows / read_all(watch, "all of it again"))
    raise SystemExit(0 if median <= GOAL and rate >= GOAL_RATE else 1)


def fill(store: ExistingStore, rows: int) -> None:
    """Put in the rows, one a second, up to now."""
    now = time.time()
    with store.writing() as connection:
        connection.executemany(
            "INSERT INTO metrics (timestamp, name, metric_type, value, tags, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            (
                (local(at), name, kind, number % 1500 + 0.25, '{"clinic": "one"}', utc(at))
                for number in range(rows)
                for name, kind in [_KINDS[number % len(_KINDS)]]
                for at in [now - rows + number + 0.5]
            ),
        )


def read_all(watch: Watch, what: str) -> float:
    """Look until all rows were read; the seconds that it took."""
    began, looks, longest = time.perf_counter(), 0, 0.0
    while looks == 0 or watch.collector.pace() < watch.collector.app.interval:
        before = time.perf_counter()
        watch.look()
        looks, longest = looks + 1, max(longest, time.perf_counter() - before)
    took = time.perf_counter() - began
    print(f"  {what:<28} {took:>8.2f} s in {looks} looks, {longest:.2f} s the longest", flush=True)
    return took


def compare(store: ExistingStore, watch: Watch, looks: int) -> float:
    """Measure looks and the floor in turn; the median of those without news."""
    databases = databases_for({"s": store.source})
    took: dict[str, list[float]] = {"a look without news": [], "a look after ten rows": [], "the floor": []}
    for _ in range(looks):
        began = time.perf_counter()
        watch.look()
        took["a look without news"].append(time.perf_counter() - began)
        store.put_all("metrics", [{}] * 10)
        began = time.perf_counter()
        watch.look()
        took["a look after ten rows"].append(time.perf_counter() - began)
        began = time.perf_counter()
        with databases.open("s") as session:
            session.all("SELECT id, timestamp, name, value FROM metrics WHERE id = ?", (17,))
        took["the floor"].append(time.perf_counter() - began)
    least = statistics.median(took["the floor"])
    for what, times in took.items():
        median, worst = statistics.median(times), max(times)
        told = f"{median * 1000:>8.2f} ms, {worst * 1000:.1f} ms at most, {median / least:.0f} times the floor"
        print(f"  {what:<28} {told}", flush=True)
    return statistics.median(took["a look without news"])


if __name__ == "__main__":
    main()
