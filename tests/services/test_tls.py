"""TLS: names, trust, expiry, and no socket left behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any

import psutil
import pytest

from rounds.services.tls import TlsOptions
from support.certificates import Authority, self_signed
from support.probing import probe
from support.servers import HttpServer, Listener, redirect, reply


def trusting(ca_file: str, **options: Any) -> dict[str, Any]:
    return {"tls": {"ca_file": ca_file, **options}}


async def test_phases_of_https(authority: Authority, ca_file: str) -> None:
    """Behaviour 13: exactly these five for a name over https; the expiry is the leaf's."""
    issued = authority.issue("localhost")
    async with HttpServer(reply(), tls=issued.server_context()) as server:
        result = await probe(server.url.replace("127.0.0.1", "localhost"), **trusting(ca_file))
        assert server.names == ["localhost"]
    assert result.reason is None
    assert set(result.phases) == {"resolve", "connect", "tls", "processing", "transfer"}
    assert all(seconds > 0 for seconds in result.phases.values())
    assert sum(result.phases.values()) <= result.elapsed
    assert result.tls_expiry == issued.expires
    assert any("TLSv1.3" in line for line in result.log)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_big_bodies_over_tls(authority: Authority, ca_file: str, version: ssl.TLSVersion) -> None:
    """More than one record, both ways."""
    context = authority.issue("127.0.0.1").server_context()
    context.maximum_version = version
    async with HttpServer(reply(body=b"x" * 500_000), tls=context) as server:
        result = await probe(server.url, method="POST", body="y" * 500_000, **trusting(ca_file))
        assert len(server.requests[0].body) == 500_000
    assert (result.reason, result.body_bytes) == (None, 500_000)


async def test_oldest_version_is_a_choice(authority: Authority, ca_file: str) -> None:
    context = authority.issue("127.0.0.1").server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with HttpServer(reply(), tls=context) as server:
        assert (await probe(server.url, **trusting(ca_file))).reason is None
        assert (await probe(server.url, **trusting(ca_file, min_version="TLS1.3"))).reason == "tls"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "localhost"),
        ({"headers": {"Host": "app.example:8443"}}, "app.example"),
        ({"header_files": "file"}, "app.example"),
        ({"headers": {"Host": "app.example"}, "tls": {"server_name": "forced.example"}}, "forced.example"),
    ],
)
async def test_name_that_is_asked_for(
    authority: Authority, ca_file: str, settings: dict[str, Any], name: str, tmp_path: Path
) -> None:
    """Behaviour 10: the URL's host, or else a configured Host header's, or else the configured name; and verified."""
    if settings.get("header_files"):
        (tmp_path / "host").write_text("app.example\n")
        settings = {"header_files": {"Host": str(tmp_path / "host")}}
    options = {"ca_file": ca_file, **settings.get("tls", {})}
    async with HttpServer(reply(), tls=authority.issue(name).server_context()) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        result = await probe(url, **(settings | {"tls": options}))
        assert server.names == [name]
        assert result.reason is None
    async with HttpServer(reply(), tls=authority.issue("other.example").server_context()) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        result = await probe(url, **(settings | {"tls": options}))
    assert (result.reason, result.tls_expiry, result.answered) == ("tls", None, False)
    assert name in result.detail


async def test_forced_name_is_dropped_on_the_way_to_another_host(authority: Authority, ca_file: str) -> None:
    """Behaviour 10."""
    async with HttpServer(reply(), tls=authority.issue("localhost").server_context()) as other:
        there = redirect(other.url.replace("127.0.0.1", "localhost"))
        async with HttpServer(there, tls=authority.issue("forced.example").server_context()) as server:
            options = trusting(ca_file, server_name="forced.example")
            headers = {"Host": "forced.example"}
            result = await probe(server.url, redirects="any_host", headers=headers, **options)
            assert (server.names, other.names) == (["forced.example"], ["localhost"])
        assert other.requests[0].header("Host") == f"localhost:{other.port}"
    assert result.reason is None


