"""Open invalid records are resolved once their proposal has been seen as valid again."""

from __future__ import annotations

from datetime import date

from rounds.apr.tables import MARKS
from rounds.apr.writing.work import Database, Work, looking, working

#: Sightings after the last report that show a proposal to be valid. The existing program stores proposals that it has
#: just reported for CHEQUE as valid in the same run, so the first one shows nothing there.
_NEEDED = "CASE i.VALIDATION_TYPE WHEN 'CHEQUE' THEN 2 ELSE 1 END"


def auto_resolve_invalid_records(session: Database, target_date: date) -> int:
    """Resolve open records of proposals that became valid after they had last been reported as invalid.

    That is so when apr_valid_records has more sightings of the proposal (rows, and their update_count) than at the last
    report. Where these were not remembered, as in a database without the table rounds_apr_marks or for rows that
    another program logged, last_updated must lie behind detected_at, which bots move too.

    The day's row of apr_daily_summary, where there is one, gets the new number of open records.

    Args:
        session: where to write; committed.
        target_date: whose records.

    Returns:
        How many were resolved.

    Raises:
        WriteFailed: the database refused it.
    """
    with working(session) as work:
        resolved = work.run(
            "UPDATE apr_invalid_records SET is_resolved = 1, resolved_at = CURRENT_TIMESTAMP"
            f" WHERE is_resolved = 0 AND id IN (SELECT id FROM ({_resolvable(work)}) AS resolvable)",
            day=target_date.isoformat(),
        ).rowcount
        if resolved:
            work.run(
                "UPDATE apr_daily_summary SET last_updated = CURRENT_TIMESTAMP, invalid_proposals ="
                " (SELECT COUNT(*) FROM apr_invalid_records WHERE DATA = :day AND is_resolved = 0) WHERE DATA = :day",
                day=target_date.isoformat(),
            )
        return resolved


def resolvable_records(session: Database, target_date: date) -> int:
    """How many records :func:`auto_resolve_invalid_records` would resolve.

    Raises:
        WriteFailed: the database cannot be read.
    """
    with looking(session) as work:
        counted = f"SELECT COUNT(*) FROM ({_resolvable(work)}) AS resolvable"
        return int(work.run(counted, day=target_date.isoformat()).scalar_one())


def _resolvable(work: Work) -> str:
    seen = (
        "SELECT PROPOSTA, CEDENTE, SUM(COALESCE(update_count, 0) + 1) AS sightings, MAX(last_updated) AS last_seen"
        " FROM apr_valid_records WHERE DATA = :day GROUP BY PROPOSTA, CEDENTE"
    )
    became_valid, marks = "v.last_seen > i.detected_at", ""
    if MARKS.name in work.tables:
        marks = (
            f" LEFT JOIN {MARKS.name} AS m ON m.DATA = i.DATA AND m.PROPOSTA = i.PROPOSTA"
            f" AND {work.same('m.CEDENTE', 'i.CEDENTE')} AND {work.same('m.VALIDATION_TYPE', 'i.VALIDATION_TYPE')}"
            # A mark of an earlier record is no mark of one that another program logged since.
            " AND m.marked_at >= i.detected_at"
        )
        became_valid = f"CASE WHEN m.DATA IS NULL THEN {became_valid} ELSE v.sightings >= m.sightings + {_NEEDED} END"
    return (
        f"SELECT i.id FROM apr_invalid_records AS i JOIN ({seen}) AS v ON v.PROPOSTA = i.PROPOSTA"
        f" AND {work.same('v.CEDENTE', 'i.CEDENTE')}{marks}"
        f" WHERE i.DATA = :day AND i.is_resolved = 0 AND {became_valid}"
    )
