"""Kept connections and proxies."""

from __future__ import annotations

import asyncio
import base64
from contextlib import aclosing
from typing import Any

import pytest

from support.certificates import Authority
from support.probing import probe, prober
from support.servers import HttpServer, Listener, Request, read_request, redirect, reply


async def test_connection_is_kept_when_asked_for(authority: Authority, ca_file: str) -> None:
    """Only phases that happened are told; the certificate's expiry is known still."""
    issued = authority.issue("localhost")
    async with HttpServer(reply(), tls=issued.server_context()) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        settings: dict[str, Any] = {"connection": "reuse", "tls": {"ca_file": ca_file}}
        async with aclosing(prober(url, **settings)) as probing:
            first = await probing.probe()
            second = await probing.probe()
            assert server.accepted == 1
            assert server.requests[0].header("Connection") is None
        while server.open:
            await asyncio.sleep(0.001)
    assert "tls" in first.phases
    assert set(second.phases) == {"processing", "transfer"}
    assert second.tls_expiry == issued.expires


@pytest.mark.parametrize("reset", [False, True])
async def test_kept_connection_that_died_is_replaced(reset: bool) -> None:
    """Servers close idle connections; that is no failure. It is tried once, not for ever."""
    alive = True

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await read_request(reader) and alive:
            writer.write(reply())
            await writer.drain()
        if reset:
            writer.transport.abort()

    async with Listener(once) as server, aclosing(prober(server.url, connection="reuse")) as probing:
        for _ in range(3):
            result = await probing.probe()
            assert result.reason is None
            assert "connect" in result.phases
            while server.open:
                await asyncio.sleep(0.001)
        assert server.accepted == 3
        alive = False
        assert (await probing.probe()).reason == "error"
        assert server.accepted == 4


