"""Ledgers in every kind of place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rounds.ledger.ledger import Ledger, open_ledger
from rounds.ledger.schema import Schema
from rounds.ledger.settings import State
from support.mariadb import ROOT_PASSWORD
from support.postgresql import ADMIN, ADMIN_PASSWORD

PLACES = ("sqlite", "mariadb", "postgresql")

NewState = Callable[[], State]


def state_of(place: str, folder: Path, request: pytest.FixtureRequest) -> State:
    """A place without a ledger."""
    if place == "sqlite":
        return State.model_validate({"url": f"sqlite:///{folder / 'state.db'}"})
    server = request.getfixturevalue(place)
    user, password = ("root", ROOT_PASSWORD) if place == "mariadb" else (ADMIN, ADMIN_PASSWORD)
    return State.model_validate(
        {
            "url": f"{place}://127.0.0.1:{server.port}/{server.create_database('ledger')}",
            "user": user,
            "password": password,
            "salt_file": folder / "salt",
        }
    )


def together(*work: Callable[[], object]) -> None:
    """Do several things at the same moment, in threads of their own. Raises what one of them raised."""
    barrier = threading.Barrier(len(work))

    def one(do: Callable[[], object]) -> None:
        barrier.wait()
        do()

    with ThreadPoolExecutor(len(work)) as threads:
        for future in [threads.submit(one, each) for each in work]:
            future.result()


@pytest.fixture(params=PLACES)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> State:
    """A place without a ledger, of each kind."""
    return state_of(request.param, tmp_path, request)


@pytest.fixture
def sqlite_state(tmp_path: Path) -> State:
    """A place for a SQLite file."""
    return State.model_validate({"url": f"sqlite:///{tmp_path / 'state.db'}"})


Open = Callable[..., Ledger]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens ledgers and closes them after the test."""
    ledgers: list[Ledger] = []

    def open_one(state: State, *schemas: Schema) -> Ledger:
        ledgers.append(open_ledger(state, schemas))
        return ledgers[-1]

    yield open_one
    for ledger in ledgers:
        ledger.close()
