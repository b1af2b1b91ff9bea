"""Byte streams for httpcore over sockets of our own, so that connecting and TLS can be timed and never leak."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple

import httpcore

from rounds.services.resolver import Address

Result = TypeVar("Result")
Given = TypeVarTuple("Given")

#: Most bytes taken from a socket at once: what the loop works off before it looks after other probes again.
_READ_BYTES = 16 * 1024


class TlsError(Exception):
    """TLS failed; the message says how.

    Attributes:
        expired: the certificate was refused because its time is over.
    """

    def __init__(self, message: str, *, expired: bool = False) -> None:
        super().__init__(message)
        self.expired = expired


class TooMuchError(Exception):
    """The peer sent more than ``allowance``."""


class SocketStream(httpcore.AsyncNetworkStream):
    """A connected socket. Deadlines are the caller's: the timeouts of httpcore's interface are not used.

    Attributes:
        received: bytes read so far.
        allowance: most bytes that may be read before :class:`TooMuchError` is raised.
        ended: the peer has closed its side.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self.received = 0
        self.allowance = sys.maxsize
        self.ended = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """Whatever has come, at least one byte; none at the end.

        Raises:
            httpcore.ReadError: the connection broke.
            TooMuchError: the allowance is spent.
        """
        if self.received >= self.allowance:
            raise TooMuchError
        while True:
            # Always by way of the loop, also where bytes lie ready: an endless sender must not keep it from others.
            await _ready(self._loop.add_reader, self._loop.remove_reader, self._socket.fileno())
            try:
                data = self._socket.recv(min(max_bytes, _READ_BYTES))
            except BlockingIOError:
                continue
            except OSError as error:
                raise httpcore.ReadError(error.strerror) from error
            self.received += len(data)
            self.ended = not data
            return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Send it all.

        Raises:
            httpcore.WriteError: the connection broke.
        """
        while buffer:
            try:
                sent = self._socket.send(buffer)
            except BlockingIOError:
                await _ready(self._loop.add_writer, self._loop.remove_writer, self._socket.fileno())
            except OSError as error:
                raise httpcore.WriteError(error.strerror) from error
            else:
                buffer = buffer[sent:]

    def write_now(self, buffer: bytes) -> None:
        """Send what fits; for parting words, whose loss matters to nobody."""
        try:
            self._socket.send(buffer)
        except OSError:
            return

    def quiet(self) -> bool:
        """Nothing has come that was not read, the end included: on an idle connection, the sign that it still stands.

        Servers may close an idle connection with a message (408), which would pass for the answer to the next request.
        """
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close the socket; may be called again."""
        self._socket.close()

    async def aclose(self) -> None:
        """As :meth:`close`, for httpcore."""
        self.close()

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002
        """Nothing: httpcore asks only where it keeps a pool."""
        return


