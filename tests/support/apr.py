"""The tables of a proposal pipeline as existing installations have them, and rows for them. All names are made up."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import NullPool

from rounds.apr import tables

DAY = date(2026, 3, 6)

_OPTIONS = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci"
_LATE = """,
    is_processado TINYINT DEFAULT 0,
    is_bot_processed TINYINT NOT NULL DEFAULT 0,
    is_confirmado TINYINT NOT NULL DEFAULT 0,
    rating_selecionado VARCHAR(50),
    usuario_processar VARCHAR(100) NULL,
    usuario_confirmar VARCHAR(100) NULL"""
_LATE_INDEXES = """,
    INDEX idx_is_processado (is_processado),
    INDEX idx_is_bot_processed (is_bot_processed)"""

INVALID_RECORDS = """
CREATE TABLE apr_invalid_records (
    id INT AUTO_INCREMENT PRIMARY KEY,
    DATA DATE NOT NULL,
    PROPOSTA INT NOT NULL,
    CEDENTE VARCHAR(100) NOT NULL,
    RAMO VARCHAR(100),
    GERENTE VARCHAR(100),
    EMPRESA VARCHAR(100),
    STATUS VARCHAR(50),
    PRODUTO VARCHAR(100),
    VALIDATION_TYPE ENUM('NFECHAVE','DUPLICATA','SEUNO','CHEQUE') NOT NULL,
    MOTIVO VARCHAR(255),
    NFE_CHAVE VARCHAR(50),
    DUPLICATA VARCHAR(50),
    SEUNO VARCHAR(20),
    detected_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    alerted_at TIMESTAMP NULL,
    is_resolved TINYINT DEFAULT 0,
    resolved_at TIMESTAMP NULL,
    INDEX idx_proposal (DATA, PROPOSTA),
    INDEX idx_cedente (CEDENTE),
    INDEX idx_validation_type (VALIDATION_TYPE),
    INDEX idx_is_resolved (is_resolved),
    INDEX idx_detected_at (detected_at),
    INDEX idx_resolved_at (resolved_at)
)"""

STATUS_HISTORY = """
CREATE TABLE apr_status_history (
    id INT AUTO_INCREMENT PRIMARY KEY,
    DATA DATE NOT NULL,
    PROPOSTA INT NOT NULL,
    CEDENTE VARCHAR(100) NOT NULL,
    RAMO VARCHAR(100),
    OLD_STATUS VARCHAR(50),
    NEW_STATUS VARCHAR(50) NOT NULL,
    OLD_VLR_APROVADOS DECIMAL(15,2),
    NEW_VLR_APROVADOS DECIMAL(15,2),
    OLD_QTD_TITULOS INT,
    NEW_QTD_TITULOS INT,
    changed_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    CHANGE_SOURCE VARCHAR(50) DEFAULT 'SYSTEM',
    INDEX idx_proposal (DATA, PROPOSTA),
    INDEX idx_cedente (CEDENTE),
    INDEX idx_new_status (NEW_STATUS),
    INDEX idx_changed_at (changed_at)
)"""

PROCESSING_LOG = """
CREATE TABLE apr_processing_log (
    id INT AUTO_INCREMENT PRIMARY KEY,
    run_timestamp TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    target_date DATE NOT NULL,
    total_records_queried INT DEFAULT 0,
    valid_records INT DEFAULT 0,
    invalid_nfechave INT DEFAULT 0,
    invalid_duplicata INT DEFAULT 0,
    invalid_seuno INT DEFAULT 0,
    invalid_cheque INT DEFAULT 0,
    records_stored INT DEFAULT 0,
    alerts_sent_nfechave INT DEFAULT 0,
    alerts_sent_duplicata INT DEFAULT 0,
    alerts_sent_seuno INT DEFAULT 0,
    alerts_sent_cheque INT DEFAULT 0,
    execution_time_seconds INT NULL,
    run_mode ENUM('PRODUCTION','DRY_RUN') DEFAULT 'PRODUCTION',
    error_message TEXT,
    INDEX idx_run_timestamp (run_timestamp),
    INDEX idx_target_date (target_date),
    INDEX idx_run_mode (run_mode)
)"""

PROPOSAL_PRODUCTS = """
CREATE TABLE apr_proposal_products (
    id INT AUTO_INCREMENT PRIMARY KEY,
    DATA DATE NOT NULL,
    PROPOSTA INT NOT NULL,
    CEDENTE VARCHAR(100) NOT NULL,
    PRODUTO VARCHAR(100) NOT NULL,
    QTD_TITULOS INT,
    VALOR_TITULOS DECIMAL(15,2),
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    INDEX idx_proposal (DATA, PROPOSTA),
    INDEX idx_produto (PRODUTO),
    INDEX idx_cedente (CEDENTE),
    UNIQUE KEY unique_proposal_product (DATA, PROPOSTA, CEDENTE, PRODUTO)
)"""

DAILY_SUMMARY = """
CREATE TABLE apr_daily_summary (
    DATA DATE PRIMARY KEY,
    total_proposals INT DEFAULT 0,
    valid_proposals INT DEFAULT 0,
    invalid_proposals INT DEFAULT 0,
    proposals_aguardando INT DEFAULT 0,
    proposals_enviado INT DEFAULT 0,
    proposals_assinado INT DEFAULT 0,
    proposals_liberado INT DEFAULT 0,
    proposals_finalizado INT DEFAULT 0,
    total_vlr_aprovados DECIMAL(15,2) DEFAULT 0.00,
    total_valor_titulos DECIMAL(15,2) DEFAULT 0.00,
    last_updated TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    INDEX idx_last_updated (last_updated)
)"""

_VALID_RECORDS = """
CREATE TABLE apr_valid_records (
    DATA DATE NOT NULL,
    PROPOSTA INT NOT NULL,
    CEDENTE VARCHAR(100) NOT NULL,
    RAMO VARCHAR(100) NOT NULL,
    GERENTE VARCHAR(100),
    EMPRESA VARCHAR(100),
    STATUS VARCHAR(50),
    QTD_APROVADOS INT DEFAULT 0,
    VLR_APROVADOS DECIMAL(15,2) DEFAULT 0.00,
    VALOR_TITULOS DECIMAL(15,2) DEFAULT 0.00,
    QTD_TITULOS INT DEFAULT 0,
    first_seen TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    last_updated TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    update_count INT DEFAULT 0{late},
    PRIMARY KEY (DATA, PROPOSTA, CEDENTE, RAMO),
    INDEX idx_status (STATUS),
    INDEX idx_gerente (GERENTE),
    INDEX idx_data (DATA),
    INDEX idx_last_updated (last_updated){indexes}
)"""

#: A sighting of a valid proposal, as the existing program stores it: ``?`` stands for the driver's placeholder.
_SIGHTING = (
    "INSERT INTO apr_valid_records"
    " (DATA, PROPOSTA, CEDENTE, RAMO, STATUS, QTD_APROVADOS, VLR_APROVADOS, VALOR_TITULOS, QTD_TITULOS)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SIGHTED_AGAIN = (
    "UPDATE apr_valid_records SET STATUS = ?, QTD_APROVADOS = ?, VLR_APROVADOS = ?, VALOR_TITULOS = ?,"
    " QTD_TITULOS = ?, update_count = update_count + 1{touch} WHERE DATA = ? AND PROPOSTA = ? AND CEDENTE = ?"
    " AND RAMO = ?"
)


def original_ddl(*, late: bool = True, cheque: bool = True, products: bool = True) -> list[str]:
    """The statements that made an existing installation in MariaDB.

    Args:
        late: whether apr_valid_records has the columns that were added later.
        cheque: whether the type CHEQUE is in the enum.
        products: whether there is apr_proposal_products.
    """
    valid = _VALID_RECORDS.format(late=_LATE if late else "", indexes=_LATE_INDEXES if late else "")
    invalid = INVALID_RECORDS if cheque else INVALID_RECORDS.replace(",'CHEQUE'", "")
    made = [invalid, STATUS_HISTORY, PROCESSING_LOG, DAILY_SUMMARY, valid]
    return [f"{each} {_OPTIONS}" for each in [*made, *([PROPOSAL_PRODUCTS] if products else [])]]


@dataclass
class Installation:
    """A database with the tables.

    Attributes:
        kind: ``mariadb`` or ``sqlite``.
        url: of the database, for SQLAlchemy.
        source: the database as a configured source.
    """

    kind: str
    url: URL
    source: Any
    _engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """Connections of root's that are not kept, so that the server's settings are the ones of the moment."""
        if self._engine is None:
            self._engine = create_engine(self.url, poolclass=NullPool)
        return self._engine

    def sql(self, *statements: str, **parameters: object) -> list[tuple[Any, ...]]:
        """Run statements with the same parameters, each committed; the rows of the last one."""
        rows: list[tuple[Any, ...]] = []
        with self.engine.connect() as connection:
            for statement in statements:
                result = connection.execute(text(statement), parameters)
                rows = [tuple(row) for row in result] if result.returns_rows else []
                connection.commit()
        return rows

    def one(self, statement: str, **parameters: object) -> Any:
        """The only value of a statement."""
        return self.sql(statement, **parameters)[0][0]

    def many(self, table: str, rows: Sequence[dict[str, object]]) -> None:
        """Insert rows, which name the same columns."""
        if rows:
            with self.engine.begin() as connection:
                columns, marks = ", ".join(rows[0]), ", ".join(f":{name}" for name in rows[0])
                connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({marks})"), list(rows))

    def sight(
        self,
        proposal: int,
        status: str | None = "Aguardando Analista",
        *,
        day: date = DAY,
        client: str = "Cliente Um",
        branch: str = "Centro",
        approved: float = 100,
        value: float = 200,
        titles: int = 2,
    ) -> None:
        """See a proposal as valid, as a run of the existing program does."""
        key = {"a": day.isoformat(), "b": proposal, "c": client, "d": branch}
        values = {"e": status, "f": titles, "g": approved, "h": value, "i": titles}
        touch = ", last_updated = CURRENT_TIMESTAMP" if self.kind == "sqlite" else ""
        with self.engine.begin() as connection:
            update = _numbered(_SIGHTED_AGAIN.format(touch=touch), "efghiabcd")
            if connection.execute(text(update), {**key, **values}).rowcount == 0:
                connection.execute(text(_numbered(_SIGHTING, "abcdefghi")), {**key, **values})

    def age(self, table: str, column: str, seconds: int, where: str = "1 = 1") -> None:
        """Let a time lie further back."""
        earlier = (
            f"{column} - INTERVAL {seconds} SECOND"
            if self.kind == "mariadb"
            else f"datetime({column}, '-{seconds} seconds')"
        )
        # A column that has the time of the last change keeps its own.
        kept = {"apr_valid_records": "last_updated", "apr_proposal_products": "updated_at"}.get(table)
        keep = f", {kept} = {kept}" if kept and kept != column else ""
        self.sql(f"UPDATE {table} SET {column} = {earlier}{keep} WHERE {where}")


def _numbered(statement: str, names: str) -> str:
    for name in names:
        statement = statement.replace("?", f":{name}", 1)
    return statement


def mariadb_installation(server: Any, **variant: bool) -> Installation:
    """A new database of a server, made by the original statements; ``variant`` as :func:`original_ddl` takes it."""
    database = server.create_database("apr")
    server.sql(*original_ddl(**variant), database=database)
    return Installation("mariadb", make_url(server.url(database)), server.source(database))


def sqlite_installation(files: Any) -> Installation:
    """A new SQLite file, as the demo has it."""
    database = files.create_database("apr")
    source = files.source(database)
    with closing(sqlite3.connect(source.path)) as connection:
        for table in tables.METADATA.tables.values():
            for statement in tables.statements(table, sqlite.dialect()):
                connection.execute(statement)
        connection.commit()
    return Installation("sqlite", URL.create("sqlite", database=str(source.path)), source)
