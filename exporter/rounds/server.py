"""The HTTP surface: metrics, health, reload, status, configuration, landing page, and what domains add."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog
import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rounds.errors import ConfigError
from rounds.exporter import Exporter
from rounds.negotiation import OPENMETRICS, TEXT, wants_gzip, wants_openmetrics
from rounds.pages import landing_page
from rounds.selfmetrics import SelfMetrics
from rounds.status import status_of
from rounds.webconfig import WebConfig, protect

#: Seconds for scrapes under way to be answered after SIGTERM; the process must be gone within 10.
_DRAIN = 7
#: Longer than scrape intervals, so that Prometheus need not connect anew for each scrape.
_KEEP_ALIVE = 75
_BACKLOG = 128

log = structlog.get_logger()


class Handlers:
    """The core's answers.

    Args:
        exporter: what is served.
        lifecycle: whether ``POST /-/reload`` is open.
    """

    def __init__(self, exporter: Exporter, *, lifecycle: bool) -> None:
        self._exporter = exporter
        self._lifecycle = lifecycle

    def routes(self) -> list[BaseRoute]:
        """The routes of the core and of all domains."""
        return [
            Route("/", self.landing),
            Route("/metrics", self.metrics),
            Route("/-/healthy", self.healthy),
            Route("/-/ready", self.ready),
            Route("/-/reload", self.reload, methods=["POST"]),
            Route("/api/v1/status", self.status),
            Route("/config", self.config),
            *(route for domain in self._exporter.domains for route in domain.routes()),
        ]

    async def metrics(self, request: Request) -> Response:
        """The exposition, in the format and encoding asked for."""
        exporter = self._exporter
        asked = frozenset(request.query_params.getlist("collect[]"))
        unknown = sorted(asked - exporter.collectors)
        if unknown and not exporter.standing_by:
            known = ", ".join(sorted(exporter.collectors))
            return PlainTextResponse(f"unknown collector {', '.join(unknown)}; known: {known}\n", 400)
        openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        gzip = wants_gzip(request.headers.get("accept-encoding", ""))

        def render() -> bytes:
            return exporter.render(openmetrics=openmetrics, gzip=gzip, collectors=asked or None)

        kept = not asked and exporter.exposition.is_rendered(openmetrics=openmetrics)
        body = render() if kept else await asyncio.to_thread(render)
        headers = {"Content-Type": OPENMETRICS if openmetrics else TEXT, "Vary": "Accept, Accept-Encoding"}
        return Response(body, headers=headers | ({"Content-Encoding": "gzip"} if gzip else {}))

    async def healthy(self, _: Request) -> Response:
        """The process answers."""
        return PlainTextResponse("Rounds is healthy.\n")

    async def ready(self, _: Request) -> Response:
        """Whether every job has ended a first run."""
        waiting = self._exporter.waiting
        if self._exporter.standing_by:
            return PlainTextResponse("Rounds is ready and stands by.\n")
        if not waiting:
            return PlainTextResponse("Rounds is ready.\n")
        return PlainTextResponse(f"Rounds is not ready: waiting for the first run of {', '.join(waiting)}.\n", 503)

    async def reload(self, _: Request) -> Response:
        """Load the configuration again."""
        if not self._lifecycle:
            return PlainTextResponse("Reloading over HTTP is off; start with --web.enable-lifecycle.\n", 403)
        try:
            await asyncio.to_thread(self._exporter.reload)
        except ConfigError as error:
            return PlainTextResponse(f"configuration refused; the one before stays in use:\n{error}\n", 500)
        return PlainTextResponse("configuration loaded\n")

    async def status(self, _: Request) -> Response:
        """How the collectors fare, as JSON."""
        return JSONResponse(status_of(self._exporter))

    async def config(self, _: Request) -> Response:
        """The configuration in use, without secrets."""
        shown = self._exporter.config.model_dump(mode="json", exclude_unset=True)
        return PlainTextResponse(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True))

    async def landing(self, _: Request) -> Response:
        """The page for people."""
        return HTMLResponse(landing_page(status_of(self._exporter)))


class CountRequests:
    """ASGI middleware that counts answers by handler and status code."""

    def __init__(self, app: ASGIApp, own: SelfMetrics, paths: frozenset[str]) -> None:
        self._app = app
        self._own = own
        self._paths = paths
        own.expect_requests(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting the answer as it starts."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        handler = scope["path"] if scope["path"] in self._paths else "other"

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._own.count_request(handler, message["status"])
            await send(message)

        await self._app(scope, receive, counted)


def build_app(exporter: Exporter, web: WebConfig, *, lifecycle: bool) -> ASGIApp:
    """The whole application: routes, authentication, counting."""
    served = Handlers(exporter, lifecycle=lifecycle).routes()
    paths = frozenset(route.path for route in served if isinstance(route, Route))
    app = Starlette(routes=served)
    app.router.redirect_slashes = False  # another path is not found, not somewhere else
    return CountRequests(protect(app, web), exporter.own, paths)


def listen(address: str) -> socket.socket:
    """A listening socket for ``host:port``; an empty host is every address.

    Raises:
        OSError: the address is taken, or is not this machine's.
        ValueError: it is no address.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not port.isdecimal() or int(port) > 65_535:  # noqa: PLR2004
        raise ValueError(f"{address} is not an address such as 127.0.0.1:12780")
    if host:
        family = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][0]
        made = socket.create_server((host, int(port)), family=family, backlog=_BACKLOG)
    else:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        made = socket.create_server(("", int(port)), family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
    # Made again from its number, the socket knows that its protocol is TCP. Only then does asyncio switch off Nagle's
    # algorithm, which would hold up every small answer by 40 ms.
    return socket.socket(fileno=made.detach())


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn's own way ends the process by the signal instead of with code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(exporter: Exporter, sockets: Sequence[socket.socket], web: WebConfig, *, lifecycle: bool) -> None:
    """Serve until SIGTERM or SIGINT, then let requests under way finish. SIGHUP reloads the configuration."""
    context = web.ssl_context()
    config = uvicorn.Config(
        build_app(exporter, web, lifecycle=lifecycle),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_DRAIN,
        ssl_context_factory=(lambda _config, _default: context) if context else None,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        with contextlib.suppress(ConfigError):  # logged, and told in the metrics
            await asyncio.to_thread(exporter.reload)

    def on_hangup() -> None:
        task = asyncio.create_task(reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    serving = asyncio.create_task(server.serve(sockets=list(sockets)))
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping")
    server.should_exit = True
    await asyncio.gather(serving, asyncio.to_thread(exporter.stop))
    stopped.cancel()


def run(exporter: Exporter, addresses: Sequence[str], web_file: Path | None, *, lifecycle: bool) -> None:
    """Listen, start collecting, and serve until told to stop.

    Raises:
        ConfigError: the web configuration file is refused, or an address is.
        OSError: an address cannot be listened on.
    """
    web = WebConfig.load(web_file)
    with contextlib.ExitStack() as stack:
        sockets = []
        for address in addresses:
            try:
                sockets.append(stack.enter_context(listen(address)))
            except ValueError as error:
                raise ConfigError([f"--web.listen-address: {error}"]) from None
            except OSError as error:
                # The event loop's text repeats the address.
                why = os.strerror(error.errno) if error.errno else error.strerror
                told = f"cannot listen on {address}: {why}; --web.listen-address chooses another"
                raise OSError(error.errno, told) from None
        exporter.start()
        for listener in sockets:
            host, port = listener.getsockname()[:2]
            log.info("listening", address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}", tls=bool(web.tls))
        asyncio.run(serve(exporter, sockets, web, lifecycle=lifecycle))
    log.info("stopped")
