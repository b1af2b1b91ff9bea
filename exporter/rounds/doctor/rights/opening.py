"""Which rights belong to a source's kind."""

from __future__ import annotations

from rounds.databases.session import Session
from rounds.doctor.rights.mariadb import MariadbRights
from rounds.doctor.rights.postgresql import PostgresqlRights
from rounds.doctor.rights.rights import Rights
from rounds.doctor.rights.snowflake import SnowflakeRights
from rounds.doctor.rights.sqlite import SqliteRights
from rounds.sources import MariadbSource, PostgresqlSource, SnowflakeSource, Source, SqliteSource


def rights_of(name: str, source: Source, session: Session) -> Rights:
    """Looks at what the source's user may do, over a session with it."""
    match source:
        case MariadbSource():
            return MariadbRights(name, session)
        case PostgresqlSource():
            return PostgresqlRights(name, session)
        case SqliteSource():
            return SqliteRights(name, session, source.path)
        case SnowflakeSource():
            return SnowflakeRights(name, session)
        case _:
            raise TypeError(f"source '{name}' is no database")
