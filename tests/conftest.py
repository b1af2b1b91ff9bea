"""What tests of more than one domain share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from support.certificates import Authority
from support.fakesnow import FakesnowServer, fakesnow_server
from support.mariadb import MariadbServer, mariadb_server
from support.postgresql import PostgresqlServer, postgresql_server

#: Folders whose tests mostly wait for servers, minutes in a file: begun first, they leave no process alone at the end.
_PATIENT = ("stack", "bundle", "demo")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.parent.name not in _PATIENT)
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A certificate authority that nobody else trusts."""
    return Authority()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbServer]:
    """A MariaDB server for all tests; each makes databases of its own in it."""
    with mariadb_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server for all tests; each makes databases of its own in it."""
    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="session")
def fakesnow() -> Iterator[FakesnowServer]:
    """A stand-in for Snowflake for all tests; each makes databases of its own in it."""
    with fakesnow_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A test that runs a command sets up logs for the whole process; the next one finds them as they were."""
    root = logging.getLogger()
    names = ("sqlalchemy", "snowflake", "psycopg", "pymysql", "httpx", "httpcore", "asyncio", "uvicorn.access")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    structlog.reset_defaults()
    root.handlers[:] = [
        each for each in root.handlers if not isinstance(each.formatter, structlog.stdlib.ProcessorFormatter)
    ]
    root.setLevel(logging.WARNING)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
