"""Host names to addresses, without blocking the loop and without one name's trouble becoming another's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from rounds.services.config import IpFamily
from rounds.threads import in_daemon_thread

_FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
_PREFERRED = {"prefer_ipv4": socket.AF_INET, "prefer_ipv6": socket.AF_INET6}


class Address(NamedTuple):
    """An IP address. ``scope`` is the index of the interface that a link-local one belongs to."""

    family: socket.AddressFamily
    ip: str
    scope: int = 0

    def socket_address(self, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
        """The form that sockets take."""
        return (self.ip, port) if self.family == socket.AF_INET else (self.ip, port, 0, self.scope)

    def shown(self, port: int) -> str:
        """``127.0.0.1:80``, ``[::1]:80``."""
        return f"{self.ip}:{port}" if self.family == socket.AF_INET else f"[{self.ip}]:{port}"


class Unresolved(Exception):  # noqa: N818  # says what the name is
    """A name without an address of the wanted family; the message says so."""


def literal(host: str) -> Address | None:
    """The address that ``host`` spells out, or None when it is a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return Address(family, host)
    return None


class Resolver:
    """Looks names up as the system does, once for all who ask for the same name at the same time.

    Each lookup has a daemon thread of its own: with a pool, a few names whose server is silent would block all others,
    and its threads would hold up the end of the process. There is at most one lookup for a name, so a silent server
    holds no more threads than there are names. Nothing is cached: a probe is to see what a client would see.
    """

    def __init__(self) -> None:
        self._running: dict[tuple[str, IpFamily], asyncio.Future[list[Address] | Unresolved]] = {}

    async def resolve(self, host: str, family: IpFamily) -> Sequence[Address]:
        """The addresses of a name, in the order in which they should be tried, never empty.

        Raises:
            Unresolved: there is none.
        """
        key = (host, family)
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = in_daemon_thread(partial(_look_up, host, family), "resolver")
            running.add_done_callback(lambda _: self._running.pop(key))
        # Whoever gives up must not take the lookup away from the others.
        found = await asyncio.shield(running)
        if isinstance(found, Unresolved):
            raise Unresolved(*found.args)
        return found


def ordered(addresses: Sequence[Address], family: IpFamily) -> list[Address]:
    """Those that may be used, the preferred ones first."""
    if family in _FAMILIES:
        return [address for address in addresses if address.family == _FAMILIES[family]]
    return sorted(addresses, key=lambda address: address.family != _PREFERRED[family])


def _look_up(host: str, family: IpFamily) -> list[Address] | Unresolved:
    """Runs in a thread. Failures are returned: nobody may be left who would take an exception out of the future."""
    try:
        wanted = _FAMILIES.get(family, socket.AF_UNSPEC)
        entries = socket.getaddrinfo(host, None, wanted, socket.SOCK_STREAM)
    except OSError as error:
        return Unresolved(error.strerror or type(error).__name__)
    except UnicodeError:
        return Unresolved("not a host name")
    found = [
        Address(socket.AddressFamily(entry_family), str(address[0]), int(address[3]) if len(address) > 3 else 0)  # noqa: PLR2004
        for entry_family, _, _, _, address in entries
    ]
    return ordered(found, family) or Unresolved("no address of the wanted family")
