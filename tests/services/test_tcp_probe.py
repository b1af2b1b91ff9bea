"""TCP checks."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from support.certificates import Authority
from support.probing import probe
from support.servers import Listener


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Notes what came until the end."""
    received.append(await reader.read())


received: list[bytes] = []


async def test_connection_is_enough() -> None:
    """Nothing is sent: whoever listens is not to log a broken request."""
    received.clear()
    async with Listener(serve) as server:
        result = await probe(kind="tcp", host="localhost", port=server.port)
        while not received:
            await asyncio.sleep(0.001)
    assert received == [b""]
    assert (result.reason, result.answered, result.status_code, result.body_bytes) == (None, True, None, None)
    assert set(result.phases) == {"resolve", "connect"}


async def test_tls(authority: Authority, ca_file: str) -> None:
    issued = authority.issue("127.0.0.1")
    async with Listener(serve, tls=issued.server_context()) as server:
        settings: dict[str, Any] = {"kind": "tcp", "host": "127.0.0.1", "port": server.port, "use_tls": True}
        result = await probe(**settings, tls={"ca_file": ca_file})
        assert (await probe(**settings)).reason == "tls"
    assert (result.reason, result.tls_expiry) == (None, issued.expires)
    assert set(result.phases) == {"connect", "tls"}


async def test_name_that_is_asked_for(authority: Authority, ca_file: str) -> None:
    async with Listener(serve, tls=authority.issue("db.example").server_context()) as server:
        options = {"ca_file": ca_file, "server_name": "db.example"}
        result = await probe(kind="tcp", host="127.0.0.1", port=server.port, use_tls=True, tls=options)
        assert server.names == ["db.example"]
    assert result.reason is None


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = await probe(kind="tcp", host="127.0.0.1", port=port)
    assert (result.reason, result.answered) == ("connect", False)


@pytest.mark.parametrize(("host", "family"), [("no-such-name.invalid", "prefer_ipv4"), ("127.0.0.1", "ipv6")])
async def test_no_address(host: str, family: str) -> None:
    result = await probe(kind="tcp", host=host, port=1, ip_family=family, timeout="10s")
    assert (result.reason, result.answered) == ("dns", False)


async def test_handshake_that_hangs() -> None:
    async with Listener(serve) as server:
        result = await probe(kind="tcp", host="127.0.0.1", port=server.port, use_tls=True, timeout="200ms")
    assert (result.reason, result.answered) == ("timeout", True)
    assert set(result.phases) == {"connect"}
