"""Plain HTTP probes against real servers."""

from __future__ import annotations

import asyncio
import base64
import resource
import socket
import threading
import time
from contextlib import aclosing, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rounds.services.conditions import Conditions
from rounds.services.prober import Prober
from rounds.services.resolver import Resolver
from rounds.services.trail import Failure
from support.probing import make_check, probe, prober
from support.servers import HttpServer, Listener, Request, reply


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes what comes and says nothing."""
    await reader.read()


def says(data: bytes, *, reset: bool = False) -> Listener:
    """A server that reads a request, sends these bytes, and closes or resets the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()
        if reset:
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()

    return Listener(serve)


def dripping(before: bytes, drop: bytes) -> Listener:
    """A server that answers with one drop at a time, for ever."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(before)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.02)

    return Listener(serve)


def unused_port() -> int:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def test_success() -> None:
    """Behaviour 13, without TLS: exactly these phases, and an elapsed time that holds them all."""
    async with HttpServer(reply(body=b"fine")) as server:
        before = time.time()
        result = await probe(server.url)
        assert before - 0.01 <= result.started <= time.time()
    assert result.reason is None
    assert result.detail == ""
    assert result.answered
    assert set(result.phases) == {"connect", "processing", "transfer"}
    assert 0 < sum(result.phases.values()) <= result.elapsed < 5
    assert result.status_code == 200
    assert result.body_bytes == 4
    assert result.redirects == 0
    assert result.tls_expiry is None


async def test_request_as_it_goes_over_the_wire() -> None:
    async with HttpServer(reply()) as server:
        await probe(f"{server.url}/a%20b?q=1&q=%C3%A9#part")
        (request,) = server.requests
        assert request.method == "GET"
        assert request.target == "/a%20b?q=1&q=%C3%A9"
        assert dict(request.headers) == {
            "Host": f"127.0.0.1:{server.port}",
            "User-Agent": "rounds",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }


async def test_status_is_exported_when_it_fails_the_probe() -> None:
    """Behaviour 1."""
    async with HttpServer(reply(503, b"sorry")) as server:
        result = await probe(server.url)
    assert (result.reason, result.status_code, result.answered, result.body_bytes) == ("http_status", 503, True, 5)
    assert "503" in result.detail
    assert "sorry" not in result.detail


async def test_body_length_is_known_when_a_pattern_fails_the_probe() -> None:
    """Behaviour 2."""
    async with HttpServer(reply(body=b"an error")) as server:
        result = await probe(server.url, body_not_matches=["error"])
    assert (result.reason, result.status_code, result.body_bytes, result.answered) == ("body", 200, 8, True)


@pytest.mark.parametrize("status", [200, 204])
async def test_empty_body_fails_a_json_condition(status: int) -> None:
    """Behaviour 4; 204 has no body by definition."""
    answer = b"HTTP/1.1 204 X\r\n\r\n" if status == 204 else reply(200, b"")
    async with HttpServer(answer) as server:
        for polarity in ("json_matches", "json_not_matches"):
            result = await probe(server.url, expect_status=[status], **{polarity: ["@"]})
            assert (result.reason, result.body_bytes) == ("body", 0)


@pytest.mark.parametrize("size", [10, 100_000])
async def test_json_condition_on_bodies_of_any_size(size: int) -> None:
    """Big ones are judged in a thread."""
    body = b'{"pad": "' + b"x" * size + b'", "ok": true}'
    async with HttpServer(reply(body=body)) as server:
        assert (await probe(server.url, json_matches=["ok"])).reason is None
        assert (await probe(server.url, json_not_matches=["ok"])).reason == "body"


@pytest.mark.parametrize("kind", ["body", "body_file"])
async def test_method_and_body_reach_the_server(kind: str, tmp_path: Path) -> None:
    """Behaviour 18."""
    file = tmp_path / "body"
    file.write_text("ping")
    async with HttpServer(reply()) as server:
        headers = {"Content-Type": "text/plain"}
        await probe(server.url, method="PUT", headers=headers, **{kind: "ping" if kind == "body" else str(file)})
        (request,) = server.requests
    assert (request.method, request.body, request.header("Content-Type")) == ("PUT", b"ping", "text/plain")


async def test_method_with_an_empty_body_says_so() -> None:
    """A server may refuse a POST of unknown length."""
    async with HttpServer(reply()) as server:
        await probe(server.url, method="POST")
        assert server.requests[0].header("Content-Length") == "0"


async def test_head_has_no_body() -> None:
    async with HttpServer(reply(body=b"", length=1000)) as server:
        result = await probe(server.url, method="HEAD")
    assert (result.reason, result.body_bytes) == (None, 0)


@pytest.mark.parametrize("scheme", ["", "http://", "HTTP://", "HtTp://"])
async def test_scheme_in_any_spelling_or_none(scheme: str) -> None:
    """Behaviour 17."""
    async with HttpServer(reply()) as server:
        assert (await probe(f"{scheme}127.0.0.1:{server.port}/")).reason is None


async def test_configured_headers() -> None:
    """A Host of one's own, and values from files; what the prober sends by itself can be replaced."""
    async with HttpServer(reply()) as server:
        await probe(server.url, headers={"Host": "app.example", "user-agent": "mine", "X-Key": "  k  "})
        (request,) = server.requests
    assert [value for name, value in request.headers if name.lower() == "host"] == ["app.example"]
    assert [value for name, value in request.headers if name.lower() == "user-agent"] == ["mine"]
    assert request.header("X-Key") == "k"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"basic_auth": {"username": "nurse", "password": "pässword"}},
            "Basic " + base64.b64encode("nurse:pässword".encode()).decode(),
        ),
        ({"basic_auth": {"username": "nurse"}}, "Basic " + base64.b64encode(b"nurse:").decode()),
        ({"bearer_token": "t0ken"}, "Bearer t0ken"),
    ],
)
async def test_credentials_reach_the_server_and_nothing_else(settings: dict[str, object], expected: str) -> None:
    """Behaviour 19."""

    async def guarded(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(200 if request.header("Authorization") == expected else 401))

    async with HttpServer(guarded) as server:
        result = await probe(f"{server.url}/in?key=t0ken", **settings)
    assert result.reason is None
    for secret in ("t0ken", "pässword", expected):
        assert secret not in repr(result)


