"""The lease: exactly one exporter writes, whatever is stopped, killed, cut off or set to another time."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import Connection

from ledger.conftest import Open, state_of
from rounds.errors import CollectorError, ConfigError
from rounds.ledger import counters
from rounds.ledger.lease import Lease, NotHolderError
from rounds.ledger.ledger import Ledger
from rounds.ledger.servers import MariadbStore, PostgresqlStore
from rounds.ledger.settings import State
from support.forking import CONTEXT
from support.gate import Gate
from support.leasing import Audit, count_forever, pid_of, set_lease
from support.waiting import eventually

LENGTH = 3


@pytest.fixture(params=["mariadb", "postgresql"])
def place(request: pytest.FixtureRequest) -> str:
    """The kind of server."""
    return str(request.param)


@pytest.fixture
def server(place: str, request: pytest.FixtureRequest) -> Any:
    """The server that holds the ledger."""
    return request.getfixturevalue(place)


@pytest.fixture
def leased(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> State:
    """A place without a ledger, with a lease that runs out in no test."""
    return state_of(place, tmp_path, request).model_copy(update={"lease": 30})


@pytest.fixture
def briefly(leased: State) -> State:
    """The same with the shortest lease."""
    return leased.model_copy(update={"lease": LENGTH})


def lease_of(ledger: Ledger) -> Lease:
    assert ledger.lease is not None
    return ledger.lease


def add(connection: Connection) -> None:
    counters.add(connection, "added", (), 1)


def added(ledger: Ledger) -> float:
    with ledger.reading() as connection:
        return counters.load(connection, "added").get((), 0)


def through(state: State, gate: Gate) -> State:
    """The same ledger by another way."""
    port = state.engine_url.port
    return state.model_copy(update={"url": state.url.replace(f":{port}/", f":{gate.port}/")})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"lease": "2s"}, "from 3s to 30s"),
        ({"lease": "31s"}, "from 3s to 30s"),
        ({"url": "sqlite:////state.db", "lease": "30s"}, "exporters cannot share a SQLite file"),
    ],
)
def test_a_lease_that_makes_no_sense_is_refused(given: dict[str, str], told: str) -> None:
    server = {} if "url" in given else {"url": "mariadb://db/rounds", "user": "rounds", "salt_file": "/salt"}
    with pytest.raises(ValidationError, match=told):
        State.model_validate(server | given)


def test_one_holds_it_and_the_other_takes_over_at_once_when_it_is_given_back(leased: State, opened: Open) -> None:
    first, second = opened(leased), opened(leased)
    lease_of(first).start()
    lease_of(second).start()
    assert lease_of(first).term == 1
    assert lease_of(second).term is None
    seen = lease_of(second).seen
    assert seen is not None
    assert seen.holder == lease_of(first).holder
    assert seen.in_force
    with first.writing() as connection:
        add(connection)
    with pytest.raises(NotHolderError, match=lease_of(first).holder), second.writing() as connection:
        add(connection)
    first.close()
    assert eventually(lambda: lease_of(second).term == 2, within=20), "it need not run out"
    with second.writing() as connection:
        add(connection)
    assert added(second) == 2
    assert lease_of(first).term is None


def test_who_wants_no_lease_does_not_write_beside_its_holder(leased: State, opened: Open) -> None:
    holder, command = opened(leased), opened(leased)
    unaware = opened(leased.model_copy(update={"lease": None}))
    for ledger in (command, unaware):
        with ledger.writing() as connection:
            add(connection)
    lease_of(holder).start()
    for ledger in (command, unaware):
        with pytest.raises(NotHolderError, match=f"the exporter {lease_of(holder).holder} holds"), ledger.writing():
            pytest.fail("it is refused before")
        assert ledger.up, "nothing is wrong with the ledger"
    assert added(command) == 2, "it may be read"
    holder.close()
    with command.writing() as connection:
        add(connection)


def test_what_was_taken_by_another_is_lost_at_the_next_write(
    leased: State, opened: Open, server: Any, place: str
) -> None:
    ledger = opened(leased)
    lease = lease_of(ledger)
    lease.start()
    database = str(leased.engine_url.database)
    set_lease(server, place, database, "holder = 'other:1:f', epoch = 7, renewed = NOW, length = 1")
    assert lease.term == 1, "it does not know yet"
    with pytest.raises(NotHolderError, match="nothing was counted"), ledger.writing():
        pytest.fail("it is refused before")
    assert lease.term is None
    assert eventually(lambda: lease.term == 8), "the other one never renews"


def test_a_renewal_finds_that_it_was_taken(briefly: State, opened: Open, server: Any, place: str) -> None:
    lease = lease_of(opened(briefly))
    lease.start()
    set_lease(
        server, place, str(briefly.engine_url.database), "holder = 'other:1:f', epoch = 7, renewed = NOW, length = 30"
    )
    assert eventually(lambda: lease.term is None)
    assert eventually(lambda: lease.seen is not None and lease.seen.holder == "other:1:f")


def test_only_the_clock_of_the_database_says_when_it_runs_out(
    leased: State, opened: Open, server: Any, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an exporter whose clock is hours off nor a database's clock that is set matters for long."""
    now = time.time
    first, second = lease_of(opened(leased)), lease_of(opened(leased))
    monkeypatch.setattr(time, "time", lambda: now() - 5 * 3600)
    first.start()
    monkeypatch.setattr(time, "time", lambda: now() + 5 * 3600)
    second.start()
    assert (first.term, second.term) == (1, None)
    first._ending = True  # it is never renewed again
    first._wake.set()
    database = str(leased.engine_url.database)
    set_lease(server, place, database, "renewed = NOW + 36000")
    assert eventually(lambda: second.term == 2, within=20), "a database's clock was set back by ten hours"
    set_lease(server, place, database, "renewed = NOW - 36000")
    assert eventually(lambda: second.term is not None), "or on"


