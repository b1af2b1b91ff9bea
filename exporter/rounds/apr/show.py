"""The tables as ``rounds apr show`` prints them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from rounds.apr.metrics import STATUSES
from rounds.apr.statuses import bucket_sql
from rounds.apr.writing.failures import without_values
from rounds.databases.session import Session


def parts(session: Session, *, names: bool, limit: int) -> Iterator[str]:
    """Open invalid records by type, proposals by status, the last runs.

    Args:
        session: one that reads.
        names: whether to list open records too, with the names of clients.
        limit: rows of each list.

    Raises:
        CollectorError: the tables cannot be read.
    """
    rows = session.all(
        "SELECT VALIDATION_TYPE, COUNT(*), COUNT(DISTINCT PROPOSTA), MIN(detected_at) FROM apr_invalid_records"
        " WHERE is_resolved = 0 GROUP BY VALIDATION_TYPE ORDER BY VALIDATION_TYPE"
    )
    yield _titled("Open invalid records", ("TYPE", "ROWS", "PROPOSALS", "OLDEST (UTC)"), rows)
    kind: Literal["mariadb", "sqlite"] = "sqlite" if session.kind == "sqlite" else "mariadb"
    day = "(SELECT MAX(DATA) FROM apr_valid_records)"
    rows = session.all(
        f"SELECT {bucket_sql('STATUS', kind)}, COUNT(*), SUM(VLR_APROVADOS), MAX(DATA) FROM apr_valid_records"
        f" WHERE DATA = {day} GROUP BY 1"
    )
    found = {row[0]: row for row in rows}
    current = f" of {rows[0][3]}" if rows else ""
    yield _titled(
        f"Valid proposals{current}",
        ("STATUS", "ROWS", "APPROVED (BRL)"),
        [found[status][:3] for status in STATUSES if status in found],
    )
    rows = session.all(
        "SELECT run_timestamp, target_date, run_mode, execution_time_seconds, total_records_queried, valid_records,"
        " invalid_nfechave + invalid_duplicata + invalid_seuno + invalid_cheque, records_stored, error_message"
        f" FROM apr_processing_log ORDER BY id DESC LIMIT {limit:d}"
    )
    heads = ("LOGGED (UTC)", "DATE", "MODE", "SECONDS", "QUERIED", "VALID", "INVALID", "STORED", "ERROR")
    # Other programs may have stored whatever they liked.
    yield _titled("Last runs", heads, [(*row[:-1], without_values(row[-1] or "")) for row in rows])
    if names:
        rows = session.all(
            "SELECT DATA, PROPOSTA, VALIDATION_TYPE, CEDENTE, GERENTE, PRODUTO, detected_at FROM apr_invalid_records"
            f" WHERE is_resolved = 0 ORDER BY id DESC LIMIT {limit:d}"
        )
        columns = ("DATE", "PROPOSAL", "TYPE", "CLIENT", "MANAGER", "PRODUCT", "DETECTED (UTC)")
        yield _titled("Open records, the latest first", columns, rows)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows in columns under their heads."""
    cells = [tuple(heads), *(tuple("" if value is None else _printable(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines) + "\n"


def _titled(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return f"{title}\n{table(heads, rows) if rows else 'none' + chr(10)}"


def _printable(value: object) -> str:
    """A value without what would move the terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))
