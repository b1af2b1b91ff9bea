"""One source after its configuration: the way to it, the login, its version, its clock, and what its user may do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from rounds.databases import faults
from rounds.databases.databases import Databases
from rounds.doctor import clocks, network
from rounds.doctor.finding import Finding
from rounds.doctor.rights.opening import rights_of
from rounds.doctor.rights.rights import Rights
from rounds.errors import CollectorError
from rounds.needs import TableNeed
from rounds.sources import HttpSource, MariadbSource, PostgresqlSource, SnowflakeSource, Source, SqliteSource

#: Seconds that a statement may take.
_WITHIN = 10.0


def visit(name: str, source: Source, databases: Databases, needs: Sequence[TableNeed]) -> Iterator[Finding]:
    """Examine one source, over one session: each further login could lock an account.

    Args:
        name: its name in the configuration.
        source: what is configured.
        databases: opens the session.
        needs: the tables that are read of it.
    """
    place = _place(source)
    if place is not None:
        try:
            yield _reached(name, *place)
        except OSError as error:
            yield _failed(name, faults.of_network(error).error(name), f"{place[0]}:{place[1]}: ")
            return
    if isinstance(source, HttpSource):
        yield from _unsafe_api(name, source)
        return
    if isinstance(source, SqliteSource) and not source.path.exists():
        remedy = f"check sources.{name}.path, and that its program has run; in a container, mount its folder"
        yield Finding("error", "sources", name, f"there is no file {source.path}", (remedy,))
        return
    began = time.monotonic()
    try:
        session = databases.open(name, timeout=_WITHIN)
    except CollectorError as error:
        yield _failed(name, error)
        return
    with session:
        took = time.monotonic() - began
        rights = rights_of(name, source, session)
        yield from _answers(name, source, rights, took)
        yield from _clock(name, rights)
        yield from rights.examine(needs)


def _place(source: Source) -> tuple[str, int] | None:
    match source:
        case MariadbSource() | PostgresqlSource():
            # A path is the folder of a socket.
            return None if source.host.startswith("/") else (source.host, source.port)
        case HttpSource():
            parts = urlsplit(source.url)
            return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        case SnowflakeSource(host=str(host)):
            return host, source.port or (443 if source.protocol == "https" else 80)
        case _:
            return None


def _reached(name: str, host: str, port: int) -> Finding:
    addresses = network.resolve(host)
    took = network.knock(host, port)
    shown = "" if host in addresses else f" ({addresses[0]})"
    return Finding("ok", "sources", name, f"{host}{shown} accepts connections on port {port} after {_ms(took)}")


def _failed(name: str, error: CollectorError, before: str = "") -> Finding:
    found, _, remedy = str(error).removeprefix(f"source '{name}': ").partition("; ")
    return Finding("error", "sources", name, before + found, (f"sources.{name}: {remedy or found}",))


def _answers(name: str, source: Source, rights: Rights, took: float) -> Iterator[Finding]:
    try:
        version, oldest = rights.version()
    except CollectorError as error:
        if error.reason != "query":
            raise
        version, oldest = rights.product, ""
    encrypted = rights.encrypted()
    told = f"{version}, session opened in {_ms(took)}" + (", encrypted" if encrypted else "")
    yield Finding("ok", "sources", name, told)
    if oldest:
        found = f"{version} is older than {oldest}, the oldest that is known to work"
        yield Finding("warning", "sources", name, found, (f"update the server to {oldest} or newer",))
    place = _place(source)
    if encrypted is False and place is not None and not network.is_loopback(place[0]):
        yield _in_the_clear(name, source, place[0])


def _in_the_clear(name: str, source: Source, host: str) -> Finding:
    if isinstance(source, PostgresqlSource):
        remedy = "in postgresql.conf: ssl = on, with ssl_cert_file and ssl_key_file"
    else:
        remedy = "in my.cnf, below [mariadb]: ssl_cert = FILE and ssl_key = FILE"
    private = network.is_private(host)
    found = "what is read crosses the network in the clear" + (", though a private one" if private else "")
    return Finding("hint" if private else "warning", "sources", name, found, (remedy,))


def _unsafe_api(name: str, source: HttpSource) -> Iterator[Finding]:
    parts = urlsplit(source.url)
    if parts.scheme == "http" and (source.token or source.token_file) and not network.is_loopback(parts.hostname or ""):
        remedy = f"sources.{name}.url: https://{parts.netloc}{parts.path}"
        yield Finding("warning", "sources", name, "the token crosses the network in the clear", (remedy,))


def _clock(name: str, rights: Rights) -> Iterator[Finding]:
    before = time.time()
    try:
        there = rights.clock()
    except CollectorError as error:
        if error.reason != "query":
            raise
        return
    if there is not None:
        yield clocks.compare(f"source {name}", there, before, time.time())


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
