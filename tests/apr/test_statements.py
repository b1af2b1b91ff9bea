"""What a run asks of a database with a long past: every statement is served by an index."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rounds.databases.mariadb import MariadbSession
from support.apr import Installation
from support.apr_large import fill
from support.apr_reading import Reading

#: The rows of these grow with the years, or by the thousand with each day.
LARGE = ("apr_status_history", "apr_invalid_records", "apr_valid_records", "apr_proposal_products")
LABELS = {"cedente": 3, "gerente": 3, "produto": 3}


class Sent:
    """The statements that sessions were sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements: list[tuple[str, Sequence[object]]] = []
        for name in ("all", "stream"):
            monkeypatch.setattr(MariadbSession, name, self._recording(getattr(MariadbSession, name)))

    def _recording(self, method: Any) -> Any:
        def record(session: MariadbSession, sql: str, parameters: Sequence[object] = ()) -> Any:
            self.statements.append((sql, parameters))
            return method(session, sql, parameters)

        return record


def plans(installation: Installation, sql: str, parameters: Sequence[object]) -> Iterator[dict[str, Any]]:
    """How the server would go through each table of a statement."""
    with installation.engine.connect() as connection:
        result = connection.exec_driver_sql(f"EXPLAIN {sql}", tuple(parameters))
        yield from (dict(row) for row in result.mappings())


@pytest.fixture(params=[20_000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.long])])
def history(request: pytest.FixtureRequest) -> int:
    """Rows of the history."""
    return int(request.param)


def test_no_statement_scans_a_large_table(
    on_mariadb: Installation, tmp_path: Path, history: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(on_mariadb, history=history, invalid=history // 10, still_open=history // 200)
    reading = Reading(on_mariadb.source, tmp_path, labels=LABELS)
    runs = 1
    while "proposals_stuck" not in reading.run().families:
        runs += 1
    assert runs == max(1, history // 100_000 + (history >= 100_000)), "the past is read a part at a time"
    # Something of everything that makes a run send a statement.
    on_mariadb.sql(
        "UPDATE apr_invalid_records SET is_resolved = 1, resolved_at = NOW() WHERE is_resolved = 0 AND id < 2000",
        "INSERT INTO apr_invalid_records (id, DATA, PROPOSTA, CEDENTE, VALIDATION_TYPE)"
        " SELECT MAX(id) + 5, CURRENT_DATE, 1, 'Cliente Um', 'SEUNO' FROM apr_invalid_records",
        "INSERT INTO apr_status_history (id, DATA, PROPOSTA, CEDENTE, NEW_STATUS)"
        " SELECT MAX(id) + 5, CURRENT_DATE, 1, 'Cliente Um', 'Pago' FROM apr_status_history",
    )
    reading.run()
    on_mariadb.sql(
        "INSERT INTO apr_status_history (id, DATA, PROPOSTA, CEDENTE, NEW_STATUS)"
        " SELECT MAX(id) - 1, CURRENT_DATE, 1, 'Cliente Um', 'Pago' FROM apr_status_history",
    )
    sent = Sent(monkeypatch)
    began = time.monotonic()
    reading.run()
    took = time.monotonic() - began
    assert reading.run()["status_changes_total", "SYSTEM", "pago"]
    selects = [each for each in sent.statements if each[0].startswith("SELECT")]
    assert len(selects) > 30
    assert all(sql.startswith(("SELECT", "SET TRANSACTION", "START TRANSACTION")) for sql, _ in sent.statements)
    for sql, parameters in selects:
        for plan in plans(on_mariadb, sql, parameters):
            scanned = plan["type"] in {"ALL", "index"} and plan["table"] in {*LARGE, "v", "i"}
            assert not scanned, f"{sql}\n{plan}"
    print(f"{len(sent.statements)} statements in two runs; the first took {took:.3f} s")
    assert took < 3, "generously: bench/apr_reading.py measures"
    reading.ledger.close()
