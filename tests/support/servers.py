"""Real servers on the loopback interface that do, byte for byte, what a test wants of them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Self

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """A TCP server; ``async with`` starts it on a free port and ends it with all its connections.

    Attributes:
        port: where it listens.
        accepted: how many connections it was given.
        names: the names that TLS clients asked for (SNI), in order.
    """

    def __init__(self, serve: Serve, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self._serve = serve
        self._tls = tls
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.host = host
        self.port = 0
        self.accepted = 0
        self.names: list[str | None] = []
        if tls is not None:
            tls.sni_callback = lambda _, name, __: self.names.append(name)

    @property
    def url(self) -> str:
        scheme = "http" if self._tls is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    @property
    def open(self) -> int:
        """Connections that are being served."""
        return len(self._tasks)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task, writer in self._tasks.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.accepted += 1
        self._tasks[task] = writer
        try:
            # Cancelled by __aexit__ and ending at once; asyncio's streams would report the cancellation as an error.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            del self._tasks[task]
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection, None at its end."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Request(method, target, headers, await reader.readexactly(length))


def reply(
    status: int = 200,
    body: bytes = b"ok",
    headers: Iterable[tuple[str, str]] = (),
    *,
    length: int | None = None,
    version: str = "1.1",
) -> bytes:
    """A response with a Content-Length, which may be made to lie."""
    lines = [f"HTTP/{version} {status} X", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(location: str, status: int = 302, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """A response that leads elsewhere."""
    return reply(status, b"moved", [("Location", location), *headers])


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Pages:
    """What an HTTP server says by path: bytes, or a function that writes whatever it likes. ``*`` for all others."""

    pages: dict[str, bytes | Answer]
    requests: list[Request] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await read_request(reader):
            self.requests.append(request)
            page = self.pages.get(re.sub(r"\?.*", "", request.target)) or self.pages["*"]
            if isinstance(page, bytes):
                writer.write(page)
            else:
                await page(request, writer)
            await writer.drain()
            if request.header("Connection") == "close" or writer.is_closing():
                return


class HttpServer(Listener):
    """An HTTP server that writes down what it is asked.

    Args:
        pages: one answer for all, or answers by path.
    """

    def __init__(
        self,
        pages: bytes | Answer | dict[str, bytes | Answer],
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.pages = Pages(pages if isinstance(pages, dict) else {"*": pages})
        super().__init__(self.pages.serve, tls=tls, host=host)

    @property
    def requests(self) -> list[Request]:
        return self.pages.requests

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.requests]
