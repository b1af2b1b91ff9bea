"""Reading a response's body: never more of it than the check allows, however it is packed."""

from __future__ import annotations

import asyncio
import zlib
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal, cast

import httpcore

from rounds.services.network import TlsError
from rounds.services.trail import Failure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

#: Chunks that are worked off before other probes have their turn; a read can hold thousands of one byte each.
_CHUNKS_IN_A_ROW = 64
#: What an encoded body may be longer than its content: frames around data that does not shrink, and trailers.
_ENCODING_OVERHEAD = 64 * 1024

_ZLIB_WINDOW, _RAW_WINDOW, _GZIP_WINDOW = 15, -15, 31


class Body:
    """A body that is being read.

    Attributes:
        length: bytes of content so far, after decoding, never above the limit.
        content: the content itself, empty if it is not to be kept.

    Args:
        limit: most bytes of content.
        encoding: what was asked for; nothing else is decoded.
        keep: whether the content is wanted; else it is only counted.
    """

    def __init__(self, limit: int, encoding: Literal["identity", "gzip", "deflate"], *, keep: bool) -> None:
        self._limit = limit
        self._encoding = encoding
        self._keep = keep
        self._parts: list[bytes] = []
        self.length = 0

    @property
    def content(self) -> bytes:
        return b"".join(self._parts)

    async def read(self, response: httpcore.Response) -> None:
        """Read a response to its end.

        Raises:
            Failure: ``too_large``; or ``body`` where it was cut off or its encoding is not what was asked for.
        """
        decoder = self._decoder(response)
        # The bytes httpcore hands out are framed by Content-Length or chunks already, not decoded.
        chunks = cast("AsyncGenerator[bytes, None]", aiter(cast("AsyncIterable[bytes]", response.stream)))
        count = raw = 0
        async with aclosing(chunks):
            try:
                async for chunk in chunks:
                    count += 1
                    raw += len(chunk)
                    room = self._limit - self.length
                    if decoder is not None:
                        # One byte more than there is room for tells a body that is too long from one that just fits.
                        chunk = decoder.decode(chunk, room + 1)  # noqa: PLW2901
                    if len(chunk) > room or raw > self._limit + _ENCODING_OVERHEAD:
                        self.length = self._limit
                        raise Failure("too_large", f"the body is longer than {self._limit} bytes")
                    self.length += len(chunk)
                    if self._keep:
                        self._parts.append(chunk)
                    if count % _CHUNKS_IN_A_ROW == 0:
                        await asyncio.sleep(0)
            except (httpcore.NetworkError, httpcore.ProtocolError, TlsError) as error:
                raise Failure("body", f"the body broke off after {self.length} bytes") from error
            except zlib.error as error:
                self._forget()
                raise Failure("body", f"the body is not {self._encoding} throughout") from error
        if decoder is not None and raw and not decoder.complete:
            self._forget()
            raise Failure("body", f"the {self._encoding} of the body breaks off")

    def _decoder(self, response: httpcore.Response) -> _Inflater | None:
        if self._encoding == "identity":
            return None
        given = b", ".join(value for name, value in response.headers if name.lower() == b"content-encoding")
        found = given.decode("latin-1").strip().lower()
        if found in ("", "identity"):
            return None
        if found.removeprefix("x-") != self._encoding:
            raise Failure("body", f"the body is encoded otherwise than asked: {self._encoding}")
        return _Inflater(self._encoding)

    def _forget(self) -> None:
        self.length = 0
        self._parts.clear()


class _Inflater:
    """Decodes gzip (of several members too) and deflate (with or without the zlib frame that it should have)."""

    def __init__(self, encoding: Literal["gzip", "deflate"]) -> None:
        self._window = _GZIP_WINDOW if encoding == "gzip" else None
        self._engine = zlib.decompressobj(_GZIP_WINDOW)
        self._held = b""

    @property
    def complete(self) -> bool:
        """The end of the encoded data has been seen."""
        return self._engine.eof

    def decode(self, data: bytes, most: int) -> bytes:
        """The next content, at most ``most`` bytes of it; once that many have come, it must not be called again.

        Raises:
            zlib.error: the data is corrupt.
        """
        data = self._held + data
        if self._window is None and len(data) < 2:  # noqa: PLR2004  # the two bytes that a zlib frame starts with
            self._held = data
            return b""
        self._held = b""
        if self._window is None:
            framed = data[0] & 0x0F == zlib.DEFLATED and (data[0] << 8 | data[1]) % 31 == 0
            self._window = _ZLIB_WINDOW if framed else _RAW_WINDOW
            self._engine = zlib.decompressobj(self._window)
        parts: list[bytes] = []
        while data and most > 0:
            if self._engine.eof:
                self._engine = zlib.decompressobj(self._window)
            part = self._engine.decompress(data, most)
            parts.append(part)
            most -= len(part)
            data = self._engine.unconsumed_tail or self._engine.unused_data
        return b"".join(parts)
