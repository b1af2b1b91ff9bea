"""Several Alertmanagers and Prometheus servers as real processes on loopback, configured as deploy/ configures them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from rounds.demo import bundle
from rounds.demo.ports import pick_port
from rounds.demo.processes import Child
from rounds.demo.scaling import Scale
from support.binaries import require_binary

REPOSITORY = Path(__file__).parents[2]
FRAGMENTS = REPOSITORY / "deploy" / "prometheus"


def merged(folder: Path, *fragments: str) -> Path:
    """Prometheus' configuration with these fragments of deploy/prometheus, made by its script."""
    output = folder / "merged.yml"
    base = REPOSITORY / "prometheus" / "prometheus.yml"
    command = [sys.executable, str(FRAGMENTS / "merge.py"), f"--output={output}", str(base)]
    subprocess.run([*command, *(str(FRAGMENTS / f"{name}.yml") for name in fragments)], check=True, capture_output=True)
    return output


class Member:
    """One process.

    Args:
        name: for its log, ``<name>.log``.
        address: ``host:port`` of its web interface.
        command: the program and its arguments.
        folder: where its log is written.
    """

    def __init__(self, name: str, address: str, command: Sequence[str], folder: Path) -> None:
        self.name = name
        self.address = address
        self.child = Child(name, command, folder)

    async def start(self) -> None:
        """Start it, or start it again, and wait until it answers."""
        await self.child.start()
        await self.child.ready(f"http://{self.address}/-/ready")

    async def kill(self) -> None:
        """End it as a crash does."""
        await self.child.stop(grace=0)

    async def get(self, path: str, **parameters: str) -> httpx.Response:
        """Ask it."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            return await client.get(f"http://{self.address}{path}", params=parameters)

    async def total(self, name: str, **labels: str) -> float:
        """The sum of its own samples of a name that have these labels."""
        families = text_string_to_metric_families((await self.get("/metrics")).text)
        samples = (sample for family in families for sample in family.samples if sample.name == name)
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """What a Prometheus answers to a query: a list of series, each with ``metric`` and ``value``."""
        answer = (await self.get("/api/v1/query", query=expression)).json()
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found


def addresses(*names: str) -> dict[str, str]:
    """A free address on loopback for each."""
    return {name: f"127.0.0.1:{pick_port(0)}" for name in names}


def alertmanagers(folder: Path, config: Path, places: Mapping[str, str], *flags: str) -> list[Member]:
    """A cluster that is not started yet.

    Args:
        folder: for their data, ``data-<name>``, and their logs.
        config: their configuration.
        places: where each of them listens, by its name.
        flags: further ones for each.
    """
    program = str(require_binary("alertmanager", "prometheus-alertmanager"))
    gossip = addresses(*places)
    peers = [f"--cluster.peer={address}" for address in gossip.values()]
    members = []
    for name, address in places.items():
        command = [program, f"--config.file={config}", f"--storage.path={folder / f'data-{name}'}", *flags]
        command += [f"--web.listen-address={address}", f"--cluster.listen-address={gossip[name]}", *peers]
        members.append(Member(name, address, command, folder))
    return members


def prometheus(folder: Path, name: str, config: Path, address: str, *flags: str, replica: str = "") -> Member:
    """A Prometheus that is not started yet. It sends alerts that go on every two seconds, instead of every minute."""
    program = str(require_binary("prometheus"))
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / f'data-{name}'}", *flags]
    command += [f"--web.listen-address={address}", "--rules.alert.resend-delay=2s"]
    # Prometheus 3 puts it in without this.
    command += ["--enable-feature=expand-external-labels"]
    return Member(name, address, ["env", f"REPLICA={replica}", *command], folder)


def write_prometheus(folder: Path, scale: Scale, moved: Mapping[str, str], *fragments: str) -> Path:
    """Prometheus' configuration with fragments of deploy/prometheus, for this machine.

    Args:
        folder: for files.
        scale: what the times are divided by.
        moved: addresses in production, and what they are here.
        fragments: their names.
    """
    production = folder / "bundle" / "prometheus"
    (production / "rules").mkdir(parents=True)
    text = merged(folder, *fragments).read_text(encoding="utf-8")
    for rules in yaml.safe_load(text)["rule_files"]:
        for file in Path(rules).parent.glob(Path(rules).name):
            # Two files may have the same name.
            copy = production / "rules" / f"{file.parents[1].name}-{file.name}"
            copy.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    # The longest first: one may be the beginning of another.
    for old in sorted(moved, key=len, reverse=True):
        text = text.replace(old, moved[old])
    (production / "prometheus.yml").write_text(text, encoding="utf-8")
    return bundle.write_prometheus(folder / "bundle", folder, scale)


@contextlib.asynccontextmanager
async def running(*members: Member) -> AsyncIterator[None]:
    """Run these until left."""
    async with contextlib.AsyncExitStack() as stack:
        for member in members:
            stack.push_async_callback(member.child.stop)
            await member.child.start()
        for member in members:
            await member.child.ready(f"http://{member.address}/-/ready")
        yield
