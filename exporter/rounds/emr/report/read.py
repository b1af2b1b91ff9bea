"""Reads a store: the tables of the library and those of the existing program, added up."""

from __future__ import annotations

from datetime import tzinfo
from pathlib import Path

from rounds.emr.report import existing, own
from rounds.emr.report.facts import ALERTS, CRASHES, Facts
from rounds.emr.report.opening import reading, tables


def read(path: Path | str, since: float, zone: tzinfo | None = None) -> Facts:
    """What a store says of the time since then.

    Args:
        path: the library's file, an existing ``monitoring.db``, or one file with both.
        since: seconds since 1970.
        zone: of times in an existing store; found from its rows when None.

    Raises:
        FileNotFoundError: there is no such file.
        sqlite3.Error: it cannot be read.
    """
    facts = Facts()
    with reading(path) as connection:
        there = tables(connection)
        own.add(facts, connection, there, since)
        existing.add(facts, connection, since, zone)
    facts.alerts = sorted(facts.alerts, key=lambda alert: alert.at, reverse=True)[:ALERTS]
    facts.crashes = sorted(facts.crashes, key=lambda crash: crash.at, reverse=True)[:CRASHES]
    return facts
