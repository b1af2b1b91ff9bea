"""Invalid records: logged once while they are open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rounds.apr.metrics import VALIDATION_TYPES
from rounds.apr.tables import MARKS
from rounds.apr.writing.values import day, folded, whole, words
from rounds.apr.writing.work import Database, Work, log, working

#: Columns of text, how many characters they hold, and the keys of a record that they come from.
_TEXTS = {
    "CEDENTE": (100, "CEDENTE"),
    "RAMO": (100, "RAMO"),
    "GERENTE": (100, "GERENTE"),
    "EMPRESA": (100, "EMPRESA"),
    "STATUS": (50, "STATUS"),
    "PRODUTO": (100, "PRODUTO"),
    "MOTIVO": (255, "MOTIVO_INVALIDO"),
    "NFE_CHAVE": (50, "NFEChave"),
    "DUPLICATA": (50, "DUPLICATA"),
    "SEUNO": (20, "SEUNO"),
}
_COLUMNS = {
    "DATA": "DATE",
    "PROPOSTA": "INT",
    **{name: f"VARCHAR({length})" for name, (length, _) in _TEXTS.items()},
}
_KEY = ("DATA", "PROPOSTA", "CEDENTE")


def log_invalid_records(
    session: Database, records: Iterable[Mapping[str, Any]], validation_type: str, alerted_count: int = 0
) -> int:
    """Log titles that failed a validation: one row for each proposal that has no open one of this type.

    Records of proposals that are logged already say that they are still invalid, see
    :func:`~rounds.apr.writing.resolving.auto_resolve_invalid_records`. Records without a date, a proposal or a client
    are left out, and their number is told in the log.

    Args:
        session: where to write; committed.
        records: with the keys DATA, PROPOSTA, CEDENTE, RAMO, GERENTE, EMPRESA, STATUS, PRODUTO, MOTIVO_INVALIDO,
            NFEChave, DUPLICATA and SEUNO, of which the first three must have values. Longer text is cut.
        validation_type: NFECHAVE, DUPLICATA, SEUNO or CHEQUE.
        alerted_count: more than 0 when somebody was alerted of these records.

    Returns:
        How many rows were inserted.

    Raises:
        ValueError: there is no such type.
        WriteFailed: the database refused it.
    """
    if validation_type not in VALIDATION_TYPES:
        raise ValueError(f"validation_type should be one of {', '.join(VALIDATION_TYPES)}")
    rows, left_out = _rows(records)
    if left_out:
        log.warning("invalid records without date, proposal or client were left out: %d", left_out)
    if not rows:
        session.commit()
        return 0
    with working(session) as work:
        if validation_type not in work.validation_types and work.kind == "mariadb":
            log.error(
                "apr_invalid_records.VALIDATION_TYPE lacks %s: records not logged: %d", validation_type, len(rows)
            )
            return 0
        inserted = 0
        for document in work.batches(rows):
            inserted += _insert(work, document, validation_type, alerted=alerted_count > 0)
            if MARKS.name in work.tables:
                _mark(work, document, validation_type)
        return inserted


def _rows(records: Iterable[Mapping[str, Any]]) -> tuple[list[list[object]], int]:
    """Rows for the table, the first record of each proposal; and how many records have no proposal."""
    rows: dict[tuple[object, ...], list[object]] = {}
    left_out = 0
    for record in records:
        date, proposal = day(record.get("DATA")), whole(record.get("PROPOSTA"))
        texts = [words(record.get(key), length) for length, key in _TEXTS.values()]
        client = texts[0]
        if date is None or proposal is None or client is None:
            left_out += 1
            continue
        rows.setdefault((date, proposal, folded(client)), [date.isoformat(), proposal, *texts])
    return list(rows.values()), left_out


def _insert(work: Work, document: str, validation_type: str, *, alerted: bool) -> int:
    columns = ", ".join(_COLUMNS)
    found = ", ".join(f"n.{name}" for name in _COLUMNS)
    return work.run(
        f"INSERT INTO apr_invalid_records ({columns}, VALIDATION_TYPE, detected_at, alerted_at, is_resolved)"
        f" SELECT {found}, :type, CURRENT_TIMESTAMP, {'CURRENT_TIMESTAMP' if alerted else 'NULL'}, 0"
        f" FROM {work.unpacked(_COLUMNS)} AS n WHERE NOT EXISTS ("
        "SELECT 1 FROM apr_invalid_records AS o WHERE o.DATA = n.DATA AND o.PROPOSTA = n.PROPOSTA"
        f" AND {work.same('o.CEDENTE', 'n.CEDENTE')} AND o.VALIDATION_TYPE = :type AND o.is_resolved = 0{work.locked})",
        rows=document,
        type=validation_type,
    ).rowcount


def _mark(work: Work, document: str, validation_type: str) -> None:
    """Remember how often these proposals have been seen as valid by now."""
    key = {name: _COLUMNS[name] for name in _KEY}
    work.run(
        f"INSERT INTO {MARKS.name} (DATA, PROPOSTA, CEDENTE, VALIDATION_TYPE, sightings, marked_at)"
        " SELECT n.DATA, n.PROPOSTA, n.CEDENTE, :type, COALESCE(("
        "SELECT SUM(COALESCE(v.update_count, 0) + 1) FROM apr_valid_records AS v"
        f" WHERE v.DATA = n.DATA AND v.PROPOSTA = n.PROPOSTA AND {work.same('v.CEDENTE', 'n.CEDENTE')}{work.locked}"
        f"), 0), CURRENT_TIMESTAMP FROM {work.unpacked(key)} AS n WHERE 1 = 1"
        + work.upsert([*_KEY, "VALIDATION_TYPE"], ["sightings"], "marked_at"),
        rows=document,
        type=validation_type,
    )
