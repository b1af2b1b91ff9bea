"""How much of a body is read, and how it is decoded."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import psutil
import pytest

from rounds.services.result import Reason
from support.hostile import bomb, endless
from support.probing import probe
from support.servers import Answer, HttpServer, Listener, Request, reply

MIB = 1024 * 1024


def raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


def encoded(data: bytes, encoding: str) -> bytes:
    return reply(body=data, headers=[("Content-Encoding", encoding)])


def chunked(*chunks: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


def until_closed(body: bytes) -> bytes:
    return b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n" + body


@pytest.mark.parametrize(
    "frame", [lambda body: reply(body=body), lambda body: chunked(body[:40], body[40:]), until_closed]
)
@pytest.mark.parametrize(("size", "reason"), [(99, None), (100, None), (101, "too_large"), (100_000, "too_large")])
async def test_limit_is_exact(frame: object, size: int, reason: Reason | None) -> None:
    """Behaviour 14."""
    assert callable(frame)
    async with HttpServer(frame(b"x" * size)) as server:
        result = await probe(server.url, max_body_bytes=100)
    assert (result.reason, result.body_bytes, result.answered) == (reason, min(size, 100), True)


@pytest.mark.parametrize(("size", "reason"), [(99, None), (100, None), (101, "too_large"), (100_000, "too_large")])
async def test_limit_counts_decoded_bytes(size: int, reason: Reason | None) -> None:
    """Behaviour 14."""
    async with HttpServer(encoded(gzip.compress(b"x" * size), "gzip")) as server:
        result = await probe(server.url, max_body_bytes=100, compression="gzip")
    assert (result.reason, result.body_bytes) == (reason, min(size, 100))


async def test_declared_length_alone_does_not_fail() -> None:
    """Behaviour 14: a response to HEAD declares what it does not send."""
    async with HttpServer(reply(body=b"", length=1_000_000)) as server:
        assert (await probe(server.url, method="HEAD", max_body_bytes=100)).reason is None


async def test_limit_lets_conditions_see_all_that_is_within_it() -> None:
    async with HttpServer(reply(body=b"x" * 99 + b"!")) as server:
        assert (await probe(server.url, max_body_bytes=100, body_matches=["x!$"])).reason is None


async def test_status_counts_before_length() -> None:
    async with HttpServer(reply(500, b"x" * 200)) as server:
        assert (await probe(server.url, max_body_bytes=100)).reason == "http_status"


@pytest.mark.parametrize(
    ("asked", "encoding", "pack"),
    [
        ("gzip", "gzip", gzip.compress),
        ("gzip", "X-GZip", gzip.compress),
        ("gzip", "gzip", lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:])),
        ("deflate", "deflate", zlib.compress),
        ("deflate", "deflate", raw_deflate),
        ("gzip", "", bytes),
        ("gzip", "identity", bytes),
        ("deflate", "", bytes),
    ],
)
async def test_decoding(asked: str, encoding: str, pack: object) -> None:
    """Behaviour 15: what is asked for is decoded, and a server that does not encode is right as well."""
    assert callable(pack)
    body = b"all is well" * 1000
    packed = pack(body)

    async def drops(request: Request, writer: asyncio.StreamWriter) -> None:
        """In pieces, of which the first is a single byte."""
        assert request.header("Accept-Encoding") == asked
        writer.write(encoded(packed, encoding)[: -len(packed) + 1])
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(packed[1:])

    async with HttpServer(drops) as server:
        result = await probe(server.url, compression=asked, body_matches=["^(all is well)+$"])
    assert (result.reason, result.body_bytes) == (None, len(body))


async def test_nothing_is_decoded_unless_asked() -> None:
    """Behaviour 15."""
    packed = gzip.compress(b"all is well" * 1000)
    async with HttpServer(encoded(packed, "gzip")) as server:
        result = await probe(server.url, body_not_matches=["well"])
        assert server.requests[0].header("Accept-Encoding") == "identity"
    assert (result.reason, result.body_bytes) == (None, len(packed))


@pytest.mark.parametrize(
    ("asked", "encoding", "data"),
    [
        ("gzip", "br", b"whatever"),
        ("gzip", "deflate", zlib.compress(b"whatever")),
        ("gzip", "gzip, gzip", gzip.compress(gzip.compress(b"whatever"))),
        ("gzip", "gzip", b"whatever"),
        ("gzip", "gzip", gzip.compress(b"whatever" * 100)[:-4]),
        ("gzip", "gzip", gzip.compress(b"whatever")[:-8] + b"\0" * 8),
        ("gzip", "gzip", gzip.compress(b"whatever") + b"rubbish"),
        ("deflate", "deflate", gzip.compress(b"whatever")),
        ("deflate", "deflate", b"x"),
    ],
    ids=["unknown", "other", "twice", "none", "cut", "checksum", "trailing", "gzip-as-deflate", "one-byte"],
)
async def test_wrong_encoding(asked: str, encoding: str, data: bytes) -> None:
    """Behaviour 15: fails, with the length 0."""
    async with HttpServer(encoded(data, encoding)) as server:
        result = await probe(server.url, compression=asked)
    assert (result.reason, result.body_bytes, result.status_code) == ("body", 0, 200)


async def test_empty_body_needs_no_encoding() -> None:
    async with HttpServer(encoded(b"", "gzip")) as server:
        assert (await probe(server.url, compression="gzip")).reason is None


@pytest.mark.parametrize(
    "answer",
    [
        reply(body=b"abc", length=100),
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nrubbish\r\n",
    ],
    ids=["length", "chunks", "rubbish"],
)
@pytest.mark.parametrize("reset", [False, True])
async def test_body_that_breaks_off(answer: bytes, reset: bool) -> None:
    """Behaviour 16: a good status does not make up for it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if reset:
            await asyncio.sleep(0.02)
            writer.transport.abort()

    async with Listener(serve) as server:
        result = await probe(server.url)
    assert (result.reason, result.status_code, result.answered, result.body_bytes) == ("body", 200, True, 3)