def test_a_long_transaction_costs_nobody_the_lease(briefly: State, opened: Open) -> None:
    first, second = opened(briefly), opened(briefly)
    lease_of(first).start()
    lease_of(second).start()
    with first.writing() as connection:
        end = time.monotonic() + LENGTH + 1
        while time.monotonic() < end:
            add(connection)
            time.sleep(0.05)  # the transaction must be open for longer than the lease, and do something meanwhile
        assert lease_of(first).term == 1
        assert lease_of(second).term is None
    assert lease_of(first).term == 1


def test_who_reads_may_take_longer_than_the_lease(briefly: State, opened: Open) -> None:
    """As a check does while its source scans a large table."""
    ledger = opened(briefly)
    lease_of(ledger).start()
    with ledger.reading() as connection:
        counters.load(connection, "added")
        time.sleep(LENGTH + 0.5)  # the server would end a session that is idle for so long
        assert counters.load(connection, "added") == {}
    assert lease_of(ledger).term == 1


def test_who_cannot_reach_the_ledger_knows_by_its_own_clock_that_the_lease_is_over(
    briefly: State, opened: Open
) -> None:
    with Gate(briefly.engine_url.port or 0) as gate:
        first, second = lease_of(opened(through(briefly, gate))), lease_of(opened(briefly))
        first.start()
        second.start()
        gate.silent = True
        assert first.term == 1
        assert eventually(lambda: second.term == 2)
        assert first.term is None, "over before another could take it"
        gate.shut()
        gate.silent = False
        gate.open()
        assert eventually(lambda: first.seen is not None and first.seen.holder == second.holder)


def test_exporters_of_one_ledger_need_the_same_salt(leased: State, opened: Open, tmp_path: Path) -> None:
    holder = lease_of(opened(leased))
    holder.start()
    other = opened(leased.model_copy(update={"salt_file": tmp_path / "another"}))
    with pytest.raises(ConfigError, match=f"state.salt_file: is not that of the exporter {holder.holder}"):
        lease_of(other).start()


def test_a_ledger_that_does_not_answer_is_waited_for(leased: State, opened: Open) -> None:
    with Gate(leased.engine_url.port or 0) as gate:
        gate.shut()
        ledger = opened(through(leased, gate))
        lease_of(ledger).start()
        assert lease_of(ledger).term is None
        assert not ledger.up
        gate.open()
        assert eventually(lambda: lease_of(ledger).term == 1)
        assert ledger.up


