"""``rounds demo`` as a user runs it."""

from __future__ import annotations

import asyncio
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

from rounds.demo.main import run
from rounds.demo.ports import pick_port
from support.binaries import require_binary


class Demo:
    """A running demo and what it has printed."""

    def __init__(self, port: int, path: str | None = None) -> None:
        self.output = ""
        self._command = (sys.executable, "-m", "rounds", "demo", f"--web.listen-address=127.0.0.1:{port}")
        self._environment = os.environ | ({} if path is None else {"PATH": path})
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


@pytest.fixture
async def lonely() -> AsyncIterator[Demo]:
    """A demo on a machine without Prometheus."""
    async with Demo(pick_port(), path="") as demo:
        yield demo


@pytest.mark.slow
async def test_alerts_and_their_recoveries_arrive_within_three_minutes() -> None:
    require_binary("prometheus")
    require_binary("alertmanager", "prometheus-alertmanager")
    async with Demo(pick_port()) as demo:
        async with asyncio.timeout(180):
            await demo.says(r"script +api-gateway now answers 503$")
            await demo.says(r"exporter +api-gateway: up -> down$")
            await demo.says(r"prometheus +ServiceDown fires \(critical, api-gateway\)$")
            await demo.says(r"slack +FIRING \(danger.*\): CRITICAL: api-gateway is down$")
            await demo.says(r"e-mail +Subject: .*CRITICAL: api-gateway is down$")
            await demo.says(r"exporter +api-gateway: down -> up$")
            await demo.says(r"slack +RESOLVED \(good.*\): RECOVERED: api-gateway .*$")
            await demo.says(r"e-mail +Subject: .*RECOVERED: api-gateway .*$")
        folder = Path((await demo.says(r"files in (/.+)\.$"))[1])
        children = demo.children()
        assert len(children) == 3
        assert folder.is_dir()

        demo.process.send_signal(signal.SIGTERM)

        assert await demo.ends() == 0
        assert not any(child.is_running() for child in children)
        assert not folder.exists()


async def test_without_prometheus_it_says_what_to_install_and_goes_on(lonely: Demo) -> None:
    async with asyncio.timeout(60):
        await lonely.says("No alerts: run `apt-get install prometheus prometheus-alertmanager` first")
        await lonely.says("exporter +api-gateway: up -> down$")
    lonely.process.send_signal(signal.SIGINT)
    assert await lonely.ends() == 0
    assert "Traceback" not in lonely.output


async def test_it_ends_when_a_part_of_it_dies(lonely: Demo) -> None:
    async with asyncio.timeout(30):
        await lonely.says("Ctrl-C ends the demo")
    (exporter,) = lonely.children()
    exporter.kill()
    assert await lonely.ends() == 1
    assert "exporter was ended by SIGKILL. The end of its log:" in lonely.output
    assert "Traceback" not in lonely.output


async def test_a_taken_port_is_replaced_and_that_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with asyncio.timeout(30), Demo(port, path="") as demo:
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
