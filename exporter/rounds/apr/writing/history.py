"""The history of statuses."""

from __future__ import annotations

from datetime import date

from rounds.apr.writing.work import Database, Work, log, looking, persistent, working

_COLUMNS = (
    "DATA, PROPOSTA, CEDENTE, RAMO, OLD_STATUS, NEW_STATUS, OLD_VLR_APROVADOS, NEW_VLR_APROVADOS,"
    " OLD_QTD_TITULOS, NEW_QTD_TITULOS, changed_at, CHANGE_SOURCE"
)


@persistent
def track_status_changes(session: Database, target_date: date, source: str = "SYSTEM") -> int:
    """Write a row of history for each proposal that was seen again and whose status is not the last one of its history.

    Statuses are compared exactly, and the last row is the one with the highest id. Branches (RAMO) of a proposal have
    histories of their own; rows of history without a branch belong to all. A proposal without a status is left out, and
    the number of those is told in the log.

    Args:
        session: where to write; committed.
        target_date: whose proposals.
        source: who made the changes: SYSTEM, BOT, ...

    Returns:
        How many rows were inserted.

    Raises:
        WriteFailed: the database refused it.
    """
    with working(session) as work:
        _tell_of_missing(work, target_date, "AND v.update_count > 0")
        return work.run(
            f"INSERT INTO apr_status_history ({_COLUMNS})"
            " SELECT v.DATA, v.PROPOSTA, v.CEDENTE, v.RAMO, h.NEW_STATUS, v.STATUS, h.NEW_VLR_APROVADOS,"
            " v.VLR_APROVADOS, h.NEW_QTD_TITULOS, v.QTD_TITULOS, CURRENT_TIMESTAMP, :source"
            " FROM apr_valid_records AS v LEFT JOIN apr_status_history AS h ON h.id = ("
            f"SELECT MAX(l.id) FROM apr_status_history AS l WHERE {_of_proposal(work)} AND (l.RAMO IS NULL"
            f" OR {work.same('l.RAMO', 'v.RAMO')}){work.locked})"
            " WHERE v.DATA = :day AND v.update_count > 0 AND v.STATUS IS NOT NULL"
            # The joined row too must be the one that was waited for: with READ COMMITTED it would be looked for as of
            # before, and not be there.
            f" AND (h.id IS NULL OR {work.differs('h.NEW_STATUS', 'v.STATUS')}){work.locked}",
            day=target_date.isoformat(),
            source=source,
        ).rowcount


@persistent
def backfill_history(session: Database, target_date: date) -> int:
    """Write a first row of history, with the source BACKFILL, for each proposal that has none.

    Args:
        session: where to write; committed.
        target_date: whose proposals.

    Returns:
        How many rows were inserted.

    Raises:
        WriteFailed: the database refused it.
    """
    with working(session) as work:
        _tell_of_missing(work, target_date, f"AND NOT EXISTS ({_history_of(work)})")
        return work.run(
            f"INSERT INTO apr_status_history ({_COLUMNS})"
            " SELECT v.DATA, v.PROPOSTA, v.CEDENTE, v.RAMO, NULL, v.STATUS, NULL, v.VLR_APROVADOS, NULL, v.QTD_TITULOS,"
            f" CURRENT_TIMESTAMP, 'BACKFILL' FROM apr_valid_records AS v WHERE {_without_history(work)}",
            day=target_date.isoformat(),
        ).rowcount


def proposals_without_history(session: Database, target_date: date) -> int:
    """How many rows :func:`backfill_history` would insert.

    Raises:
        WriteFailed: the database cannot be read.
    """
    with looking(session) as work:
        counted = f"SELECT COUNT(*) FROM apr_valid_records AS v WHERE {_without_history(work)}"
        return int(work.run(counted, day=target_date.isoformat()).scalar_one())


def _without_history(work: Work) -> str:
    return f"v.DATA = :day AND v.STATUS IS NOT NULL AND NOT EXISTS ({_history_of(work)}{work.locked})"


def _history_of(work: Work) -> str:
    return f"SELECT 1 FROM apr_status_history AS l WHERE {_of_proposal(work)}"


def _of_proposal(work: Work) -> str:
    return f"l.DATA = v.DATA AND l.PROPOSTA = v.PROPOSTA AND {work.same('l.CEDENTE', 'v.CEDENTE')}"


def _tell_of_missing(work: Work, target_date: date, which: str) -> None:
    counted = f"SELECT COUNT(*) FROM apr_valid_records AS v WHERE v.DATA = :day AND v.STATUS IS NULL {which}"
    if missing := work.run(counted, day=target_date.isoformat()).scalar_one():
        log.warning("proposals without a status were left out of the history: %d", missing)
