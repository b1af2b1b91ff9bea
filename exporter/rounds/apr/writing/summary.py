"""The summary of a day."""

from __future__ import annotations

from datetime import date
from typing import Any

from rounds.apr.metrics import STATUSES
from rounds.apr.statuses import bucket_sql
from rounds.apr.writing.work import Database, Work, log, looking, working

#: Buckets that have a column.
_STORED = ("aguardando", "enviado", "assinado", "liberado", "finalizado")


def update_daily_summary(session: Database, target_date: date) -> dict[str, Any]:
    """Write a day's row of apr_daily_summary.

    A proposal is in one bucket: that of its least advanced branch. Proposals whose bucket has no column (being
    analysed, approved, paid, anything else) are in the result and in the log. invalid_proposals is the number of open
    records.

    Args:
        session: where to write; committed.
        target_date: the day.

    Returns:
        What was written, by column, and the number of proposals in each bucket without a column.

    Raises:
        WriteFailed: the database refused it.
    """
    with working(session) as work:
        found = _summed_up(work, target_date, work.locked)
        row = {name: value for name, value in found.items() if name not in STATUSES}
        columns, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
        work.run(
            f"INSERT INTO apr_daily_summary (DATA, {columns}, last_updated)"
            # A summary that says the same again is as recent all the same, which ON UPDATE alone would not know.
            f" VALUES (:day, {marks}, CURRENT_TIMESTAMP)" + work.upsert(["DATA"], list(row), "last_updated"),
            day=target_date.isoformat(),
            **{name: str(value) for name, value in row.items()},
        )
    left = {name: count for name, count in found.items() if name in STATUSES and count}
    if left:
        told = ", ".join(f"{name} {count}" for name, count in left.items())
        log.info("proposals in no column of the summary: %s", told)
    return found


def summary_of(session: Database, target_date: date) -> dict[str, Any]:
    """What :func:`update_daily_summary` would write and give.

    Raises:
        WriteFailed: the database cannot be read.
    """
    with looking(session) as work:
        return _summed_up(work, target_date, "")


def _summed_up(work: Work, target_date: date, locked: str) -> dict[str, Any]:
    buckets = ", ".join(f"COALESCE(SUM(bucket = {rank}), 0) AS {_column(name)}" for rank, name in enumerate(STATUSES))
    ranks = " ".join(f"WHEN '{name}' THEN {rank}" for rank, name in enumerate(STATUSES))
    found = work.run(
        "SELECT COUNT(*) AS total_proposals, COUNT(*) AS valid_proposals, (SELECT COUNT(*) FROM apr_invalid_records"
        f" WHERE DATA = :day AND is_resolved = 0{locked}) AS invalid_proposals, {buckets},"
        " COALESCE(SUM(approved), 0) AS total_vlr_aprovados, COALESCE(SUM(value_of_titles), 0) AS total_valor_titulos"
        f" FROM (SELECT MIN(CASE {bucket_sql('STATUS', work.kind)} {ranks} END) AS bucket,"
        " SUM(VLR_APROVADOS) AS approved, SUM(VALOR_TITULOS) AS value_of_titles"
        f" FROM apr_valid_records WHERE DATA = :day GROUP BY PROPOSTA, CEDENTE{locked}) AS proposals",
        day=target_date.isoformat(),
    )
    return {name: value if "total_v" in name else int(value) for name, value in found.mappings().one().items()}


def _column(bucket: str) -> str:
    return f"proposals_{bucket}" if bucket in _STORED else bucket
