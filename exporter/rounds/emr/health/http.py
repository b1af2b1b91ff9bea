"""A request to a server nearby, with one deadline for all of it and a bound for its answer.

The time-outs of the standard library are those of single reads: a server that gives a byte now and then is waited for
without end. Nothing is followed, no proxy is asked.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import ssl
import time
from typing import Any, cast
from urllib.parse import urlsplit

#: Longest answer in bytes; a list of models is some hundred bytes for each.
_LIMIT = 4 * 1024 * 1024
_OK = 200


class HttpError(Exception):
    """No answer of use. ``reason`` is unreachable, timeout, status or invalid; the text is for people."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class _Reader(io.RawIOBase):
    """What a socket receives until a point of ``time.monotonic``."""

    def __init__(self, sock: socket.socket, end: float) -> None:
        super().__init__()
        self._sock = sock
        self._end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self._end))
        return self._sock.recv_into(buffer)


class _Socket:
    """As much of a socket as ``http.client`` uses."""

    def __init__(self, sock: socket.socket, end: float) -> None:
        self._sock = sock
        self._end = end

    def makefile(self, *_: object) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock, self._end))

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(_left(self._end))  # of all that is sent
        self._sock.sendall(data)

    def close(self) -> None:
        """Called before the answer's body is read. Whoever has made the socket closes it."""


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def ask(base: str, path: str, end: float, document: Any = None) -> dict[str, Any]:
    """Get a JSON object, or post one and get another.

    Looking up the host's name is the system's, and is not ended at the deadline.

    Args:
        base: the server's URL; a path in it is put before ``path``.
        path: such as ``/api/tags``.
        end: the deadline, by ``time.monotonic()``.
        document: what to post.

    Raises:
        HttpError: there is no such answer: the server cannot be reached, it is late, it gives another status, or
            something other than a JSON object.
    """
    parts = urlsplit(base)
    target = parts.path.rstrip("/") + path + (f"?{parts.query}" if parts.query else "")
    body = None if document is None else json.dumps(document).encode()
    headers = {"Connection": "close", **({} if body is None else {"Content-Type": "application/json"})}
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    with _connect(parts.scheme, parts.hostname or "", parts.port, end) as sock:
        connection.sock = cast("socket.socket", _Socket(sock, end))
        try:
            connection.request("GET" if body is None else "POST", target, body, headers)
            response = connection.getresponse()
            text = response.read(_LIMIT + 1) if response.status == _OK else b""
        except TimeoutError:
            raise HttpError("timeout", "does not answer in time") from None
        except (http.client.HTTPException, OSError, ValueError):
            raise HttpError("invalid", "breaks off, or does not speak HTTP") from None
    if response.status != _OK:
        raise HttpError("status", f"answers with status {response.status}")
    return _object(text)


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text) if len(text) <= _LIMIT else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise HttpError("invalid", "answers, but not with the JSON that is documented")
    return found


def _connect(scheme: str, host: str, port: int | None, end: float) -> socket.socket:
    """The first of the host's addresses that takes a connection."""
    number = port or (443 if scheme == "https" else 80)
    try:
        addresses = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise HttpError("unreachable", "its name cannot be looked up") from None
    text = "cannot be reached"
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_left(end))
            sock.connect(address)
            if scheme == "https":
                sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        except ConnectionRefusedError:
            text = "refuses the connection: it does not run"
        except TimeoutError:
            text = "takes no connection in time"
        except ssl.SSLError:
            text = "cannot be trusted, or does not speak TLS"
        except OSError:
            pass
        except BaseException:
            sock.close()
            raise
        else:
            return sock
        sock.close()
    raise HttpError("unreachable", text)
