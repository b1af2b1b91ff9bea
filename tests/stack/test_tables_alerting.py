"""From the metrics of watched tables through a real Prometheus and Alertmanager to Slack and mail.

What the exporter would export is served as the test writes it, so that changes come when they are wanted. The rules,
routes and templates are the production ones with every time divided by six; the 5 minutes of an event stand in an
expression and stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from rounds.demo.catchers import MailCatcher, SlackCatcher
from rounds.demo.scaling import Scale
from rounds.tables import metrics
from support.exporter import until
from support.servers import HttpServer, Request, reply
from support.stack import Watchers, watchers

MASS_DELETION_RATIO = 0.1


class Table:
    """What the exporter exports of one table, kept as the ledger would keep it."""

    def __init__(self, name: str, rows: int) -> None:
        self.name = name
        self.rows = rows
        self.previous: int | None = None
        self.changes: dict[str, tuple[float, int]] = {}

    def change(self, at: float, **counts: int) -> None:
        """What a check found: ``inserted=2``."""
        self.previous = self.rows
        self.rows += counts.get("inserted", 0) - counts.get("deleted", 0)
        self.changes |= {change: (at, count) for change, count in counts.items()}

    def exposition(self) -> str:
        """As text."""
        samples = [(metrics.ROWS, "", float(self.rows)), (metrics.MASS_DELETION, "", MASS_DELETION_RATIO)]
        if self.previous is not None:
            samples.append((metrics.PREVIOUS_ROWS, "", self.previous))
        for change, (at, count) in self.changes.items():
            samples.append((metrics.LAST_CHANGE_TIME, f',change="{change}"', at))
            samples.append((metrics.LAST_CHANGE_ROWS, f',change="{change}"', count))
        return "".join(f'{metric.name}{{table="{self.name}"{more}}} {value!r}\n' for metric, more, value in samples)


class Exporter:
    """Serves the tables' metrics, or is away."""

    def __init__(self, *tables: Table) -> None:
        self.tables = tables
        self.away = False
        self.scrapes = 0
        self.server = HttpServer({"*": self._answer})

    async def _answer(self, _: Request, writer: asyncio.StreamWriter) -> None:
        if self.away:
            writer.transport.abort()
        else:
            self.scrapes += 1
            text = "".join(table.exposition() for table in self.tables)
            writer.write(reply(200, text.encode(), [("Content-Type", "text/plain; version=0.0.4")]))


@dataclass
class Stack:
    """Everything that runs, and what has arrived."""

    exporter: Exporter
    slack: SlackCatcher
    mail: MailCatcher
    watchers: Watchers

    @property
    def told(self) -> list[str]:
        """The titles in Slack, in order."""
        return [html.unescape(message.title) for message in self.slack.messages]

    @property
    def mailed(self) -> list[str]:
        """The subjects of the mails, in order."""
        return [mail.subject.removeprefix("[Rounds] ") for mail in self.mail.messages]

    async def hears(self, title: str) -> None:
        """Wait until it is told in Slack and by mail."""

        async def come() -> bool:
            return title in self.told and title in self.mailed

        with contextlib.suppress(TimeoutError):
            await until(come, within=20)
        assert title in self.told
        assert title in self.mailed

    async def alerts(self, name: str, table: str) -> list[dict[str, Any]]:
        """The alerts that Alertmanager has of a table."""
        async with httpx.AsyncClient(trust_env=False) as client:
            found = (await client.get(f"{self.watchers.alertmanager}/api/v2/alerts")).json()
        return [each for each in found if (each["labels"]["alertname"], each["labels"].get("table")) == (name, table)]

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """What Prometheus answers."""
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{self.watchers.prometheus}/api/v1/query", params={"query": expression})
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found


@contextlib.asynccontextmanager
async def running(folder: Path, *tables: Table) -> AsyncIterator[Stack]:
    """The whole stack, which has seen the tables as they are."""
    async with contextlib.AsyncExitStack() as stack:
        exporter = Exporter(*tables)
        await stack.enter_async_context(exporter.server)
        slack, mail = stack.enter_context(SlackCatcher()), stack.enter_context(MailCatcher())
        address = exporter.server.url.removeprefix("http://")
        ran = await stack.enter_async_context(watchers(folder, Scale(6), address, slack.url, mail.address))
        running = Stack(exporter, slack, mail, ran)
        await until(lambda: running.query("rounds_table_rows"), within=20)
        yield running


