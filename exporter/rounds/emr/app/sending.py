"""Sends what the spool holds, on a thread of its own: the application never waits for a network.

What was sent may be sent again where the process is killed in between, so a destination knows reports by their ids.
"""

from __future__ import annotations

import email.utils
import ipaddress
import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from rounds.emr.app.spool import Spool, Waiting

#: Seconds that a destination may take to answer.
TIMEOUT = 30.0
#: Seconds until the second attempt; each further one waits twice as long, up to an hour.
FIRST_DELAY = 5.0
LONGEST_DELAY = 3600.0
#: The longest that a destination can have us wait.
LONGEST_PAUSE = 86_400.0
#: Seconds after which the spool is looked at without a reason: another process may have put something into it.
_IDLE = 60.0
#: Answers that another attempt may change: a proxy or the login page of a network redirects.
_AGAIN = frozenset({408, 425, 429})

_logger = logging.getLogger("rounds.emr")


class Headers(Protocol):
    """An answer's headers, whatever the case of their names."""

    def get(self, name: str, /) -> str | None:
        """A header's value, None where it is absent."""


def retry_after(headers: Headers) -> float | None:
    """Seconds that ``Retry-After`` asks for, None where it says nothing."""
    text = headers.get("Retry-After") or ""
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class Target:
    """Where a kind of the spool's rows goes. ``pause`` finds in an answer's headers how long to wait, in seconds."""

    kind: str
    url: str
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    pause: Callable[[Headers], float | None] = retry_after


def allowed(url: str) -> bool:
    """Whether reports may be sent there: by https, or by http where they do not leave the computer."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    if not host or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _loopback(host))


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Answer:
    """What a destination said; status 0 where it said nothing."""

    status: int
    pause: float | None = None


def post(target: Target, body: bytes, timeout: float) -> Answer:
    """Send a body; certificates are checked, redirects are not followed, proxies are those of the environment."""
    # Sixty modules that an application without crash reports does not need.
    import http.client  # noqa: PLC0415
    import ssl  # noqa: PLC0415
    import urllib.error  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    # No proxy can reach what is on this computer.
    proxies: dict[str, str] | None = {} if _loopback(urlsplit(target.url).hostname or "") else None
    # Of our own: programs that switch the checks off for themselves do so for all that ask for none.
    protected = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies), protected, Stay())
    headers = {"User-Agent": "rounds-emr", **target.headers}
    request = urllib.request.Request(target.url, body, headers, method="POST")  # noqa: S310  # see allowed()
    try:
        with opener.open(request, timeout=timeout) as response:
            return Answer(response.status, target.pause(response.headers))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, target.pause(error.headers))
    except (OSError, http.client.HTTPException, ValueError) as error:
        _logger.debug("a report could not be sent: %s", type(error).__name__)
        return Answer(0)


class Sender:
    """Sends to its targets, each time the oldest first.

    Args:
        spool: what is to be sent.
        targets: where to; at most one for each kind.
        first_delay: seconds until the second attempt.
        timeout: seconds that an answer may take.
    """

    def __init__(
        self, spool: Spool, targets: Sequence[Target], *, first_delay: float = FIRST_DELAY, timeout: float = TIMEOUT
    ) -> None:
        self._spool = spool
        self._targets = targets
        self._first_delay = first_delay
        self._timeout = timeout
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._stopping = False
        self._pid = 0
        self._paused: dict[str, float] = {}

    def start(self) -> None:
        """Begin with what an earlier process has left."""
        self._pid = os.getpid()
        threading.Thread(target=self._run, name="rounds-emr-sender", daemon=True).start()

    def kick(self) -> None:
        """Say that there is something new."""
        self._idle.clear()
        self._wake.set()

    def settle(self, timeout: float) -> bool:
        """Wait until there is nothing that can be sent now, at most so many seconds; whether it is so."""
        return self._pid != os.getpid() or self._idle.wait(timeout)

    def stop(self) -> None:
        """Send nothing more. What is under way may still arrive."""
        self._stopping = True
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            wait = min((self._all_of(target) for target in self._targets), default=_IDLE)
            if not self._wake.is_set():
                self._idle.set()
            self._wake.wait(max(0.01, min(wait, _IDLE)))

    def _all_of(self, target: Target) -> float:
        """Send what can be sent now; seconds until there may be more."""
        while not self._stopping:
            paused = self._paused.get(target.kind, 0.0) - time.monotonic()
            if paused > 0:
                return paused
            try:
                waiting = self._spool.take(target.kind, time.time())
                if waiting is None:
                    return _IDLE
                if not isinstance(waiting, Waiting):
                    return waiting
                self._send(target, waiting)
            except sqlite3.Error as error:
                _logger.debug("the spool cannot be used now: %s", type(error).__name__)
                return _IDLE
            except Exception:
                _logger.debug("a report could not be sent", exc_info=False)
                return _IDLE
        return 0.0

    def _send(self, target: Target, waiting: Waiting) -> None:
        answer = post(target, waiting.body, self._timeout)
        if 200 <= answer.status < 300:  # noqa: PLR2004
            if answer.pause:
                self._paused[target.kind] = time.monotonic() + min(answer.pause, LONGEST_PAUSE)
            self._spool.sent(waiting)
        elif 400 <= answer.status < 500 and answer.status not in _AGAIN:  # noqa: PLR2004
            _logger.warning("a report was refused with the status %d and is given up", answer.status)
            self._spool.refused(waiting)
        else:
            delay = min(LONGEST_DELAY, self._first_delay * 2.0 ** min(waiting.attempts - 1, 20))
            # Many computers are without a network at the same time, and get it back at the same time.
            delay *= random.uniform(0.8, 1.2)  # noqa: S311
            self._spool.later(waiting, time.time() + min(max(delay, answer.pause or 0.0), LONGEST_PAUSE))
