"""The ledger's schema: the tables of each component, and how older installations get there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.mysql import MEDIUMTEXT

from rounds.errors import ConfigError

log = structlog.get_logger()

#: The core's own tables. Those marked as exported hold nothing but counts and positions, see ``rounds ledger export``.
METADATA = MetaData()
VERSIONS = Table(
    "ledger_schema",
    METADATA,
    Column("component", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("created", Double, nullable=False),
)
COUNTERS = Table(
    "ledger_counters",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("labels", String(512), primary_key=True),
    Column("value", Double, nullable=False),
    info={"exported": True},
)
CURSORS = Table(
    "ledger_cursors",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("state", Text().with_variant(MEDIUMTEXT(), "mysql"), nullable=False),
    info={"exported": True},
)


@dataclass(frozen=True)
class Schema:
    """The tables of one component, such as a domain.

    Tables with ``info={"exported": True}`` are written out by ``rounds ledger export``; they hold nothing of a patient.

    Attributes:
        component: its name, which the names of its tables begin with.
        metadata: the tables as they are now.
        migrations: what leads from version 1 to 2, from 2 to 3, and so on; run once each, in a transaction where the
            database has these for such statements. MariaDB has none: after a crash a migration begins anew there.
    """

    component: str
    metadata: MetaData
    migrations: tuple[Callable[[Connection], None], ...] = ()

    @property
    def version(self) -> int:
        """The version that ``metadata`` describes."""
        return len(self.migrations) + 1


CORE = Schema("ledger", METADATA)


def migrate(connection: Connection, schemas: Sequence[Schema]) -> None:
    """Bring all components to their present versions. Nobody else does so at the same time.

    Raises:
        ConfigError: the ledger was written by a newer version of Rounds.
    """
    _create(connection, [VERSIONS])
    found = versions_of(connection)
    newer = newer_components(found, schemas)
    if newer:
        told = (
            f"state.url: the ledger was written by a newer version of Rounds ({', '.join(newer)}); run that version, or"
            " restore a backup from before the update"
        )
        raise ConfigError([told])
    for schema in schemas:
        version = found.get(schema.component)
        if version is None:
            _create(connection, schema.metadata.sorted_tables)
            row = {"component": schema.component, "version": schema.version, "created": time.time()}
            connection.execute(insert(VERSIONS).values(row))
            continue
        for number, step in enumerate(schema.migrations[version - 1 :], version + 1):
            step(connection)
            where = VERSIONS.c.component == schema.component
            connection.execute(update(VERSIONS).where(where).values(version=number))
            log.info("ledger migrated", component=schema.component, version=number)


def versions_of(connection: Connection) -> dict[str, int]:
    """The version of each component in the ledger; the table of versions must exist."""
    rows = connection.execute(select(VERSIONS.c.component, VERSIONS.c.version))
    return {row.component: row.version for row in rows}


def newer_components(found: dict[str, int], schemas: Sequence[Schema]) -> list[str]:
    """The components that a newer version of the program has written."""
    return [schema.component for schema in schemas if found.get(schema.component, 0) > schema.version]


def _create(connection: Connection, tables: Sequence[Table]) -> None:
    for table in tables:
        # In MariaDB texts are compared as everywhere else: byte by byte.
        table.dialect_kwargs.update(mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin")
        table.create(connection, checkfirst=True)
