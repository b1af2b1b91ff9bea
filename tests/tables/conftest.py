"""Ledgers and patients' tables."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rounds.ledger.ledger import Ledger, open_ledger
from rounds.ledger.settings import State
from rounds.tables.schema import SCHEMA
from support.patients import PatientsTable, ServerPatients, SnowflakePatients, SqlitePatients


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is such: what a killed process has written lasts there as well as on a disk."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="rounds-", dir=shared) as folder:
        yield Path(folder)


@pytest.fixture
def ledger(memory: Path) -> Iterator[Ledger]:
    """A fresh ledger in a SQLite file."""
    opened = open_ledger(State.model_validate({"url": f"sqlite:///{memory / 'state.db'}"}), [SCHEMA])
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "mariadb", "postgresql", "snowflake"])
def patients(request: pytest.FixtureRequest, tmp_path: Path) -> PatientsTable:
    """An empty table of patients, in each kind of database."""
    if request.param == "sqlite":
        return SqlitePatients(tmp_path)
    if request.param == "snowflake":
        return SnowflakePatients(request.getfixturevalue("fakesnow"))
    return ServerPatients(request.getfixturevalue(request.param))


@pytest.fixture
def sqlite_patients(tmp_path: Path) -> PatientsTable:
    """An empty table of patients in a SQLite file, for what is the same in all databases."""
    return SqlitePatients(tmp_path)
