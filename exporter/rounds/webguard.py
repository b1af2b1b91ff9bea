"""What the web configuration puts before the application, as ASGI middleware: headers, rate limit, passwords."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import math
import secrets
import time
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

import bcrypt
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from rounds.threads import in_daemon_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from rounds.fields import Secret
    from rounds.webconfig import RateLimit

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="rounds", charset="UTF-8"'}
_REMEMBERED = 128
_BCRYPT_BYTES = 72


class BasicAuth:
    """Lets in whoever knows a user's password; everybody while there are no users.

    Args:
        app: what is behind it.
        users: bcrypt hashes by the users' names, asked for on every request.
    """

    def __init__(self, app: ASGIApp, users: Callable[[], Mapping[str, Secret]]) -> None:
        self._app = app
        self._users = users
        # One hash at a time, so that a flood of wrong passwords keeps one processor busy at most.
        self._turn = asyncio.Lock()
        self._salt = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or answer 401."""
        users = self._users()
        if scope["type"] == "lifespan" or not users or await self._may_enter(scope, users):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await PlainTextResponse("Unauthorized\n", 401, _CHALLENGE)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _may_enter(self, scope: Scope, users: Mapping[str, Secret]) -> bool:
        credentials = _credentials(Headers(scope=scope).get("authorization", ""))
        if credentials is None:
            return False
        name, _, password = credentials.partition(b":")
        own = users.get(name.decode(errors="surrogateescape"))
        # A name that nobody has costs the same time as a wrong password, so that names cannot be guessed one by one.
        expected = (own or next(iter(users.values()))).reveal().encode()
        proof = hmac.digest(self._salt, expected + credentials, "sha256")
        if own and self._remembers(proof):
            return True
        async with self._turn:
            if own and self._remembers(proof):
                return True
            matches = await in_daemon_thread(partial(_matches, password, expected), "rounds-password")
        if own and matches:
            self._remember(proof)
        return matches and own is not None

    def _remembers(self, proof: bytes) -> bool:
        if proof not in self._right:
            return False
        self._right.move_to_end(proof)
        return True

    def _remember(self, proof: bytes) -> None:
        self._right[proof] = None
        if len(self._right) > _REMEMBERED:
            self._right.popitem(last=False)


def _credentials(header: str) -> bytes | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        credentials = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return credentials if b":" in credentials else None


def _matches(password: bytes, expected: bytes) -> bool:
    try:
        # Bcrypt never looks further, but newer versions of the library refuse longer passwords instead of cutting them.
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], expected)
    except ValueError:
        return False


class RateLimiter:
    """A token bucket before the application: answers 429 when it is empty.

    Args:
        app: what is behind it.
        limit: the bucket's size and pace, asked for on every request.
        clock: seconds that only grow.
    """

    def __init__(
        self, app: ASGIApp, limit: Callable[[], RateLimit], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._limit = limit
        self._clock = clock
        self._tokens = math.inf
        self._counted_at = clock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or answer 429."""
        wait = self._wait(self._limit()) if scope["type"] == "http" else 0
        if wait > 0:
            after = {"Retry-After": str(math.ceil(wait))}
            await PlainTextResponse("Too Many Requests\n", 429, after)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _wait(self, limit: RateLimit) -> float:
        """Take a token, or say in how many seconds there will be one."""
        if not limit.interval:
            return 0
        now = self._clock()
        self._tokens = min(limit.burst, self._tokens + (now - self._counted_at) / limit.interval)
        self._counted_at = now
        if self._tokens < 1:
            return (1 - self._tokens) * limit.interval
        self._tokens -= 1
        return 0


class ResponseHeaders:
    """Puts headers on every response, over the application's own.

    Args:
        app: what is behind it.
        headers: asked for on every request.
    """

    def __init__(self, app: ASGIApp, headers: Callable[[], Mapping[str, str]]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        headers = self._headers()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)
