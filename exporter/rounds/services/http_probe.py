"""One HTTP check: its request, the redirects, the body, on fresh connections or a kept one."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import h11
import httpcore
import httpx

from rounds.services.body import Body
from rounds.services.conditions import Conditions, Head
from rounds.services.config import HttpCheck
from rounds.services.dialer import Dialer
from rounds.services.network import Stream, TlsError, TooMuchError, start_tls
from rounds.services.requests import REDIRECTS, Hop, Requests, learn_cookies
from rounds.services.resolver import Resolver
from rounds.services.trail import Failure, Trail

# anyio, whose locks httpcore takes, loads the rest of itself when first used: some 50 ms, which would be seen in the
# time of the first probe.
with suppress(ImportError):
    importlib.import_module("anyio._backends._asyncio")

#: Most bytes that may come before a response's headers are complete. Of one message h11 takes 100 KiB; this also bounds
#: the interim responses (1xx) before it.
_HEAD_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Link:
    """A connection that speaks HTTP."""

    http: httpcore.AsyncHTTP11Connection
    stream: Stream
    tls_expiry: float | None


class HttpProbe:
    """Probes an HTTP endpoint. Two probes at once do not disturb each other: a kept connection serves one of them."""

    def __init__(self, check: HttpCheck, resolver: Resolver) -> None:
        self._check = check
        self._requests = Requests(check)
        self._conditions = Conditions(check)
        self._dialer = Dialer(resolver, check.ip_family, check.tls)
        self._reuse = check.connection == "reuse"
        self._kept: _Link | None = None

    async def run(self, trail: Trail) -> bytes | None:
        """Probe, and leave what was found in ``trail``.

        Returns:
            The body, if :meth:`judge` is still to look at it.

        Raises:
            Failure: the service failed.
        """
        hop: Hop | None = self._requests.first
        cookies = httpx.Cookies()
        unmet, body = None, None
        while hop is not None:
            link, response = await self._ask(hop, trail)
            asked, hop = hop, None
            try:
                location = self._redirection(response, trail)
                if location is None:
                    unmet, body = await self._receive(asked, response, trail)
                else:
                    learn_cookies(cookies, asked, response.headers)
                    hop = self._requests.after(asked, response.status, location, cookies)
                    if self._reuse:
                        await self._drain(response, trail)
                await self._release(link, asked, response)
            except BaseException:
                link.stream.close()
                raise
        if unmet is not None:
            raise unmet
        return body

    def judge(self, body: bytes) -> Failure | None:
        """Hold a body against the conditions; takes time in proportion to its length, and may run in any thread."""
        return self._conditions.of_body(body)

    def close(self) -> None:
        """Close the connection that is kept."""
        if self._kept is not None:
            self._kept.stream.close()
            self._kept = None

    async def _ask(self, hop: Hop, trail: Trail) -> tuple[_Link, httpcore.Response]:
        """Send a request, over the kept connection if there is one, and await the head of its response."""
        link = self._take_kept(hop)
        if link is not None:
            trail.tls_expiry = link.tls_expiry
            before = link.stream.received
            try:
                return link, await self._exchange(link, hop, trail)
            except Failure:
                if link.stream.received != before:
                    raise
                # Servers close idle connections when they like: that it happened just now says nothing about them.
                trail.note("the kept connection was closed")
        link = await self._open(hop, trail)
        return link, await self._exchange(link, hop, trail)

    async def _exchange(self, link: _Link, hop: Hop, trail: Trail) -> httpcore.Response:
        """Closes the connection if it fails."""
        trail.enter("processing")
        link.stream.allowance = link.stream.received + _HEAD_BYTES
        try:
            response = await link.http.handle_async_request(hop.request)
        except BaseException as error:
            link.stream.close()
            if failure := _no_response(error, link.stream):
                trail.note("sent %s; %s", hop.shown, failure.detail)
                raise failure from error
            raise
        link.stream.allowance = sys.maxsize
        trail.leave()
        trail.answered = True
        trail.status_code = response.status
        trail.note("sent %s; status %d", hop.shown, response.status)
        return response

    async def _open(self, hop: Hop, trail: Trail) -> _Link:
        reach = partial(self._reach, hop)
        if hop.endpoint.secure:
            stream: Stream = await self._dialer.secure(trail, reach, hop.endpoint.server_name)
        else:
            stream = await reach(trail)
        http = httpcore.AsyncHTTP11Connection(hop.request.url.origin, stream)
        return _Link(http, stream, trail.tls_expiry if hop.endpoint.secure else None)

    async def _reach(self, hop: Hop, trail: Trail) -> Stream:
        """A connection to the endpoint, or to the proxy and, for https, through it."""
        if hop.proxy is None:
            return await self._dialer.reach(trail, hop.endpoint.host, hop.endpoint.port)
        proxy = hop.proxy
        stream: Stream = await self._dialer.reach(trail, proxy.host, proxy.port)
        trail.enter("connect")
        if proxy.secure:
            try:
                stream = await start_tls(stream, self._dialer.context, proxy.server_name)
            except TlsError as error:
                raise Failure("tls", f"proxy: {error}") from error
        if hop.connect is not None:
            await _tunnel(stream, hop.connect)
            trail.note("tunnel through the proxy stands")
        trail.leave()
        return stream

    def _redirection(self, response: httpcore.Response, trail: Trail) -> bytes | None:
        """Where a response leads, or None if it is the last.

        Raises:
            Failure: ``redirect``; it is one redirect too many.
        """
        if response.status not in REDIRECTS:
            return None
        location = next((value for name, value in response.headers if name.lower() == b"location"), None)
        if location is None:
            return None
        trail.redirects += 1
        if self._check.max_redirects == 0:
            return None
        if trail.redirects > self._check.max_redirects:
            raise Failure("redirect", f"more than {self._check.max_redirects} redirects")
        return location

    async def _receive(
        self, hop: Hop, response: httpcore.Response, trail: Trail
    ) -> tuple[Failure | None, bytes | None]:
        """What the head of the last response fails of, and the body if that is to be judged."""
        version = response.extensions["http_version"].decode().removeprefix("HTTP/")
        head = Head(response.status, version, hop.endpoint.secure, response.headers)
        unmet = self._conditions.of_head(head)
        need_body = self._conditions.need_body and unmet is None
        body = Body(self._check.max_body_bytes, self._check.compression, keep=need_body)
        trail.enter("transfer")
        try:
            await body.read(response)
        except Failure as failure:
            trail.body_bytes = body.length
            raise unmet or failure from failure.__cause__
        trail.leave()
        trail.body_bytes = body.length
        trail.note("received %d bytes", body.length)
        return unmet, body.content if need_body else None

    async def _drain(self, response: httpcore.Response, trail: Trail) -> None:
        """Read what comes with a redirect, so that its connection can serve again."""
        trail.enter("transfer")
        with suppress(Failure):
            await Body(self._check.max_body_bytes, "identity", keep=False).read(response)
        trail.leave()

    async def _release(self, link: _Link, hop: Hop, response: httpcore.Response) -> None:
        """Keep a connection for the next probe, if that is wanted and it has been used up to its end, or close it."""
        if self._keepable(hop):
            await response.aclose()
            if link.http.is_idle():
                self.close()  # the one that another probe of the same check has left meanwhile
                self._kept = link
                return
        link.stream.close()

    def _take_kept(self, hop: Hop) -> _Link | None:
        if self._kept is None or not self._keepable(hop):
            return None
        link, self._kept = self._kept, None
        if link.stream.quiet():
            return link
        link.stream.close()
        return None

    def _keepable(self, hop: Hop) -> bool:
        return self._reuse and hop.endpoint == self._requests.first.endpoint


async def _tunnel(stream: Stream, request: httpcore.Request) -> None:
    """Have a proxy connect to somebody else; closes the stream if it does not."""
    stream.allowance = stream.received + _HEAD_BYTES
    try:
        response = await httpcore.AsyncHTTP11Connection(request.url.origin, stream).handle_async_request(request)
    except BaseException as error:
        stream.close()
        if failure := _no_response(error, stream):
            raise Failure("connect", f"proxy: {failure.detail}") from error
        raise
    stream.allowance = sys.maxsize
    if not 200 <= response.status < 300:  # noqa: PLR2004
        stream.close()
        raise Failure("connect", f"the proxy answered CONNECT with status {response.status}")


def _no_response(error: BaseException, stream: Stream) -> Failure | None:
    """What it means that no response came; None where that says nothing of the service.

    The libraries' own words are left out: they quote what was sent and received.
    """
    match error:
        case TlsError():
            return Failure("tls", str(error))
        case TooMuchError():
            detail = f"{_HEAD_BYTES} bytes came, and no response among them"
        case httpcore.LocalProtocolError():
            detail = "a configured header cannot be sent: HTTP does not allow its value"
        case httpcore.RemoteProtocolError(__cause__=h11.RemoteProtocolError(error_status_hint=431)):
            detail = "the response's headers are too long"
        case httpcore.RemoteProtocolError():
            detail = "connection closed before a response" if stream.ended else "what came is not HTTP"
        case httpcore.NetworkError():
            detail = f"connection broken before a response: {error}"
        case _:
            return None
    return Failure("error", detail)
