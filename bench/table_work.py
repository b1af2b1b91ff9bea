"""What ``bench/tables.py`` measures, in a process of its own: a check by Rounds, or the way that Rounds replaces."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import peak_mib, resident_mib
from table_servers import connect

#: Keys that a check lists.
LISTED = 10_000

Found = dict[str, int]


@dataclass
class Run:
    """What a run was and cost.

    Attributes:
        seconds: of wall time.
        cpu: seconds of processor time of the process.
        before: MiB resident before the run, with everything imported.
        peak: most MiB resident in the life of the process.
        found: changed rows by kind.
        keys: the keys of changed rows, where they are listed.
        load: seconds of processor time of the server.
        scanned: whether the table was read.
        rows_read: rows that were transferred.
        sent: bytes that the server sent.
        kept: bytes that are kept for the next run.
    """

    seconds: float
    cpu: float
    before: float
    peak: float
    found: Found
    keys: dict[str, list[str]] = field(default_factory=dict)
    load: float = 0.0
    scanned: bool = True
    rows_read: int = 0
    sent: int = 0
    kept: int = 0


def main() -> None:
    """Take a task from standard input; make ready; run when told to; print what it cost."""
    task = json.loads(sys.stdin.readline())
    work = (_check if task["work"] == "check" else _pull)(task)
    before = resident_mib(os.getpid())
    print("ready", flush=True)
    sys.stdin.readline()
    begin, spent = time.perf_counter(), time.process_time()
    result = work()
    seconds, cpu = time.perf_counter() - begin, time.process_time() - spent
    run = Run(seconds, cpu, before, peak_mib(os.getpid()), **result())
    print(json.dumps(vars(run)), flush=True)


_Result = Callable[[], dict[str, Any]]


def _check(task: dict[str, Any]) -> Callable[[], _Result]:
    # All that the exporter imports, as it is in memory for users too.
    import rounds.cli  # noqa: PLC0415
    import rounds.server  # noqa: F401, PLC0415
    from rounds.databases.databases import Databases  # noqa: PLC0415
    from rounds.ledger.ledger import open_ledger  # noqa: PLC0415
    from rounds.ledger.settings import State  # noqa: PLC0415
    from rounds.logs import configure_logs  # noqa: PLC0415
    from rounds.tables import journal, record  # noqa: PLC0415
    from rounds.tables.check import check  # noqa: PLC0415
    from rounds.tables.config import WatchedTable  # noqa: PLC0415
    from rounds.tables.record import CHANGES, Record  # noqa: PLC0415
    from rounds.tables.schema import SCHEMA  # noqa: PLC0415

    configure_logs("error", "logfmt")
    given = {"name": "patients", "source": "clinic", "table": task["table"], "keys": task["keys"]}
    watched = WatchedTable.model_validate({**given, "journal_max": LISTED})
    ledger = open_ledger(State.model_validate({"url": f"sqlite:///{task['folder']}/state.db"}), [SCHEMA])
    databases = Databases()
    databases.configure({"clinic": _source(task["source"])})
    # The driver is imported by the first session, once in the life of an exporter.
    databases.open("clinic").close()
    with ledger.reading() as connection:
        known = record.load(connection, watched.name)

    def work() -> _Result:
        with databases.open("clinic", timeout=watched.timeout) as session:
            after = check(watched, session, ledger, task["now"])
        return lambda: result(after)

    def result(after: Record) -> dict[str, Any]:
        with ledger.reading() as connection:
            entries = [entry for entry in journal.entries(connection) if entry.at == task["now"]]
        return {
            "found": {change: after.total(change) - (known.total(change) if known else 0) for change in CHANGES},
            "keys": {entry.change: list(entry.keys) for entry in entries},
            "scanned": after.scanned_total > (known.scanned_total if known else 0),
            "rows_read": after.rows_read_total - (known.rows_read_total if known else 0),
        }

    return work


def _source(given: dict[str, Any]) -> Any:
    from rounds.sources import MariadbSource, SnowflakeSource  # noqa: PLC0415

    return (MariadbSource if given["kind"] == "mariadb" else SnowflakeSource).model_validate(given)


def _pull(task: dict[str, Any]) -> Callable[[], _Result]:
    """All rows into a list of dictionaries, compared with those of a JSON file, which is then written anew."""
    state = Path(task["folder"]) / "state.json"
    connect(task["source"]).close()

    def work() -> _Result:
        connection = connect(task["source"])
        cursor = connection.cursor()
        cursor.execute(f"SELECT id, name FROM {task['table']} ORDER BY id")
        records = [{"id": int(key), "name": name} for key, name in cursor.fetchall()]
        connection.close()
        found = {"inserted": 0, "deleted": 0, "modified": 0}
        if state.exists():
            with state.open(encoding="utf-8") as file:
                before = {each["id"]: each["name"] for each in json.load(file)["records"]}
            after = {each["id"]: each["name"] for each in records}
            found["inserted"] = len(after.keys() - before.keys())
            found["deleted"] = len(before.keys() - after.keys())
            found["modified"] = sum(before[key] != after[key] for key in before.keys() & after.keys())
        with state.open("w", encoding="utf-8") as file:
            json.dump({"timestamp": task["now"], "record_count": len(records), "records": records}, file)
        return lambda: {"found": found, "rows_read": len(records)}

    return work
