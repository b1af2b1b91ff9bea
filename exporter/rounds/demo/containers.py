"""The demo's parts one by one, for containers: ``python -m rounds.demo.containers services|slack|config``.

``services`` plays the script on the ports of exporter/rounds.yml, ``slack`` catches what would go to Slack, and
``config`` writes the configuration files of Prometheus and Alertmanager. docker-compose.demo.yml puts them together.
Exit codes: 0 done or told to end, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from rounds.demo import bundle
from rounds.demo.catchers import SlackCatcher
from rounds.demo.display import Display
from rounds.demo.main import FACTOR
from rounds.demo.processes import ChildDiedError
from rounds.demo.scaling import Scale
from rounds.demo.synthetic import make_services, play

#: Where the default configuration of the exporter looks for each service.
PORTS = {
    "api-gateway": 8000,
    "mcp-server": 8001,
    "airtable-gateway": 8002,
    "llm-orchestrator": 8003,
    "automation-services": 8006,
    "platform-services": 8007,
    "saga-orchestrator": 8008,
    "frontend": 3000,
}

#: A container has a network of its own; who may reach it is decided outside.
_ANYWHERE = "0.0.0.0"  # noqa: S104


def main(arguments: list[str] | None = None) -> int:
    """Run one part; returns its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (ChildDiedError, OSError) as error:
        print(f"rounds.demo.containers: {error}", file=sys.stderr)
        return 1


def _services(options: argparse.Namespace) -> int:
    asyncio.run(run_services(options.host, PORTS, Display()))
    return 0


async def run_services(host: str, ports: Mapping[str, int], display: Display) -> None:
    """Play the script until SIGTERM or SIGINT.

    Args:
        host: the address to listen on.
        ports: of each service.
        display: is told of every change.

    Raises:
        OSError: a port is taken.
    """
    services = make_services(host=host)
    try:
        for name, service in services.items():
            service.port = ports[name]
            await service.start()
        playing = asyncio.create_task(play(services, functools.partial(display.script, "services")))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, playing.cancel)
        display.plain(f"{len(services)} services listen on {host}.")
        await asyncio.wait((playing,))
    finally:
        for service in services.values():
            await service.stop()


def _slack(options: argparse.Namespace) -> int:
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    display = Display()
    with SlackCatcher(options.port, display.slack, options.host) as catcher:
        display.plain(f"What would go to Slack is shown here, and as JSON on port {catcher.port}.")
        ending.wait()
    return 0


def _config(options: argparse.Namespace) -> int:
    scale = Scale(FACTOR, events=True)
    bundle.write_alertmanager(
        options.bundle, options.output, scale, slack=options.slack, mail=options.mail, grafana=options.grafana
    )
    bundle.write_prometheus(options.bundle, options.output, scale)
    print(f"Alerting is {scale.factor:g} times as fast as in production, from the same rules and routes:")
    print(*(f"    {line}" for line in scale.described()), sep="\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rounds.demo.containers", allow_abbrev=False)
    parts = parser.add_subparsers(required=True, metavar="PART")
    services = parts.add_parser("services", help="services that fail and recover")
    services.set_defaults(command=_services)
    services.add_argument("--host", default=_ANYWHERE)
    slack = parts.add_parser("slack", help="a catcher in place of Slack")
    slack.set_defaults(command=_slack)
    slack.add_argument("--host", default=_ANYWHERE)
    slack.add_argument("--port", type=int, default=8080)
    config = parts.add_parser("config", help="write the configuration files")
    config.set_defaults(command=_config)
    config.add_argument("--bundle", type=Path, required=True, help="the folder with prometheus/ and alertmanager/")
    config.add_argument("--output", type=Path, required=True, help="the folder to write, as the others see it")
    config.add_argument("--slack", required=True, help="the URL that takes Slack messages")
    config.add_argument("--mail", required=True, help="host:port of the mail server")
    config.add_argument("--grafana", required=True, help="where dashboards are, for links")
    return parser


if __name__ == "__main__":
    sys.exit(main())
