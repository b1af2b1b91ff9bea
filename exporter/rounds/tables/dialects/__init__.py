"""The SQL of change detection, one small module for each kind of database."""

from __future__ import annotations

from rounds.databases.session import Session
from rounds.tables.dialects.dialect import Dialect


def dialect_for(session: Session, table: str, salt: str) -> Dialect:
    """The dialect of a session's database."""
    raise NotImplementedError
