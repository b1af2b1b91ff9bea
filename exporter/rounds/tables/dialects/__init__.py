"""Change detection in each kind of database."""

from __future__ import annotations

from importlib import import_module

from rounds.databases.session import Session
from rounds.tables.dialects.dialect import Dialect

_DIALECTS = {
    "mariadb": "MariadbDialect",
    "postgresql": "PostgresqlDialect",
    "snowflake": "SnowflakeDialect",
    "sqlite": "SqliteDialect",
}


def dialect_for(session: Session, table: str, salt: str) -> Dialect:
    """Change detection in the kind of database that a session is with, for one table; not yet prepared.

    Args:
        session: where statements will run.
        table: the table's name as configured.
        salt: the installation's salt.

    Raises:
        CollectorError: ``query`` when the name has more parts than names have there.
    """
    module = import_module(f"{__name__}.{session.kind}")
    made: Dialect = getattr(module, _DIALECTS[session.kind])(session, table, salt)
    return made
