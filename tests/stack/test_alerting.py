"""From a real endpoint through a real exporter, Prometheus and Alertmanager to Slack and mail.

The worst case from the moment a service dies to the message, in production::

    probe interval 15 s + probe timeout 10 s + scrape 5 s + evaluation 5 s + for 30 s + group_wait 5 s = 70 s

`test_worst_case_in_production` runs at exactly these times. The other tests run six times as fast: the rules, routes
and templates are the production ones with every time divided by six.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from rounds.demo.catchers import Mail, MailCatcher, SlackCatcher, SlackMessage
from rounds.demo.scaling import Scale
from support.exporter import until
from support.servers import HttpServer, Request, reply
from support.stack import Processes, exporter_child, processes

WORST_CASE = 70.0
PROMISED = 75.0


class Target:
    """An endpoint that is well, fails, or takes the request and never answers."""

    def __init__(self) -> None:
        self.condition = "well"
        self.server = HttpServer({"*": self._answer})

    async def _answer(self, _: Request, writer: asyncio.StreamWriter) -> None:
        if self.condition == "hangs":
            await asyncio.Event().wait()
        writer.write(reply(503 if self.condition == "fails" else 200))


def headline(message: SlackMessage | Mail) -> str:
    """What a reader sees first."""
    return message.title if isinstance(message, SlackMessage) else message.subject


@dataclass
class Stack:
    """Everything that runs, and what has arrived."""

    targets: dict[str, Target]
    slack: SlackCatcher
    mail: MailCatcher
    processes: Processes
    scale: Scale

    def titles(self, check: str) -> list[str]:
        """The Slack messages about a check, in order."""
        return [message.title for message in self.slack.messages if check in message.title]

    async def wait_for(self, catcher: SlackCatcher | MailCatcher, words: str, seconds: float) -> float:
        """Wait until a message with these words has come; returns how long it took."""
        begin = time.monotonic()

        async def come() -> bool:
            return any(words in headline(each) for each in catcher.messages)

        await until(come, within=seconds)
        return time.monotonic() - begin

    async def firing(self) -> set[tuple[str, str]]:
        """Name and check of every alert that fires."""
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = (await client.get(f"{self.processes.prometheus}/api/v1/alerts")).json()
        alerts = [alert for alert in answer["data"]["alerts"] if alert["state"] == "firing"]
        return {(alert["labels"]["alertname"], alert["labels"].get("check", "")) for alert in alerts}


@contextlib.asynccontextmanager
async def running(folder: Path, factor: float, tiers: dict[str, str]) -> AsyncIterator[Stack]:
    """The whole stack, with times divided by a factor."""
    scale = Scale(factor)
    async with contextlib.AsyncExitStack() as stack:
        targets = {name: Target() for name in tiers}
        for target in targets.values():
            await stack.enter_async_context(target.server)
        slack, mail = stack.enter_context(SlackCatcher()), stack.enter_context(MailCatcher())
        interval, timeout = (f"{round(seconds / factor * 1000)}ms" for seconds in (15, 10))
        checks = "\n".join(
            f"    - {{name: {name}, url: '{targets[name].server.url}/', tier: {tier}}}" for name, tier in tiers.items()
        )
        defaults = f"{{interval: {interval}, timeout: {timeout}, degraded_after: 500ms, down_after: 1s}}"
        config = f"services:\n  defaults: {defaults}\n  checks:\n{checks}\n"
        ran = await stack.enter_async_context(processes(folder, scale, config, slack.url, mail.address))
        yield Stack(targets, slack, mail, ran, scale)


@pytest.mark.slow
@pytest.mark.long
async def test_worst_case_in_production(tmp_path: Path) -> None:
    """A service that takes requests and never answers, which costs a probe its whole timeout: the slowest to see."""
    async with running(tmp_path, 1, {"api": "core"}) as stack:
        stack.targets["api"].condition = "hangs"
        slack, mail = await asyncio.gather(
            stack.wait_for(stack.slack, "CRITICAL: api", PROMISED),
            stack.wait_for(stack.mail, "CRITICAL: api", PROMISED),
        )
        print(f"to Slack {slack:.1f} s, to mail {mail:.1f} s; the sum of the parts is {WORST_CASE:.0f} s")
        assert max(slack, mail) <= PROMISED


@pytest.mark.slow
async def test_recovery_flapping_frontend_and_a_killed_exporter(tmp_path: Path) -> None:
    tiers = {"steady": "core", "unsteady": "core", "page": "frontend", "victim": "core"}
    async with running(tmp_path, 6, tiers) as stack:
        await asyncio.gather(down_and_up(stack), flaps(stack), frontend(stack))
        await killed_exporter(stack, tmp_path)
        assert {name for name, _ in await stack.firing()} >= {"Watchdog"}
        everything = " ".join(f"{message.title} {message.text}" for message in stack.slack.messages)
        assert "<no value>" not in everything
        assert all(message.title and message.text for message in stack.slack.messages)
        assert all(mail.subject and mail.text and mail.html for mail in stack.mail.messages)


async def down_and_up(stack: Stack) -> None:
    """Down is told within the promise, and its recovery once it is over."""
    target = stack.targets["steady"]
    target.condition = "fails"
    took = await stack.wait_for(stack.slack, "CRITICAL: steady", PROMISED / 6 + 3)
    await stack.wait_for(stack.mail, "CRITICAL: steady", 5)
    target.condition = "well"
    recovered = await stack.wait_for(stack.slack, "RECOVERED: steady", 60)
    await stack.wait_for(stack.mail, "RECOVERED: steady", 10)
    print(f"down told after {took:.1f} s, recovery after {recovered:.1f} s, at six times the speed")


async def flaps(stack: Stack) -> None:
    """Down until it is told, then five times up and down again, are one alert and one recovery.

    They end within the cooldown of 5 minutes: an alert that lasts longer is told again, flapping or not.
    """
    target = stack.targets["unsteady"]
    target.condition = "fails"
    await stack.wait_for(stack.slack, "CRITICAL: unsteady", PROMISED / 6 + 3)
    for _ in range(5):
        for condition, seconds in (("well", 10), ("fails", 20)):
            target.condition = condition
            await asyncio.sleep(seconds / 6)
    target.condition = "well"
    await stack.wait_for(stack.slack, "RECOVERED: unsteady", 60)
    about = stack.titles("unsteady")
    assert about == ["CRITICAL: unsteady is down", "RECOVERED: unsteady is no longer down"]


async def frontend(stack: Stack) -> None:
    """The frontend warns after two minutes, and never pages."""
    stack.targets["page"].condition = "fails"
    took = await stack.wait_for(stack.slack, "WARNING: page", 60)
    assert took > 120 / 6
    assert not [title for title in stack.titles("page") if "CRITICAL" in title]


async def killed_exporter(stack: Stack, folder: Path) -> None:
    """An exporter killed while a service is down tells its own death and no recovery of the service."""
    stack.targets["victim"].condition = "fails"
    await stack.wait_for(stack.slack, "CRITICAL: victim", 30)
    port = stack.processes.exporter_port
    await stack.processes.exporter.stop(grace=0)

    def exporter_told() -> bool:
        return any(
            "ExporterDown" in str(message.payload) or "exporter" in message.title.lower()
            for message in stack.slack.messages
        )

    await until(lambda: asyncio.sleep(0, exporter_told()), within=60)
    again = exporter_child(folder, port)
    try:
        await again.start()
        await again.ready(f"http://127.0.0.1:{port}/-/ready")

        async def exporter_back() -> bool:
            return not any(name == "ExporterDown" for name, _ in await stack.firing())

        await until(exporter_back, within=60)
        assert ("ServiceDown", "victim") in await stack.firing()
        assert not [title for title in stack.titles("victim") if "RECOVERED" in title], stack.titles("victim")
        stack.targets["victim"].condition = "well"
        await stack.wait_for(stack.slack, "RECOVERED: victim", 60)
    finally:
        await again.stop()
