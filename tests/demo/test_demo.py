"""``rounds demo`` as a user runs it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import psutil
import pytest

from rounds.demo import warehouse
from rounds.demo.main import run
from rounds.demo.ports import pick_port
from support.binaries import require_binary
from support.fakesnow import require_fakesnow


class Demo:
    """A running demo and what it has printed."""

    def __init__(self, port: int, **environment: str) -> None:
        self.output = ""
        self._command = (sys.executable, "-m", "rounds", "demo", f"--web.listen-address=127.0.0.1:{port}")
        self._environment = os.environ | environment
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.output += line.decode()
            self._changed.set()
        self._changed.set()

    async def says(self, pattern: str) -> re.Match[str]:
        while (match := re.search(pattern, self.output, re.MULTILINE)) is None:
            assert not self._reader.done(), self.output
            self._changed.clear()
            await self._changed.wait()
        return match

    async def ends(self) -> int:
        async with asyncio.timeout(20):
            code = await self.process.wait()
            await self._reader
        return code

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


#: A machine on which nothing is installed.
BARE = {"PATH": "", warehouse.VARIABLE: "/nowhere"}


@pytest.fixture
async def lonely() -> AsyncIterator[Demo]:
    """A demo on a machine without Prometheus and the stand-in for Snowflake."""
    async with Demo(pick_port(), **BARE) as demo:
        yield demo


async def journal(demo: Demo) -> list[tuple[str, str, list[str]]]:
    """What the first two checks that found other rows found, by the command that the demo names."""
    config = (await demo.says(r"rounds changes --config\.file=(\S+)$"))[1]
    asking = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rounds", "changes", f"--config.file={config}", "--format=json"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asking.communicate()
    entries = [json.loads(line) for line in output.decode().splitlines()]
    return [(each["table"], each["change"], each["keys"]) for each in entries if each["change"] != "modified"][:2]


@pytest.mark.slow
@pytest.mark.long
async def test_alerts_and_their_recoveries_arrive_within_four_minutes() -> None:
    require_binary("prometheus")
    require_binary("alertmanager", "prometheus-alertmanager")
    require_fakesnow()
    async with Demo(pick_port()) as demo:
        async with asyncio.timeout(270):
            await demo.says(r"script +api-gateway now answers 503$")
            await demo.says(r"exporter +api-gateway: up -> down$")
            await demo.says(r"prometheus +ServiceDown fires \(critical, api-gateway\)$")
            await demo.says(r"slack +FIRING \(danger.*\): CRITICAL: api-gateway is down$")
            await demo.says(r"e-mail +Subject: .*CRITICAL: api-gateway is down$")
            await demo.says(r"exporter +api-gateway: down -> up$")
            await demo.says(r"slack +RESOLVED \(good.*\): RECOVERED: api-gateway .*$")
            await demo.says(r"e-mail +Subject: .*RECOVERED: api-gateway .*$")
            for channel in (r"slack +FIRING \(\S+\):", r"e-mail +Subject: \[Rounds\]"):
                await demo.says(rf"{channel} INFO: 2 rows inserted in patients \(240 -> 242\)$")
                await demo.says(rf"{channel} INFO: 3 rows modified in patients$")
                await demo.says(rf"{channel} WARNING: 1 row deleted in patients \(242 -> 241\)$")
                await demo.says(rf"{channel} INFO: 3 rows inserted in appointments \(60 -> 63\)$")
                await demo.says(rf"{channel} CRITICAL: 39.02% of the rows of patients were deleted$")
                await demo.says(rf"{channel} INFO: 96 rows inserted in patients \(150 -> 246\)$")
            await demo.says(r"prometheus +EmrErrorRatioHigh fires \(warning, docassist\)$")
            for channel in (r"slack +FIRING \(\S+\):", r"e-mail +Subject: \[Rounds\]"):
                await demo.says(rf"{channel} INFO: An error that was not seen before in docassist$")
                await demo.says(rf"{channel} CRITICAL: docassist crashed by an exception$")
                await demo.says(rf"{channel} CRITICAL: docassist: the check llm is unhealthy$")
                await demo.says(rf"{channel} WARNING: The language model qwen2.5:7b of docassist is not installed$")
            await demo.says(r"slack +RESOLVED .*: RECOVERED: docassist: the check llm is no longer unhealthy$")
            await demo.says(r"slack +RESOLVED .*: RECOVERED: The mass deletion in patients .*$")
            await demo.says(r"e-mail +Subject: .*RECOVERED: The mass deletion in patients .*$")
        # The same check muted it.
        assert "96 rows deleted" not in demo.output
        assert await journal(demo) == [
            ("patients", "inserted", ["241", "242"]),
            ("patients", "deleted", ["242"]),
        ]
        folder = Path((await demo.says(r"files in (/.+)\.$"))[1])
        children = demo.children()
        # fakesnow, the four that write, the desktop program, the exporter, Alertmanager, Prometheus.
        assert len(children) == 9
        assert folder.is_dir()

        demo.process.send_signal(signal.SIGTERM)

        assert await demo.ends() == 0
        assert not any(child.is_running() for child in children)
        assert not folder.exists()


async def test_without_prometheus_it_says_what_to_install_and_goes_on(lonely: Demo) -> None:
    async with asyncio.timeout(120):
        await lonely.says("No alerts: run `apt-get install prometheus prometheus-alertmanager` first")
        await lonely.says("exporter +api-gateway: up -> down$")
        await lonely.says("Patients are in SQLite")
        await lonely.says(r"script +patients: 2 inserted$")
        await lonely.says(r"exporter +patients: 2 inserted \(240 -> 242\)$")
        await lonely.says(r"script +apr: 4 proposals come in$")
        await lonely.says(r"script +syncs: harbour synchronises its 648 patients$")
        await lonely.says(r"exporter +harbour/full_patients: \[#+\.+\] \d+%$")
        await lonely.says(r"script +emr: the printer takes no prescriptions$")
    lonely.process.send_signal(signal.SIGINT)
    assert await lonely.ends() == 0
    assert "Traceback" not in lonely.output


async def test_it_ends_when_a_part_of_it_dies(lonely: Demo) -> None:
    async with asyncio.timeout(30):
        await lonely.says("Ctrl-C ends the demo")
    (exporter,) = (child for child in lonely.children() if "run" in child.cmdline())
    exporter.kill()
    assert await lonely.ends() == 1
    assert "exporter was ended by SIGKILL. The end of its log:" in lonely.output
    assert "Traceback" not in lonely.output


async def test_a_taken_port_is_replaced_and_that_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with asyncio.timeout(30), Demo(port, **BARE) as demo:
            found = await demo.says(rf"The exporter listens on port (\d+), since {port} is taken")
            await demo.says(f"checks +http://127.0.0.1:{found[1]}/$")
            demo.process.send_signal(signal.SIGTERM)
            assert await demo.ends() == 0


@pytest.mark.parametrize(("listen", "speed"), [("127.0.0.1", 1.0), ("127.0.0.1:12780", 0.0), ("127.0.0.1:12780", 9.0)])
def test_arguments_that_make_no_sense_are_refused(
    listen: str, speed: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(listen=listen, speed=speed) == 2
    assert "a speed from 0.1 to 2" in capsys.readouterr().err
