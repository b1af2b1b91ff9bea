"""Databases with the tables of a proposal pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.apr import Installation, mariadb_installation, sqlite_installation
from support.databases import SqliteFiles


@pytest.fixture(params=["mariadb", "sqlite"])
def installation(request: pytest.FixtureRequest) -> Installation:
    """Empty tables, in each kind of database."""
    return request.getfixturevalue(f"on_{request.param}")  # type: ignore[no-any-return]


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Installation:
    """Empty tables in a SQLite file."""
    folder = tmp_path / "files"
    folder.mkdir()
    return sqlite_installation(SqliteFiles(folder))


@pytest.fixture
def on_mariadb(request: pytest.FixtureRequest) -> Installation:
    """Empty tables in MariaDB."""
    return mariadb_installation(request.getfixturevalue("mariadb"))
