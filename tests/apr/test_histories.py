"""Any sequence of runs leaves what a model in plain Python says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from rounds import apr
from rounds.apr import tables
from rounds.apr.metrics import STATUSES
from rounds.apr.statuses import bucket_of
from support.apr import DAY, Installation

Key = tuple[int, str]

_PROPOSALS = st.tuples(st.integers(1, 4), st.sampled_from(["Um", "Dois"]))
_TYPES = st.sampled_from(["NFECHAVE", "SEUNO", "CHEQUE"])
_STATUSES = st.sampled_from(["Aguardando", "Aprovado", "aprovado ", "Assinado", "Pago", "?", None])
_RUNS: st.SearchStrategy[tuple[str, str | None, list[Key]]] = st.one_of(
    st.tuples(st.just("invalid"), _TYPES, st.lists(_PROPOSALS, max_size=4)),
    st.tuples(st.just("valid"), _STATUSES, st.lists(_PROPOSALS, max_size=4)),
    st.tuples(st.just("bot"), st.none(), st.lists(_PROPOSALS, max_size=2)),
    st.tuples(st.sampled_from(["resolve", "track", "summary"]), st.none(), st.just([])),
)


@dataclass
class Model:
    """What the tables should hold.

    Attributes:
        sightings: how often a proposal was seen as valid, and its last status.
        marks: how often it had been when it was last reported.
        open: open records.
        resolved: how many records were resolved.
        history: statuses of each proposal.
    """

    sightings: Counter[Key] = field(default_factory=Counter)
    statuses: dict[Key, str | None] = field(default_factory=dict)
    marks: dict[tuple[Key, str], int] = field(default_factory=dict)
    open: set[tuple[Key, str]] = field(default_factory=set)
    resolved: Counter[tuple[Key, str]] = field(default_factory=Counter)
    history: dict[Key, list[str]] = field(default_factory=dict)

    def report(self, validation_type: str, keys: list[Key]) -> int:
        new = {(key, validation_type) for key in keys} - self.open
        self.open |= new
        self.marks |= {(key, validation_type): self.sightings[key] for key in keys}
        return len(new)

    def resolve(self) -> int:
        done = {
            (key, kind)
            for key, kind in self.open
            if self.sightings[key] >= self.marks[key, kind] + (2 if kind == "CHEQUE" else 1)
        }
        self.open -= done
        self.resolved.update(done)
        return len(done)

    def track(self) -> int:
        count = 0
        for key, status in self.statuses.items():
            statuses = self.history.setdefault(key, [])
            if self.sightings[key] > 1 and status is not None and statuses[-1:] != [status]:
                statuses.append(status)
                count += 1
        return count

    def summary(self) -> dict[str, int]:
        counts = Counter(map(bucket_of, self.statuses.values()))
        stored = ("aguardando", "enviado", "assinado", "liberado", "finalizado")
        return {
            "total_proposals": len(self.statuses),
            "valid_proposals": len(self.statuses),
            "invalid_proposals": len(self.open),
            **{f"proposals_{name}" if name in stored else name: counts[name] for name in STATUSES},
        }


def perform(installation: Installation, session: Session, model: Model, run: tuple[str, str | None, list[Key]]) -> None:
    what, value, keys = run
    if what == "invalid":
        records = [{"DATA": DAY, "PROPOSTA": proposal, "CEDENTE": client} for proposal, client in keys]
        assert apr.log_invalid_records(session, records, str(value)) == model.report(str(value), keys)
    elif what == "valid":
        for proposal, client in keys:
            installation.sight(proposal, value, client=client)
            model.sightings[proposal, client] += 1
            model.statuses[proposal, client] = value
    elif what == "bot":
        for proposal, client in keys:
            installation.sql(
                "UPDATE apr_valid_records SET is_bot_processed = 1 - is_bot_processed, last_updated = CURRENT_TIMESTAMP"
                " WHERE PROPOSTA = :proposal AND CEDENTE = :client",
                proposal=proposal,
                client=client,
            )
    elif what == "resolve":
        assert apr.auto_resolve_invalid_records(session, DAY) == model.resolve()
    elif what == "track":
        assert apr.track_status_changes(session, DAY) == model.track()
    else:
        found = apr.update_daily_summary(session, DAY)
        assert {name: value for name, value in found.items() if "total_v" not in name} == model.summary()


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_RUNS, max_size=14))
def test_tables_hold_what_happened(installation: Installation, runs: list[tuple[str, str | None, list[Key]]]) -> None:
    marks = tables.statements(tables.MARKS, installation.engine.dialect)
    installation.sql(
        "DROP TABLE IF EXISTS rounds_apr_marks",
        *marks,
        *(f"DELETE FROM {name}" for name in tables.METADATA.tables),
    )
    model = Model()
    with Session(installation.engine) as session:
        for run in runs:
            perform(installation, session, model, run)
    rows = installation.sql("SELECT PROPOSTA, CEDENTE, VALIDATION_TYPE, is_resolved FROM apr_invalid_records")
    assert {((row[0], row[1]), row[2]) for row in rows if not row[3]} == model.open
    assert Counter(((row[0], row[1]), row[2]) for row in rows if row[3]) == model.resolved
    history: dict[Key, list[str]] = {}
    for proposal, client, status in installation.sql(
        "SELECT PROPOSTA, CEDENTE, NEW_STATUS FROM apr_status_history ORDER BY id"
    ):
        history.setdefault((proposal, client), []).append(status)
    assert history == {key: statuses for key, statuses in model.history.items() if statuses}