@pytest.mark.parametrize("settings", [{"headers": {"X-Key": "s3cret\x0b!"}}, {"bearer_token": "s3cret\nX-Key: 1"}])
def test_unsendable_header_is_refused_and_not_quoted(settings: dict[str, object]) -> None:
    """Behaviour 19: h11 would quote the value in its exception."""
    with pytest.raises(ValidationError, match="control character") as refused:
        make_check(url="http://127.0.0.1/", **settings)
    assert "s3cret" not in str(refused.value)


async def test_log_tells_the_steps() -> None:
    async with HttpServer(reply()) as server:
        result = await probe(f"{server.url}/a?key=hidden")
    assert [line.split(" ms ")[1] for line in result.log] == [
        f"connected to 127.0.0.1 port {server.port}",
        f"sent GET {server.url}/a?<secret>; status 200",
        "received 2 bytes",
    ]
    assert all(line.startswith("+") for line in result.log)


async def test_refused_connection() -> None:
    result = await probe(f"http://127.0.0.1:{unused_port()}/")
    assert (result.reason, result.answered, result.status_code, result.body_bytes) == ("connect", False, None, None)
    assert "refused" in result.detail
    assert result.phases == {}
    assert result.elapsed > 0


async def test_name_that_does_not_exist() -> None:
    result = await probe("http://no-such-name.invalid/", timeout="10s")
    assert (result.reason, result.answered, result.phases) == ("dns", False, {})


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "x..example"])
async def test_name_that_cannot_exist(host: str) -> None:
    assert (await probe(f"http://{host}/", timeout="10s")).reason == "dns"


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (says(b""), "closed before a response"),
        (says(b"", reset=True), "before a response"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "closed before a response"),
        (says(b"220 mail ready\r\n\r\n"), "not HTTP"),
        (says(b"\x15\x03\x03\x00\x02\x02\x50" * 9), "not HTTP"),
        (says(b"HTTP/1.1 200 OK\r\nX: y"), "closed before a response"),
        (says(b"HTTP/1.1 2x0 OK\r\n\r\n"), "not HTTP"),
        (says(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n"), "headers are too long"),
        (says(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000), "headers are too long"),
        (says(b"HTTP/1.1 100 Continue\r\n\r\n" * 40_000), "no response among them"),
    ],
    ids=[
        "closed",
        "reset",
        "ssh",
        "garbage",
        "tls-alert",
        "half-a-head",
        "no-code",
        "long-header",
        "many-headers",
        "interim-flood",
    ],
)
async def test_no_response(server: Listener, words: str) -> None:
    """A connection that stands and gives no response, or one without end, is an error of its own kind."""
    async with server:
        result = await probe(server.url)
    assert (result.reason, result.answered, result.status_code) == ("error", False, None)
    assert words in result.detail
    assert set(result.phases) == {"connect"}


async def test_interim_response_is_skipped() -> None:
    async with says(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + reply()) as server:
        assert (await probe(server.url)).status_code == 200


