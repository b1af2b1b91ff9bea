"""The hosts that domains connect to: whether their names have addresses, and what may be sent there."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from rounds.doctor import network
from rounds.doctor.finding import Finding
from rounds.needs import AddressNeed

#: Names that are looked up at a time.
_AT_A_TIME = 16


def examine(needs: Sequence[AddressNeed]) -> Iterator[Finding]:
    """Look up each host once. Nothing is connected to: a service that is down is the exporter's to tell."""
    places: dict[str, list[AddressNeed]] = {}
    for need in needs:
        places.setdefault(urlsplit(need.url).hostname or "", []).append(need)
    known = _look_up(list(places))
    for host, those in places.items():
        where = those[0].where + (f" and {len(those) - 1} more" if those[1:] else "")
        if not known[host]:
            remedies = (f"check the host's name in {where}", f"ask the resolver: getent hosts {host}")
            yield Finding("warning", "addresses", host, f"the name has no address ({where})", remedies)
        elif network.is_loopback(host) and network.in_container():
            remedy = f"write host.docker.internal in place of {host}, or the name of the service's container"
            found = f"in a container this is the container itself ({where})"
            yield Finding("hint", "addresses", host, found, (remedy,))
        else:
            yield Finding("ok", "addresses", host, f"has an address ({where})")
    for need in needs:
        parts = urlsplit(need.url)
        if need.secret and parts.scheme == "http" and not network.is_loopback(parts.hostname or ""):
            remedy = f"{need.where}.url: https://{parts.netloc}{parts.path}"
            yield Finding("warning", "addresses", need.where, "a secret crosses the network in the clear", (remedy,))


def _look_up(hosts: list[str]) -> dict[str, bool]:
    """Whether each has an address. In daemon threads: a resolver that hangs must not hold up the end of the program."""
    known: dict[str, bool] = {}
    waiting = iter(hosts)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                host = next(waiting, None)
            if host is None:
                return
            known[host] = network.resolves(host)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(_AT_A_TIME, len(hosts)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return known
