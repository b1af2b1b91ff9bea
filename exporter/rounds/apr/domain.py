"""Puts ``apr`` together: configuration to a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rounds.apr.collector import Collector
from rounds.apr.commands import COMMANDS
from rounds.apr.config import AprSection
from rounds.apr.layout import INVALID, MAY_LACK, READ
from rounds.apr.metrics import CATALOGUE
from rounds.apr.schema import SCHEMA
from rounds.domain import STALE_INTERVALS, Domain, Job
from rounds.needs import Need, TableNeed
from rounds.resources import Resources
from rounds.threads import BlockingCollect


class Apr(Domain):
    """The monitoring tables of a proposal pipeline."""

    name = "apr"
    section = AprSection
    catalogue = CATALOGUE
    schema = SCHEMA
    commands = COMMANDS

    async def configure(self, section: Any | None, resources: Resources) -> Sequence[Job]:
        """Go over to this section. Everything that lasts is in the ledger."""
        if section is None:
            return []
        collector = Collector(section, resources, resources.ledger())
        return [
            Job(
                name=self.name,
                collector=self.name,
                interval=section.interval,
                timeout=section.timeout,
                stale_after=STALE_INTERVALS * section.interval,
                collect=BlockingCollect(collector.collect, collector.cancel, self.name),
                found=collector.found,
                source=section.source,
                initial=collector.initial(),
            )
        ]

    def needs(self, section: Any) -> Sequence[Need]:
        """The six tables; names of managers only where they become labels."""
        more = {INVALID: ("GERENTE",)} if section.labels.gerente else {}
        return [
            TableNeed(
                self.name,
                section.source,
                (table,),
                tuple(column for column in (*columns, *more.get(table, ())) if column not in MAY_LACK),
                tuple(column for column in columns if column in MAY_LACK),
                remedy="rounds apr create-tables, with a user that may CREATE",
            )
            for table, columns in READ.items()
        ]