async def test_address_in_the_url_is_verified(authority: Authority, ca_file: str) -> None:
    async with HttpServer(reply(), tls=authority.issue("127.0.0.1").server_context()) as server:
        assert (await probe(server.url, **trusting(ca_file))).reason is None
        assert server.names == [None]  # addresses are not asked for
    async with HttpServer(reply(), tls=authority.issue("127.0.0.2").server_context()) as server:
        assert (await probe(server.url, **trusting(ca_file))).reason == "tls"


async def test_self_signed_certificate() -> None:
    """Behaviour 11: no expiry is told of what cannot be trusted, unless nobody wants trust."""
    issued = self_signed("127.0.0.1")
    async with HttpServer(reply(), tls=issued.server_context()) as server:
        refused = await probe(server.url)
        assert server.requests == []
        accepted = await probe(server.url, tls={"insecure_skip_verify": True}, require_tls=True)
    assert (refused.reason, refused.tls_expiry, refused.status_code) == ("tls", None, None)
    assert set(refused.phases) == {"connect"}
    assert "certificate" in refused.detail
    assert (accepted.reason, accepted.tls_expiry) == (None, issued.expires)


async def test_unknown_authority(ca_file: str) -> None:
    stranger = Authority("stranger")
    async with HttpServer(reply(), tls=stranger.issue("127.0.0.1", days=-1).server_context()) as server:
        result = await probe(server.url, **trusting(ca_file))
        assert server.names == [None]  # one handshake, not two
    assert (result.reason, result.tls_expiry) == ("tls", None)


@pytest.mark.parametrize("kind", ["http", "tcp"])
async def test_expiry_of_an_expired_certificate(authority: Authority, ca_file: str, kind: str) -> None:
    """a.9: the date matters most when it has passed. The certificate is looked at, and nothing is asked."""
    issued = authority.issue("127.0.0.1", days=-1)
    async with HttpServer(reply(), tls=issued.server_context()) as server:
        target = {"url": server.url} if kind == "http" else {"host": "127.0.0.1", "port": server.port, "use_tls": True}
        result = await probe(kind=kind, **target, **trusting(ca_file))
        assert server.requests == []
    assert (result.reason, result.tls_expiry) == ("tls", issued.expires)
    assert "expired" in result.detail
    assert set(result.phases) == {"connect"}


async def test_expired_certificate_of_a_server_that_then_hangs(authority: Authority, ca_file: str) -> None:
    """The second look keeps to the deadline, and cannot change the reason."""
    context = authority.issue("127.0.0.1", days=-1).server_context()
    first = True

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal first
        if first:
            first = False
            await writer.start_tls(context)
        await reader.read()

    async with Listener(pipe) as server:
        result = await probe(f"https://127.0.0.1:{server.port}", timeout="300ms", **trusting(ca_file))
    assert (result.reason, result.tls_expiry) == ("tls", None)
    assert result.elapsed < 1


async def test_expired_certificate_is_accepted_without_verification(authority: Authority) -> None:
    issued = authority.issue("127.0.0.1", days=-1)
    async with HttpServer(reply(), tls=issued.server_context()) as server:
        result = await probe(server.url, tls={"insecure_skip_verify": True})
    assert (result.reason, result.tls_expiry) == (None, issued.expires)


async def test_tls_options_mean_nothing_to_plain_http(ca_file: str) -> None:
    """Behaviour 11."""
    async with HttpServer(reply()) as server:
        result = await probe(server.url, **trusting(ca_file, server_name="forced.example"))
    assert (result.reason, result.tls_expiry) == (None, None)
    assert "tls" not in result.phases


