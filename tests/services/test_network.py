"""Names and addresses: resolving, families, falling back, resolvers that hang."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rounds.services.prober import Prober
from rounds.services.resolver import Resolver, Unresolved
from support.probing import make_check, probe
from support.servers import HttpServer, reply

_getaddrinfo = socket.getaddrinfo


class Names:
    """Stands in for the system's resolver for the names that it is told.

    Attributes:
        asked: the names that were looked up, in order.
        hang: lookups of ``*.hung`` wait for this.
    """

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.hang = threading.Event()

    def getaddrinfo(self, host: Any, port: Any, family: int = 0, type: int = 0, *rest: Any) -> list[Any]:  # noqa: A002
        if host not in self.addresses and not str(host).endswith(".hung"):
            return list(_getaddrinfo(host, port, family, type, *rest))
        self.asked.append(host)
        if host.endswith(".hung"):
            self.hang.wait()
        found = [(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip) for ip in self.addresses.get(host, [])]
        entries = [
            (each, type, 6, "", (ip, 0, 0, 0) if ":" in ip else (ip, 0)) for each, ip in found if family in (0, each)
        ]
        if not entries:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return entries


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    yield names
    names.hang.set()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no ::1 here")


async def test_resolving_is_a_phase_of_its_own(names: Names) -> None:
    names.addresses["app.test"] = ["127.0.0.1"]
    async with HttpServer(reply()) as server:
        result = await probe(f"http://app.test:{server.port}/")
    assert result.reason is None
    assert set(result.phases) == {"resolve", "connect", "processing", "transfer"}
    assert "resolved app.test to 127.0.0.1" in result.log[0]


@pytest.mark.parametrize("family", ["prefer_ipv4", "ipv4"])
async def test_address_needs_no_resolver(names: Names, family: str) -> None:
    names.addresses["127.0.0.1"] = []
    async with HttpServer(reply()) as server:
        assert (await probe(server.url, ip_family=family)).reason is None
    assert names.asked == []


@pytest.mark.parametrize(
    ("family", "order"),
    [
        ("prefer_ipv4", ["127.0.0.2", "127.0.0.1", "::2", "::1"]),
        ("prefer_ipv6", ["::2", "::1", "127.0.0.2", "127.0.0.1"]),
        ("ipv4", ["127.0.0.2", "127.0.0.1"]),
        ("ipv6", ["::2", "::1"]),
    ],
)
async def test_order_of_addresses(names: Names, family: Any, order: list[str]) -> None:
    """Behaviour 25: within a family the resolver's order is kept."""
    names.addresses["app.test"] = ["127.0.0.2", "::2", "127.0.0.1", "::1"]
    assert [address.ip for address in await Resolver().resolve("app.test", family)] == order


@needs_ipv6
@pytest.mark.parametrize(
    ("family", "host", "reason"),
    [
        ("prefer_ipv4", "127.0.0.1", None),
        ("prefer_ipv4", "::1", None),
        ("prefer_ipv6", "127.0.0.1", None),
        ("prefer_ipv6", "::1", None),
        ("ipv4", "127.0.0.1", None),
        ("ipv4", "::1", "connect"),
        ("ipv6", "127.0.0.1", "connect"),
        ("ipv6", "::1", None),
    ],
)
async def test_next_address_when_connecting_fails(names: Names, family: str, host: str, reason: str | None) -> None:
    """Behaviour 25 and a.9 (localhost that is ::1 first): falls back, unless the family is strict."""
    names.addresses["app.test"] = ["::1", "127.0.0.1"]
    async with HttpServer(reply(), host=host) as server:
        result = await probe(f"http://app.test:{server.port}/", ip_family=family)
    assert result.reason == reason


@pytest.mark.parametrize(("family", "addresses"), [("ipv4", ["::1"]), ("ipv6", ["127.0.0.1"])])
async def test_no_address_of_a_strict_family(names: Names, family: str, addresses: list[str]) -> None:
    """Behaviour 25: an error, not a silent probe of the other family."""
    names.addresses["app.test"] = addresses
    result = await probe("http://app.test/", ip_family=family)
    assert (result.reason, result.answered, result.phases) == ("dns", False, {})
    host = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
    assert (await probe(f"http://{host}/", ip_family=family)).reason == "dns"


@needs_ipv6
async def test_literal_ipv6_address() -> None:
    async with HttpServer(reply(), host="::1") as server:
        result = await probe(server.url)
        assert server.requests[0].header("Host") == f"[::1]:{server.port}"
    assert (result.reason, "resolve" in result.phases) == (None, False)


