"""Redirects: which are followed, and what goes along."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from support.certificates import Authority
from support.probing import probe, prober
from support.servers import HttpServer, Request, redirect, reply

#: Credentials, a header, a cookie of one's own: nothing of these may reach another host.
PRIVATE: dict[str, Any] = {
    "headers": {"X-Api-Key": "s3cret", "Cookie": "own=s3cret", "Host": "s3cret.example"},
    "bearer_token": "s3cret",
}


def seen_by(server: HttpServer) -> str:
    return repr(server.requests)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_followed(status: int) -> None:
    """Behaviour 6."""
    async with HttpServer({"/": redirect("/there", status), "/there": reply(body=b"here")}) as server:
        result = await probe(server.url)
        assert server.targets == ["/", "/there"]
    assert (result.reason, result.redirects, result.status_code, result.body_bytes) == (None, 1, 200, 4)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/abs?x=1#part", "/abs?x=1"),
        ("sibling", "/deep/sibling"),
        ("../up", "/up"),
        ("?q=2", "/deep/start?q=2"),
        ("//{netloc}/net", "/net"),
        ("http://{netloc}", "/"),
        ("HTTP://{netloc}/case", "/case"),
        ("http://user:pw@{netloc}/auth", "/auth"),
        ("/sp ace", "/sp%20ace"),
        ("/caf\u00e9", "/caf%C3%A9"),
    ],
)
async def test_location_may_be_relative(location: str, target: str) -> None:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        netloc = request.header("Host")
        writer.write(redirect(location.format(netloc=netloc)) if request.target == "/deep/start" else reply())

    async with HttpServer(answer) as server:
        result = await probe(f"{server.url}/deep/start")
        assert server.targets == ["/deep/start", target]
        assert server.requests[1].header("Authorization") is None
    assert result.reason is None


async def test_durations_are_summed_over_redirects() -> None:
    """Behaviour 13."""

    async def slowly(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(reply() if request.target == "/2" else redirect("/2"))

    async with HttpServer(slowly) as server:
        result = await probe(server.url)
    assert 0.2 <= result.phases["processing"] <= result.elapsed


@pytest.mark.parametrize(("expected", "reason"), [([200], "http_status"), ([302], None)])
async def test_redirects_off(expected: list[int], reason: str | None) -> None:
    """Behaviour 7: judged by its own code, and counted."""
    async with HttpServer({"/": redirect("/there"), "/there": reply()}) as server:
        result = await probe(server.url, max_redirects=0, expect_status=expected)
        assert server.targets == ["/"]
    assert (result.reason, result.redirects, result.status_code, result.body_bytes) == (reason, 1, 302, 5)


@pytest.mark.parametrize("limit", [1, 5, 20])
async def test_endless_redirects(limit: int) -> None:
    """Behaviour 8: as many are followed as may be, the next URL is never requested, the last code is kept."""

    async def onwards(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(redirect(f"/{int(request.target[1:]) + 1}"))

    async with HttpServer(onwards) as server:
        result = await probe(f"{server.url}/0", max_redirects=limit)
        assert server.targets == [f"/{index}" for index in range(limit + 1)]
    assert (result.reason, result.status_code, result.redirects, result.answered) == ("redirect", 302, limit + 1, True)


async def test_status_that_only_looks_like_a_redirect() -> None:
    async with HttpServer({"/300": redirect("/x", 300), "/304": redirect("/x", 304), "/302": reply(302)}) as server:
        for path, status in (("/300", 300), ("/302", 302)):
            result = await probe(server.url + path)
            assert (result.reason, result.status_code, result.redirects) == ("http_status", status, 0)
        assert server.targets == ["/300", "/302"]


@pytest.mark.parametrize(
    ("method", "status", "after"),
    [
        ("POST", 301, "GET"),
        ("POST", 302, "GET"),
        ("POST", 303, "GET"),
        ("POST", 307, "POST"),
        ("POST", 308, "POST"),
        ("PUT", 302, "PUT"),
        ("PUT", 303, "GET"),
        ("PUT", 307, "PUT"),
        ("HEAD", 303, "HEAD"),
        ("HEAD", 302, "HEAD"),
    ],
)
async def test_method_and_body_after_a_redirect(method: str, status: int, after: str) -> None:
    """As RFC 9110 says and browsers do."""
    settings: dict[str, Any] = {} if method == "HEAD" else {"body": "ping"}
    moved = b"HTTP/1.1 %d X\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n" % status
    async with HttpServer({"/": moved, "/there": reply(body=b"", length=0)}) as server:
        headers = {"Content-Type": "text/plain", "X-Key": "k"}
        assert (await probe(server.url, method=method, headers=headers, **settings)).reason is None
        last = server.requests[-1]
    keeps = after == method and method != "HEAD"
    assert (last.method, last.body, last.header("X-Key")) == (after, b"ping" if keeps else b"", "k")
    assert (last.header("Content-Type") == "text/plain") == (after == method)


async def test_cookies_are_sent_on_within_a_probe_only() -> None:
    """Behaviour 9: several hops, deletion, one's own cookie beside them; the jar is the probe's."""
    pages = {
        "/": redirect(
            "/1", headers=[("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "gone=1"), ("Set-Cookie", "p=1; Path=/x")]
        ),
        "/1": redirect(
            "/2", headers=[("Set-Cookie", "b=2"), ("Set-Cookie", "gone=; Max-Age=0"), ("Set-Cookie", "s=1; Secure")]
        ),
        "/2": reply(),
    }
    async with HttpServer(dict(pages)) as server, aclosing(prober(server.url, headers={"Cookie": "own=0"})) as probing:
        for _ in range(2):
            assert (await probing.probe()).reason is None
        assert [request.header("Cookie") for request in server.requests] == [
            "own=0",
            "own=0; a=1; gone=1",
            "own=0; a=1; b=2",
        ] * 2


async def test_cookies_stay_with_their_domain() -> None:
    async with HttpServer(reply()) as other:
        other_url = other.url.replace("127.0.0.1", "localhost")
        cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2; Domain=localhost"), ("Set-Cookie", "c=3; Domain=local")]
        async with HttpServer(redirect(other_url, headers=cookies)) as server:
            assert (await probe(server.url, redirects="any_host")).reason is None
        assert other.requests[0].header("Cookie") is None


@pytest.mark.parametrize("other_host", [True, False], ids=["other-host", "other-port"])
async def test_redirect_elsewhere_is_refused(other_host: bool) -> None:
    """Another port of the same host is another service: a small installation's services all live on one host."""
    async with HttpServer(reply()) as other:
        url = other.url.replace("127.0.0.1", "localhost") if other_host else other.url
        async with HttpServer(redirect(f"{url}/in?key=s3cret")) as server:
            result = await probe(server.url, **PRIVATE)
        assert other.accepted == 0
    assert (result.reason, result.status_code, result.redirects, result.answered) == ("redirect", 302, 1, True)
    assert "s3cret" not in repr(result)


