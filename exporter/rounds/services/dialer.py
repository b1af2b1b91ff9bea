"""From a host's name to a connection: resolve, connect, TLS; each a phase that is timed, each with its own reason."""

from __future__ import annotations

import asyncio
import errno
import functools
from collections.abc import Awaitable, Callable, Sequence

from cryptography import x509

from rounds.services.config import IpFamily
from rounds.services.network import SocketStream, Stream, TlsError, TlsStream, connect, start_tls
from rounds.services.resolver import Address, Resolver, Unresolved, literal, ordered
from rounds.services.tls import TlsOptions
from rounds.services.trail import Failure, Trail

_OUR_OWN_FAULT = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Dialer:
    """Connects as one check is configured to.

    Args:
        resolver: shared by all checks.
        family: which addresses to use, and which first.
        options: how TLS is done.
    """

    def __init__(self, resolver: Resolver, family: IpFamily, options: TlsOptions) -> None:
        self._resolver = resolver
        self._family = family
        self._options = options
        self.context = options.context()

    async def reach(self, trail: Trail, host: str, port: int) -> SocketStream:
        """A TCP connection to the first of the host's addresses that accepts one.

        Raises:
            Failure: ``dns``, ``connect``, or ``error`` where it is this machine that cannot.
        """
        addresses = await self._addresses(trail, host)
        refusals: list[str] = []
        trail.enter("connect")
        for index, address in enumerate(addresses):
            try:
                left = len(addresses) - index
                if left == 1:
                    stream = await connect(address, port)
                else:  # leave time for the others: this may be an address whose packets vanish
                    async with asyncio.timeout(trail.left() / left):
                        stream = await connect(address, port)
            except OSError as error:
                if error.errno in _OUR_OWN_FAULT:
                    raise Failure("error", f"no socket to be had here: {error.strerror}") from error
                refusals.append(f"{address.shown(port)}: {error.strerror or 'no answer'}")
                trail.note("no connection to %s", refusals[-1])
            else:
                trail.leave()
                trail.note("connected to %s port %d", address.ip, port)
                return stream
        raise Failure("connect", "; ".join(refusals))

    async def secure(self, trail: Trail, reach: Callable[[Trail], Awaitable[Stream]], server_name: str) -> TlsStream:
        """TLS over the connection that ``reach`` makes.

        If the certificate has expired, its date is looked up over a second, unverified connection, over which nothing
        is asked: the date matters most when it has passed.

        Raises:
            Failure: ``tls``, and whatever ``reach`` raises.
        """
        below = await reach(trail)
        trail.enter("tls")
        try:
            stream = await start_tls(below, self.context, server_name)
        except TlsError as error:
            trail.failure = Failure("tls", str(error))
            trail.note("TLS failed: %s", error)
            if error.expired:
                await self._learn_expiry(trail, reach, server_name)
            raise trail.failure from error
        trail.leave()
        trail.tls_expiry = expiry(stream)
        trail.note("%s with %s", stream.description(), server_name)
        return stream

    async def _addresses(self, trail: Trail, host: str) -> Sequence[Address]:
        if given := literal(host):
            if not ordered([given], self._family):
                raise Failure("dns", f"{host} is not an {self._family} address")
            return [given]
        trail.enter("resolve")
        try:
            addresses = await self._resolver.resolve(host, self._family)
        except Unresolved as error:
            trail.note("%s was not resolved: %s", host, error)
            raise Failure("dns", f"{host}: {error}") from error
        trail.leave()
        trail.note("resolved %s to %s", host, _Listed(addresses))
        return addresses

    async def _learn_expiry(self, trail: Trail, reach: Callable[[Trail], Awaitable[Stream]], server_name: str) -> None:
        lenient = self._options.model_copy(update={"insecure_skip_verify": True}).context()
        try:
            # Apart from the probe's own account: this connection is not what is measured.
            stream = await start_tls(await reach(Trail(trail.left())), lenient, server_name)
        except (Failure, TlsError):
            return
        trail.tls_expiry = expiry(stream)
        stream.close()


class _Listed:
    """Addresses for a note, put into words when the clock has stopped."""

    __slots__ = ("_addresses",)

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses

    def __str__(self) -> str:
        return ", ".join(address.ip for address in self._addresses)


def expiry(stream: TlsStream) -> float | None:
    """When the peer's certificate expires, in Unix seconds; None if it cannot be read."""
    certificate = stream.certificate()
    return _expiry(certificate) if certificate else None


@functools.lru_cache(maxsize=4096)
def _expiry(certificate: bytes) -> float | None:
    try:
        return x509.load_der_x509_certificate(certificate).not_valid_after_utc.timestamp()
    except ValueError:
        return None
