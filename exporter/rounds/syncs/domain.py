"""Puts ``syncs`` together: configuration to jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rounds.domain import STALE_INTERVALS, Domain, Job
from rounds.needs import Need, SourceNeed, TableNeed
from rounds.resources import Resources
from rounds.syncs.collector import Collector
from rounds.syncs.commands import COMMANDS
from rounds.syncs.config import Sync, SyncsSection
from rounds.syncs.layout import OPTIONAL, REQUIRED
from rounds.syncs.metrics import CATALOGUE
from rounds.syncs.naming import parts_of
from rounds.syncs.schema import SCHEMA
from rounds.threads import BlockingCollect

#: A statement has the sync's time-out; what is left is for the ledger and for the statement's end to be noticed.
_DEADLINE_MARGIN = 10.0


class Syncs(Domain):
    """Logs of runs that synchronise patients."""

    name = "syncs"
    section = SyncsSection
    catalogue = CATALOGUE
    schema = SCHEMA
    commands = COMMANDS

    async def configure(self, section: Any | None, resources: Resources) -> Sequence[Job]:
        """Go over to these syncs. Everything that lasts is in the ledger."""
        syncs: list[Sync] = section or []
        return [self._job(Collector(sync, resources, resources.ledger())) for sync in syncs]

    def needs(self, section: Any) -> Sequence[Need]:
        """Each log, in a table or behind an API."""
        syncs: list[Sync] = section
        return [self._need(f"{self.name}[{index}]", sync) for index, sync in enumerate(syncs)]

    def _need(self, where: str, sync: Sync) -> Need:
        if sync.api is not None:
            return SourceNeed(where, sync.source)
        required, optional = (tuple(getattr(sync.columns, name) for name in names) for names in (REQUIRED, OPTIONAL))
        return TableNeed(where, sync.source, tuple(parts_of(sync.table)), required, optional)

    def _job(self, collector: Collector) -> Job:
        sync = collector.sync
        name = f"{self.name}/{sync.name}"
        return Job(
            name=name,
            # A collector of its own, as a failing log must be named by the collector's own metrics.
            collector=name,
            interval=sync.interval,
            pace=collector.pace,
            timeout=sync.timeout + _DEADLINE_MARGIN,
            stale_after=STALE_INTERVALS * sync.interval,
            collect=BlockingCollect(collector.collect, collector.cancel, name),
            found=collector.found,
            source=sync.source,
            initial=collector.initial(),
        )
