"""Puts ``emr`` together: configuration to jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rounds.domain import STALE_INTERVALS, Domain, Job
from rounds.emr.checks import HealthChecks
from rounds.emr.collector import Collector
from rounds.emr.commands import COMMANDS
from rounds.emr.config import App, EmrSection
from rounds.emr.metrics import CATALOGUE
from rounds.emr.schema import SCHEMA
from rounds.resources import Resources
from rounds.threads import BlockingCollect

#: A statement has the application's time-out; what is left is for the ledger and for the statement's end to be noticed.
_DEADLINE_MARGIN = 10.0


class Emr(Domain):
    """Applications that tell of themselves in a store, and what they need to work."""

    name = "emr"
    section = EmrSection
    catalogue = CATALOGUE
    schema = SCHEMA
    commands = COMMANDS

    def __init__(self) -> None:
        self._checks: dict[str, HealthChecks] = {}

    async def configure(self, section: Any | None, resources: Resources) -> Sequence[Job]:
        """Go over to these applications. Everything that lasts is in the ledger."""
        apps: list[App] = section or []
        self._checks = {app.name: self._checks.get(app.name, HealthChecks()) for app in apps}
        return [job for app in apps for job in self._jobs(app, resources)]

    def _jobs(self, app: App, resources: Resources) -> Iterator[Job]:
        checks = self._checks[app.name]
        collector = Collector(app, resources, resources.ledger(), checks.board)
        name = f"{self.name}/{app.name}"
        yield Job(
            name=name,
            # A collector of its own, as a failing store must be named by the collector's own metrics.
            collector=name,
            interval=app.interval,
            timeout=app.timeout + _DEADLINE_MARGIN,
            stale_after=STALE_INTERVALS * app.interval,
            collect=BlockingCollect(collector.collect, collector.cancel, name),
            found=collector.found,
            source=app.source,
            initial=collector.initial(),
            pace=collector.pace,
        )
        yield from checks.jobs(app)
