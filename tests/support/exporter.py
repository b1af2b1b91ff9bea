"""A real exporter in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import httpx
from prometheus_client.parser import text_string_to_metric_families

Found = TypeVar("Found")


async def until(find: Callable[[], Awaitable[Found]], within: float = 10.0) -> Found:
    """Ask again and again until the answer is true, and return it."""
    async with asyncio.timeout(within):
        while not (found := await find()):
            await asyncio.sleep(0.02)
    return found


class RunningExporter:
    """A running exporter.

    Attributes:
        file: its configuration.
        url: where it listens.
        process: the process.
        client: asks it.
    """

    def __init__(self, file: Path, log: Path, process: asyncio.subprocess.Process, client: httpx.AsyncClient) -> None:
        self.file = file
        self.process = process
        self.client = client
        self._log = log
        self.url = ""

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text(encoding="utf-8")

    async def listening(self) -> None:
        """Wait until it says where it listens."""

        async def address() -> re.Match[str] | None:
            assert self.process.returncode is None, self.log
            return re.search(r"event=listening address=(\S+) tls=(\w+)", self.log)

        found = await until(address, within=60)
        assert found is not None
        self.url = f"{'https' if found[2] == 'true' else 'http'}://{found[1]}"

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for a path."""
        return await self.client.get(self.url + path, headers=headers)

    async def samples(self, path: str = "/metrics") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """All samples by name and labels."""
        text = (await self.get(path)).text
        families = text_string_to_metric_families(text)
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}

    async def value(self, name: str, **labels: str) -> float | None:
        """One sample's value, None where it is absent."""
        return (await self.samples()).get((name, frozenset(labels.items())))

    async def ready(self) -> None:
        """Wait until every job has run."""

        async def is_ready() -> bool:
            return (await self.get("/-/ready")).status_code == 200

        await until(is_ready, within=20)

    async def ready_of(self, check: str) -> None:
        """Wait until a check has been probed."""

        async def probed() -> bool:
            return bool(await self.value("rounds_check_probes_total", check=check, tier="core"))

        await until(probed, within=20)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 12)


@contextlib.asynccontextmanager
async def running_exporter(
    folder: Path,
    config: str,
    *flags: str,
    environ: Mapping[str, str] | None = None,
    client: httpx.AsyncClient | None = None,
    module: str = "rounds",
) -> AsyncIterator[RunningExporter]:
    """Run an exporter on a free port until left; ``module`` is what is run as ``rounds``."""
    file, log = folder / "rounds.yml", folder / "rounds.log"
    file.write_text(config, encoding="utf-8")
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            "run",
            f"--config.file={file}",
            "--web.listen-address=127.0.0.1:0",
            *flags,
            stderr=stderr,
            env={**os.environ, **(environ or {})},
        )
    async with client or httpx.AsyncClient(trust_env=False, timeout=10) as asking:
        exporter = RunningExporter(file, log, process, asking)
        try:
            await exporter.listening()
            yield exporter
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
