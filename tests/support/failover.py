"""Two real exporters that share a ledger, a table that changes all the time, and what both tell of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from rounds.tables.record import CHANGES
from support.databases import sources_yaml
from support.exporter import RunningExporter, running_exporter, until
from support.gate import Gate
from support.leasing import Audit, pid_of
from support.patients import SqlitePatients
from support.processes import folder

#: The statement before a transaction has its lock, and one in the middle of it.
UNLOCKED, LOCKED = "FOR UPDATE", "UPDATE tables_watched"
LEASE = 3
_PASSWORD = "member of the tests"
Totals = tuple[float, ...]


class Writer:
    """Changes a table in a thread. Each row changes at most once, so the truth does not depend on who looks when."""

    def __init__(self, patients: SqlitePatients, rows: int) -> None:
        patients.replace([(key, f"Name {key}") for key in range(rows)])
        self.truth = dict.fromkeys(CHANGES, 0)
        self.patients = patients
        self._old = iter(range(rows))
        self._new = rows
        self._random = random.Random(rows)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._main, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> Totals:
        """Stop, and say how much was inserted, deleted and modified."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        return tuple(self.truth[change] for change in CHANGES)

    def _main(self) -> None:
        while not self._ended.wait(0.1):
            statements = []
            for _ in range(self._random.randint(1, 3)):
                change = self._random.choice(CHANGES)
                old = None if change == "inserted" else next(self._old, None)
                if old is None:
                    change = "inserted"
                    self._new += 1
                    statements.append(f"INSERT INTO patients VALUES ({self._new}, 'New')")
                elif change == "deleted":
                    statements.append(f"DELETE FROM patients WHERE id = {old}")
                else:
                    statements.append(f"UPDATE patients SET name = 'Edit' WHERE id = {old}")
                self.truth[change] += 1
            self.patients.sql("BEGIN", *statements, "COMMIT")


class Member:
    """One of the exporters. Its way to the ledger can be cut, and its process stopped at a chosen statement.

    Attributes:
        user: its login at the ledger's server.
        pids: its processes so far.
        environ: what is staged when it starts next.
        stopped: whether it was told to stop, and does not answer.
        blind: whether it cannot find the table when it starts next.
    """

    def __init__(self, name: str, where: Path, config: Callable[[Member], str], gate: Gate) -> None:
        self.user = f"rounds_{name}"
        self.gate = gate
        self.pids: set[int] = set()
        self.environ: dict[str, str] = {}
        self.stopped, self.blind = True, False
        self._folder = where / name
        self._folder.mkdir()
        self._config = config
        self._stack = contextlib.AsyncExitStack()
        self.exporter: RunningExporter

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        environ = {"STAGED_STOP": str(self._stop_file), "PYTHONPATH": os.pathsep.join(sys.path), **self.environ}
        client = httpx.AsyncClient(trust_env=False, timeout=5)
        running = running_exporter(
            self._folder, self._config(self), environ=environ, client=client, module="support.staged"
        )
        self.exporter = await self._stack.enter_async_context(running)
        self.pids.add(self.exporter.process.pid)
        self.stopped = False

    async def end(self) -> None:
        """End it, however it fares."""
        self.stopped = True
        await self._stack.aclose()

    async def kill(self) -> None:
        """SIGKILL."""
        self.stopped = True
        self.exporter.process.kill()
        await self.end()

    def stop(self) -> None:
        """SIGSTOP now."""
        self.stopped = True
        self.exporter.process.send_signal(signal.SIGSTOP)

    async def stop_before(self, statement: str) -> None:
        """Let it stop itself before such a statement, and wait until it has."""
        self.stopped = True
        self._stop_file.write_text(statement, encoding="utf-8")

        async def has() -> bool:
            status = Path(f"/proc/{self.exporter.process.pid}/stat").read_text(encoding="utf-8")
            return status.rpartition(") ")[2][0] == "T"

        await until(has, within=30)

    async def ended_it(self) -> None:
        """Wait until the transaction in which it stopped itself has ended, well or badly, after it went on."""

        async def has() -> bool:
            return self._stop_file.with_suffix(".ended").exists()

        await until(has, within=60)

    def go_on(self) -> None:
        """SIGCONT."""
        self.exporter.process.send_signal(signal.SIGCONT)
        self.stopped = False

    async def tells(self) -> tuple[bool, Totals | None]:
        """Whether it says that it holds the lease, and the totals, None where it tells none."""
        samples = await self.exporter.samples()
        names = {name for name, _ in samples}
        held = samples["rounds_ledger_lease_held", frozenset()] == 1
        if not held:
            domains = ("rounds_table_", "rounds_check_", "rounds_collector_", "rounds_source_")
            assert not [name for name in names if name.startswith(domains)], "who stands by tells only of itself"
        found = [
            samples.get(("rounds_table_changes_total", frozenset({"table": "patients", "change": change}.items())))
            for change in CHANGES
        ]
        return held, None if None in found else tuple(value for value in found if value is not None)

    @property
    def _stop_file(self) -> Path:
        return self._folder / "stop"


