"""Reads a store: the tables of the library and those of the existing program, added up."""

from __future__ import annotations

import sqlite3
from datetime import tzinfo
from pathlib import Path

from rounds.emr.health import opening
from rounds.emr.report import existing, own
from rounds.emr.report.facts import ALERTS, CRASHES, Facts

#: Seconds to wait for another program's lock.
_LOCK_WITHIN = 5.0


def read(path: Path | str, since: float, zone: tzinfo | None = None, *, operations_since: float | None = None) -> Facts:
    """What a store says of the time since then.

    Args:
        path: the library's file, an existing ``monitoring.db``, or one file with both.
        since: seconds since 1970.
        zone: of times in an existing store; found from its rows when None.
        operations_since: operations and metrics only from a later time on, as there are many.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be looked at.
        sqlite3.Error: it cannot be read.
    """
    lately = since if operations_since is None else operations_since
    return opening.read(Path(path), _LOCK_WITHIN, lambda connection: _all(connection, since, lately, zone))


def _all(connection: sqlite3.Connection, since: float, operations_since: float, zone: tzinfo | None) -> Facts:
    # What is no text stays readable, so that a row of another program ends no report.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    # All of it as it was at one moment.
    connection.execute("BEGIN")
    there = frozenset(name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
    facts = Facts()
    own.add(facts, connection, there, since, operations_since)
    existing.add(facts, connection, since, operations_since, zone)
    facts.alerts = sorted(facts.alerts, key=lambda alert: alert.at, reverse=True)[:ALERTS]
    facts.crashes = sorted(facts.crashes, key=lambda crash: crash.at, reverse=True)[:CRASHES]
    return facts
