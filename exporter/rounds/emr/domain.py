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
from rounds.emr.reading import OPTIONAL, OWN, REQUIRED
from rounds.emr.schema import SCHEMA
from rounds.needs import AddressNeed, FileNeed, Need, TableNeed
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

    def needs(self, section: Any) -> Sequence[Need]:
        """Each application's store, in one of its two forms or both, and what its checks look at."""
        apps: list[App] = section
        return [need for index, app in enumerate(apps) for need in self._needs(f"{self.name}[{index}]", app)]

    def _needs(self, where: str, app: App) -> Iterator[Need]:
        for table, columns in (*REQUIRED.items(), *((table, ()) for table in OWN)):
            yield TableNeed(where, app.source, (table,), columns, OPTIONAL.get(table, ()), may_be_absent=True)
        checks = app.checks
        if checks.llm is not None:
            yield AddressNeed(f"{where}.checks.llm", checks.llm.url)
        paths = [(f"backup[{index}]", each.folder or each.table) for index, each in enumerate(checks.backups)]
        if checks.database is not None:
            paths.append(("database", checks.database.path))
        if checks.disk is not None:
            paths.append(("disk", checks.disk.path))
        for name, path in paths:
            if path is not None:
                yield FileNeed(f"{where}.checks.{name}", path)

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
