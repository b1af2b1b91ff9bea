"""The exporter, Prometheus and Alertmanager as real processes on loopback, with the production bundle."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rounds.demo import bundle
from rounds.demo.ports import pick_port
from rounds.demo.processes import Child
from rounds.demo.scaling import Scale
from support.binaries import require_binary

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Watchers:
    """Prometheus and Alertmanager.

    Attributes:
        prometheus: Prometheus' address, without a slash at its end.
        alertmanager: Alertmanager's.
    """

    prometheus: str
    alertmanager: str


@dataclass(frozen=True)
class Processes:
    """What runs.

    Attributes:
        exporter: its process.
        exporter_port: where it listens.
        prometheus: Prometheus' address, without a slash at its end.
    """

    exporter: Child
    exporter_port: int
    prometheus: str


def exporter_child(folder: Path, port: int) -> Child:
    """An exporter that is not started yet, configured by ``rounds.yml`` in a folder."""
    command = [sys.executable, "-m", "rounds", "run", f"--config.file={folder / 'rounds.yml'}"]
    return Child("exporter", [*command, f"--web.listen-address=127.0.0.1:{port}"], folder)


@contextlib.asynccontextmanager
async def watchers(
    folder: Path,
    scale: Scale,
    exporter: str | Mapping[str, str],
    slack: str,
    mail: str | None,
    *,
    root: Path = REPOSITORY,
) -> AsyncIterator[Watchers]:
    """Run Prometheus and Alertmanager until left.

    Args:
        folder: for files.
        scale: what the bundle's times are divided by.
        exporter: ``host:port`` of what is scraped as the exporter; by the targets' names where there are others.
        slack: the URL that takes Slack messages.
        mail: ``host:port`` of the mail server; None for no e-mail.
        root: where the bundle is.
    """
    prometheus, alertmanager = require_binary("prometheus"), require_binary("alertmanager", "prometheus-alertmanager")
    addresses = {name: f"127.0.0.1:{pick_port(0)}" for name in ("prometheus", "alertmanager")}
    async with contextlib.AsyncExitStack() as stack:
        file = bundle.write_alertmanager(root, folder, scale, slack, mail)
        command = [str(alertmanager), f"--config.file={file}", f"--storage.path={folder / 'am'}"]
        command += [f"--web.listen-address={addresses['alertmanager']}", "--cluster.listen-address="]
        await _start(stack, Child("alertmanager", command, folder), addresses["alertmanager"])
        moved = {
            **({"exporter:12780": exporter} if isinstance(exporter, str) else exporter),
            "alertmanager:9093": addresses["alertmanager"],
            "127.0.0.1:9090": addresses["prometheus"],
        }
        file = bundle.write_prometheus(root, folder, scale, moved)
        command = [str(prometheus), f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"]
        command += [f"--web.listen-address={addresses['prometheus']}"]
        await _start(stack, Child("prometheus", command, folder), addresses["prometheus"])
        yield Watchers(*(f"http://{addresses[name]}" for name in ("prometheus", "alertmanager")))


@contextlib.asynccontextmanager
async def processes(folder: Path, scale: Scale, config: str, slack: str, mail: str | None) -> AsyncIterator[Processes]:
    """Run them until left.

    Args:
        folder: for files.
        scale: what the bundle's times are divided by.
        config: of the exporter.
        slack: the URL that takes Slack messages.
        mail: ``host:port`` of the mail server; None for no e-mail.
    """
    port = pick_port(0)
    (folder / "rounds.yml").write_text(config, encoding="utf-8")
    async with contextlib.AsyncExitStack() as stack:
        exporter = exporter_child(folder, port)
        await _start(stack, exporter, f"127.0.0.1:{port}")
        watching = await stack.enter_async_context(watchers(folder, scale, f"127.0.0.1:{port}", slack, mail))
        yield Processes(exporter, port, watching.prometheus)


async def _start(stack: contextlib.AsyncExitStack, child: Child, address: str) -> None:
    stack.push_async_callback(child.stop)
    await child.start()
    await child.ready(f"http://{address}/-/ready")
