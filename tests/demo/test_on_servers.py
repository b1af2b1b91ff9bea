"""``rounds demo`` on the servers that it starts: all of them are read, and none is left."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from rounds.demo.ports import pick_port
from support.binaries import require_binary
from support.demo import Demo
from support.fakesnow import require_fakesnow
from support.postgresql import require_postgresql

pytestmark = pytest.mark.slow

KINDS = {"warehouse": "snowflake", "clinic": "sqlite", "apr": "mariadb", "syncs": "postgresql", "docassist": "sqlite"}
COLLECTORS = {"apr", "services", "syncs/cliniko", "tables/patients", "tables/appointments", "emr/docassist"}


@pytest.fixture(autouse=True)
def _installed() -> None:
    require_binary("prometheus")
    require_binary("alertmanager", "prometheus-alertmanager")
    require_binary("mariadbd")
    require_postgresql()
    require_fakesnow()


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def gone(processes: list[psutil.Process]) -> None:
    async with asyncio.timeout(20):
        while any(lives(each) for each in processes):
            await asyncio.sleep(0.05)


async def started(demo: Demo) -> tuple[Path, str]:
    """Where its files are, and where its exporter answers, once that has looked at everything."""
    async with asyncio.timeout(120):
        folder = Path((await demo.says(r"files in (/.+)\.$"))[1])
        base = (await demo.says(r"metrics +(http://.+)metrics$"))[1]
        await demo.says("Ctrl-C ends the demo")
        async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
            while (await client.get("/-/ready")).status_code != httpx.codes.OK:
                await asyncio.sleep(0.05)
    return folder, base


async def test_five_domains_are_read_from_real_engines_and_nothing_is_left_when_it_is_told_to_end() -> None:
    async with Demo(pick_port()) as demo:
        folder, base = await started(demo)
        config = yaml.safe_load((folder / "rounds.yml").read_text(encoding="utf-8"))
        assert {name: source["kind"] for name, source in config["sources"].items()} == KINDS
        async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
            status = (await client.get("/api/v1/status")).json()
        states = {each["name"]: each["state"] for each in status["collectors"]}
        assert states.keys() >= COLLECTORS
        assert set(states.values()) == {"ok"}, states
        for name in ("apr", "syncs"):
            secret = Path(config["sources"][name]["password_file"])
            assert secret.stat().st_mode & 0o777 == 0o600
            assert secret.read_text(encoding="utf-8") not in demo.output
        assert "password:" not in (folder / "rounds.yml").read_text(encoding="utf-8").replace("password: synthetic", "")
        children = demo.children()
        names = {each.name() for each in children}
        assert {"mariadbd", "postgres", "prometheus"} <= names
        demo.process.send_signal(signal.SIGTERM)
        assert await demo.ends() == 0
        await gone(children)
        assert not folder.exists()
        assert "Seen in all" in demo.output


async def test_nothing_is_left_running_when_it_is_killed() -> None:
    async with Demo(pick_port()) as demo:
        async with asyncio.timeout(120):
            await demo.says("Ctrl-C ends the demo")
        children = demo.children()
        assert {"mariadbd", "postgres", "prometheus"} <= {each.name() for each in children}
        demo.process.kill()
        await gone(children)
