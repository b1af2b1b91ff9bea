"""Synthetic services: HTTP endpoints whose health changes on a script."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rounds.demo.certificate import Certificate
from rounds.demo.ports import LOOPBACK

#: What a fresh handler may wait for the rest of a request.
_PATIENCE = 10.0


@dataclass(frozen=True)
class Endpoint:
    """One check: its name, the service that answers it, the path and the tier."""

    check: str
    service: str
    path: str
    tier: str = "core"


ENDPOINTS = (
    Endpoint("api-gateway", "api-gateway", "/api/health"),
    Endpoint("llm-orchestrator", "llm-orchestrator", "/health"),
    Endpoint("mcp-server", "mcp-server", "/health"),
    Endpoint("airtable-gateway", "airtable-gateway", "/health"),
    Endpoint("platform-services", "platform-services", "/health"),
    Endpoint("automation-services", "automation-services", "/health"),
    Endpoint("saga-orchestrator", "saga-orchestrator", "/health/"),
    Endpoint("frontend", "frontend", "/api/health", tier="frontend"),
    Endpoint("frontend-ready", "frontend", "/health/ready", tier="frontend"),
)


class Condition(enum.Enum):
    """How a service fares. The value completes the sentence "<service> now ..."."""

    WELL = "answers at once"
    SLOW = "answers in 1.5 s"
    VERY_SLOW = "answers in 6 s"
    FAILING = "answers 503"
    FLAPPING = "flaps: answers 503, then 200, every 10 s"
    REFUSED = "refuses connections"


_DELAYS = {Condition.SLOW: 1.5, Condition.VERY_SLOW: 6.0}
_FLAP = 10.0


@dataclass(frozen=True)
class Step:
    """A line of the script: from ``at`` seconds on, the service is in this condition."""

    at: float
    service: str
    condition: Condition


#: The script, played again and again. Its first lines lead to a critical alert and its recovery within 90 seconds.
SCRIPT = (
    Step(10, "api-gateway", Condition.FAILING),
    Step(20, "llm-orchestrator", Condition.SLOW),
    Step(45, "api-gateway", Condition.WELL),
    Step(60, "saga-orchestrator", Condition.VERY_SLOW),
    Step(70, "llm-orchestrator", Condition.WELL),
    Step(80, "frontend", Condition.FAILING),
    Step(100, "saga-orchestrator", Condition.WELL),
    Step(110, "mcp-server", Condition.FLAPPING),
    Step(130, "frontend", Condition.WELL),
    Step(140, "automation-services", Condition.REFUSED),
    Step(155, "mcp-server", Condition.WELL),
    Step(175, "automation-services", Condition.WELL),
)
SCRIPT_SECONDS = 240.0


class Service:
    """One service: a small HTTP server whose :class:`Condition` can be changed at any time.

    Args:
        name: the service.
        paths: what it answers; anything else is 404.
        speed: how many times faster than real time it flaps.
        host: the address it listens on.

    Attributes:
        port: where it listens; 0, until it is started, for any free port.
        certificate: what it shows, where it speaks TLS.
    """

    def __init__(self, name: str, paths: Iterable[str], *, speed: float = 1.0, host: str = LOOPBACK) -> None:
        self.name = name
        self.port = 0
        self.certificate: Certificate | None = None
        self.condition = Condition.WELL
        self._host = host
        self._paths = frozenset(paths)
        self._flap = _FLAP / speed
        self._changed = 0.0
        self._server: asyncio.Server | None = None
        self._kept: socket.socket | None = None
        self._handlers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; also after :meth:`stop`, on the same port."""
        self._give_up_port()
        tls = self.certificate.context() if self.certificate else None
        self._server = await asyncio.start_server(self._accept, self._host, self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections and drop those that are open."""
        self._give_up_port()
        if self._server is None:
            return
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def become(self, condition: Condition) -> None:
        """Change the condition, from the next request on."""
        self.condition = condition
        self._changed = asyncio.get_running_loop().time()
        if condition is Condition.REFUSED:
            await self.stop()
            self._keep_port()
        elif self._server is None:
            await self.start()

    def _keep_port(self) -> None:
        """Take the port without listening: nobody else may have it until the service is well again."""
        self._kept = socket.socket()
        # Connections that have just ended are in the way of a port that is not shared.
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._kept.bind((self._host, self.port))
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)

    def _give_up_port(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        if handler is not None:
            self._handlers.add(handler)
            handler.add_done_callback(self._handlers.discard)
        # Stopping cancels handlers, and a peer may leave at any time: both end the connection and nothing else.
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                await self._answer(reader, writer)
            finally:
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].decode("latin-1").partition("?")[0]
        if path not in self._paths:
            writer.write(_response("404 Not Found", "no such page"))
        else:
            failing = self._fails()
            await asyncio.sleep(_DELAYS.get(self.condition) or random.uniform(0.01, 0.12))
            writer.write(_response("503 Service Unavailable", "ailing") if failing else _response("200 OK", "healthy"))
        await writer.drain()

    def _fails(self) -> bool:
        if self.condition is Condition.FLAPPING:
            since = asyncio.get_running_loop().time() - self._changed
            return int(since / self._flap) % 2 == 0
        return self.condition is Condition.FAILING


def _response(status: str, state: str) -> bytes:
    body = f'{{"status": "{state}"}}\n'
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    )
    return f"{head}\r\n{body}".encode()


def make_services(speed: float = 1.0, host: str = LOOPBACK) -> dict[str, Service]:
    """The services behind :data:`ENDPOINTS`, by name, not started. ``speed`` is how many times faster they flap."""
    paths: dict[str, list[str]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.service, []).append(endpoint.path)
    return {name: Service(name, served, speed=speed, host=host) for name, served in paths.items()}


async def play(
    services: Mapping[str, Service],
    announce: Callable[[str], None],
    *,
    script: Sequence[Step] = SCRIPT,
    length: float = SCRIPT_SECONDS,
    speed: float = 1.0,
) -> None:
    """Play the script, again and again, until cancelled.

    Args:
        services: by name; started.
        announce: told of every change, as a sentence.
        script: the steps in order of time.
        length: seconds after which the script begins anew.
        speed: how many times faster than written it is played.
    """
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while True:
        for step in script:
            await asyncio.sleep(begin + step.at / speed - loop.time())
            await services[step.service].become(step.condition)
            announce(f"{step.service} now {step.condition.value}")
        begin += length / speed
        await asyncio.sleep(begin - loop.time())
