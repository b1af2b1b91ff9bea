"""From a patient in a warehouse to Slack and mail: everything real but Snowflake's server, over an exporter that is
killed in between.
"""

from __future__ import annotations

import html
import os
import signal
from pathlib import Path

import httpx
import pytest

from rounds.demo.catchers import MailCatcher, SlackCatcher
from rounds.demo.scaling import Scale
from support.exporter import until
from support.fakesnow import FakesnowServer
from support.patients import SnowflakePatients
from support.stack import exporter_child, processes
from tables.test_exporter import config

INSERTED = "INFO: 2 rows inserted in patients (6 -> 8)"
DELETED = "WARNING: 1 row deleted in patients (8 -> 7)"
NAMES = [f"Planted Patient {number} Zzyzx" for number in range(8)]


@pytest.mark.slow
async def test_an_inserted_patient_is_told_once_with_the_right_numbers(
    fakesnow: FakesnowServer, tmp_path: Path
) -> None:
    patients = SnowflakePatients(fakesnow)
    rows = list(enumerate(NAMES, 1))
    patients.replace(rows[:6])
    with SlackCatcher() as slack, MailCatcher() as mail:

        def told() -> list[str]:
            return [html.unescape(message.title) for message in slack.messages]

        def mailed() -> list[str]:
            return [message.subject.removeprefix("[Rounds] ") for message in mail.messages]

        async def heard(title: str) -> bool:
            return title in told() and title in mailed()

        text = config(patients, tmp_path, mass_deletion_ratio=0.5)
        async with processes(tmp_path, Scale(6), text, slack.url, mail.address) as ran:

            async def scraped() -> bool:
                async with httpx.AsyncClient(trust_env=False) as client:
                    answer = await client.get(
                        f"{ran.prometheus}/api/v1/query", params={"query": "rounds_table_rows == 6"}
                    )
                return bool(answer.json()["data"]["result"])

            await until(scraped, within=30)
            patients.replace(rows)
            await until(lambda: heard(INSERTED), within=30)
            os.kill(ran.exporter.pid, signal.SIGKILL)
            await ran.exporter.stop(grace=0)
            again = exporter_child(tmp_path, ran.exporter_port)
            await again.start()
            try:
                await again.ready(f"http://127.0.0.1:{ran.exporter_port}/-/ready")
                patients.replace(rows[1:])
                await until(lambda: heard(DELETED), within=30)
            finally:
                await again.stop()
        assert sorted(told()) == sorted(mailed()) == [INSERTED, DELETED]
        everything = "".join(message.text for message in slack.messages)
        everything += "".join(message.text + message.html for message in mail.messages)
        assert not [name for name in NAMES if name in everything]