async def test_kept_connection_that_closes_on_the_request_is_replaced() -> None:
    """The server's farewell and the request may cross."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(reply())
        await read_request(reader)

    async with Listener(serve) as server, aclosing(prober(server.url, connection="reuse")) as probing:
        assert (await probing.probe()).reason is None
        assert (await probing.probe()).reason is None
        assert server.accepted == 2


@pytest.mark.parametrize("tls", [False, True])
async def test_words_on_an_idle_connection_answer_nothing(authority: Authority, ca_file: str, tls: bool) -> None:
    """Some servers close idle connections with a 408, which is no answer to the next request."""
    told = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(reply())
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(reply(408))
        await writer.drain()
        told.set()

    context = authority.issue("127.0.0.1").server_context() if tls else None
    settings: dict[str, Any] = {"connection": "reuse", "tls": {"ca_file": ca_file}}
    async with Listener(serve, tls=context) as server, aclosing(prober(server.url, **settings)) as probing:
        for _ in range(2):
            assert (await probing.probe()).status_code == 200
            await told.wait()
            told.clear()
        assert server.accepted == 2


async def test_kept_connection_that_dies_in_a_response_is_a_failure() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(reply())
        await read_request(reader)
        writer.write(b"HTTP/1.1 2")
        await writer.drain()

    async with Listener(serve) as server, aclosing(prober(server.url, connection="reuse")) as probing:
        assert (await probing.probe()).reason is None
        assert (await probing.probe()).reason == "error"
        assert server.accepted == 1


@pytest.mark.parametrize(
    ("answer", "settings"),
    [
        (b"HTTP/1.1 200 X\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", {}),
        (b"HTTP/1.0 200 X\r\nContent-Length: 2\r\n\r\nok", {}),
        (reply(body=b"x" * 200), {"max_body_bytes": 100}),
    ],
    ids=["close", "1.0", "too-large"],
)
async def test_connection_that_cannot_serve_again_is_closed(answer: bytes, settings: dict[str, Any]) -> None:
    async with HttpServer(answer) as server, aclosing(prober(server.url, connection="reuse", **settings)) as probing:
        await probing.probe()
        await probing.probe()
        assert server.accepted == 2


async def test_failed_condition_does_not_cost_the_connection() -> None:
    async with HttpServer(reply(500)) as server, aclosing(prober(server.url, connection="reuse")) as probing:
        for _ in range(2):
            assert (await probing.probe()).reason == "http_status"
        assert server.accepted == 1


async def test_redirects_go_over_the_kept_connection() -> None:
    async with HttpServer({"/": redirect("/there"), "/there": reply()}) as server:
        async with aclosing(prober(server.url, connection="reuse")) as probing:
            for _ in range(2):
                assert (await probing.probe()).reason is None
        assert (server.accepted, len(server.requests)) == (1, 4)


async def test_two_probes_at_once_have_a_connection_each() -> None:
    both = asyncio.Event()

    async def together(_: Request, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) >= 2:
            both.set()
        await both.wait()
        writer.write(reply())

    async with HttpServer(together) as server:
        async with aclosing(prober(server.url, connection="reuse")) as probing:
            for _ in range(2):
                results = await asyncio.gather(probing.probe(), probing.probe())
                assert {result.reason for result in results} == {None}
            assert server.accepted == 3
        while server.open:
            await asyncio.sleep(0.001)


class Proxy(Listener):
    """An HTTP proxy that answers for everybody itself, and opens tunnels to wherever it was told.

    Attributes:
        requests: what it was asked.
    """

    def __init__(self, tunnel_to: int = 0, refuse: int = 0, **settings: Any) -> None:
        self.requests: list[Request] = []
        self._tunnel_to = tunnel_to
        self._refuse = refuse
        super().__init__(self._work, **settings)

    async def _work(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        if request is None:
            return
        self.requests.append(request)
        if request.method != "CONNECT":
            writer.write(reply(body=b"by proxy"))
            return
        if self._refuse:
            writer.write(reply(self._refuse))
            return
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        there, back = await asyncio.open_connection("127.0.0.1", self._tunnel_to)
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            back.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    target.close()


async def test_proxy_for_http() -> None:
    """Behaviour 29: the target's name is the proxy's to resolve; the request names the whole URL."""
    async with Proxy() as proxy:
        result = await probe("http://only.the.proxy.knows/a?b=1", proxy_url=proxy.url, body_matches=["by proxy"])
        (request,) = proxy.requests
    assert result.reason is None
    assert set(result.phases) == {"connect", "processing", "transfer"}
    assert request.target == "http://only.the.proxy.knows/a?b=1"
    assert request.header("Host") == "only.the.proxy.knows"


@pytest.mark.parametrize("secure_proxy", [False, True])
async def test_proxy_for_https(authority: Authority, ca_file: str, secure_proxy: bool) -> None:
    """Through a tunnel, which the proxy cannot look into: it is told no configured header. Also TLS within TLS."""
    tls = authority.issue("127.0.0.1").server_context() if secure_proxy else None
    issued = authority.issue("only.the.proxy.knows")
    async with HttpServer(reply(), tls=issued.server_context()) as server, Proxy(server.port, tls=tls) as proxy:
        settings = {"bearer_token": "t0ken", "tls": {"ca_file": ca_file}}
        result = await probe("https://only.the.proxy.knows/a", proxy_url=proxy.url, **settings)
        (request,) = proxy.requests
        assert server.targets == ["/a"]
        assert server.names == ["only.the.proxy.knows"]
    assert (result.reason, result.tls_expiry) == (None, issued.expires)
    assert set(result.phases) == {"connect", "tls", "processing", "transfer"}
    assert (request.method, request.target) == ("CONNECT", "only.the.proxy.knows:443")
    assert "t0ken" not in repr(request)
    assert base64.b64encode(b"t0ken").decode() not in repr(request)


@pytest.mark.parametrize("status", [407, 502])
async def test_proxy_that_refuses_the_tunnel(status: int) -> None:
    async with Proxy(refuse=status) as proxy:
        result = await probe("https://only.the.proxy.knows/", proxy_url=proxy.url)
    assert (result.reason, result.status_code, result.answered) == ("connect", None, False)
    assert str(status) in result.detail


async def test_proxy_that_is_none() -> None:
    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with Listener(closes) as proxy:
        result = await probe("https://only.the.proxy.knows/", proxy_url=proxy.url)
    assert result.reason == "connect"


async def test_tunnel_that_never_opens() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with Listener(silent) as proxy:
        result = await probe("https://only.the.proxy.knows/", proxy_url=proxy.url, timeout="200ms")
    assert (result.reason, set(result.phases)) == ("timeout", {"connect"})
