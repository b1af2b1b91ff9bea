"""Starts the demo's parts in order, watches them and ends them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from rounds.demo import bundle, warehouse
from rounds.demo.bundle import Databases
from rounds.demo.catchers import MailCatcher, SlackCatcher
from rounds.demo.certificate import make_certificate
from rounds.demo.display import Display
from rounds.demo.introduction import introduce, point
from rounds.demo.observe import Alert, watch_alerts, watch_exporter
from rounds.demo.pacing import MADE
from rounds.demo.ports import LOOPBACK, pick_port
from rounds.demo.processes import Child, ChildDiedError
from rounds.demo.scaling import Scale
from rounds.demo.seen import Seen
from rounds.demo.servers import Mariadb, NoServerError, Postgresql, Server
from rounds.demo.synthetic import Service, make_services, play

#: How much shorter than in production alerting times are at speed 1.
FACTOR = 6.0

#: Beyond these a probe every 8 s misses half of the script, or a round of it takes longer than anyone watches.
SPEEDS = (0.1, 2.0)

_FIRST_SERVICE_PORT = 12781
_SLACK_PORT, _MAIL_PORT = 12789, 12790
_WAREHOUSE_PORT = 12791
_MODELS_PORT = 12792
_MARIADB_PORT, _POSTGRESQL_PORT = 12793, 12794
_PROMETHEUS_PORT, _ALERTMANAGER_PORT = 9090, 9093

#: Seconds from one summary to the next: about a round of the longest script.
_ROUND = 360.0
T = TypeVar("T")


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
        self._servers: list[Server] = []
        self._moved: list[str] = []
        self._seen = Seen()

    async def run(self) -> None:
        """Start everything, tell what can be seen, and play the script until cancelled.

        Raises:
            ChildDiedError: a child ended by itself.
            OSError: a part could not be started, or does not answer in time.
        """
        async with contextlib.AsyncExitStack() as stack:
            folder = stack.enter_context(_temporary())
            self.display.plain(f"Starting the Rounds demo on {LOOPBACK}, with its files in {folder}.")
            services = make_services(self._speed)
            services["frontend"].certificate = make_certificate(folder)
            for port, service in enumerate(services.values(), _FIRST_SERVICE_PORT):
                service.port = pick_port(port)
                await service.start()
                stack.push_async_callback(service.stop)
            if [service.port for service in services.values()] != [*range(_FIRST_SERVICE_PORT, port + 1)]:
                self._moved.append("the services")
            stack.push_async_callback(self._stop_children)
            exporter = self._exporter_address()
            databases, writers = await self._start_sources(folder, f"{exporter}-/ready")
            config = bundle.write_exporter(folder, services, databases, speed=self._speed)
            await self._start_exporter(folder, config, exporter)
            alerting = await self._start_alerting(folder, stack, exporter)
            self._seen = Seen(alerting=bool(alerting))
            introduce(self.display, self._moved, databases, self._scale.factor if alerting else 0)
            point(self.display, exporter, alerting, config)
            self.display.restart_clock()
            try:
                await self._play(services, writers, exporter, alerting)
            finally:
                self._sum_up("Seen in all")

    async def _play(
        self, services: dict[str, Service], writers: dict[str, Child], exporter: str, alerting: dict[str, str]
    ) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for child in (*self._children, *(each for server in self._servers for each in server.children)):
                    group.create_task(child.watch())
                told = functools.partial(self.display.script, "services")
                group.create_task(play(services, told, speed=self._speed))
                for domain, writer in writers.items():
                    group.create_task(self._repeat(domain, writer))
                group.create_task(watch_exporter(exporter, self.display, self._seen))
                if alerting:
                    group.create_task(watch_alerts(alerting["prometheus"], self._alert))
                group.create_task(self._keep_summing_up())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    # --- sources ---------------------------------------------------------------------------------------------------

    async def _start_sources(self, folder: Path, after: str) -> tuple[Databases, dict[str, Child]]:
        """Start what holds data and what changes them, side by side.

        Args:
            folder: where their files are.
            after: when this is answered the programs begin to change what they have made.

        Returns:
            where the data are, and the programs by domain.
        """
        models = f"{LOOPBACK}:{self._free('the server of language models', _MODELS_PORT)}"
        tables, emr = folder / "clinic.db", folder / "docassist" / "monitoring.db"
        flags = [f"--after={after}", f"--speed={self._speed}"]

        async def start_tables() -> tuple[dict[str, Any], Child]:
            source = await self._start_warehouse(folder)
            place = [f"--warehouse={source['host']}:{source['port']}"] if source else []
            return source, await self._start_program(folder, "writer", [f"--file={tables}", *flags, *place])

        async def start_on(kind: type[Server], domain: str, port: int, program: str) -> tuple[dict[str, Any], Child]:
            place, source = await self._start_server(folder, kind, domain, port)
            return source, await self._start_program(folder, program, [*place, *flags])

        async def start_emr() -> tuple[dict[str, Any], Child]:
            given = [f"--file={emr}", *flags, f"--models={models}"]
            return {}, await self._start_program(folder, "desk_writer", given)

        (warehouse, writer), (apr, pipeline), (syncs, clinics), (_, desk) = await _together(
            start_tables(),
            start_on(Mariadb, "apr", _MARIADB_PORT, "pipeline_writer"),
            start_on(Postgresql, "syncs", _POSTGRESQL_PORT, "clinic_writer"),
            start_emr(),
        )
        databases = Databases(tables, warehouse, apr, syncs, emr, models)
        return databases, {"tables": writer, "apr": pipeline, "syncs": clinics, "emr": desk}

    async def _start_warehouse(self, folder: Path) -> dict[str, Any]:
        """Start the stand-in for Snowflake. Gives it as a source; an empty one where it is not installed."""
        python = warehouse.python()
        if python is None:
            self.display.plain("tables: SQLite, as there is no stand-in for Snowflake: `make demo` prepares one.")
            return {}
        port = self._free("the stand-in for Snowflake", _WAREHOUSE_PORT)
        address = f"{LOOPBACK}:{port}"
        await self._start(Child("fakesnow", warehouse.command(python, port), folder), f"http://{address}/control")
        return warehouse.source(address, "rounds")

    async def _start_server(
        self, folder: Path, kind: type[Server], domain: str, port: int
    ) -> tuple[list[str], dict[str, Any]]:
        """Start a server. Gives flags for who writes there, and the source; those of a SQLite file where it fails."""
        server = kind(folder, functools.partial(self._free, kind.name, port))
        self._servers.append(server)
        try:
            place = await server.start()
        except NoServerError as reason:
            self.display.plain(f"{domain}: SQLite, as {reason}.")
            file = folder / f"{domain}.db"
            return [f"--file={file}"], bundle.sqlite(file)
        return place.flags, place.source()

    async def _start_program(self, folder: Path, module: str, flags: list[str]) -> Child:
        child = Child(module, [sys.executable, "-m", f"rounds.demo.{module}", *flags], folder)
        self._children.append(child)
        await child.start()
        await child.said(MADE)
        return child

    async def _repeat(self, domain: str, writer: Child) -> None:
        async for line in writer.lines():
            if line != MADE:
                self.display.script(domain, line.removeprefix(f"{domain}: "))

    # --- the exporter and alerting ---------------------------------------------------------------------------------

    def _exporter_address(self) -> str:
        self._port = self._free("the exporter", self._port, self._host)
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
        slack = stack.enter_context(
            SlackCatcher(self._free("the catcher of Slack's messages", _SLACK_PORT), self.display.slack)
        )
        mail = self._catch_mail(stack)
        notifying = f"{LOOPBACK}:{self._free('Alertmanager', _ALERTMANAGER_PORT)}"
        notifier = bundle.write_alertmanager(production, folder, self._scale, slack.url, mail)
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
        flags = [f"--storage.path={folder / 'alertmanager-data'}", "--cluster.listen-address="]
        await _together(
            self._start_go(alertmanager, notifying, notifier, flags),
            self._start_go(prometheus, watching, config, [f"--storage.tsdb.path={folder / 'prometheus-data'}"]),
        )
        return {"alertmanager": f"http://{notifying}/", "prometheus": f"http://{watching}/"}

    async def _start_go(self, program: str, address: str, config: Path, flags: list[str]) -> None:
        """Start Prometheus or Alertmanager, which have most flags in common."""
        url = f"http://{address}/"
        common = [f"--config.file={config}", f"--web.listen-address={address}", f"--web.external-url={url}"]
        await self._start(Child(config.stem, [program, *common, *flags], config.parent), f"{url}-/ready")

    def _catch_mail(self, stack: contextlib.AsyncExitStack) -> str | None:
        """Start the mail catcher. Gives its address, None where it cannot be had."""
        try:
            catcher = MailCatcher(self._free("the mail catcher", _MAIL_PORT), self.display.mail)
        except ModuleNotFoundError:
            self.display.plain("No e-mail: run `pip install 'rounds-exporter[demo]'` first.")
            return None
        return stack.enter_context(catcher).address

    # --- what is told ----------------------------------------------------------------------------------------------

    def _alert(self, alert: Alert, *, firing: bool) -> None:
        self._seen.alert(alert.domain, firing=firing)
        # That an event is over means nothing.
        if firing or not alert.event:
            self.display.alert(alert.domain, alert.name, alert.about, firing=firing)

    async def _keep_summing_up(self) -> None:
        """Once a round, and as soon as everything has been seen."""
        complete = False
        due = asyncio.get_running_loop().time() + _ROUND / self._speed
        while True:
            await asyncio.sleep(1)
            if self._seen.complete and not complete:
                complete = True
                self._sum_up("Each domain has shown all of its states, and alerts of each have come and gone")
            elif asyncio.get_running_loop().time() >= due:
                due += _ROUND / self._speed
                self._sum_up("Seen so far")

    def _sum_up(self, title: str) -> None:
        self.display.heading(f"{title}, after {self.display.offset}")
        note = () if self._seen.complete else ("    States in parentheses are still to come.",)
        self.display.plain(*(f"    {line}" for line in self._seen.lines()), *note, "")

    # --- helpers ---------------------------------------------------------------------------------------------------

    def _free(self, what: str, port: int, host: str = LOOPBACK) -> int:
        """The port where it is free, else another, which is remembered."""
        found = pick_port(port, host)
        if found != port:
            self._moved.append(f"{what} {found}")
        return found

    async def _start(self, child: Child, url: str) -> None:
        self._children.append(child)
        await child.start()
        await child.ready(url)

    async def _stop_children(self) -> None:
        """Those that use servers end first."""
        await asyncio.gather(*(child.stop() for child in self._children))
        await asyncio.gather(*(server.stop() for server in self._servers))


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
    """A folder for all files."""
    try:
        made = tempfile.TemporaryDirectory(prefix="rounds-demo-", ignore_cleanup_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"there is no folder for its files ({reason}): set TMPDIR to one that can be written") from error
    with made as name:
        yield Path(name)


async def _together(*starts: Coroutine[Any, Any, T]) -> tuple[T, ...]:
    """Run them side by side. The first that fails ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(start) for start in starts]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return tuple(task.result() for task in tasks)


def _which(*names: str) -> str | None:
    return next((found for name in names if (found := shutil.which(name))), None)
