"""Servers that mean no good, and a healthy one, in a process of their own: so that their work is not measured.

As a program it prints their URLs as JSON and serves until its input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import zlib

from support.servers import Answer, HttpServer, Listener, Request, redirect, reply

_MIB = 1024 * 1024


def bomb(size: int) -> bytes:
    """So many zeros as gzip, packed a piece at a time."""
    engine = zlib.compressobj(9, wbits=31)
    piece = bytes(_MIB)
    return b"".join(engine.compress(piece) for _ in range(size // _MIB)) + engine.flush()


def endless(head: bytes, piece: bytes, pause: float = 0.0) -> Answer:
    """A response that never ends."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


async def slow(_: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.3)
    writer.write(reply())


async def never(_: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


CHUNKED = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"

#: By path, each with the reason that a probe with ``compression: gzip`` finds.
PAGES: dict[str, tuple[bytes | Answer, str | None]] = {
    "/healthy": (reply(body=b'{"status": "ok"}'), None),
    "/slow": (slow, None),
    "/never": (never, "timeout"),
    "/drip-head": (endless(b"HTTP/1.1 200 X\r\n", b"X: y\r\n", 0.02), "timeout"),
    "/drip-body": (endless(b"HTTP/1.1 200 X\r\nContent-Length: 9999\r\n\r\n", b"x", 0.02), "timeout"),
    "/bomb": (reply(body=bomb(200 * _MIB), headers=[("Content-Encoding", "gzip")]), "too_large"),
    "/endless": (endless(b"HTTP/1.1 200 X\r\n\r\n", bytes(65536)), "too_large"),
    "/crumbs": (endless(CHUNKED, b"1\r\nx\r\n" * 1_000), "timeout"),
    "/loop": (redirect("/loop"), "redirect"),
    "/garbage": (b"\x00\xff" * 1_000 + b"\r\n\r\n", "error"),
    "/interim": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500), "error"),
    "/short": (reply(body=b"abc", length=100, headers=[("Connection", "close")]), "body"),
}


async def _serve() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = HttpServer({path: page for path, (page, _) in PAGES.items()})
    async with server, Listener(hang_up) as rude:
        print(json.dumps({"pages": server.url, "rude": rude.url}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve())
