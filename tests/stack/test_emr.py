"""From an application that uses the library to Slack: its crash, its alerts, and what it needs."""

from __future__ import annotations

import asyncio
import html
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from rounds.demo.catchers import SlackCatcher
from rounds.demo.scaling import Scale
from support.exporter import until
from support.stack import processes

NAME = "Nora Quimby"
APPLICATION = f"""
import sys
from rounds.emr import init_monitoring, monitor_all

monitoring = init_monitoring("monitoring.db", None, "2.1.0", {{"enable_notifications": False}}, app="docassist")

@monitor_all("save_visit", alert_on_failure=False)
def save_visit(patient):
    raise ValueError(patient)

if "crash" in sys.argv:
    monitoring.alerting.alert("critical", "{NAME} has no bed", "{NAME}", dedupe_key="beds")
    save_visit("{NAME}")
"""


async def application(folder: Path, *arguments: str) -> int:
    """Run it to its end."""
    command = [sys.executable, "-c", APPLICATION, *arguments]
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


@pytest.mark.slow
async def test_a_crash_an_alert_and_a_missing_database_are_told_and_a_closed_application_is_not(tmp_path: Path) -> None:
    assert await application(tmp_path) == 0
    clinic = tmp_path / "clinic.db"
    with closing(sqlite3.connect(clinic)) as connection:
        connection.execute("CREATE TABLE patients (id INTEGER)")
    config = {
        "state": {"url": f"sqlite:///{tmp_path / 'state.db'}"},
        "sources": {"docassist": {"kind": "sqlite", "path": str(tmp_path / "monitoring.db")}},
        "emr": [
            {
                "name": "docassist",
                "source": "docassist",
                "interval": "1s",
                "checks": {"database": {"path": str(clinic), "interval": "1s"}},
            }
        ],
    }
    with SlackCatcher() as slack:

        def told() -> list[str]:
            return [html.unescape(message.title) for message in slack.messages]

        async def hears(title: str) -> None:
            async def come() -> bool:
                return any(title in each for each in told())

            try:
                await until(come, within=40)
            except TimeoutError:
                pytest.fail(f"{title!r} is not among {told()}")

        async with processes(tmp_path, Scale(30), yaml.safe_dump(config), slack.url, None):
            # What comes next is told of an application that has been closed for a while, so that its silence was seen.
            away = clinic.rename(tmp_path / "away.db")
            await hears("CRITICAL: docassist: the check database is unhealthy")
            assert len(told()) == 1, told()
            away.rename(clinic)
            await hears("RECOVERED: docassist: the check database is no longer unhealthy")
            assert await application(tmp_path, "crash") == 1
            await hears("CRITICAL: docassist crashed by an exception")
            await hears("CRITICAL: docassist raised an alert (critical)")
            await hears("INFO: An error that was not seen before in docassist")
        assert len(told()) == len(set(told())) == 5, told()
        assert NAME not in "".join(f"{message.title} {message!r}" for message in slack.messages)
