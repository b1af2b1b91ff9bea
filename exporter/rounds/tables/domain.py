"""Puts ``tables`` together: configuration to jobs, checks to metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from threading import Lock
from typing import Any

from rounds.domain import STALE_INTERVALS, Domain, Job
from rounds.needs import Need, TableNeed
from rounds.resources import Resources
from rounds.tables.commands import COMMANDS
from rounds.tables.config import TablesSection, WatchedTable, split_name
from rounds.tables.metrics import CATALOGUE
from rounds.tables.schema import SCHEMA
from rounds.tables.watcher import Watcher
from rounds.threads import BlockingCollect

#: A statement has the table's time-out; what is left is for the ledger and for the statement's end to be noticed.
_DEADLINE_MARGIN = 30.0


class Tables(Domain):
    """Tables whose inserted, deleted and modified rows are counted."""

    name = "tables"
    section = TablesSection
    catalogue = CATALOGUE
    schema = SCHEMA
    commands = COMMANDS

    def __init__(self) -> None:
        self._alone: defaultdict[str, Lock] = defaultdict(Lock)

    async def configure(self, section: Any | None, resources: Resources) -> Sequence[Job]:
        """Go over to these tables. Everything that lasts is in the ledger."""
        watched: list[WatchedTable] = section or []
        ledger = resources.ledger() if watched else None
        return [self._job(Watcher(each, resources, ledger, self._alone[each.name])) for each in watched if ledger]

    def needs(self, section: Any) -> Sequence[Need]:
        """Each table, with the columns that are compared."""
        watched: list[WatchedTable] = section
        return [
            TableNeed(
                f"{self.name}[{index}]",
                each.source,
                tuple(part[1:-1].replace('""', '"') if part[:1] == '"' else part for part in split_name(each.table)),
                None if each.columns is None else (*each.key, *each.columns),
            )
            for index, each in enumerate(watched)
        ]

    def _job(self, watcher: Watcher) -> Job:
        watched = watcher.watched
        name = f"{self.name}/{watched.name}"
        return Job(
            name=name,
            # A collector of its own, as tables have intervals of their own, and one may fail while others succeed.
            collector=name,
            interval=watched.interval,
            timeout=watched.timeout + _DEADLINE_MARGIN,
            stale_after=STALE_INTERVALS * watched.interval,
            collect=BlockingCollect(watcher.collect, watcher.cancel, name),
            found=watcher.found,
            source=watched.source,
            initial=watcher.families(),
        )
