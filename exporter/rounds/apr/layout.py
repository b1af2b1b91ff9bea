"""What the database has of what is read: an older one lacks tables, columns or a value of an enum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rounds.apr.metrics import TABLES, VALIDATION_TYPES
from rounds.apr.reader import Columns, Reader, enum_values
from rounds.apr.tables import LATE_COLUMNS

INVALID, HISTORY, LOG, PRODUCTS, SUMMARY, VALID = TABLES

#: What is read of each table. Those of ``apr_valid_records`` that came late are told too where nothing here needs them.
READ: Mapping[str, tuple[str, ...]] = {
    INVALID: ("id", "DATA", "PROPOSTA", "CEDENTE", "VALIDATION_TYPE", "detected_at", "is_resolved", "resolved_at"),
    HISTORY: ("id", "DATA", "PROPOSTA", "CEDENTE", "OLD_STATUS", "NEW_STATUS", "changed_at", "CHANGE_SOURCE"),
    LOG: (
        "id",
        "run_timestamp",
        "target_date",
        "total_records_queried",
        "valid_records",
        *(f"invalid_{each.lower()}" for each in VALIDATION_TYPES),
        "records_stored",
        *(f"alerts_sent_{each.lower()}" for each in VALIDATION_TYPES),
        "execution_time_seconds",
        "run_mode",
        "error_message",
    ),
    PRODUCTS: ("DATA", "PROPOSTA", "CEDENTE", "PRODUTO"),
    SUMMARY: ("DATA", "last_updated"),
    VALID: (
        *("DATA", "PROPOSTA", "CEDENTE", "STATUS", "VLR_APROVADOS", "VALOR_TITULOS", "last_updated"),
        *LATE_COLUMNS,
    ),
}
#: Columns of the log that came with CHEQUE; without them a run found and sent none.
CAME_WITH_CHEQUE = ("invalid_cheque", "alerts_sent_cheque")


#: Which of them may be missing: the figures that need them are absent then.
MAY_LACK = frozenset((*LATE_COLUMNS, *CAME_WITH_CHEQUE))

#: Stands for a type of records that is not known.
OTHER = "other"


def type_of(kind: object) -> str:
    """The label for a ``VALIDATION_TYPE``: one of the known ones, or ``other``, whatever a column holds."""
    return str(kind) if kind in VALIDATION_TYPES else OTHER


@dataclass(frozen=True)
class Layout:
    """What is there.

    Attributes:
        columns: of each table that is there, by its name.
        validation_types: those that a record can have.
        problems: what is missing, as pairs of table and problem.
    """

    columns: Mapping[str, Columns]
    validation_types: tuple[str, ...]
    problems: frozenset[tuple[str, str]]

    def has(self, table: str, *columns: str) -> bool:
        """Whether a table is there with these columns; with none named, with all that are read but the late ones."""
        if table not in self.columns:
            return False
        wanted = columns or [column for column in READ[table] if column not in MAY_LACK]
        return all(column.upper() in self.columns[table] for column in wanted)


def examine(reader: Reader) -> Layout:
    """Look at what is there.

    Raises:
        CollectorError: the source fails.
    """
    columns = reader.columns(TABLES)
    problems = {(table, "no table") for table in TABLES if table not in columns}
    for table, present in columns.items():
        problems |= {(table, f"no column {column}") for column in READ[table] if column.upper() not in present}
    types = enum_values(columns.get(INVALID, {}).get("VALIDATION_TYPE", "")) or VALIDATION_TYPES
    known = tuple(each for each in VALIDATION_TYPES if each in types)
    problems |= {(INVALID, f"no value {each}") for each in VALIDATION_TYPES if each not in types}
    return Layout(columns, known, frozenset(problems))
