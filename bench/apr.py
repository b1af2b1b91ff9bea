"""Statements and time of what writes the tables of a proposal pipeline, beside one that goes row by row.

The other one does what the program that Rounds' functions replace does, by its description: it looks for each record
with a query of its own through SQLAlchemy's ORM. Both write into a MariaDB server with the settings of the tests: no
disk is waited for, so what is compared is the work of the program, the connection and the server. Rounds' functions are
measured several times in databases of their own, and the median is told: they are short, and other work disturbs them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from measure import cpu_seconds
from sqlalchemy import Engine, create_engine, event, select
from sqlalchemy.orm import Session, registry

from rounds import apr
from rounds.apr import tables
from support.apr import DAY, Installation, mariadb_installation
from support.mariadb import MariadbServer, mariadb_server

mapped = registry()


class InvalidRecord:
    """A row of apr_invalid_records."""

    def __init__(self, **values: object) -> None:
        for name, value in values.items():
            setattr(self, name, value)


class HistoryEntry(InvalidRecord):
    """A row of apr_status_history."""


class ValidRecord(InvalidRecord):
    """A row of apr_valid_records."""


class Product(InvalidRecord):
    """A row of apr_proposal_products."""


class RowByRow:
    """Writers that ask for each record whether it is there."""

    def log_invalid_records(
        self, session: Session, records: Sequence[dict[str, Any]], kind: str, alerted_count: int = 0
    ) -> int:
        """One query and perhaps one insertion for each record."""
        inserted = 0
        for record in records:
            key = {name: record[name] for name in ("DATA", "PROPOSTA", "CEDENTE")}
            known = session.scalars(
                select(InvalidRecord).filter_by(**key, VALIDATION_TYPE=kind, is_resolved=0).limit(1)
            ).first()
            if known is None:
                alerted = datetime.now(UTC) if alerted_count else None
                session.add(InvalidRecord(**record, VALIDATION_TYPE=kind, alerted_at=alerted, is_resolved=0))
                inserted += 1
        session.commit()
        return inserted

    def auto_resolve_invalid_records(self, session: Session, day: date) -> int:
        """One query for each open record, and one update for each that has become valid."""
        resolved = 0
        for record in session.scalars(select(InvalidRecord).filter_by(DATA=day, is_resolved=0)).all():
            valid = session.scalars(
                select(ValidRecord)
                .filter_by(DATA=record.DATA, PROPOSTA=record.PROPOSTA, CEDENTE=record.CEDENTE)  # type: ignore[attr-defined]
                .limit(1)
            ).first()
            if valid is not None:
                record.is_resolved = 1  # type: ignore[attr-defined]
                record.resolved_at = datetime.now(UTC)  # type: ignore[attr-defined]
                session.flush()
                resolved += 1
        session.commit()
        return resolved

    def track_status_changes(self, session: Session, day: date, source: str) -> int:
        """One query for each proposal, and one insertion for each that has changed."""
        changed = 0
        found: Any
        seen = select(ValidRecord).filter_by(DATA=day).where(tables.VALID_RECORDS.c.update_count > 0)
        for found in session.scalars(seen).all():
            key = {"DATA": found.DATA, "PROPOSTA": found.PROPOSTA, "CEDENTE": found.CEDENTE}
            entries = select(HistoryEntry).filter_by(**key).order_by(tables.STATUS_HISTORY.c.changed_at.desc()).limit(1)
            last: Any = session.scalars(entries).first()
            if last is None or last.NEW_STATUS != found.STATUS:
                old = last.NEW_STATUS if last else None
                session.add(
                    HistoryEntry(
                        **key, RAMO=found.RAMO, OLD_STATUS=old, NEW_STATUS=found.STATUS, CHANGE_SOURCE=source,
                        NEW_VLR_APROVADOS=found.VLR_APROVADOS, NEW_QTD_TITULOS=found.QTD_TITULOS,
                    )
                )  # fmt: skip
                changed += 1
        session.commit()
        return changed

    def track_proposal_products(self, session: Session, records: Sequence[dict[str, Any]]) -> int:
        """One query and one insertion or update for each product."""
        for record in records:
            key = {name: record[name] for name in ("DATA", "PROPOSTA", "CEDENTE", "PRODUTO")}
            known: Any = session.scalars(select(Product).filter_by(**key).limit(1)).first()
            if known is None:
                session.add(Product(**record))
            else:
                known.QTD_TITULOS, known.VALOR_TITULOS = record["QTD_TITULOS"], record["VALOR_TITULOS"]
        session.commit()
        return len(records)


for each, table in (
    (InvalidRecord, tables.INVALID_RECORDS),
    (HistoryEntry, tables.STATUS_HISTORY),
    (ValidRecord, tables.VALID_RECORDS),
    (Product, tables.PROPOSAL_PRODUCTS),
):
    mapped.map_imperatively(each, table)


@dataclass
class Taken:
    """What a call returned, how many statements it sent, its seconds, and those of CPU here and in the server."""

    result: int
    sent: int
    seconds: float
    cpu: float


@dataclass
class Measured:
    """What calls took.

    Attributes:
        engine: sends the statements.
        server: the process of the database server.
        sent: statements and commits since the last look.
        results: by name of a call, what it took.
    """

    engine: Engine
    server: int
    sent: int = 0
    results: dict[str, Taken] = field(default_factory=dict)

    def __post_init__(self) -> None:
        def count(*_: object) -> None:
            self.sent += 1

        event.listen(self.engine, "before_cursor_execute", count)
        event.listen(self.engine, "commit", count)

    def call(self, name: str, work: Callable[[], int]) -> None:
        """Call, and keep what it took."""
        sent, cpu, begin = self.sent, self._cpu(), time.perf_counter()
        result = work()
        self.results[name] = Taken(result, self.sent - sent, time.perf_counter() - begin, self._cpu() - cpu)

    def _cpu(self) -> float:
        return time.process_time() + cpu_seconds(self.server)


def measure(server: MariadbServer, writers: Any, count: int) -> dict[str, Taken]:
    """Each writer once, in a new database.

    Args:
        server: the database server.
        writers: has the functions.
        count: how many records each call is for.
    """
    installation = mariadb_installation(server)
    installation.sql(*tables.statements(tables.MARKS, installation.engine.dialect))
    measured = Measured(create_engine(installation.url), server.pid)
    clients = [f"Cliente {number % 80:03}" for number in range(count)]
    keys = [{"DATA": DAY, "PROPOSTA": number, "CEDENTE": client} for number, client in enumerate(clients)]
    ours = writers is apr
    texts = {"MOTIVO_INVALIDO" if ours else "MOTIVO": "número vazio ou fora do intervalo", "DUPLICATA": "123/4"}
    records = [{**key, **texts, "RAMO": "Centro", "GERENTE": "Gerente", "EMPRESA": "Empresa"} for key in keys]
    products = [{**key, "PRODUTO": "Produto", "QTD_TITULOS": 2, "VALOR_TITULOS": 10} for key in keys]
    with Session(measured.engine) as session:
        measured.call("log_invalid_records, new", lambda: writers.log_invalid_records(session, records, "SEUNO", 1))
        measured.call("log_invalid_records, known", lambda: writers.log_invalid_records(session, records, "SEUNO", 1))
        sight_all(installation, keys)
        measured.call("auto_resolve_invalid_records", lambda: writers.auto_resolve_invalid_records(session, DAY))
        measured.call("track_status_changes", lambda: writers.track_status_changes(session, DAY, "SYSTEM"))
        measured.call("track_proposal_products, new", lambda: writers.track_proposal_products(session, products))
        measured.call("track_proposal_products, known", lambda: writers.track_proposal_products(session, products))
    return measured.results


def sight_all(installation: Installation, keys: Sequence[dict[str, Any]]) -> None:
    """All proposals are seen as valid twice, after the detection."""
    installation.many(
        "apr_valid_records",
        [{**key, "RAMO": "Centro", "STATUS": "Aprovado", "QTD_TITULOS": 1, "update_count": 1} for key in keys],
    )
    installation.age("apr_invalid_records", "detected_at", 60)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=5, help="runs of Rounds' functions")
    options = parser.parse_args()
    with mariadb_server() as server:
        measure(server, apr, 10)  # what is only done once in a process is done
        runs = [measure(server, apr, options.records) for _ in range(options.repeat)]
        theirs = measure(server, RowByRow(), options.records)
        version = server.sql("SELECT VERSION()")[0][0]
    print(f"{options.records} records, MariaDB {version}, {os.cpu_count()} processors")
    print(f"{'':30}{'statements':>20}{'seconds':>20}{'CPU seconds':>20}{'times faster':>20}")
    print(f"{'':30}{f'{chr(32) * 4}Rounds    by rows' * 3}{'by time':>11}{'by CPU':>9}")
    for name, other in theirs.items():
        taken = [run[name] for run in runs]
        assert {each.result for each in taken} == {other.result}, name
        sent = max(each.sent for each in taken)
        seconds, cpu = (median(getattr(each, what) for each in taken) for what in ("seconds", "cpu"))
        print(
            f"{name:30}{sent:>10}{other.sent:>10}{seconds:>10.3f}{other.seconds:>10.2f}{cpu:>10.3f}{other.cpu:>10.2f}"
            f"{other.seconds / seconds:>10.0f}x{other.cpu / cpu:>8.0f}x"
        )


if __name__ == "__main__":
    main()
