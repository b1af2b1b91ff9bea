"""Names, ports and what an address says of the way to it."""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from pathlib import Path

#: Seconds for a port to answer.
_WITHIN = 5.0


def resolve(host: str) -> list[str]:
    """The addresses of a host.

    Raises:
        OSError: it has none.
    """
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)))


def resolves(host: str) -> bool:
    """Whether a host has an address."""
    try:
        return bool(resolve(host))
    except (OSError, UnicodeError):
        return False


def knock(host: str, port: int) -> float:
    """Connect, and give the seconds that it took.

    Raises:
        OSError: nothing answers.
    """
    began = time.monotonic()
    socket.create_connection((host, port), _WITHIN).close()
    return time.monotonic() - began


def is_loopback(host: str) -> bool:
    """Whether a host is the machine itself, or the container itself."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def is_private(host: str) -> bool:
    """Whether a host has addresses of a private network alone."""
    try:
        return all(ipaddress.ip_address(each.partition("%")[0]).is_private for each in resolve(host))
    except (OSError, ValueError):
        return False


def in_container() -> bool:
    """Whether this process runs in a container, where ``localhost`` is the container."""
    marks = (Path("/.dockerenv"), Path("/run/.containerenv"))
    return "KUBERNETES_SERVICE_HOST" in os.environ or any(mark.exists() for mark in marks)
