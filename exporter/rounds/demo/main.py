"""Starts the demo's parts in order, watches them and ends them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rounds.demo import bundle, warehouse
from rounds.demo.bundle import CHECK_TIMES, TABLE_TIMES, Databases
from rounds.demo.catchers import MailCatcher, SlackCatcher
from rounds.demo.certificate import make_certificate
from rounds.demo.display import Display
from rounds.demo.observe import watch_alerts, watch_exporter
from rounds.demo.pacing import MADE
from rounds.demo.ports import LOOPBACK, pick_port
from rounds.demo.processes import Child, ChildDiedError
from rounds.demo.scaling import Scale
from rounds.demo.synthetic import make_services, play

#: How much shorter than in production alerting times are at speed 1.
FACTOR = 6.0

#: Beyond these a probe every 8 s misses half of the script, or a round of it takes longer than anyone watches.
SPEEDS = (0.1, 2.0)

_FIRST_SERVICE_PORT = 12781
_SLACK_PORT, _MAIL_PORT = 12789, 12790
_WAREHOUSE_PORT = 12791
_MODELS_PORT = 12792
_PROMETHEUS_PORT, _ALERTMANAGER_PORT = 9090, 9093


def run(*, listen: str = f"{LOOPBACK}:12780", speed: float = 1.0) -> int:
    """Run the demo until Ctrl-C or SIGTERM.

    Args:
        listen: the exporter's address. A free port is taken where this one is in use.
        speed: how many times faster than written the script is played; alerting times follow.

    Returns:
        the exit code: 0 when it was ended, 1 when a part of it failed, 2 for arguments that make no sense.
    """
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or not SPEEDS[0] <= speed <= SPEEDS[1]:
        print(f"give an address such as {LOOPBACK}:12780 and a speed from {SPEEDS[0]} to {SPEEDS[1]}", file=sys.stderr)
        return 2
    try:
        return asyncio.run(_supervise(_Demo(host, int(port), speed, Display())))
    except KeyboardInterrupt:  # before the demo could listen for it
        return 0


async def _supervise(demo: _Demo) -> int:
    task = asyncio.create_task(demo.run())

    def end() -> None:
        if not task.cancelling():  # being asked again must not disturb the ending
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end)
    try:
        await task
    except asyncio.CancelledError:
        demo.display.plain("", "The demo has ended; nothing of it is left running.")
        return 0
    except (ChildDiedError, OSError) as error:
        demo.display.plain("", f"The demo ends, since {error}")
        return 1
    raise AssertionError("the demo runs until it is ended")


class _Demo:
    """The parts of one demo and what they need to know of each other."""

    def __init__(self, host: str, port: int, speed: float, display: Display) -> None:
        self.display = display
        self._host = host
        self._port = port
        self._speed = speed
        self._scale = Scale(FACTOR * speed, events=True)
        self._children: list[Child] = []

    async def run(self) -> None:
        """Start everything, tell what can be seen, and play the script until cancelled.

        Raises:
            ChildDiedError: a child ended by itself.
            OSError: a part could not be started, or does not answer in time.
        """
        async with contextlib.AsyncExitStack() as stack:
            temporary = tempfile.TemporaryDirectory(prefix="rounds-demo-", ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(temporary))
            self.display.plain(f"Starting the Rounds demo on {LOOPBACK}, with its files in {folder}.")
            services = make_services(self._speed)
            services["frontend"].certificate = make_certificate(folder)
            for port, service in enumerate(services.values(), _FIRST_SERVICE_PORT):
                service.port = self._free(service.name, port)
                await service.start()
                stack.push_async_callback(service.stop)
            stack.push_async_callback(self._stop_children)
            exporter = self._exporter_address()
            warehouse = await self._start_warehouse(folder)
            models = f"{LOOPBACK}:{self._free('The server of language models', _MODELS_PORT)}"
            tables, apr, syncs = (folder / f"{name}.db" for name in ("clinic", "apr", "syncs"))
            databases = Databases(tables, warehouse, apr, syncs, folder / "docassist" / "monitoring.db", models)
            writers = await self._start_writers(folder, databases, f"{exporter}-/ready")
            config = bundle.write_exporter(folder, services, databases)
            await self._start_exporter(folder, config, exporter)
            alerting = await self._start_alerting(folder, stack, exporter)
            self._introduce(exporter, alerting, config)
            self.display.restart_clock()
            try:
                async with asyncio.TaskGroup() as group:
                    for child in self._children:
                        group.create_task(child.watch())
                    group.create_task(play(services, self.display.script, speed=self._speed))
                    for writer in writers:
                        group.create_task(self._repeat(writer))
                    group.create_task(
                        watch_exporter(exporter, self.display.check, self.display.table, self.display.sync)
                    )
                    if alerting:
                        group.create_task(watch_alerts(alerting["prometheus"], self.display.alert))
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from None

    async def _start_warehouse(self, folder: Path) -> dict[str, Any]:
        """Start the stand-in for Snowflake. Gives it as a source; an empty one where it is not installed."""
        python = warehouse.python()
        if python is None:
            self.display.plain(
                "Patients are in SQLite, as there is no stand-in for Snowflake: `make demo` prepares one."
            )
            return {}
        port = self._free("The stand-in for Snowflake", _WAREHOUSE_PORT)
        address = f"{LOOPBACK}:{port}"
        await self._start(Child("fakesnow", warehouse.command(python, port), folder), f"http://{address}/control")
        return warehouse.source(address, "rounds")

    async def _start_writers(self, folder: Path, databases: Databases, after: str) -> list[Child]:
        """Start what makes tables, with their past, and then changes them, from when ``after`` is answered."""
        warehouse = databases.warehouse
        place = [f"--warehouse={warehouse['host']}:{warehouse['port']}"] if warehouse else []
        flags = [f"--after={after}", f"--speed={self._speed}"]
        programs: tuple[tuple[str, Path, list[str]], ...] = (
            ("writer", databases.clinic, place),
            ("pipeline_writer", databases.apr, []),
            ("clinic_writer", databases.syncs, []),
            ("desk_writer", databases.emr, [f"--models={databases.models}"]),
        )
        return await asyncio.gather(
            *(self._start_program(folder, module, [f"--file={file}", *flags, *more]) for module, file, more in programs)
        )

    async def _start_program(self, folder: Path, module: str, flags: list[str]) -> Child:
        child = Child(module, [sys.executable, "-m", f"rounds.demo.{module}", *flags], folder)
        self._children.append(child)
        await child.start()
        await child.said(MADE)
        return child

    async def _repeat(self, writer: Child) -> None:
        async for line in writer.lines():
            if line != MADE:
                self.display.script(line)

    def _exporter_address(self) -> str:
        self._port = self._free("The exporter", self._port, self._host)
        local = LOOPBACK if self._host in ("", "0.0.0.0", "[::]") else self._host  # noqa: S104 - what the user gave
        return f"http://{local}:{self._port}/"

    async def _start_exporter(self, folder: Path, config: Path, url: str) -> None:
        command = [sys.executable, "-m", "rounds", "run"]
        flags = [f"--config.file={config}", f"--web.listen-address={self._host}:{self._port}"]
        await self._start(Child("exporter", [*command, *flags], folder), f"{url}-/healthy")

    async def _start_alerting(self, folder: Path, stack: contextlib.AsyncExitStack, exporter: str) -> dict[str, str]:
        """Start Prometheus, Alertmanager and the catchers, where all that they need is there. Gives their addresses."""
        production = bundle.find_bundle()
        prometheus, alertmanager = shutil.which("prometheus"), _which("alertmanager", "prometheus-alertmanager")
        if production is None:
            self.display.plain("No alerts: an installed package has no rules; run the demo from a checkout of Rounds.")
            return {}
        if prometheus is None or alertmanager is None:
            self.display.plain("No alerts: run `apt-get install prometheus prometheus-alertmanager` first.")
            return {}
        slack = stack.enter_context(SlackCatcher(self._free("Slack's catcher", _SLACK_PORT), self.display.slack))
        mail = self._catch_mail(stack)
        notifying = f"{LOOPBACK}:{self._free('Alertmanager', _ALERTMANAGER_PORT)}"
        config = bundle.write_alertmanager(production, folder, self._scale, slack.url, mail)
        flags = [f"--storage.path={folder / 'alertmanager-data'}", "--cluster.listen-address="]
        await self._start_go(alertmanager, notifying, config, flags)
        watching = f"{LOOPBACK}:{self._free('Prometheus', _PROMETHEUS_PORT)}"
        config = bundle.write_prometheus(
            production,
            folder,
            self._scale,
            {
                "exporter:12780": urlsplit(exporter).netloc,
                "alertmanager:9093": notifying,
                "127.0.0.1:9090": watching,
            },
        )
        await self._start_go(prometheus, watching, config, [f"--storage.tsdb.path={folder / 'prometheus-data'}"])
        return {"alertmanager": f"http://{notifying}/", "prometheus": f"http://{watching}/"}

    async def _start_go(self, program: str, address: str, config: Path, flags: list[str]) -> None:
        """Start Prometheus or Alertmanager, which have most flags in common."""
        url = f"http://{address}/"
        common = [f"--config.file={config}", f"--web.listen-address={address}", f"--web.external-url={url}"]
        await self._start(Child(config.stem, [program, *common, *flags], config.parent), f"{url}-/ready")

    def _catch_mail(self, stack: contextlib.AsyncExitStack) -> str | None:
        """Start the mail catcher. Gives its address, None where it cannot be had."""
        try:
            catcher = MailCatcher(self._free("The mail catcher", _MAIL_PORT), self.display.mail)
        except ModuleNotFoundError:
            self.display.plain("No e-mail: run `pip install 'rounds-exporter[demo]'` first.")
            return None
        return stack.enter_context(catcher).address

    def _introduce(self, exporter: str, alerting: dict[str, str], config: Path) -> None:
        say = self.display.plain
        say("", f"Checks run every {CHECK_TIMES['interval']}; what counts as degraded or down is as in production.")
        say(f"Tables are checked every {TABLE_TIMES['interval']}; nobody in them is real.")
        say("A pipeline of proposals runs every 8s, on days that are there already; its limits are as short.")
        say("Three clinics are synchronised every minute or so, one of 648 patients; their limits are as short.")
        say("A clinic's desktop program has its troubles, and crashes now and then; what it needs is checked every 5s.")
        if alerting:
            say(f"Alerting is {self._scale.factor:g} times as fast as in production, from the same rules and routes:")
            say(*(f"    {line}" for line in self._scale.described()))
            say("Messages still name production's times, and rules over hours see only the minutes since the start.")
        say("", "Look at", f"    checks     {exporter}", f"    metrics    {exporter}metrics")
        if alerting:
            say(f"    alerts     {alerting['prometheus']}, page Alerts")
            say(f"    notified   {alerting['alertmanager']}api/v2/alerts")
            say("", "Slack and e-mail messages are shown here as they arrive.")
        program = sys.argv[0] if Path(sys.argv[0]).name == "rounds" else "rounds"
        say("", "Try, in another terminal", f"    {program} changes --config.file={config}")
        say(f"    {program} apr show --config.file={config}")
        say(f"    {program} syncs tail --config.file={config}")
        say(f"    {program} emr report --config.file={config}")
        say(f"    {program} status --url={exporter.rstrip('/')}")
        say("", "Ctrl-C ends the demo.", "")

    def _free(self, what: str, port: int, host: str = LOOPBACK) -> int:
        """The port where it is free, else another; says so."""
        found = pick_port(port, host)
        if found != port:
            self.display.plain(f"{what} listens on port {found}, since {port} is taken.")
        return found

    async def _start(self, child: Child, url: str) -> None:
        self._children.append(child)
        await child.start()
        await child.ready(url)

    async def _stop_children(self) -> None:
        await asyncio.gather(*(child.stop() for child in self._children))


def _which(*names: str) -> str | None:
    return next((found for name in names if (found := shutil.which(name))), None)
