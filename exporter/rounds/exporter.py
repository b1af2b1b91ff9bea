"""The running exporter: its domains, the loop that runs their jobs, and what its configuration is."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import structlog

from rounds.config import Config, load_config
from rounds.databases.databases import Databases
from rounds.domain import Domain, Job
from rounds.errors import CollectorError, ConfigError
from rounds.exposition import Exposition
from rounds.ledger import metrics as ledger_metrics
from rounds.ledger.keeper import Keeper
from rounds.ledger.lease import Lease
from rounds.ledger.schema import Schema
from rounds.metrics import Metric
from rounds.resources import Resources
from rounds.scheduler import JobStatus, Scheduler
from rounds.selfmetrics import SelfMetrics
from rounds.threads import in_daemon_thread

#: Seconds for which a thread may compute while another waits for its turn.
_SWITCH_AFTER = 0.0005
#: Seconds for servers to be told of statements that were given up.
_TELL_WITHIN = 2.0
#: Seconds for jobs to end when the exporter stops; the process must be gone within 10.
_STOP_WITHIN = 5.0
#: Seconds after which the exporter looks whether it still holds the lease, or does so now.
_FOLLOW_EVERY = 0.1
#: Seconds after which it tries again to begin or end its work, where that failed.
_AGAIN_AFTER = 5.0

Result = TypeVar("Result")
log = structlog.get_logger()


class Exporter:
    """Everything but the HTTP server and the command line.

    Jobs run on a loop in a thread of their own, so that nothing a scrape does is seen in a measured latency.

    Args:
        files: the configuration files, read now and at each reload.
        domains: all domains, fresh ones.

    Raises:
        ConfigError: the configuration is refused.
    """

    def __init__(self, files: Sequence[Path], domains: Sequence[Domain]) -> None:
        self._files = files
        self.domains = domains
        self.config = self._load()
        self.exposition = Exposition(self.config.max_series)
        self.scheduler = Scheduler(self.exposition)
        self._databases = Databases()
        self._keeper = Keeper(schemas(domains))
        self.own = SelfMetrics(self.exposition, self._databases)
        self._resources = Resources(self._databases, self._keeper.ledger)
        self.started = time.time()
        self._loop = LoopThread("collection")
        self._reloading = threading.Lock()
        self._stopped = False
        #: The lease and the term of it for which jobs run now, both None without a lease.
        self._turn: tuple[Lease | None, int | None] = (None, None)
        self._moving = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start running jobs."""
        # While another thread renders, the probes' loop gets its turn after this long instead of after 5 ms.
        sys.setswitchinterval(_SWITCH_AFTER)
        self._loop.start()
        self._loop.call(self._begin()).result()
        self._tell_what_is_off()
        # What lives as long as the process is left out of garbage collections, which stop all threads while they look
        # at it: with a thousand checks for 100 ms.
        gc.collect()
        gc.freeze()

    def reload(self) -> None:
        """Read the configuration again and go over to it. Blocks; whatever goes wrong, the old one stays in use.

        Raises:
            ConfigError: it is refused.
        """
        with self._reloading:
            if self._stopped:
                return
            try:
                config = self._load()
                self._loop.call(self._apply(config)).result()
            except ConfigError as error:
                self.own.reload_successful = False
                for problem in error.problems:
                    log.error("configuration refused; the one before stays in use", problem=problem)  # noqa: TRY400
                raise
            log.info("configuration loaded", files=" ".join(map(str, self._files)))
            self._tell_what_is_off()

    def stop(self) -> None:
        """Stop running jobs and close what they hold open. Blocks for a few seconds; a reload under way is finished."""
        with self._reloading:
            try:
                self._loop.call(self._stop()).result(timeout=_STOP_WITHIN)
            except TimeoutError:
                log.warning("some jobs did not stop in time and are given up")
            self._stopped = True
            self._loop.stop()

    async def run_once(self, only: Callable[[Job], bool]) -> bool:
        """On the caller's loop, run the chosen jobs once. Returns whether all succeeded."""
        try:
            return await self.scheduler.run_once([job for job in await self._jobs(self.config) if only(job)])
        finally:
            await self._close()

    @property
    def standing_by(self) -> bool:
        """Whether another exporter may hold the lease of the ledger, so that nothing is collected or told here.

        Asked anew by each scrape: a process that was stopped for long must not tell what it knew before.
        """
        lease, term = self._turn
        return lease is not None and (term is None or lease.term != term)

    @property
    def lease(self) -> Lease | None:
        """This exporter's part in the lease of the ledger, None where none is configured."""
        return self._turn[0]

    @property
    def jobs(self) -> list[tuple[Job, JobStatus]]:
        """All jobs with their status."""
        return self.scheduler.jobs

    @property
    def collectors(self) -> frozenset[str]:
        """The names of all collectors."""
        return frozenset(job.collector for job, _ in self.jobs)

    @property
    def off(self) -> list[str]:
        """The names of domains whose section the configuration has not."""
        return [domain.name for domain in self.domains if getattr(self.config, domain.name) is None]

    @property
    def waiting(self) -> list[str]:
        """The names of jobs that have not ended a first run; the exporter is ready when there are none."""
        return [] if self.standing_by else [job.name for job, status in self.jobs if status.last_run is None]

    def render(self, *, openmetrics: bool, gzip: bool, collectors: frozenset[str] | None = None) -> bytes:
        """The exposition's bytes, of some collectors or of all and the exporter itself."""
        if self.standing_by:
            own = [*self.own.families([], standby=True), *self._keeper.families()] if collectors is None else []
            return self.exposition.render(openmetrics=openmetrics, gzip=gzip, collectors=frozenset(), tail=own)
        tail = (
            [*self.own.families(self.jobs), *self._keeper.families()]
            if collectors is None
            else self.own.of_collectors([pair for pair in self.jobs if pair[0].collector in collectors])
        )
        return self.exposition.render(openmetrics=openmetrics, gzip=gzip, collectors=collectors, tail=tail)

    def _tell_what_is_off(self) -> None:
        for name in self.off:
            log.info("domain is off", domain=name, turned_on_by=f"a section {name}: docs/configuration.md#{name}")

    def _load(self) -> Config:
        return load_config(self._files, {domain.name: domain.section for domain in self.domains})

    async def _jobs(self, config: Config) -> list[Job]:
        self._databases.configure(config.sources)
        self._keeper.configure(config.state)
        return [
            job
            for domain in self.domains
            for job in await domain.configure(getattr(config, domain.name), self._resources)
        ]

    async def _no_jobs(self) -> None:
        """Run none, and forget all that was counted since the start: it is not to be gone on with by another term."""
        await self.scheduler.apply([])
        self._databases.configure({})
        for domain in self.domains:
            await domain.configure(None, self._resources)

    async def _begin(self) -> None:
        async with self._moving:
            await self._go_over_to(self.config)
        self.own.reload_time = self.own.used_since
        self._following = asyncio.create_task(self._follow())

    async def _apply(self, config: Config) -> None:
        """Go over to another configuration, or back to the one in use where a domain or the ledger refuses it."""
        async with self._moving:
            before = self.own.used_since
            try:
                await self._go_over_to(config)
            except BaseException:
                await self._go_over_to(self.config)
                self.own.used_since = before
                raise
            self.config = config
            self.own.reload_successful, self.own.reload_time = True, self.own.used_since

    async def _go_over_to(self, config: Config) -> None:
        await self.scheduler.pause()
        self.exposition.max_series = config.max_series
        self._keeper.configure(config.state)
        lease = None
        if config.state.lease is not None:
            lease = (await in_daemon_thread(self._keeper.ledger, "ledger")).lease
        if lease is not None:
            await in_daemon_thread(lease.start, "lease")
        turn = lease, lease.term if lease else None
        if turn != self._turn:
            await self._no_jobs()
            self._turn = turn
        if not self.standing_by:
            await self.scheduler.apply(await self._jobs(config))
        self.own.used_since = time.time()

    async def _follow(self) -> None:
        """Begin work when the lease is taken, end it when it is lost."""
        while True:
            await asyncio.sleep(_FOLLOW_EVERY)
            lease, term = self._turn
            if lease is None or lease.term == term:
                continue
            try:
                async with self._moving:
                    await self._go_over_to(self.config)
            except Exception as error:  # noqa: BLE001  # whatever it was, it must not be the last attempt
                self._turn = lease, None
                told = str(error) if isinstance(error, CollectorError | ConfigError) else type(error).__name__
                log.error("jobs cannot begin; tried again", error=told)  # noqa: TRY400
                await asyncio.sleep(_AGAIN_AFTER)

    async def _stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
        async with self._moving:
            await self.scheduler.pause()
            await self._close()

    async def _close(self) -> None:
        for domain in self.domains:
            await domain.close()
        await in_daemon_thread(lambda: self._databases.close(_TELL_WITHIN), "closing")
        self._keeper.close()


def schemas(domains: Sequence[Domain]) -> list[Schema]:
    """What these domains keep in the ledger."""
    return [domain.schema for domain in domains if domain.schema is not None]


def catalogues(domains: Sequence[Domain]) -> dict[str, list[Metric]]:
    """Every metric that can be exported, sorted by name, by the domain that exports it; then the exporter's own."""
    own = [*SelfMetrics(Exposition(), Databases()).catalogue(), *ledger_metrics.CATALOGUE]
    found = {**{domain.name: domain.catalogue for domain in domains}, "exporter": own}
    return {name: sorted(metrics, key=lambda each: each.name) for name, metrics in found.items()}


def catalogue(domains: Sequence[Domain]) -> list[Metric]:
    """Every metric that the exporter and these domains can export, by name."""
    return sorted((each for metrics in catalogues(domains).values() for each in metrics), key=lambda each: each.name)


class LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self, name: str) -> None:
        self._name = name

    def start(self) -> None:
        """Start it."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Run a coroutine on it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def stop(self) -> None:
        """End it. Tasks that still run are given up."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=2)

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()
