"""Buckets: one answer from Python, MariaDB and SQLite."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rounds.apr.metrics import FINAL_STATUSES, STATUSES
from rounds.apr.statuses import bucket_of, bucket_sql
from support.apr import DAY, Installation

KNOWN = {
    "Aguardando Analista": "aguardando",
    "Aguardando análise": "aguardando",
    "Em análise": "em_analise",
    "Aguardando Aprovação": "aguardando",
    "Aprovado": "aprovado",
    "Enviado para Assinar": "enviado",
    "Assinado": "assinado",
    "Liberado": "liberado",
    "Finalizado": "finalizado",
    "Pago": "pago",
    "assinado ": "assinado",
    "\tEM ANALISE\r\n": "em_analise",
    "EM ANÁLISE": "em_analise",
    "em ana\u0301lise": "em_analise",
    "\u00a0Pago": "pago",
    "em  análise": "other",
    "Assinados": "other",
    "está AGUARDANDO há dias": "aguardando",
    "": "other",
    "100%": "other",
    "Recusado": "other",
}
_PIECES = st.sampled_from([*KNOWN, "Aguard", "ando", " ", "\t", "á", "Ç", "ã", "x", "'", "%", ":a", "\\", "a"])


def by_database(installation: Installation, statuses: list[str | None]) -> list[str]:
    installation.sql("DELETE FROM apr_valid_records")
    installation.many(
        "apr_valid_records",
        [
            {"DATA": DAY.isoformat(), "PROPOSTA": number, "CEDENTE": "c", "RAMO": "r", "STATUS": status}
            for number, status in enumerate(statuses)
        ],
    )
    expression = bucket_sql("STATUS", "mariadb" if installation.kind == "mariadb" else "sqlite")
    return [row[0] for row in installation.sql(f"SELECT {expression} FROM apr_valid_records ORDER BY PROPOSTA")]


@pytest.mark.parametrize(("status", "bucket"), KNOWN.items())
def test_a_status_has_a_bucket(status: str, bucket: str) -> None:
    assert bucket_of(status) == bucket
    assert bucket in STATUSES


def test_no_status_is_another_one() -> None:
    assert bucket_of(None) == "other"


def test_what_is_finalised_or_paid_moves_no_more() -> None:
    assert [status for status in KNOWN if bucket_of(status) in FINAL_STATUSES] == ["Finalizado", "Pago", "\u00a0Pago"]
    assert set(FINAL_STATUSES) <= set(STATUSES)


def test_databases_agree(installation: Installation) -> None:
    # A composed accent is beyond SQLite, which has no normal forms.
    statuses = [each for each in KNOWN if installation.kind == "mariadb" or "\u0301" not in each]
    assert by_database(installation, [*statuses, None]) == [*(KNOWN[each] for each in statuses), "other"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(_PIECES, max_size=4).map("".join).map(lambda text: text[:50]), max_size=40))
def test_databases_agree_on_anything(installation: Installation, statuses: list[str]) -> None:
    if installation.kind == "sqlite":
        statuses = [each.replace("\u0301", "") for each in statuses]
    assert by_database(installation, list(statuses)) == [bucket_of(each) for each in statuses]


def test_buckets_can_be_grouped_by(installation: Installation) -> None:
    by_database(installation, ["Pago", "pago ", "Assinado", None])
    expression = bucket_sql("STATUS", "mariadb" if installation.kind == "mariadb" else "sqlite")
    counted = installation.sql(f"SELECT {expression}, COUNT(*) FROM apr_valid_records GROUP BY 1 ORDER BY 1")
    assert counted == [("assinado", 1), ("other", 1), ("pago", 2)]
