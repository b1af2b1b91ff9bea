"""Monitoring by the existing program's names."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from rounds.emr import MonitoringSystem, get_monitoring, init_monitoring

#: Asks the store that is in use.
Ask: TypeAlias = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[MonitoringSystem]:
    """A system in use, without hooks and checks; no notification is shown."""
    config = {"enable_notifications": False}
    system = init_monitoring(tmp_path / "monitoring.db", None, "1.4.2", config, auto_start=False, app="clinic")
    yield system
    (get_monitoring() or system).stop()


@pytest.fixture
def ask(system: MonitoringSystem) -> Ask:
    """What the store says, with what was said until now."""

    def asked(sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        assert system.monitor.flush(10)
        with closing(sqlite3.connect(system.db_path)) as connection:
            return connection.execute(sql, parameters).fetchall()

    return asked


@pytest.fixture
def counted(ask: Ask) -> Callable[..., float]:
    """A counter of the store by its name and labels; 0 where it is not there."""

    def value(name: str, *labels: str) -> float:
        text = json.dumps(labels, separators=(",", ":"))
        found = ask("SELECT value FROM rounds_counter WHERE name = ? AND labels = ?", name, text)
        return float(found[0][0]) if found else 0.0

    return value
