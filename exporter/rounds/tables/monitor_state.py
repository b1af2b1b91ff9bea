"""Takes over the state file of an older monitor of the patients table, so that going over to Rounds raises no alert.

The file, ``monitor_state.json``, holds ``timestamp`` (local time, ISO 8601) and ``records``, a list of ``id`` and
``name``. The database hashes the names; nothing of the file but hashes gets into the ledger.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rounds.databases.session import Session
from rounds.errors import CollectorError, ConfigError
from rounds.ledger.ledger import Ledger
from rounds.tables import buckets, record
from rounds.tables.config import WatchedTable
from rounds.tables.dialects import dialect_for
from rounds.tables.dialects.dialect import Plan
from rounds.tables.plan import choose_layout, identify, resolve
from rounds.tables.record import Record
from rounds.tables.spool import Spool


def read(file: Path) -> tuple[float, list[Sequence[object]]]:
    """When the state was written, in Unix seconds, and its rows of id and name.

    Raises:
        ConfigError: it is no such file; says where it is wrong and quotes nothing of it.
    """
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read: {error.strerror}"]) from None
    except ValueError as error:
        at = f"{file}:{error.lineno}" if isinstance(error, json.JSONDecodeError) else str(file)
        raise ConfigError([f"{at}: is not JSON; a file that was cut short is of no use as a baseline"]) from None
    if not isinstance(state, dict) or not isinstance(state.get("records"), list):
        raise ConfigError([f"{file}: has no list 'records'; it should be a monitor_state.json"])
    try:
        at_time = datetime.fromisoformat(state["timestamp"]).timestamp()
    except (KeyError, TypeError, ValueError):
        raise ConfigError([f"{file}: timestamp: should be a time such as 2025-11-02T08:00:00"]) from None
    return at_time, [_row(file, index, each) for index, each in enumerate(state["records"])]


def _row(file: Path, index: int, entry: Any) -> Sequence[object]:
    fits = isinstance(entry, dict) and {"id", "name"} <= entry.keys()
    if not fits or not isinstance(entry["id"], int | str) or not isinstance(entry["name"], str | None):
        raise ConfigError([f"{file}: records[{index}]: should have an id and a name"])
    return entry["id"], entry["name"]


def take_over(
    watched: WatchedTable, session: Session, ledger: Ledger, rows: Sequence[Sequence[object]], at: float
) -> Record:
    """Make these rows the record of a table that has none yet.

    Raises:
        ConfigError: the table has a record, or is not watched by one column for the id and one for the name.
        CollectorError: the source or the ledger fails.
    """
    if len(watched.key) != 1 or len(watched.columns or ()) != 1:
        raise ConfigError([f"tables: {watched.name}: the file knows ids and names; watch key: ID and columns: [NAME]"])
    with ledger.reading() as connection:
        if record.load(connection, watched.name):
            raise ConfigError(
                [f"tables: {watched.name}: has a record already; take the file over before its first check"]
            )
    dialect = dialect_for(session, watched.table, ledger.salt)
    dialect.prepare()
    key, columns = resolve(watched, dialect.columns())
    if key[0].integer and not all(isinstance(row[0], int) for row in rows):
        raise CollectorError("value", f"the file has ids that are no whole numbers, but {key[0].name} holds such")
    ids = [row[0] for row in rows if isinstance(row[0], int)]
    single = key[0].integer
    layout = choose_layout(watched, len(rows), min(ids, default=0), max(ids, default=0), single=single)
    plan = Plan(key, columns, layout, key_max=watched.key_max and single)
    identity = dataclasses.replace(identify(watched, dialect, key, columns), canary=dialect.canary())
    with Spool(ledger.folder) as spool:
        for bucket, pairs in dialect.hashes(plan, rows):
            spool.add(bucket, pairs)
        key_max = max(ids, default=None) if plan.key_max else None
        news = Record(watched.name, identity, layout, None, len(rows), key_max, at, at, at)
        with ledger.writing() as connection:
            stored = record.store(connection, news)
            buckets.remove(connection, watched.name)
            buckets.replace(connection, watched.name, spool)
    return stored