async def test_client_certificate(authority: Authority, ca_file: str, tmp_path: Path) -> None:
    """Without one the server's refusal only shows when the response is read (TLS 1.3), and is TLS' all the same."""
    client = authority.issue("prober.example")
    own = tmp_path / "client.pem"
    own.write_text(client.key + client.cert)
    context = authority.issue("127.0.0.1").server_context(clients=authority)
    async with HttpServer(reply(), tls=context) as server:
        assert (await probe(server.url, **trusting(ca_file, cert_file=str(own)))).reason is None

    def refuse(listening: socket.socket) -> None:
        """As servers do; asyncio's hangs up without telling why."""
        with listening.accept()[0] as accepted, contextlib.suppress(ssl.SSLError):
            context.wrap_socket(accepted, server_side=True).recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(asyncio.to_thread(refuse, listening))
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        refused = await probe(url, **trusting(ca_file))
        await serving
    assert refused.reason == "tls"
    assert "certificate required" in refused.detail


async def _silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def _garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()
    await reader.read()


@pytest.mark.parametrize("serve", [_close, _garbage])
async def test_no_tls_where_it_should_be(serve: Any) -> None:
    async with Listener(serve) as server:
        result = await probe(f"https://127.0.0.1:{server.port}")
        while server.open:
            await asyncio.sleep(0.001)
    assert (result.reason, result.answered) == ("tls", False)
    assert set(result.phases) == {"connect"}


async def test_handshake_that_hangs() -> None:
    async with Listener(_silence) as server:
        result = await probe(f"https://127.0.0.1:{server.port}", timeout="200ms")
        while server.open:
            await asyncio.sleep(0.001)
    assert (result.reason, result.answered) == ("timeout", True)
    assert "tls" in result.detail
    assert set(result.phases) == {"connect"}


async def test_name_that_tls_cannot_carry() -> None:
    async with Listener(_silence) as server:
        result = await probe(f"https://127.0.0.1:{server.port}", tls={"server_name": "a" * 64 + ".example"})
    assert result.reason == "tls"


async def test_end_without_farewell(authority: Authority, ca_file: str) -> None:
    """Many servers just close; whether the body is whole, its length says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\nfine")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
        await reader.read()

    async with Listener(serve, tls=authority.issue("127.0.0.1").server_context()) as server:
        result = await probe(server.url, body_matches=["^fine$"], **trusting(ca_file))
    assert result.reason is None


async def test_nothing_is_left_open(authority: Authority, ca_file: str) -> None:
    """However a probe ends, its sockets are closed: those of failed and of second handshakes too."""
    good = HttpServer(reply(), tls=authority.issue("127.0.0.1").server_context())
    expired = HttpServer(reply(), tls=authority.issue("127.0.0.1", days=-1).server_context())
    unknown = HttpServer(reply(), tls=self_signed("127.0.0.1").server_context())
    process = psutil.Process()
    async with good, expired, unknown, Listener(_garbage) as garbage, Listener(_silence) as silence:
        urls = [good.url, expired.url, unknown.url, *(f"https://127.0.0.1:{each.port}" for each in (garbage, silence))]
        before = process.num_fds()
        for _ in range(5):
            results = await asyncio.gather(
                *(probe(url, **trusting(ca_file)) for url in urls[:-1]),
                probe(urls[-1], timeout="300ms", **trusting(ca_file)),
            )
            assert [result.reason for result in results] == [None, "tls", "tls", "tls", "timeout"]
        while any(each.open for each in (good, expired, unknown, garbage, silence)):
            await asyncio.sleep(0.001)
        assert process.num_fds() == before


def test_context_is_shared_until_its_files_change(tmp_path: Path) -> None:
    """Making one costs 20 ms; but a renewed certificate must be taken up."""
    ca_file, _ = Authority().write(tmp_path, "ca")
    options = TlsOptions(ca_file=ca_file)
    before = options.context()
    assert TlsOptions(ca_file=ca_file).context() is before
    Authority().write(tmp_path, "ca")
    assert TlsOptions(ca_file=ca_file).context() is not before
