"""The products of proposals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from rounds.apr.tables import PROPOSAL_PRODUCTS
from rounds.apr.writing.failures import WriteFailed
from rounds.apr.writing.values import amount, day, folded, whole, words
from rounds.apr.writing.work import Database, log, working

_KEY = ("DATA", "PROPOSTA", "CEDENTE", "PRODUTO")
_VALUES = ("QTD_TITULOS", "VALOR_TITULOS")
_COLUMNS = {
    "DATA": "DATE",
    "PROPOSTA": "INT",
    "CEDENTE": "VARCHAR(100)",
    "PRODUTO": "VARCHAR(100)",
    "QTD_TITULOS": "INT",
    "VALOR_TITULOS": "DECIMAL(15,2)",
}
_NO_PRODUCT = "SEM PRODUTO"


def track_proposal_products(session: Database, valid_records: Iterable[Mapping[str, Any]]) -> int:
    """Write how many titles of which value each proposal has of each product, over what was there.

    Products that are not among the records keep their rows. Records without a date, a proposal or a client are left
    out, and their number is told in the log. Whatever the database refuses is rolled back and told in the log, and the
    run goes on.

    Args:
        session: where to write; committed.
        valid_records: with the keys DATA, PROPOSTA, CEDENTE and PRODUTO, and where they stand for something else than
            one title without a value, QTD_TITULOS and VALOR_TITULOS. What belongs to the same product is added up.

    Returns:
        How many rows were inserted or written over; 0 where the database refused it.
    """
    rows, left_out = _rows(valid_records)
    if left_out:
        log.warning("records of products without date, proposal or client were left out: %d", left_out)
    if not rows:
        return 0
    columns = ", ".join(_COLUMNS)
    try:
        with working(session) as work:
            if PROPOSAL_PRODUCTS.name not in work.tables:
                log.error("there is no table %s: products not written: %d", PROPOSAL_PRODUCTS.name, len(rows))
                return 0
            for document in work.batches(rows):
                work.run(
                    f"INSERT INTO apr_proposal_products ({columns})"
                    f" SELECT {columns} FROM {work.unpacked(_COLUMNS)} AS n WHERE 1 = 1"
                    + work.upsert(_KEY, _VALUES, "updated_at"),
                    rows=document,
                )
    except WriteFailed as error:
        log.error("products not written: %s", error)  # a traceback may quote values
        return 0
    return len(rows)


def _rows(records: Iterable[Mapping[str, Any]]) -> tuple[list[list[object]], int]:
    names: dict[tuple[object, ...], list[object]] = {}
    counts: dict[tuple[object, ...], int] = {}
    values: dict[tuple[object, ...], Decimal] = {}
    left_out = 0
    for record in records:
        date, proposal, client = (
            day(record.get("DATA")),
            whole(record.get("PROPOSTA")),
            words(record.get("CEDENTE"), 100),
        )
        if date is None or proposal is None or client is None:
            left_out += 1
            continue
        product = words(record.get("PRODUTO"), 100) or _NO_PRODUCT
        key = (date, proposal, folded(client), folded(product))
        names.setdefault(key, [date.isoformat(), proposal, client, product])
        titles = whole(record.get("QTD_TITULOS"))
        counts[key] = counts.get(key, 0) + (1 if titles is None else titles)
        values[key] = values.get(key, Decimal()) + (amount(record.get("VALOR_TITULOS")) or Decimal())
    return [[*named, counts[key], str(values[key])] for key, named in names.items()], left_out
