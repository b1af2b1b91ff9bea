"""What SyncRun costs the program that syncs: time of a record, and statements of a run.

The floor is a call that adds to a number. Runs write into MariaDB and PostgreSQL servers with the settings of the
tests, and into a SQLite file. Statements are those that SQLAlchemy sends, ends of transactions aside. The slow run
waits between all that it tells, so that little can be put together.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import NullPool

from rounds.syncs import SyncRun
from support.databases import SqliteFiles
from support.mariadb import mariadb_server
from support.postgresql import postgresql_server
from support.syncs import SyncTable, sync_table

PATIENTS, PAGES = 648, 13
STEPS = ("checking_config", "validating_credentials", "fetching_patients")


@contextmanager
def logs() -> Iterator[dict[str, SyncTable]]:
    """The real table in each kind of database."""
    with tempfile.TemporaryDirectory() as folder, mariadb_server() as mariadb, postgresql_server() as postgresql:
        yield {
            "PostgreSQL": sync_table("postgresql", postgresql),
            "MariaDB": sync_table("mariadb", mariadb),
            "SQLite": sync_table("sqlite", SqliteFiles(Path(folder))),
        }


def record_seconds(work: Callable[[], None], records: int, repeat: int) -> float:
    """Seconds that a record takes, the median of some loops."""
    taken = []
    for _ in range(repeat):
        begin = time.perf_counter()
        for _ in range(records):
            work()
        taken.append((time.perf_counter() - begin) / records)
    return median(taken)


def floor(records: int, repeat: int) -> float:
    """Seconds of a call that adds to a number."""
    count = 0

    def add() -> None:
        nonlocal count
        count += 1

    return record_seconds(add, records, repeat)


def counted(engine: Engine) -> list[str]:
    """What the engine sends from now on."""
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *call: sent.append(str(call[2])))
    return sent


def sync(engine: Engine, pause: float) -> tuple[float, float]:
    """A run; its seconds, and those that its begin and its end took.

    Args:
        engine: of the log's database.
        pause: seconds between two things that it tells; records come a hundred times as fast.
    """
    begin = time.perf_counter()
    run = SyncRun(engine, organization="org_1", operation="full_patients")
    with run:
        entered = time.perf_counter()
        for step in STEPS:
            run.step(step)  # type: ignore[arg-type]
            time.sleep(pause)
        for page in range(1, PAGES + 1):
            run.page(page, of=PAGES, loaded=page * 50)
            time.sleep(pause)
        run.found(PATIENTS)
        time.sleep(pause)
        run.step("processing_patients")
        time.sleep(pause)
        for _ in range(PATIENTS):
            run.stored()
            if pause:
                time.sleep(pause / 50)
        run.step("checking_deletions")
        time.sleep(pause)
        run.step("deletions_handled")
        time.sleep(pause)
        left = time.perf_counter()
    end = time.perf_counter()
    return end - begin, (entered - begin) + (end - left)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--records", type=int, default=200_000, help="of a loop")
    parser.add_argument("--repeat", type=int, default=7, help="loops and quick runs")
    parser.add_argument("--pause", type=float, default=1.1, help="seconds, of the slow run")
    options = parser.parse_args()
    least = floor(options.records, options.repeat)
    print(f"{os.cpu_count()} processors, median of {options.repeat} loops of {options.records} records")
    print(f"{'':12}{'record':>12}{'floor':>12}{'ratio':>8}{'begin and end':>16}{'statements: quick':>20}{'slow':>6}")
    with logs() as tables:
        for name, table in tables.items():
            engine = create_engine(table.url, poolclass=NullPool)
            sent = counted(engine)
            with SyncRun(engine, organization="org_1", operation="full_patients") as run:
                run.found(10 * options.records * options.repeat)
                seconds = record_seconds(run.stored, options.records, options.repeat)
            waited = median(sync(engine, 0)[1] for _ in range(options.repeat))
            sent.clear()
            sync(engine, 0)
            quick = len(sent)
            sent.clear()
            sync(engine, options.pause)
            print(
                f"{name:12}{seconds * 1e6:>9.2f} us{least * 1e6:>9.2f} us{seconds / least:>7.1f}x"
                f"{waited * 1e3:>13.1f} ms{quick:>20}{len(sent):>6}"
            )


if __name__ == "__main__":
    main()
