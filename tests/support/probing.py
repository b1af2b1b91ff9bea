"""Checks and probes in one line."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from rounds.services.config import Check, ServicesSection
from rounds.services.prober import Prober
from rounds.services.resolver import Resolver
from rounds.services.result import ProbeResult


def make_check(**settings: Any) -> Check:
    """A check as the configuration makes it. Its timeout is 5 s: what should fail at once must not wait for it."""
    timeouts = {"interval": "10s", "timeout": "5s", "degraded_after": "50ms", "down_after": "100ms"}
    return ServicesSection.model_validate({"checks": [{"name": "checked", **timeouts, **settings}]}).checks[0]


async def probe(url: str = "", **settings: Any) -> ProbeResult:
    """One probe of an HTTP check, or of a TCP check with ``kind="tcp"``; ``within`` is passed to the probe."""
    within = settings.pop("within", None)
    async with aclosing(_Closing(settings | ({"url": url} if url else {}))) as prober:
        return await prober.probe(within)


class _Closing(Prober):
    """A prober that ``aclosing`` closes."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(make_check(**settings), Resolver())

    async def aclose(self) -> None:
        await self.close()


def prober(url: str, **settings: Any) -> _Closing:
    """A prober for several probes, to be used with ``aclosing``."""
    return _Closing({"url": url, **settings})