class Pair:
    """Both of them, and somebody who asks one and the other all the time: what is told never falls."""

    def __init__(self, members: tuple[Member, Member], writer: Writer, audit: Audit) -> None:
        self.members = members
        self.writer = writer
        self._audit = audit
        self._highest: Totals = (0.0,) * len(CHANGES)
        self._asking = asyncio.Lock()

    def other(self, member: Member) -> Member:
        """The other one."""
        return next(each for each in self.members if each is not member)

    async def ask(self, member: Member) -> tuple[bool, Totals | None]:
        """What a member tells, after everything that was told before."""
        async with self._asking:
            held, totals = await member.tells()
            if totals is not None:
                pairs = list(zip(totals, self._highest, strict=True))
                assert all(now >= then for now, then in pairs), f"{member.user} tells {pairs}: less than was told"
                self._highest = totals
            return held, totals

    async def holder(self) -> Member:
        """Who holds the lease and tells of the table now."""

        async def find() -> Member | None:
            for member in self.members:
                if not member.stopped:
                    held, totals = await self.ask(member)
                    if held and totals is not None:
                        return member
            return None

        found = await until(find, within=60)
        assert found is not None
        return found

    async def taken_over(self, former: Member) -> float:
        """Wait until the other one counts; the seconds that it took."""
        began, heir = time.monotonic(), self.other(former)
        before = self._highest

        async def counts() -> bool:
            held, totals = await self.ask(heir)
            return held and totals is not None and sum(totals) > sum(before)

        await until(counts, within=60)
        return time.monotonic() - began

    async def stands_by(self, member: Member) -> None:
        """Wait until a member knows that another one holds the lease; until then it tells nothing wrong either."""

        async def does() -> bool:
            held, _ = await self.ask(member)
            lease = (await member.exporter.get("/api/v1/status")).json()["lease"]
            return not held and lease["holder"] is not None and pid_of(lease["holder"]) not in member.pids

        await until(does, within=60)

    async def settle(self) -> None:
        """The writer ends; what is told becomes the truth, and nobody wrote without holding the lease."""
        truth = self.writer.end()

        async def are() -> bool:
            holder = await self.holder()
            return (await self.ask(holder))[1] == truth

        await until(are, within=60)
        self.check_audit()

    def check_audit(self) -> None:
        """Every row was written by who held the lease, and epochs only grow."""
        written = self._audit.written
        pids = {member.user: member.pids for member in self.members}
        intruders = [each for each in written if pid_of(each.holder) not in pids.get(each.user, set())]
        assert written
        assert intruders == [], "nobody writes under another's lease"
        assert [each.epoch for each in written] == sorted(each.epoch for each in written)


def _users(server: Any, place: str, database: str) -> None:
    """Logins of their own, so that the server can tell who wrote what. Both may do everything with all tables."""
    users = ("rounds_a", "rounds_b")
    if place == "mariadb":
        for user in users:
            server.sql(
                f"CREATE USER IF NOT EXISTS {user}@'127.0.0.1' IDENTIFIED BY '{_PASSWORD}'",
                f"GRANT ALL ON `{database}`.* TO {user}@'127.0.0.1'",
            )
        return
    if not server.sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{users[0]}'"):
        server.sql("CREATE ROLE rounds_members")
        for user in users:
            server.sql(f"CREATE ROLE {user} LOGIN PASSWORD '{_PASSWORD}' IN ROLE rounds_members")
    server.sql(f"ALTER DATABASE {database} OWNER TO rounds_members")
    for user in users:
        server.sql(f"ALTER ROLE {user} IN DATABASE {database} SET role = rounds_members")


@contextlib.asynccontextmanager
async def pair(
    server: Any,
    place: str,
    *,
    rows: int = 2000,
    stage: Callable[[Member, Member], None] | None = None,
    quiet: bool = False,
) -> AsyncIterator[Pair]:
    """Run two exporters until left; the first holds the lease.

    Args:
        server: what holds the ledger.
        place: its kind.
        rows: of the table at the beginning; the more, the longer it has some that can be changed and deleted.
        stage: says what is special about them before they start.
        quiet: whether nothing changes the table but the test.
    """
    database = server.create_database("failover")
    with _gates(server.port) as gates, folder("rounds-failover-") as where:
        _users(server, place, database)
        patients = SqlitePatients(where)

        def config(member: Member) -> str:
            state = {
                "url": f"{place}://127.0.0.1:{member.gate.port}/{database}",
                "user": member.user,
                "password": _PASSWORD,
                "salt_file": str(where / "salt"),
                "lease": f"{LEASE}s",
            }
            table = {
                "name": "patients",
                "source": "clinic",
                "table": "nothing" if member.blind else "patients",
                "interval": "200ms",
            }
            check = {"name": "ledger", "kind": "tcp", "host": "127.0.0.1", "port": server.port}
            rest = {"state": state, "tables": [table], "services": {"checks": [check]}}
            return yaml.safe_dump(rest) + sources_yaml({"clinic": patients.source})

        members = Member("a", where, config, gates[0]), Member("b", where, config, gates[1])
        members[1].environ["STAGED_CLOCK"] = "18000"
        if stage is not None:
            stage(*members)
        writer = Writer(patients, rows)
        try:
            await members[0].start()
            both = Pair(members, writer, Audit(server, place, database, "tables_watched", "name"))
            assert await both.holder() is members[0]
            await members[1].start()
            if not quiet:
                writer.start()
            yield both
        finally:
            writer.end()
            for member in members:
                await member.end()


@contextlib.contextmanager
def _gates(port: int) -> Iterator[tuple[Gate, Gate]]:
    with Gate(port) as first, Gate(port) as second:
        yield first, second