def test_a_server_that_lacks_what_the_lease_needs_is_refused(
    leased: State, opened: Open, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As older ones do, and MySQL."""
    store = MariadbStore if place == "mariadb" else PostgresqlStore
    arguments = store.arguments

    def older(*given: Any) -> dict[str, Any]:
        return {
            key: re.sub("idle_[a-z_]+", "idle_nothing", str(value)) if key in ("options", "init_command") else value
            for key, value in arguments(*given).items()
        }

    monkeypatch.setattr(store, "arguments", older)
    with pytest.raises(ConfigError, match=r"state.url: the ledger lacks a setting that the lease needs: .* 10.3"):
        opened(leased)


class Counters:
    """Processes that count as fast as they can, whether they hold the lease or not."""

    def __init__(self, state: State, *, fenced: bool = True) -> None:
        self._state = state
        self._fenced = fenced
        self._seeds = iter(range(1_000_000))
        self.told: dict[int, int] = {}
        self._running: dict[int, tuple[Any, Any]] = {}

    def start(self) -> None:
        receiver, sender = CONTEXT.Pipe(duplex=False)
        arguments, keys = (self._state, sender, next(self._seeds)), {"fenced": self._fenced}
        child = CONTEXT.Process(target=count_forever, args=arguments, kwargs=keys, daemon=True)
        child.start()
        sender.close()
        self._running[child.pid or 0] = child, receiver
        self.told[child.pid or 0] = 0

    def hear(self) -> set[int]:
        """Who has committed since this was asked last."""
        heard = set()
        for pid, (_, receiver) in self._running.items():
            try:
                while receiver.poll(0):
                    if receiver.recv() == 1:
                        self.told[pid] += 1
                        heard.add(pid)
            except EOFError:
                pass
        return heard

    def someone_but(self, pid: int) -> bool:
        for other in self._running.keys() - {pid}:
            os.kill(other, signal.SIGCONT)
        return bool(self.hear() - {pid})

    def wake(self) -> None:
        for pid in self._running:
            os.kill(pid, signal.SIGCONT)

    def kill(self, pid: int) -> None:
        child, receiver = self._running.pop(pid)
        child.kill()
        child.join()
        receiver.close()

    def end(self) -> None:
        for pid in list(self._running):
            self.kill(pid)


def exactly_one_counted(
    server: Any, place: str, state: State, opened: Open, rounds: int, *, fenced: bool = True
) -> Counters:
    """Two processes, of which one is stopped or killed again and again, and the audit of what they wrote."""
    state = state.model_copy(update={"lease": 1})  # shorter than is allowed: nothing but time depends on it
    ledger = opened(state)
    audit = Audit(server, place, str(state.engine_url.database), "ledger_counters", "name")
    random_ = random.Random(rounds)
    running = Counters(state, fenced=fenced)
    try:
        running.start()
        running.start()
        holder = -1

        def somebody() -> bool:
            nonlocal holder
            heard = running.hear()
            holder = next(iter(heard), -1)
            return bool(heard)

        for _ in range(rounds):
            assert eventually(somebody, within=60, every=0.005)
            former = holder
            time.sleep(random_.uniform(0, 0.3))  # the moment is the point
            if random_.random() < 0.3:
                running.kill(former)
                running.start()
            else:
                os.kill(former, signal.SIGSTOP)
                running.hear()
            assert eventually(lambda: running.someone_but(former), within=60)  # noqa: B023
            running.wake()
    finally:
        running.end()
    written = audit.written
    assert written, "they counted"
    intruders = [each for each in written if each.row != f"counted/{pid_of(each.holder)}"]
    assert intruders == [], "nobody writes under another's lease"
    assert [each.epoch for each in written] == sorted(each.epoch for each in written)
    with ledger.reading() as connection:
        for pid, told in running.told.items():
            counted = counters.load(connection, f"counted/{pid}").get((), 0)
            assert counted >= told, "what was told is there"
            assert counted == sum(each.row == f"counted/{pid}" for each in written)
    return running


def test_stopped_and_killed_at_random_exactly_one_counts(server: Any, place: str, leased: State, opened: Open) -> None:
    exactly_one_counted(server, place, leased, opened, 2)


@pytest.mark.long
def test_stopped_and_killed_at_random_many_times(server: Any, place: str, leased: State, opened: Open) -> None:
    exactly_one_counted(server, place, leased, opened, 40)


def test_without_the_check_of_each_transaction_two_would_count(
    server: Any, place: str, leased: State, opened: Open
) -> None:
    with pytest.raises(AssertionError, match="nobody writes under another's lease"):
        exactly_one_counted(server, place, leased, opened, 1, fenced=False)


def test_a_holder_that_stops_in_the_middle_of_a_transaction_is_ended_by_the_server(
    briefly: State, opened: Open
) -> None:
    """Its rows stay locked no longer than the lease lasts."""
    first, second = opened(briefly), opened(briefly)
    lease_of(first).start()
    lease_of(second).start()
    told: Callable[[], bool] = lambda: lease_of(second).term is not None  # noqa: E731
    with pytest.raises(CollectorError), first.writing() as connection:  # noqa: PT012
        add(connection)
        lease_of(first)._ending = True  # as if the whole process were stopped: nothing is renewed either
        lease_of(first)._wake.set()
        assert eventually(told)
        add(connection)
    assert added(second) == 0
