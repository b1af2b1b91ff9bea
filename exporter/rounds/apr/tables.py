"""The tables of a proposal pipeline, as existing installations have them, and as a SQLite file can have them.

Values of ``VALIDATION_TYPE`` and ``run_mode`` are plain text to Python: what an older table has, or lacks, is no error
when it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    DECIMAL,
    TIMESTAMP,
    Column,
    Connection,
    Date,
    Dialect,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    text,
)
from sqlalchemy.dialects.mysql import TINYINT
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.types import TypeEngine, UserDefinedType

from rounds.apr.metrics import RUN_MODES, VALIDATION_TYPES

METADATA = MetaData()


class _Enumerated(UserDefinedType[str]):
    """An ENUM of MariaDB whose values pass as they are; SQLAlchemy's own refuses to read a value that it lacks."""

    cache_ok = True

    def __init__(self, values: tuple[str, ...]) -> None:
        self.values = values

    def get_col_spec(self, **_: Any) -> str:
        """How the type is declared."""
        return f"ENUM({','.join(map(repr, self.values))})"


class _Changed(ClauseElement):
    """The default of a column that has the time of a row's last change. SQLite only has the time of its insertion."""


@compiles(_Changed)
def _changed(_element: _Changed, compiler: Any, **_: Any) -> str:
    kept = "" if compiler.dialect.name == "sqlite" else " ON UPDATE CURRENT_TIMESTAMP"
    return f"CURRENT_TIMESTAMP{kept}"


def _enumerated(values: tuple[str, ...]) -> TypeEngine[str]:
    return _Enumerated(values).with_variant(String(20), "sqlite")


def _flag(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(
        name, Integer().with_variant(TINYINT(), "mysql", "mariadb"), nullable=nullable, server_default=text("0")
    )


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=True)


def _words(name: str, length: int, *, nullable: bool = True) -> Column[str]:
    return Column(name, String(length), nullable=nullable)


def _count(name: str) -> Column[int]:
    return Column(name, Integer, server_default=text("0"))


def _amount(name: str, default: str | None = None) -> Column[Any]:
    return Column(name, DECIMAL(15, 2), server_default=default)


def _stamp(name: str) -> Column[Any]:
    return Column(name, TIMESTAMP, nullable=True, server_default=text("CURRENT_TIMESTAMP"))


def _changed_at(name: str) -> Column[Any]:
    return Column(name, TIMESTAMP, nullable=True, server_default=_Changed())  # type: ignore[arg-type]


def _proposal() -> tuple[Column[Any], ...]:
    return (
        Column("DATA", Date, nullable=False),
        Column("PROPOSTA", Integer, nullable=False),
        _words("CEDENTE", 100, nullable=False),
    )


def _table(name: str, *parts: Any, indexes: dict[str, str]) -> Table:
    return Table(
        name,
        METADATA,
        *parts,
        info={"indexes": indexes},
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
    )


INVALID_RECORDS = _table(
    "apr_invalid_records",
    _id(),
    *_proposal(),
    _words("RAMO", 100),
    _words("GERENTE", 100),
    _words("EMPRESA", 100),
    _words("STATUS", 50),
    _words("PRODUTO", 100),
    Column("VALIDATION_TYPE", _enumerated(VALIDATION_TYPES), nullable=False),
    _words("MOTIVO", 255),
    _words("NFE_CHAVE", 50),
    _words("DUPLICATA", 50),
    _words("SEUNO", 20),
    _stamp("detected_at"),
    Column("alerted_at", TIMESTAMP, nullable=True),
    _flag("is_resolved", nullable=True),
    Column("resolved_at", TIMESTAMP, nullable=True),
    indexes={
        "idx_proposal": "DATA, PROPOSTA",
        "idx_cedente": "CEDENTE",
        "idx_validation_type": "VALIDATION_TYPE",
        "idx_is_resolved": "is_resolved",
        "idx_detected_at": "detected_at",
        "idx_resolved_at": "resolved_at",
    },
)

STATUS_HISTORY = _table(
    "apr_status_history",
    _id(),
    *_proposal(),
    _words("RAMO", 100),
    _words("OLD_STATUS", 50),
    _words("NEW_STATUS", 50, nullable=False),
    _amount("OLD_VLR_APROVADOS"),
    _amount("NEW_VLR_APROVADOS"),
    Column("OLD_QTD_TITULOS", Integer),
    Column("NEW_QTD_TITULOS", Integer),
    _stamp("changed_at"),
    Column("CHANGE_SOURCE", String(50), server_default="SYSTEM"),
    indexes={
        "idx_proposal": "DATA, PROPOSTA",
        "idx_cedente": "CEDENTE",
        "idx_new_status": "NEW_STATUS",
        "idx_changed_at": "changed_at",
    },
)