async def test_response_that_comes_before_the_request_was_taken() -> None:
    """A server may refuse a long body without reading it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply(413))
        await writer.drain()
        await reader.read()

    async with Listener(serve) as server:
        result = await probe(server.url, method="POST", body="x" * 1_000_000)
    assert (result.reason, result.status_code) == ("http_status", 413)


@pytest.mark.parametrize(
    ("server", "phase", "finished"),
    [
        (Listener(silent), "processing", {"connect"}),
        (dripping(b"", b"H"), "processing", {"connect"}),
        (dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), "processing", {"connect"}),
        (dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x"), "transfer", {"connect", "processing"}),
        (
            dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
            "transfer",
            {"connect", "processing"},
        ),
    ],
    ids=["silent", "status-line-drips", "headers-drip", "body-drips", "chunks-drip"],
)
async def test_deadline_holds_against(server: Listener, phase: str, finished: set[str]) -> None:
    """a.6: a limit on each read never ends these. Finished phases are kept, the unfinished one is named."""
    async with server:
        result = await probe(server.url, timeout="300ms")
        while server.open:
            await asyncio.sleep(0.001)
    assert (result.reason, result.answered) == ("timeout", True)
    assert 0.29 <= result.elapsed < 1
    assert set(result.phases) == finished
    assert phase in result.detail
    assert result.body_bytes is None


async def test_deadline_may_be_shorter_than_the_checks_but_not_longer() -> None:
    """Behaviour 20, the prober's part."""
    async with Listener(silent) as server:
        assert 0.19 <= (await probe(server.url, within=0.2)).elapsed < 1
        assert 0.19 <= (await probe(server.url, within=9, timeout="200ms")).elapsed < 1


async def test_status_is_kept_when_the_body_takes_too_long() -> None:
    async with dripping(b"HTTP/1.1 503 X\r\nContent-Length: 9999\r\n\r\n", b"x") as server:
        result = await probe(server.url, timeout="200ms")
    assert (result.reason, result.status_code) == ("timeout", 503)


async def test_cancelled_probe_closes_its_connection() -> None:
    async with Listener(silent) as server:
        running = asyncio.create_task(probe(server.url))
        while not server.open:
            await asyncio.sleep(0.001)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        while server.open:
            await asyncio.sleep(0.001)


async def test_every_probe_connects_anew() -> None:
    """a.6: a kept connection would hide faults of DNS and TLS."""
    async with HttpServer(reply()) as server, aclosing(prober(server.url)) as probing:
        for _ in range(3):
            assert "connect" in (await probing.probe()).phases
        assert server.accepted == 3


async def test_environment_is_not_asked_for_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """a.6: httpx would take HTTP_PROXY."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    async with HttpServer(reply()) as server:
        assert (await probe(server.url)).reason is None


async def test_many_probes_at_once() -> None:
    """a.6: httpx needs 0.36 s for the median of 200 probes at once, and grows faster than their number."""
    async with HttpServer(reply()) as server, aclosing(prober(server.url)) as probing:
        results = await asyncio.gather(*(probing.probe() for _ in range(200)))
    assert {result.reason for result in results} == {None}
    assert server.accepted == 200


async def test_shortage_of_sockets_is_our_own_fault() -> None:
    """The service is not to blame when this process may not open another file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with HttpServer(reply()) as server, aclosing(prober(server.url)) as probing:
        with closing(socket.socket()) as last:
            resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno(), hard))
            held = []
            try:
                with suppress(OSError):
                    while True:
                        held.append(socket.socket())
                result = await probing.probe()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for each in held:
                    each.close()
    assert (result.reason, result.answered) == ("error", False)


async def test_unforeseen_exception_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """One probe's bug stops no other; what the exception says may be anything, and is not shown."""

    async def broken(*_: object) -> None:
        raise KeyError("s3cret")

    probing = Prober(make_check(url="http://127.0.0.1/"), Resolver())
    monkeypatch.setattr(probing._probe, "run", broken)
    result = await probing.probe()
    assert result.reason == "error"
    assert "KeyError" in result.detail
    assert "s3cret" not in repr(result)


async def test_meeting_oneself_is_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens, the system may choose that very port for our end, and TCP connects it to itself."""

    class Unlucky(socket.socket):
        def connect_ex(self, address: Any) -> int:
            self.bind(address)
            return super().connect_ex(address)

    port = unused_port()
    monkeypatch.setattr(socket, "socket", Unlucky)
    result = await probe(f"http://127.0.0.1:{port}/", timeout="1s")
    assert (result.reason, result.answered) == ("connect", False)


@pytest.mark.parametrize(("size", "elsewhere"), [(1_000, False), (200_000, True)])
async def test_big_bodies_are_judged_beside_the_loop(
    size: int, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One check's long JSON must not show in the others' times."""
    threads: list[threading.Thread] = []
    judge = Conditions.of_body

    def watched(self: Conditions, body: bytes) -> Failure | None:
        threads.append(threading.current_thread())
        return judge(self, body)

    monkeypatch.setattr(Conditions, "of_body", watched)
    async with HttpServer(reply(body=b"x" * size)) as server:
        assert (await probe(server.url, body_not_matches=["x"])).reason == "body"
    assert [thread is not threading.main_thread() for thread in threads] == [elsewhere]
