"""What a reload does to a check that is under way."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from rounds.ledger.ledger import Ledger
from rounds.resources import Resources
from rounds.tables import watcher
from rounds.tables.check import check as genuine
from rounds.tables.domain import Tables
from support.patients import PatientsTable, Watch


async def test_a_check_that_a_reload_gave_up_ends_before_the_next_begins(
    sqlite_patients: PatientsTable, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(sqlite_patients, ledger)
    entered, release, order = threading.Event(), threading.Event(), list[str]()

    def held(*given: Any) -> Any:
        entered.set()
        release.wait(10)
        order.append("first")
        return genuine(*given)

    def plain(*given: Any) -> Any:
        order.append("second")
        return genuine(*given)

    domain, resources = Tables(), Resources(watch.databases, lambda: ledger)
    monkeypatch.setattr(watcher, "check", held)
    (job,) = await domain.configure([watch.watched], resources)
    run = asyncio.ensure_future(job.collect())
    await asyncio.to_thread(entered.wait, 10)
    run.cancel()
    monkeypatch.setattr(watcher, "check", plain)
    (job,) = await domain.configure([watch.watched], resources)
    # Long enough for the second to overtake the first, if it could.
    threading.Timer(0.3, release.set).start()
    await job.collect()
    assert order == ["first", "second"]