class TlsStream(httpcore.AsyncNetworkStream):
    """TLS over a stream, which may be TLS itself (a proxy's). Made by :func:`start_tls`."""

    def __init__(self, below: Stream, context: ssl.SSLContext, server_name: str) -> None:
        self._below = below
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    @property
    def received(self) -> int:
        """Bytes read so far, as they came over the wire."""
        return self._below.received

    @property
    def ended(self) -> bool:
        """The peer has closed its side."""
        return self._below.ended

    @property
    def allowance(self) -> int:
        """Most bytes that may come over the wire."""
        return self._below.allowance

    @allowance.setter
    def allowance(self, value: int) -> None:
        self._below.allowance = value

    async def handshake(self) -> None:
        """Agree on keys, and verify the certificate if the context wants it.

        Raises:
            ssl.SSLError, httpcore.NetworkError: it failed.
        """
        await self._pump(self._tls.do_handshake)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """As :meth:`SocketStream.read`.

        Raises:
            TlsError: the peer refused (a client certificate, for one) or what came was forged.
        """
        try:
            return await self._pump(self._tls.read, max_bytes)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            # Many servers end without the farewell that TLS asks for. Whether the response is whole, HTTP says.
            return b""
        except ssl.SSLError as error:
            raise TlsError(_spoken(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """As :meth:`SocketStream.write`."""
        if buffer:
            await self._pump(self._tls.write, buffer)

    def write_now(self, buffer: bytes) -> None:
        """As :meth:`SocketStream.write_now`."""
        try:
            self._tls.write(buffer)
        except ssl.SSLError:
            return
        self._below.write_now(self._outgoing.read())

    def quiet(self) -> bool:
        """As :meth:`SocketStream.quiet`."""
        return not self._incoming.pending and self._below.quiet()

    def certificate(self) -> bytes | None:
        """The peer's own certificate in DER form, verified or not."""
        return self._tls.getpeercert(binary_form=True)

    def description(self) -> str:
        """Protocol and cipher, such as ``TLSv1.3 TLS_AES_256_GCM_SHA384``."""
        cipher = self._tls.cipher()
        return f"{self._tls.version()} {cipher[0] if cipher else ''}"

    def close(self) -> None:
        """Say farewell as far as that goes without waiting, and close the socket; may be called again."""
        with suppress(ssl.SSLError, ValueError):
            self._tls.unwrap()
        self._below.write_now(self._outgoing.read())
        self._below.close()

    async def aclose(self) -> None:
        """As :meth:`close`, for httpcore."""
        self.close()

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002
        """Nothing: httpcore asks only where it keeps a pool."""
        return

    async def _pump(self, step: Callable[[*Given], Result], *arguments: *Given) -> Result:
        """Do a step of TLS, moving bytes between it and the stream below for as long as it wants more."""
        while True:
            try:
                result = step(*arguments)
            except ssl.SSLWantReadError:
                await self._flush()
                if data := await self._below.read(_READ_BYTES):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except ssl.SSLError:
                self._below.write_now(self._outgoing.read())  # the alert that tells the peer why
                raise
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._below.write(self._outgoing.read())


Stream = SocketStream | TlsStream


async def connect(address: Address, port: int) -> SocketStream:
    """A TCP connection.

    Raises:
        OSError: there is none to be had.
    """
    target = address.socket_address(port)
    connecting = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = connecting.connect_ex(target)
        if code == errno.EINPROGRESS:
            loop = asyncio.get_running_loop()
            await _ready(loop.add_writer, loop.remove_writer, connecting.fileno())
            code = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0 and connecting.getsockname() == target:
            # Nobody listens, and the system happened to choose this very port for our end: TCP then meets itself.
            code = errno.ECONNREFUSED
    except BaseException:
        connecting.close()
        raise
    if code:
        connecting.close()
        raise OSError(code, os.strerror(code))
    return SocketStream(connecting)


async def start_tls(below: Stream, context: ssl.SSLContext, server_name: str) -> TlsStream:
    """TLS over a stream, which is closed if that fails.

    Args:
        server_name: a name or an IP address, to be asked for (SNI, names only) and to be found in the certificate.

    Raises:
        TlsError: the handshake failed or the certificate was refused.
    """
    try:
        stream = TlsStream(below, context, server_name)
        await stream.handshake()
    except ssl.SSLCertVerificationError as error:
        below.close()
        expired = error.verify_code == _CERT_HAS_EXPIRED
        raise TlsError(f"certificate refused: {error.verify_message}", expired=expired) from error
    except ssl.SSLError as error:
        below.close()
        raise TlsError(_spoken(error)) from error
    except httpcore.NetworkError as error:
        below.close()
        raise TlsError("connection broken during the handshake") from error
    except ValueError as error:  # a label of more than 63 letters, for one
        below.close()
        raise TlsError("the server's name cannot be asked for") from error
    except BaseException:
        below.close()
        raise
    return stream


#: OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED, which the module ssl does not name.
_CERT_HAS_EXPIRED = 10


def _spoken(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "connection closed during the handshake"
    return (error.reason or type(error).__name__).lower().replace("_", " ")


async def _ready(add: Callable[..., None], remove: Callable[[int], bool], descriptor: int) -> None:
    """Wait until a socket can be read or written."""
    ready = asyncio.get_running_loop().create_future()
    add(descriptor, _wake, ready)
    try:
        await ready
    finally:
        remove(descriptor)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
