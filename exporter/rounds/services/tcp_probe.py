"""One TCP check: does somebody accept a connection, and TLS over it where that is wanted."""

from __future__ import annotations

from functools import partial

from rounds.services.config import TcpCheck
from rounds.services.dialer import Dialer
from rounds.services.network import Stream
from rounds.services.resolver import Resolver
from rounds.services.trail import Failure, Trail


class TcpProbe:
    """Probes a TCP port; nothing is sent over the connection."""

    def __init__(self, check: TcpCheck, resolver: Resolver) -> None:
        self._check = check
        self._dialer = Dialer(resolver, check.ip_family, check.tls)
        self._server_name = (check.tls.server_name or check.host).rstrip(".")

    async def run(self, trail: Trail) -> bytes | None:
        """Probe, and leave what was found in ``trail``.

        Raises:
            Failure: the service failed.
        """
        reach = partial(self._dialer.reach, host=self._check.host, port=self._check.port)
        stream: Stream
        if self._check.use_tls:
            stream = await self._dialer.secure(trail, reach, self._server_name)
        else:
            stream = await reach(trail)
        stream.close()
        trail.answered = True
        return None

    def judge(self, body: bytes) -> Failure | None:  # noqa: ARG002  # the interface of HttpProbe
        """Nothing is received, so nothing is judged."""
        return None

    def close(self) -> None:
        """No connection outlives a probe."""
