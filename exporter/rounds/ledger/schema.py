"""A part of the ledger's schema: the tables of one component, and how older installations get there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, MetaData


@dataclass(frozen=True)
class Schema:
    """The tables of one component, such as a domain.

    Attributes:
        component: its name, which the names of its tables begin with.
        metadata: the tables as they are now.
        migrations: what leads from version 1 to 2, from 2 to 3, and so on; run once each, in a transaction where the
            database has these for such statements.
    """

    component: str
    metadata: MetaData
    migrations: tuple[Callable[[Connection], None], ...] = ()

    @property
    def version(self) -> int:
        """The version that ``metadata`` describes."""
        return len(self.migrations) + 1
