"""What a domain is to the core: a section of the configuration, a catalogue of metrics, jobs, and HTTP routes.

The core never imports a domain. ``rounds.domains`` lists them; the command line hands that list to the core.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from starlette.routing import BaseRoute

from rounds.commands import Command
from rounds.ledger.schema import Schema
from rounds.metrics import Family, Metric
from rounds.needs import Need
from rounds.resources import Resources

#: Samples older than this many intervals are dropped, unless a domain says otherwise.
STALE_INTERVALS = 3


@dataclass(frozen=True)
class Job:
    """What the scheduler runs again and again: one probe, one watched table, one sync.

    Attributes:
        name: unique among all jobs, such as ``services/api-gateway``; also fixes when in an interval it starts.
        collector: the collector that it belongs to, the label of ``rounds_collector_*``.
        interval: seconds from one start to the next.
        timeout: the deadline of a run in seconds.
        stale_after: seconds for which the last samples are kept while runs fail.
        pace: seconds from the start just made to the next, asked after each run that succeeded; not longer than
            ``interval``, which holds when it is absent.
        collect: makes a whole new set of families. Raises CollectorError where it can tell the reason.
        found: what the last run found, in a few words for people: no secret, nothing of a patient.
        source: the configured source that it reads, for logs and pages.
        initial: what can be said before the first run, such as counters at 0.
    """

    name: str
    collector: str
    interval: float
    timeout: float
    stale_after: float
    collect: Callable[[], Awaitable[Sequence[Family]]]
    found: Callable[[], str] | None = None
    source: str = ""
    initial: Sequence[Family] = ()
    pace: Callable[[], float] | None = None


class Domain(ABC):
    """One domain, for the life of the process: reloads come to :meth:`configure`, so that counters survive them."""

    name: ClassVar[str]
    #: The type of its section, as pydantic knows types.
    section: ClassVar[Any]
    catalogue: ClassVar[tuple[Metric, ...]]
    #: Its tables in the ledger, where it keeps something.
    schema: ClassVar[Schema | None] = None
    #: Commands of its own.
    commands: ClassVar[tuple[Command, ...]] = ()

    @abstractmethod
    async def configure(self, section: Any | None, resources: Resources) -> Sequence[Job]:
        """Take over a validated section, None when it is absent, and say what is to be run.

        Called on the loop that runs the jobs, while none of them runs.
        """

    def needs(self, section: Any) -> Sequence[Need]:  # noqa: ARG002
        """What it reads with this validated section, for ``rounds doctor``. Opens nothing."""
        return ()

    def routes(self) -> Sequence[BaseRoute]:
        """HTTP routes that the domain serves besides ``/metrics``."""
        return ()

    async def close(self) -> None:
        """Let go of connections. No job runs any more."""
        return
