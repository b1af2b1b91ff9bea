"""What a run of the collector `apr` costs on a long history, beside the same figures by plain statements.

    PYTHONPATH=exporter:tests python bench/apr_reading.py [--history 1000000] [--invalid 100000] [--runs 20]

Needs mariadbd and mariadb-install-db in the path. Prints the time that the first runs take together, which read the
history once; then, as medians, the time of a run that finds 20 changes, and of plain statements that count over whole
tables, as a dashboard's would; and the resident memory before and after the runs. Both take turns, so that a busy
machine burdens both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from measure import resident_mib

from support.apr import Installation, mariadb_installation
from support.apr_large import fill
from support.apr_reading import Reading
from support.mariadb import mariadb_server

Result = TypeVar("Result")

_STUCK = (
    "SELECT NEW_STATUS, COUNT(*) FROM (SELECT NEW_STATUS, changed_at, ROW_NUMBER() OVER"
    " (PARTITION BY DATA, PROPOSTA, CEDENTE ORDER BY id DESC) AS place FROM apr_status_history) AS latest"
    " WHERE place = 1 AND changed_at < NOW() - INTERVAL 48 HOUR GROUP BY 1"
)
_RESOLUTION = (
    "SELECT VALIDATION_TYPE, is_resolved, COUNT(*), SUM(TIMESTAMPDIFF(SECOND, detected_at, resolved_at))"
    " FROM apr_invalid_records GROUP BY 1, 2"
)
_PLAIN = (
    "SELECT CHANGE_SOURCE, NEW_STATUS, COUNT(*) FROM apr_status_history GROUP BY 1, 2",
    _STUCK,
    _RESOLUTION,
    "SELECT run_mode, COUNT(*), MAX(run_timestamp) FROM apr_processing_log GROUP BY 1",
    "SELECT STATUS, COUNT(*) FROM apr_valid_records WHERE DATA = CURRENT_DATE GROUP BY 1",
)
_CHANGES = (
    "INSERT INTO apr_status_history (DATA, PROPOSTA, CEDENTE, NEW_STATUS)"
    " SELECT CURRENT_DATE, seq, 'Cliente Um', 'Pago' FROM seq_1_to_10"
)
_RESOLUTIONS = (
    "UPDATE apr_invalid_records SET is_resolved = 1, resolved_at = NOW()"
    " WHERE is_resolved = 0 ORDER BY id DESC LIMIT 10"
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", type=int, default=1_000_000, help="rows of apr_status_history")
    parser.add_argument("--invalid", type=int, default=100_000, help="rows of apr_invalid_records, a twentieth open")
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    with mariadb_server() as server, tempfile.TemporaryDirectory() as folder:
        installation = mariadb_installation(server)
        fill(installation, history=arguments.history, invalid=arguments.invalid, still_open=arguments.invalid // 20)
        reading = Reading(installation.source, Path(folder))
        first, count = 0.0, 0
        while True:
            took, found = timed(reading.run)
            first, count = first + took, count + 1
            if "proposals_stuck" in found.families:
                break
        print(f"first runs          {count:>6} {first:>10.2f} s together")
        compare(installation, reading, arguments.runs)
        reading.ledger.close()


def compare(installation: Installation, reading: Reading, runs: int) -> None:
    """Measure both ways in turn."""
    ours, plain = [], []
    before, memory = reading.queries, resident_mib(os.getpid())
    for _ in range(runs):
        installation.sql(_CHANGES, _RESOLUTIONS)
        ours.append(timed(reading.run)[0])
        plain.append(timed(lambda: [installation.sql(statement) for statement in _PLAIN])[0])
    statements = (reading.queries - before) / runs
    print(
        f"run                 {statements:>6.0f} statements {statistics.median(ours):.3f} s, slowest {max(ours):.3f} s"
    )
    print(f"plain statements    {len(_PLAIN):>6} statements {statistics.median(plain):.3f} s")
    print(f"ratio               {statistics.median(plain) / statistics.median(ours):>6.1f}")
    print(f"memory              {memory:>6.0f} MiB before, {resident_mib(os.getpid()):.0f} MiB after {runs} runs")


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """How long something takes, and what it gives."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


if __name__ == "__main__":
    main()
