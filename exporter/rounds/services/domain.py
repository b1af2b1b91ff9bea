"""Puts ``services`` together: configuration to probers, probes to metrics, and the HTTP routes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from rounds.domain import STALE_INTERVALS, Domain, Job
from rounds.metrics import Family
from rounds.needs import AddressNeed, Need
from rounds.resources import Resources
from rounds.services.config import Check, ServicesSection, TcpCheck
from rounds.services.handler import Probed, probe
from rounds.services.health import health
from rounds.services.history import History
from rounds.services.metrics import CATALOGUE
from rounds.services.prober import Prober
from rounds.services.resolver import Resolver
from rounds.services.state import CheckMetrics, CheckState, finding

#: The prober keeps its own deadline and tells what it found by then; the scheduler's only guards against a fault of it.
_DEADLINE_MARGIN = 2.0


class Services(Domain):
    """HTTP and TCP endpoints that are up, degraded or down."""

    name = "services"
    section = ServicesSection
    catalogue = CATALOGUE

    def __init__(self) -> None:
        self._resolver = Resolver()
        self._probers: list[Prober] = []
        self._states: dict[str, CheckState] = {}
        self._probed: dict[str, Probed] = {}

    async def configure(self, section: Any | None, resources: Resources) -> Sequence[Job]:  # noqa: ARG002
        """Go over to these checks. A check whose name stays keeps its state and its counts."""
        await self.close()
        checks: list[Check] = section.checks if section else []
        extra = section.labels if section else []
        histories = {name: probed.history for name, probed in self._probed.items()}
        self._states = {check.name: self._states.get(check.name) or CheckState() for check in checks}
        scheduled = section.scheduled if section else True
        self._probed = {
            check.name: Probed(
                check,
                CheckMetrics(check, extra),
                histories.get(check.name) or History(),
                None if scheduled else self._states[check.name],
            )
            for check in checks
        }
        return [self._job(probed) for probed in self._probed.values()] if scheduled else []

    def needs(self, section: Any) -> Sequence[Need]:
        """The address of each check."""
        checks: list[Check] = section.checks
        return [self._need(f"{self.name}.checks[{index}]", check) for index, check in enumerate(checks)]

    def _need(self, where: str, check: Check) -> Need:
        if isinstance(check, TcpCheck):
            host = f"[{check.host}]" if ":" in check.host else check.host
            return AddressNeed(where, f"tcp://{host}:{check.port}")
        secret = check.basic_auth or check.bearer_token or check.bearer_token_file or check.header_files
        return AddressNeed(where, check.url, secret=bool(secret))

    async def close(self) -> None:
        """Close kept connections."""
        for prober in self._probers:
            await prober.close()
        self._probers.clear()

    def routes(self) -> Sequence[BaseRoute]:
        """``/probe`` and ``/health``."""

        async def on_probe(request: Request) -> Response:
            return await probe(request, self._probed)

        async def on_health(_: Request) -> Response:
            body = health([(probed.check, self._states[name]) for name, probed in self._probed.items()])
            if body is None:
                return JSONResponse({"error": "no service was probed yet"}, 503)
            return JSONResponse(body)

        return (Route("/probe", on_probe), Route("/health", on_health))

    def _job(self, probed: Probed) -> Job:
        check = probed.check
        prober = Prober(check, self._resolver)
        self._probers.append(prober)
        return Job(
            name=f"{self.name}/{check.name}",
            collector=self.name,
            interval=check.interval,
            timeout=check.timeout + _DEADLINE_MARGIN,
            stale_after=STALE_INTERVALS * check.interval,
            collect=functools.partial(self._collect, prober, probed),
            found=lambda: finding(self._states[check.name]),
            initial=probed.metrics.families(self._states[check.name]),
        )

    async def _collect(self, prober: Prober, probed: Probed) -> list[Family]:
        state = self._states[probed.check.name]
        result = await prober.probe()
        state.update(result, probed.check)
        probed.history.add(state.ended or 0, finding(state), failed=state.reason is not None)
        return probed.metrics.families(state)