async def test_every_refusal_is_told(names: Names) -> None:
    names.addresses["app.test"] = ["127.0.0.1", "127.0.0.2"]
    with socket.socket() as free:
        free.bind(("127.0.0.3", 0))
        port = free.getsockname()[1]
    result = await probe(f"http://app.test:{port}/")
    assert result.reason == "connect"
    assert f"127.0.0.1:{port}" in result.detail
    assert f"127.0.0.2:{port}" in result.detail


async def test_address_whose_packets_vanish_leaves_time_for_the_next(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such an address is refused by nobody; without a share of the time for each, it would take all of it."""
    names.addresses["app.test"] = ["127.0.0.9", "127.0.0.1"]
    with socket.socket() as full:
        full.bind(("127.0.0.9", 0))
        full.listen(0)
        port = full.getsockname()[1]
        # A listener with a full queue answers no further SYN.
        waiting = []
        for _ in range(8):
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(("127.0.0.9", port))
            waiting.append(each)
        server = HttpServer(reply())
        server.port = port
        try:
            async with server:
                result = await probe(f"http://app.test:{port}/", timeout="2s")
        finally:
            for each in waiting:
                each.close()
    if result.reason is None and "no answer" not in "".join(result.log):
        pytest.skip("this system accepts more than the queue holds")
    assert result.reason is None
    assert 0.99 <= result.phases["connect"] < 1.9


async def test_lookups_of_one_name_are_one(names: Names) -> None:
    names.addresses["a.hung"] = ["127.0.0.1"]
    resolver = Resolver()
    running = [asyncio.create_task(resolver.resolve("a.hung", "prefer_ipv4")) for _ in range(50)]
    while not names.asked:
        await asyncio.sleep(0.001)
    running[0].cancel()
    await asyncio.sleep(0)
    names.hang.set()
    results = await asyncio.gather(*running, return_exceptions=True)
    assert names.asked == ["a.hung"]
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(not isinstance(result, BaseException) for result in results[1:])
    await resolver.resolve("a.hung", "prefer_ipv4")
    assert names.asked == ["a.hung"] * 2  # nothing is cached


async def test_failure_is_told_to_all_who_wait_and_can_pass(names: Names) -> None:
    names.addresses["app.test"] = []
    resolver = Resolver()
    results = await asyncio.gather(
        *(resolver.resolve("app.test", "prefer_ipv4") for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [Unresolved] * 3
    names.addresses["app.test"] = ["127.0.0.1"]
    assert [address.ip for address in await resolver.resolve("app.test", "prefer_ipv4")] == ["127.0.0.1"]


async def test_hung_resolvers_starve_nobody(names: Names) -> None:
    """a.6: six hung names fill the default executor of a machine with two processors, and localhost times out."""
    names.addresses["well.test"] = ["127.0.0.1"]
    resolver = Resolver()
    before = threading.active_count()
    async with HttpServer(reply()) as server:
        well = Prober(make_check(url=f"http://well.test:{server.port}/"), resolver)
        hung = [Prober(make_check(url=f"http://n{n}.hung/", timeout="1s"), resolver) for n in range(100)]
        stuck = [asyncio.create_task(each.probe()) for each in hung]
        while len(names.asked) < 100:
            await asyncio.sleep(0.001)
        result = await well.probe()
        assert (result.reason, result.elapsed < 0.8) == (None, True)
        for each in await asyncio.gather(*stuck):
            assert (each.reason, each.answered, each.phases) == ("timeout", True, {})
            assert "resolve" in each.detail
        # A second round joins the lookups that still hang.
        assert {each.reason for each in await asyncio.gather(*(each.probe() for each in hung))} == {"timeout"}
        assert threading.active_count() <= before + 101
    names.hang.set()


def test_hung_resolver_does_not_hold_up_the_exit() -> None:
    """The default executor's threads are joined when the interpreter ends."""
    program = """
        import asyncio, socket, threading
        from rounds.services.config import HttpCheck
        from rounds.services.prober import Prober
        from rounds.services.resolver import Resolver
        socket.getaddrinfo = lambda *_: threading.Event().wait(60)
        check = HttpCheck(name="a", url="http://app.test/", timeout="200ms")
        print(asyncio.run(Prober(check, Resolver()).probe()).reason)
    """
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "timeout\n"
    assert done.stderr == ""
    assert time.monotonic() - began < 20
