"""Takes over the state file of an older monitor of the patients table, so that going over to Rounds raises no alert.

The file, ``monitor_state.json``, holds ``timestamp`` (local time, ISO 8601), ``record_count``, ``max_id`` and
``records``, a list of ``id`` and ``name``. The database hashes the names; nothing of the file but hashes gets into the
ledger.
"""

from __future__ import annotations

import dataclasses
import json
import time
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
from rounds.tables.dialects.dialect import Column, Dialect, Plan
from rounds.tables.layout import Pairs
from rounds.tables.plan import choose_layout, identify, resolve
from rounds.tables.record import Record
from rounds.tables.spool import Spool

#: So many rows, and those of the last one's bucket, are compared with the table's, to see that the file is its state.
_LOOKED_AT = 100
#: Of so few rows all may have changed.
_FEW = 10
#: How far another time zone may put a local time ahead, in seconds.
_ZONES = 26 * 3600


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
        where = f"{file}:{error.lineno}" if isinstance(error, json.JSONDecodeError) else str(file)
        raise ConfigError([f"{where}: is not JSON; a file that was cut short is of no use as a baseline"]) from None
    if not isinstance(state, dict) or not isinstance(state.get("records"), list):
        raise ConfigError([f"{file}: has no list 'records'; it should be a monitor_state.json"])
    try:
        at = datetime.fromisoformat(state["timestamp"]).timestamp()
    except (KeyError, TypeError, ValueError):
        raise ConfigError([f"{file}: timestamp: should be a time such as 2025-11-02T08:00:00"]) from None
    now = time.time()
    if at > now + _ZONES:
        raise ConfigError([f"{file}: timestamp: lies in the future"])
    rows = [_row(file, index, each) for index, each in enumerate(state["records"])]
    if state.get("record_count", len(rows)) != len(rows):
        text = "the file is damaged, and of no use as a baseline"
        raise ConfigError([f"{file}: record_count: does not agree with the {len(rows)} records; {text}"])
    return min(at, now), rows


def _row(file: Path, index: int, entry: Any) -> Sequence[object]:
    fits = isinstance(entry, dict) and {"id", "name"} <= entry.keys()
    if not fits or not isinstance(entry["id"], int | float | str) or not isinstance(entry["name"], str | None):
        raise ConfigError([f"{file}: records[{index}]: should have an id and a name"])
    return entry["id"], entry["name"]


def _with_ids(key: Column, rows: Sequence[Sequence[object]]) -> Sequence[Sequence[object]]:
    """The rows with ids of the column's type: a whole number may have become a text or 7.0 on its way through JSON."""
    if not key.integer:
        return rows
    try:
        return [(_whole(row[0]), *row[1:]) for row in rows]
    except ValueError:
        text = f"the file has ids that are no whole numbers, but {key.name} holds such"
        raise CollectorError("value", text) from None


def _whole(value: object) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError
    return int(value) if isinstance(value, int | float | str) else 0


def _refuse_another_table(dialect: Dialect, plan: Plan, known: dict[int, Pairs]) -> None:
    """See that some rows of the file are in the table, so that a wrong file does not become a mass deletion."""
    hashes = {row_hash for pairs in known.values() for row_hash in pairs.hashes}
    if len(hashes) < _FEW:
        return
    for _, pairs in dialect.pairs(plan, list(known)):
        if not hashes.isdisjoint(pairs.hashes):
            return
    text = f"none of {len(hashes)} rows of the file is in {dialect.table} as the file has it"
    remedy = "is it the state of another table, or is another column compared? Without it the first check begins anew"
    raise ConfigError([f"{text}: {remedy}"])


def take_over(
    watched: WatchedTable, session: Session, ledger: Ledger, rows: Sequence[Sequence[object]], at: float
) -> Record:
    """Make these rows the record of a table that has none yet.

    Raises:
        ConfigError: the table has a record, is not watched by one column for the id and one for the name, or has none
            of the rows.
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
    rows = _with_ids(key[0], rows)
    ids = [row[0] for row in rows if isinstance(row[0], int)]
    single = key[0].integer
    layout = choose_layout(watched, len(rows), min(ids, default=0), max(ids, default=0), single=single)
    plan = Plan(key, columns, layout, key_max=watched.key_max and single)
    identity = dataclasses.replace(identify(watched, dialect, key, columns), canary=dialect.canary())
    with Spool(ledger.folder) as spool:
        known: dict[int, Pairs] = {}
        for bucket, pairs in dialect.hashes(plan, rows):
            spool.add(bucket, pairs)
            if sum(map(len, known.values())) < _LOOKED_AT:
                known[bucket] = pairs
        _refuse_another_table(dialect, plan, known)
        key_max = max(ids, default=None) if plan.key_max else None
        news = Record(watched.name, identity, layout, None, len(rows), key_max, at, at, at)
        with ledger.writing() as connection:
            stored = record.store(connection, news)
            buckets.remove(connection, watched.name)
            buckets.replace(connection, watched.name, spool)
    return stored
