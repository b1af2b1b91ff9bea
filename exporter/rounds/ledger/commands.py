"""``rounds ledger check`` and ``rounds ledger export``. Both only look: they neither migrate nor repair."""

from __future__ import annotations

import argparse
import json
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import Connection, LargeBinary, Table, func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from rounds.commands import Command
from rounds.errors import CollectorError
from rounds.fields import format_duration
from rounds.ledger.faults import explain
from rounds.ledger.lease import SCHEMA as LEASE
from rounds.ledger.lease import look
from rounds.ledger.ledger import store_of
from rounds.ledger.salt import readable_by_others
from rounds.ledger.schema import CORE, VERSIONS, Schema, newer_components, versions_of
from rounds.ledger.settings import State
from rounds.ledger.sqlite import OWNER_ONLY
from rounds.ledger.store import Store
from rounds.resources import Resources


def ledger_commands(schemas: Sequence[Schema]) -> tuple[Command, ...]:
    """The commands; their section is ``state``."""
    everything = [CORE, LEASE, *schemas]

    def check(_: argparse.Namespace, state: State, __: Resources) -> int:
        problems = list(_check(state, everything))
        for problem in problems:
            print(f"problem: {problem}")
        print("bad" if problems else "good")
        return int(bool(problems))

    def export(_: argparse.Namespace, state: State, __: Resources) -> int:
        with _looking(store_of(state)) as connection:
            for part in _export(connection, everything):
                sys.stdout.write(part)
        return 0

    return (
        Command(("ledger", "check"), "check the ledger; exit 1 if something is wrong", lambda _: None, check),
        Command(
            ("ledger", "export"), "print counters, cursors and the numbers of rows in the ledger", _takes_format, export
        ),
    )


def _takes_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("json",), default="json")


@contextmanager
def _looking(store: Store) -> Iterator[Connection]:
    """A connection that only reads.

    Raises:
        CollectorError: it cannot be read.
    """
    try:
        with store.looking() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise CollectorError("internal", f"the ledger {explain(error).text}") from None
    finally:
        store.close()


def _check(state: State, schemas: Sequence[Schema]) -> Iterator[str]:
    """Print what the ledger is like; yield what is wrong with it."""
    print(f"ledger: {state.url}")
    yield from _check_salt(state)
    if state.path is not None:
        if not state.path.exists():
            yield "there is no ledger; the exporter makes one when a domain needs it"
            return
        if stat.S_IMODE(state.path.stat().st_mode) != OWNER_ONLY:
            yield f"{state.path} can be used by others; its mode should be 0600"
    store = store_of(state)
    for file in store.quarantined():
        yield f"{file} is a damaged ledger that was moved aside; delete it when it is of no more use"
    if store.damaged():
        yield "the file is damaged; the exporter moves it aside when it starts, and begins a new one"
        store.close()
        return
    try:
        with _looking(store) as connection:
            yield from _check_schema(connection, store, schemas)
            size = store.size([table.name for table in _present(connection, schemas)])
            print(f"size: {'unknown' if size is None else f'{size} bytes'}")
    except CollectorError as error:
        yield str(error)


def _check_salt(state: State) -> Iterator[str]:
    file = state.salt_path
    if not file.exists():
        yield f"there is no salt in {file}"
    elif readable_by_others(file):
        yield f"the salt in {file} can be read by others; its mode should be 0600"
    else:
        print(f"salt: {file}")


def _check_schema(connection: Connection, store: Store, schemas: Sequence[Schema]) -> Iterator[str]:
    versions = _versions(connection)
    if CORE.component not in versions:
        yield "the database holds no ledger; the exporter makes one when a domain needs it"
        return
    created = connection.execute(select(VERSIONS.c.created).where(VERSIONS.c.component == CORE.component)).scalar_one()
    age = format_duration(max(0, round(time.time() - created)))
    print(f"begun: {datetime.fromtimestamp(created, UTC):%Y-%m-%d %H:%M:%S} UTC, {age} ago")
    for component, version in sorted(versions.items()):
        print(f"schema: {component} version {version}")
    if LEASE.component in versions and store.now is not None:
        standing = look(connection, store.now)
        if standing is not None and standing.in_force:
            print(f"lease: held by {standing.holder}, for {standing.left:.0f} s unless it is renewed")
    for component in newer_components(versions, schemas):
        yield f"{component} was written by a newer version of Rounds"
    names = {table.name for table in _present(connection, schemas)}
    for schema in schemas:
        if versions.get(schema.component) == schema.version:
            for table in schema.metadata.sorted_tables:
                if table.name not in names:
                    yield f"the table {table.name} is missing"


def _export(connection: Connection, schemas: Sequence[Schema]) -> Iterator[str]:
    """The parts of one JSON object, as they come from the database."""
    tables = _present(connection, schemas)
    counts = {table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables}
    yield f'{{"schema": {json.dumps(_versions(connection))},\n"rows": {json.dumps(counts)},\n"tables": {{'
    for number, table in enumerate(each for each in tables if each.info.get("exported")):
        yield f"{',' if number else ''}\n{json.dumps(table.name)}: ["
        columns = [column for column in table.columns if not isinstance(column.type, LargeBinary)]
        query = select(*columns).order_by(*table.primary_key).execution_options(yield_per=1000)
        for index, row in enumerate(connection.execute(query).mappings()):
            yield f"{',' if index else ''}\n  {json.dumps(dict(row), ensure_ascii=False, default=str)}"
        yield "]"
    yield "}}\n"


def _versions(connection: Connection) -> dict[str, int]:
    if not inspect(connection).has_table(VERSIONS.name):
        return {}
    return versions_of(connection)


def _present(connection: Connection, schemas: Sequence[Schema]) -> list[Table]:
    names = set(inspect(connection).get_table_names())
    return [table for schema in schemas for table in schema.metadata.sorted_tables if table.name in names]