@pytest.mark.parametrize("other_host", [True, False], ids=["other-host", "other-port"])
async def test_nothing_configured_goes_elsewhere(other_host: bool) -> None:
    """a.6: httpx keeps X-Api-Key. Not even when the other host sends the probe back."""
    async with HttpServer(reply()) as other:
        url = other.url.replace("127.0.0.1", "localhost") if other_host else other.url
        async with HttpServer({"/": redirect(url), "/chosen": reply()}) as server:
            other.pages.pages["/"] = redirect(f"{server.url}/chosen")
            result = await probe(server.url, redirects="any_host", **PRIVATE)
            assert (result.reason, result.redirects) == (None, 2)
            own, back = server.requests
        assert "s3cret" in repr(own)
        assert "s3cret" not in repr(back)
        assert "s3cret" not in seen_by(other)
        assert other.requests[0].header("Host") == url.removeprefix("http://")


async def test_body_goes_nowhere_else() -> None:
    """307 says to send it again; to another host that is refused rather than sent without."""
    async with HttpServer(reply()) as other, HttpServer(redirect(other.url, 307)) as server:
        result = await probe(server.url, method="POST", body="s3cret", redirects="any_host")
        assert other.accepted == 0
        assert result.reason == "redirect"
        server.pages.pages["*"] = redirect(other.url, 303)
        assert (await probe(server.url, method="POST", body="s3cret", redirects="any_host")).reason is None
        assert "s3cret" not in seen_by(other)


@pytest.mark.parametrize(
    "location", ["ftp://x/", "invalid://x", "http://", "https:///x", "http://[::1", "http://x:99999/", "mailto:a@b"]
)
async def test_redirect_to_what_cannot_be_asked(location: str) -> None:
    async with HttpServer(redirect(location)) as server:
        result = await probe(server.url, redirects="any_host")
    assert (result.reason, result.status_code) == ("redirect", 302)


async def test_upgrade_to_tls_is_the_same_service(authority: Authority, ca_file: str) -> None:
    """On whatever port; what is configured goes along."""
    async with HttpServer(reply(), tls=authority.issue("127.0.0.1").server_context()) as secure:
        async with HttpServer(redirect(secure.url)) as server:
            result = await probe(server.url, bearer_token="t0ken", tls={"ca_file": ca_file}, require_tls=True)
        assert secure.requests[0].header("Authorization") == "Bearer t0ken"
    assert (result.reason, result.redirects) == (None, 1)
    assert set(result.phases) == {"connect", "tls", "processing", "transfer"}


async def test_downgrade_from_tls_is_another_service(authority: Authority, ca_file: str) -> None:
    """Configured secrets must not go over the wire in the clear."""
    trusted = {"ca_file": ca_file}
    async with HttpServer(reply()) as plain:
        async with HttpServer(
            redirect(plain.url), tls=authority.issue("127.0.0.1", "s3cret.example").server_context()
        ) as server:
            assert (await probe(server.url, tls=trusted, **PRIVATE)).reason == "redirect"
            assert plain.accepted == 0
            assert (await probe(server.url, tls=trusted, redirects="any_host", **PRIVATE)).reason is None
            assert (await probe(server.url, tls=trusted, redirects="any_host", require_tls=True)).reason == "tls"
        assert "s3cret" not in seen_by(plain)


async def test_there_and_back_to_plain_http(authority: Authority, ca_file: str) -> None:
    """From http to https and back: the way back is a downgrade, though it is where the check began."""
    trusted = {"ca_file": ca_file}
    secure = HttpServer(reply(), tls=authority.issue("127.0.0.1").server_context())
    server = HttpServer(reply())
    async with secure, server:
        server.pages.pages["/"] = redirect(secure.url)
        secure.pages.pages["/"] = redirect(f"{server.url}/back")
        assert (await probe(server.url, tls=trusted)).reason == "redirect"
        assert (await probe(server.url, tls=trusted, redirects="any_host", bearer_token="t0ken")).reason is None
        assert server.targets == ["/", "/", "/back"]
        assert server.requests[-1].header("Authorization") is None


async def test_deadline_is_over_all_hops() -> None:
    async def slowly(_: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(redirect("/"))

    async with HttpServer(slowly) as server:
        result = await probe(server.url, timeout="250ms", max_redirects=20)
    assert (result.reason, result.status_code) == ("timeout", 302)
    assert 1 <= result.redirects <= 2
    assert result.elapsed < 1