@pytest.mark.slow
async def test_each_change_is_told_once(tmp_path: Path) -> None:
    patients, visits = Table("patients", 6), Table("visits", 100)
    async with running(tmp_path, patients, visits) as stack:
        patients.change(time.time(), inserted=2)
        await stack.hears("INFO: 2 rows inserted in patients (6 -> 8)")

        await restart(stack)
        assert await stack.query('ALERTS{alertname="TableRowsInserted",table="patients"}')

        # The next checks, within the 5 minutes of the first one's alert.
        patients.change(time.time(), inserted=1)
        visits.change(time.time(), inserted=3, deleted=1, modified=2)
        await stack.hears("INFO: 1 row inserted in patients (8 -> 9)")
        await stack.hears("INFO: 3 rows inserted in visits (100 -> 102)")
        await stack.hears("WARNING: 1 row deleted in visits (100 -> 102)")
        await stack.hears("INFO: 2 rows modified in visits")

        # A change whose 5 minutes end soon: it is told, and its end is not.
        patients.change(time.time() - 290, modified=1)
        await stack.hears("INFO: 1 row modified in patients")
        await until(lambda: gone(stack, "TableRowsModified", "patients"), within=40)
        patients.change(time.time(), modified=1)
        await until(lambda: asyncio.sleep(0, stack.told.count("INFO: 1 row modified in patients") == 2), within=20)
        await until(lambda: asyncio.sleep(0, len(stack.mailed) == len(stack.told)), within=20)

        assert sorted(stack.told) == [
            "INFO: 1 row inserted in patients (8 -> 9)",
            "INFO: 1 row modified in patients",
            "INFO: 1 row modified in patients",
            "INFO: 2 rows inserted in patients (6 -> 8)",
            "INFO: 2 rows modified in visits",
            "INFO: 3 rows inserted in visits (100 -> 102)",
            "WARNING: 1 row deleted in visits (100 -> 102)",
        ]
        assert sorted(stack.mailed) == sorted(stack.told)
        assert not any("changed_at" in message.text for message in stack.slack.messages)
        assert all(mail.text and mail.html for mail in stack.mail.messages)


async def restart(stack: Stack) -> None:
    """The exporter is away long enough for an alert to end and its end to be known, and is seen again."""
    stack.exporter.away = True
    await until(lambda: stack.query('up{job="rounds"} == 0'), within=20)
    await asyncio.sleep(4)  # two of Alertmanager's group_interval
    stack.exporter.away = False
    before = stack.exporter.scrapes
    await until(lambda: asyncio.sleep(0, stack.exporter.scrapes >= before + 3), within=20)


async def gone(stack: Stack, name: str, table: str) -> bool:
    """Whether Alertmanager has no such alert any more."""
    return not await stack.alerts(name, table)


@pytest.mark.slow
@pytest.mark.long
async def test_a_mass_deletion_is_critical_once_and_mutes_the_warning(tmp_path: Path) -> None:
    patients, visits = Table("patients", 100), Table("visits", 100)
    async with running(tmp_path, patients, visits) as stack:
        patients.change(time.time(), deleted=60, inserted=1)
        visits.change(time.time(), deleted=10)
        await stack.hears("CRITICAL: 60% of the rows of patients were deleted")
        await stack.hears("WARNING: 10 rows deleted in visits (100 -> 90)")
        await stack.hears("INFO: 1 row inserted in patients (100 -> 41)")
        muted = await stack.alerts("TableRowsDeleted", "patients")
        assert [each["status"]["state"] for each in muted] == ["suppressed"]

        # A small one while the first alert goes on, and another mass deletion.
        patients.change(time.time(), deleted=1)
        await stack.hears("WARNING: 1 row deleted in patients (41 -> 40)")
        visits.change(time.time(), deleted=90)
        await stack.hears("CRITICAL: All rows of visits were deleted")
        await restart(stack)
        visits.change(time.time(), inserted=90)
        await stack.hears("INFO: 90 rows inserted in visits (0 -> 90)")

        assert sorted(stack.told) == [
            "CRITICAL: 60% of the rows of patients were deleted",
            "CRITICAL: All rows of visits were deleted",
            "INFO: 1 row inserted in patients (100 -> 41)",
            "INFO: 90 rows inserted in visits (0 -> 90)",
            "WARNING: 1 row deleted in patients (41 -> 40)",
            "WARNING: 10 rows deleted in visits (100 -> 90)",
        ]
        assert sorted(stack.mailed) == sorted(stack.told)
