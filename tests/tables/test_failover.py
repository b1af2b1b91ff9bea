"""Two exporters on one ledger: whatever becomes of the one that counts, each change is counted and told once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rounds.cli import main
from support.exporter import until
from support.failover import LEASE, LOCKED, UNLOCKED, Member, Pair, pair

PLACES = pytest.mark.parametrize("place", ["mariadb", "postgresql"])


async def killed(both: Pair, holder: Member) -> float:
    await holder.kill()
    took = await both.taken_over(holder)
    await holder.start()
    return took


async def stopped(both: Pair, holder: Member) -> float:
    holder.stop()
    took = await both.taken_over(holder)
    holder.go_on()
    return took


async def stopped_in_a_transaction(both: Pair, holder: Member) -> float:
    await holder.stop_before(LOCKED)
    took = await both.taken_over(holder)
    holder.go_on()
    return took


async def stopped_before_a_transaction(both: Pair, holder: Member) -> float:
    await holder.stop_before(UNLOCKED)
    took = await both.taken_over(holder)
    holder.go_on()
    return took


async def cut_off(both: Pair, holder: Member) -> float:
    holder.gate.shut()
    took = await both.taken_over(holder)
    holder.gate.open()
    return took


async def ended(both: Pair, holder: Member) -> float:
    holder.stopped = True
    assert await holder.exporter.stop() == 0
    took = await both.taken_over(holder)
    await holder.end()
    await holder.start()
    return took


FAULTS: tuple[Callable[[Pair, Member], Awaitable[float]], ...] = (
    killed,
    stopped_in_a_transaction,
    cut_off,
    ended,
    stopped,
    stopped_before_a_transaction,
)


async def goes_over(both: Pair, fault: Callable[[Pair, Member], Awaitable[float]]) -> float:
    """A fault of the holder, from which the other one takes over; the former one then stands by."""
    holder = await both.holder()
    took = await fault(both, holder)
    await both.stands_by(holder)
    return took


@pytest.mark.slow
@PLACES
async def test_each_change_is_counted_once_whatever_becomes_of_the_holder(
    place: str, request: pytest.FixtureRequest
) -> None:
    """The clock of one of them is five hours ahead."""
    async with pair(request.getfixturevalue(place), place) as both:
        await goes_over(both, killed if place == "mariadb" else stopped_in_a_transaction)
        await both.settle()


@pytest.mark.long
@PLACES
async def test_each_change_is_counted_once_over_many_failovers(place: str, request: pytest.FixtureRequest) -> None:
    random_ = random.Random(8)
    took: dict[str, list[float]] = {}
    async with pair(request.getfixturevalue(place), place, rows=6000) as both:
        for fault in [each for each in FAULTS for _ in range(3)]:
            await both.holder()
            await asyncio.sleep(random_.uniform(0, 1))  # the moment is the point
            took.setdefault(fault.__name__, []).append(await goes_over(both, fault))
        await both.settle()
    for name, times in took.items():
        print(f"{place} {name}: {min(times):.2f} to {max(times):.2f} s, with a lease of {LEASE} s")


async def late_commit(server: Any, place: str, environ: dict[str, str]) -> None:
    """The holder stops before it writes; the other one takes over and counts nothing, as it cannot find the table."""

    def stage(first: Member, second: Member) -> None:
        first.environ |= environ
        second.blind = True

    async with pair(server, place, stage=stage) as both:
        first, second = both.members
        await first.stop_before(UNLOCKED)

        async def holds() -> bool:
            return (await second.tells())[0]

        await until(holds, within=30)
        first.go_on()
        await both.stands_by(first)
        await first.ended_it()
        both.check_audit()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["postgresql", pytest.param("mariadb", marks=pytest.mark.long)])
async def test_a_holder_that_was_stopped_before_it_wrote_commits_nothing_any_more(
    place: str, request: pytest.FixtureRequest
) -> None:
    await late_commit(request.getfixturevalue(place), place, {})


@pytest.mark.long
@PLACES
async def test_without_the_check_of_each_transaction_it_would(place: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(AssertionError, match="nobody writes under another's lease"):
        await late_commit(request.getfixturevalue(place), place, {"STAGED_UNFENCED": "1"})


@pytest.mark.slow
async def test_who_stands_by_says_so_and_commands_that_write_are_refused(
    request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    async with pair(request.getfixturevalue("mariadb"), "mariadb") as both:
        holder, second = await both.holder(), both.members[1]
        await both.stands_by(second)
        name = (await holder.exporter.get("/api/v1/status")).json()["lease"]["this"]
        assert (await second.exporter.get("/-/ready")).text == "Rounds is ready and stands by.\n"
        assert (await second.exporter.get("/metrics?collect[]=services")).text == ""
        assert f"{name} holds the lease of the ledger" in (await second.exporter.get("/")).text
        assert "No domain is configured" not in (await second.exporter.get("/")).text
        assert await command("status", f"--url={second.exporter.url}") == 0
        assert "Stands by for " in capfd.readouterr().out
        assert await command("status", f"--url={holder.exporter.url}") == 0
        assert f"as {name}" in capfd.readouterr().out
        file = f"--config.file={holder.exporter.file}"

        async def refused() -> bool:
            """On a busy computer the server may end its session instead, which was idle for longer than the lease."""
            assert await command("once", file, "--collector=tables/patients") == 1
            return f"the exporter {name} holds the lease of this ledger" in capfd.readouterr().err

        await until(refused, within=60)
        assert await command("ledger", "check", file) == 0
        assert f"lease: held by {name}" in capfd.readouterr().out
        text = holder.exporter.file.read_text(encoding="utf-8")
        holder.exporter.file.write_text(text.replace("200ms", "300ms"), encoding="utf-8")
        holder.exporter.process.send_signal(1)
        await until(lambda: _reloaded(holder))
        assert (await holder.exporter.get("/api/v1/status")).json()["lease"]["epoch"] == 1, "a reload keeps it"


async def command(*words: str) -> int:
    """Run it beside this loop."""
    return await asyncio.to_thread(main, words)


async def _reloaded(member: Member) -> bool:
    return 'event="configuration loaded"' in member.exporter.log