_ENDLESS_GZIP = b"HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\n\r\n"

HOSTILE: dict[str, bytes | Answer] = {
    "/bomb": encoded(bomb(200 * MIB), "gzip"),
    "/endless": endless(b"HTTP/1.1 200 X\r\n\r\n", bytes(256 * 1024)),
    "/chunks": endless(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(65536) + b"\r\n"),
    # A stream of deflate blocks that hold nothing: it never ends and never gets longer either.
    "/nothing": endless(_ENDLESS_GZIP + gzip.compress(b"")[:10], b"\x00\x00\x00\xff\xff" * 10_000),
}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("path", HOSTILE)
async def test_memory_stays_flat(path: str, keep: bool) -> None:
    """a.6: httpx took 413 MiB for the bomb, and handed it out in chunks of 67 MB."""
    process = psutil.Process()
    settings = {"body_matches": ["."]} if keep else {}
    compression = "gzip" if path in ("/bomb", "/nothing") else "identity"
    async with HttpServer(HOSTILE) as server:
        before = process.memory_info().rss
        tracemalloc.start()
        result = await probe(server.url + path, compression=compression, **settings)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        grown = process.memory_info().rss - before
    assert (result.reason, result.body_bytes) == ("too_large", MIB)
    assert peak < 8 * MIB
    assert grown < 24 * MIB


async def test_greedy_body_leaves_the_loop_to_others() -> None:
    """A million chunks of one byte each lie ready; other probes must not wait for their end."""
    flood = b"1\r\nx\r\n" * 10_000
    async with HttpServer(endless(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", flood)) as server:
        loop = asyncio.get_running_loop()
        gaps: list[float] = []

        async def ticks() -> AsyncIterator[float]:
            while True:
                before = loop.time()
                await asyncio.sleep(0.001)
                yield loop.time() - before

        async def watch() -> None:
            async for gap in ticks():
                gaps.append(gap)  # noqa: PERF401

        watching = asyncio.create_task(watch())
        result = await probe(server.url, timeout="500ms", max_body_bytes=10 * MIB)
        watching.cancel()
    assert result.reason == "timeout"
    assert result.elapsed < 1
    assert sorted(gaps)[len(gaps) // 2] < 0.05
