"""Databases with a log of runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.databases import SqliteFiles
from support.syncs import KINDS, SHAPES, Kind, SyncTable, sync_table


@pytest.fixture
def make_table(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., SyncTable]:
    """Makes a table in a kind of database, as :func:`support.syncs.sync_table` does."""

    def make(kind: Kind, *arguments: Any, **keys: Any) -> SyncTable:
        if kind == "sqlite":
            (tmp_path / "files").mkdir(exist_ok=True)
            return sync_table(kind, SqliteFiles(tmp_path / "files"), *arguments, **keys)
        return sync_table(kind, request.getfixturevalue(kind), *arguments, **keys)

    return make


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of database."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=[(kind, shape) for kind in KINDS for shape in SHAPES], ids="-".join)
def table(request: pytest.FixtureRequest, make_table: Callable[..., SyncTable]) -> SyncTable:
    """An empty table of each shape in each kind of database."""
    return make_table(*request.param)
