"""Three Alertmanagers and two Prometheus servers, as deploy/ configures them: each alert is told once, whoever dies.

Rules and routes are the production ones with every time divided by fifteen.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from rounds.demo import bundle
from rounds.demo.catchers import Mail, MailCatcher, SlackCatcher, SlackMessage
from rounds.demo.scaling import Scale
from support import cluster
from support.exporter import until
from support.servers import HttpServer, Request, reply

#: Seconds that each member of the cluster waits for those before it to tell an alert. In production it is 15.
PEER_TIMEOUT = 5


class Checks:
    """Stands for an exporter whose checks are up or degraded."""

    def __init__(self, *names: str) -> None:
        self.degraded = dict.fromkeys(names, False)
        self.server = HttpServer({"*": self._answer})

    async def _answer(self, _: Request, writer: asyncio.StreamWriter) -> None:
        lines = [
            f'rounds_check_state{{check="{name}",tier="core",state="{state}"}} {int((state == "degraded") == degraded)}'
            for name, degraded in self.degraded.items()
            for state in ("up", "degraded")
        ]
        body = "\n".join([*lines, ""]).encode()
        writer.write(reply(200, body, [("Content-Type", "text/plain; version=0.0.4")]))


def told(catcher: SlackCatcher | MailCatcher, check: str) -> list[str]:
    """The first words of all messages about a check, in order."""
    titles = [each.title if isinstance(each, SlackMessage) else subject(each) for each in catcher.messages]
    return [title.split(":")[0] for title in titles if f": {check} " in title]


def subject(mail: Mail) -> str:
    return mail.subject.removeprefix("[Rounds] ")


async def arrived(catchers: tuple[SlackCatcher, MailCatcher], check: str, count: int, within: float = 60) -> float:
    """Wait until both have so many messages about a check; returns how long it took."""
    begin = time.monotonic()
    await until(lambda: asyncio.sleep(0, all(len(told(each, check)) >= count for each in catchers)), within)
    return time.monotonic() - begin


@pytest.mark.slow
async def test_an_alert_is_told_once_while_members_of_both_die_and_come_back(tmp_path: Path) -> None:
    scale = Scale(15)
    checks = Checks("first", "second")
    with SlackCatcher() as slack, MailCatcher() as mail:
        config = bundle.write_alertmanager(cluster.REPOSITORY, tmp_path, scale, slack.url, mail.address)
        managers = cluster.addresses("alertmanager", "alertmanager-2", "alertmanager-3")
        servers = cluster.addresses("prometheus", "prometheus-2")
        quick = [f"--cluster.peer-timeout={PEER_TIMEOUT}s", "--cluster.gossip-interval=50ms"]
        members = cluster.alertmanagers(tmp_path, config, managers, *quick, "--cluster.reconnect-interval=1s")
        async with checks.server:
            moved = {"exporter:12780": f"127.0.0.1:{checks.server.port}"}
            moved |= {f"{name}:9093": address for name, address in managers.items()}
            moved |= {f"{name}:9090": address for name, address in servers.items()}
            # Each asks itself, wherever it is.
            moved["127.0.0.1:9090"] = servers["prometheus-2"]
            rules = cluster.write_prometheus(tmp_path, scale, moved, "alertmanager-cluster", "prometheus-pair")
            pair = [cluster.prometheus(tmp_path, name, rules, at, replica=name) for name, at in servers.items()]
            async with cluster.running(*members, *pair):
                await story(checks, members, pair, (slack, mail))


async def story(
    checks: Checks,
    members: list[cluster.Member],
    pair: list[cluster.Member],
    catchers: tuple[SlackCatcher, MailCatcher],
) -> None:
    async def whole() -> bool:
        return [await member.total("alertmanager_cluster_members") for member in members] == [3.0] * 3

    await until(whole, 30)

    # Both Prometheus servers tell all three, and one of these tells people.
    checks.degraded["first"] = True
    took = await arrived(catchers, "first", 1)
    (teller,) = [member for member in members if await member.total("alertmanager_notifications_total")]
    await learned([member for member in members if member is not teller], 2)
    assert all([await each.total("prometheus_notifications_sent_total") for each in pair])
    assert all([await each.query(f'up{{job="prometheus-pair",instance="{pair[0].address}"}} == 1') for each in pair])
    # Without the label that tells the two apart, theirs is one alert.
    (alert,) = [each for each in await alerts(members[0]) if each["labels"].get("check") == "first"]
    assert "replica" not in alert["labels"]
    print(f"told after {took:.1f} s by {teller.name}")

    # The one that told, and one Prometheus, die; a second alert begins while the first one ends.
    await asyncio.gather(teller.kill(), pair[0].kill())
    checks.degraded |= {"first": False, "second": True}
    took = await arrived(catchers, "second", 1)
    print(f"the second told after {took:.1f} s")

    # It comes back knowing nothing, and learns from the others that the second alert was told. Its turn to tell comes
    # after that of the two others.
    shutil.rmtree(members[0].child.log.parent / f"data-{teller.name}")
    await teller.start()

    async def back() -> bool:
        return await whole() and any(each["labels"].get("check") == "second" for each in await alerts(teller))

    await until(back, 30)
    await asyncio.sleep(2 * PEER_TIMEOUT + 2)
    assert not await teller.total("alertmanager_notifications_total")

    known = await teller.total("alertmanager_nflog_gossip_messages_propagated_total")
    checks.degraded["second"] = False
    await arrived(catchers, "first", 2)
    await arrived(catchers, "second", 2)
    # Who knows that it was told does not tell it.
    await learned([teller], known + 2)
    for check in ("first", "second"):
        assert [told(each, check) for each in catchers] == [["WARNING", "RECOVERED"]] * 2, check


async def learned(members: list[cluster.Member], messages: float) -> None:
    """Wait until these have heard from another member of so many messages that it sent."""

    async def heard() -> bool:
        counts = [await member.total("alertmanager_nflog_gossip_messages_propagated_total") for member in members]
        return all(count >= messages for count in counts)

    await until(heard, 20)


async def alerts(member: cluster.Member) -> list[dict[str, Any]]:
    """Those that an Alertmanager has."""
    found: list[dict[str, Any]] = (await member.get("/api/v2/alerts")).json()
    return found