PROCESSING_LOG = _table(
    "apr_processing_log",
    _id(),
    _stamp("run_timestamp"),
    Column("target_date", Date, nullable=False),
    _count("total_records_queried"),
    _count("valid_records"),
    _count("invalid_nfechave"),
    _count("invalid_duplicata"),
    _count("invalid_seuno"),
    _count("invalid_cheque"),
    _count("records_stored"),
    _count("alerts_sent_nfechave"),
    _count("alerts_sent_duplicata"),
    _count("alerts_sent_seuno"),
    _count("alerts_sent_cheque"),
    Column("execution_time_seconds", Integer),
    Column("run_mode", _enumerated(RUN_MODES), server_default="PRODUCTION"),
    Column("error_message", Text),
    indexes={
        "idx_run_timestamp": "run_timestamp",
        "idx_target_date": "target_date",
        "idx_run_mode": "run_mode",
    },
)

PROPOSAL_PRODUCTS = _table(
    "apr_proposal_products",
    _id(),
    *_proposal(),
    _words("PRODUTO", 100, nullable=False),
    Column("QTD_TITULOS", Integer),
    _amount("VALOR_TITULOS"),
    _stamp("created_at"),
    _changed_at("updated_at"),
    UniqueConstraint("DATA", "PROPOSTA", "CEDENTE", "PRODUTO", name="unique_proposal_product"),
    indexes={
        "idx_proposal": "DATA, PROPOSTA",
        "idx_produto": "PRODUTO",
        "idx_cedente": "CEDENTE",
    },
)

DAILY_SUMMARY = _table(
    "apr_daily_summary",
    Column("DATA", Date, primary_key=True),
    _count("total_proposals"),
    _count("valid_proposals"),
    _count("invalid_proposals"),
    _count("proposals_aguardando"),
    _count("proposals_enviado"),
    _count("proposals_assinado"),
    _count("proposals_liberado"),
    _count("proposals_finalizado"),
    _amount("total_vlr_aprovados", "0.00"),
    _amount("total_valor_titulos", "0.00"),
    _changed_at("last_updated"),
    indexes={"idx_last_updated": "last_updated"},
)

VALID_RECORDS = _table(
    "apr_valid_records",
    Column("DATA", Date, primary_key=True),
    Column("PROPOSTA", Integer, primary_key=True, autoincrement=False),
    Column("CEDENTE", String(100), primary_key=True),
    Column("RAMO", String(100), primary_key=True),
    _words("GERENTE", 100),
    _words("EMPRESA", 100),
    _words("STATUS", 50),
    _count("QTD_APROVADOS"),
    _amount("VLR_APROVADOS", "0.00"),
    _amount("VALOR_TITULOS", "0.00"),
    _count("QTD_TITULOS"),
    _stamp("first_seen"),
    _changed_at("last_updated"),
    _count("update_count"),
    _flag("is_processado", nullable=True),
    _flag("is_bot_processed"),
    _flag("is_confirmado"),
    _words("rating_selecionado", 50),
    _words("usuario_processar", 100),
    _words("usuario_confirmar", 100),
    indexes={
        "idx_status": "STATUS",
        "idx_gerente": "GERENTE",
        "idx_data": "DATA",
        "idx_last_updated": "last_updated",
        "idx_is_processado": "is_processado",
        "idx_is_bot_processed": "is_bot_processed",
    },
)

#: Rounds' own, beside them: how often a proposal had been seen as valid when it was last reported as invalid. Bots move
#: apr_valid_records.last_updated too, so that alone does not tell that a proposal became valid.
MARKS = Table(
    "rounds_apr_marks",
    MetaData(),
    Column("DATA", Date, primary_key=True),
    Column("PROPOSTA", Integer, primary_key=True, autoincrement=False),
    Column("CEDENTE", String(100), primary_key=True),
    Column("VALIDATION_TYPE", String(20), primary_key=True),
    Column("sightings", Integer, nullable=False),
    _stamp("marked_at"),
    info={"indexes": {}},
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
    mysql_collate="utf8mb4_unicode_ci",
)

#: What an older installation of apr_valid_records may lack.
LATE_COLUMNS = (
    "is_processado",
    "is_bot_processed",
    "is_confirmado",
    "rating_selecionado",
    "usuario_processar",
    "usuario_confirmar",
)


def missing_tables(connection: Connection) -> list[Table]:
    """Which of the tables, Rounds' own among them, the database does not have."""
    present = set(inspect(connection).get_table_names())
    return [table for table in (*METADATA.tables.values(), MARKS) if table.name not in present]


def statements(table: Table, dialect: Dialect) -> Iterator[str]:
    """What makes a table and its indexes. In SQLite, an index' name is the whole file's.

    Args:
        table: one of this module's.
        dialect: of the database that it is for.
    """
    yield str(CreateTable(table).compile(dialect=dialect)).strip()
    prefix = f"{table.name}_" if dialect.name == "sqlite" else ""
    for name, columns in table.info["indexes"].items():
        yield f"CREATE INDEX {prefix}{name} ON {table.name} ({columns})"
