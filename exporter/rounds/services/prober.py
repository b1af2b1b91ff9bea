"""The prober of one check: a deadline around a probe, and whatever comes of it made into a result."""

from __future__ import annotations

import asyncio
import traceback
from functools import partial
from pathlib import Path

from rounds.services.config import HttpCheck, TcpCheck
from rounds.services.http_probe import HttpProbe
from rounds.services.resolver import Resolver
from rounds.services.result import ProbeResult
from rounds.services.tcp_probe import TcpProbe
from rounds.services.trail import Failure, Trail
from rounds.threads import in_daemon_thread

#: Bodies from this size on are judged in a thread: matching them takes longer than other probes should wait.
_BIG_BODY = 64 * 1024


class Prober:
    """Probes one check, as often as it is asked to, also several times at once.

    Args:
        check: with the section's defaults put in.
        resolver: shared by all checks.
    """

    def __init__(self, check: HttpCheck | TcpCheck, resolver: Resolver) -> None:
        self._timeout = check.timeout
        self._probe = HttpProbe(check, resolver) if isinstance(check, HttpCheck) else TcpProbe(check, resolver)

    async def probe(self, timeout: float | None = None) -> ProbeResult:
        """Probe once.

        Never raises, except that it can be cancelled: what nobody foresaw becomes the reason ``error``.

        Args:
            timeout: seconds, where the deadline is to be earlier than the check's own.
        """
        limit = self._timeout if timeout is None else min(timeout, self._timeout)
        trail = Trail(limit)
        try:
            failure = await self._run(trail, limit)
        except Exception as error:  # noqa: BLE001  # a probe that fails to run must not stop the others
            failure = _unforeseen(error)
        if failure is not None:
            trail.note("failed (%s): %s", failure.reason, failure.detail)
        return ProbeResult(
            started=trail.started,
            elapsed=trail.elapsed,
            reason=failure.reason if failure else None,
            detail=failure.detail if failure else "",
            answered=trail.answered,
            phases=trail.phases,
            status_code=trail.status_code,
            redirects=trail.redirects,
            body_bytes=trail.body_bytes,
            tls_expiry=trail.tls_expiry,
            log=trail.log(),
        )

    async def close(self) -> None:
        """Let go of the connection that was kept."""
        self._probe.close()

    async def _run(self, trail: Trail, limit: float) -> Failure | None:
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                body = await self._probe.run(trail)
        except Failure as failure:
            return failure
        except TimeoutError:
            if not deadline.expired():
                raise
            if trail.failure is not None:
                return trail.failure
            trail.answered = True
            return Failure("timeout", f"no end within {limit:g} s; it ran out in phase {trail.phase or 'none'}")
        finally:
            trail.stop()
        if body is None:
            return None
        # The clock has stopped: how long we take to judge is not the service's doing.
        judge = partial(self._probe.judge, body)
        return judge() if len(body) < _BIG_BODY else await in_daemon_thread(judge, "judge")


def _unforeseen(error: Exception) -> Failure:
    """Names the place instead of quoting the message, which may hold anything."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return Failure("error", f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}")
