"""A pipeline with a long past: made by the server itself, in a few statements."""

from __future__ import annotations

from support.apr import Installation

#: Days that the history covers.
DAYS = 30


def fill(
    installation: Installation, *, history: int = 1_000_000, invalid: int = 100_000, still_open: int = 5_000
) -> None:
    """Fill empty tables in MariaDB. The latest date is the server's today.

    Args:
        installation: the tables.
        history: rows of apr_status_history, ten for each proposal.
        invalid: rows of apr_invalid_records.
        still_open: how many of these, spread over all, are open.
    """
    steps = "'Aguardando Analista', 'Em análise', 'Aguardando Aprovação', 'Aprovado', 'Enviado para Assinar'"
    steps += ", 'Assinado', 'Liberado', 'Finalizado', 'Pago', 'Pago'"
    proposals = history // 10
    day = f"CURRENT_DATE - INTERVAL ({DAYS - 1} - FLOOR(p * {DAYS} / {proposals})) DAY"
    of_invalid = f"CURRENT_DATE - INTERVAL ({DAYS - 1} - FLOOR(seq * {DAYS} / {invalid + 1})) DAY"
    is_open = f"seq MOD {max(1, invalid // still_open)} = 0"
    client = "CONCAT('Cliente ', {} MOD 400)"
    installation.sql(
        "SET GLOBAL innodb_flush_log_at_trx_commit = 0",
        "INSERT INTO apr_status_history (DATA, PROPOSTA, CEDENTE, RAMO, OLD_STATUS, NEW_STATUS, changed_at,"
        f" CHANGE_SOURCE) SELECT {day}, p, {client.format('p')}, 'Centro',"
        f" IF(s > 0, ELT(s, {steps}), NULL), ELT(s + 1, {steps}),"
        f" {day} + INTERVAL s MINUTE, IF(s MOD 2, 'BOT', 'SYSTEM')"
        f" FROM (SELECT (seq - 1) DIV 10 AS p, (seq - 1) MOD 10 AS s FROM seq_1_to_{history}) AS steps",
        "INSERT INTO apr_invalid_records (DATA, PROPOSTA, CEDENTE, VALIDATION_TYPE, detected_at, is_resolved,"
        f" resolved_at) SELECT {of_invalid}, seq, {client.format('seq')},"
        f" ELT(seq MOD 4 + 1, 'NFECHAVE', 'DUPLICATA', 'SEUNO', 'CHEQUE'),"
        f" {of_invalid}, NOT {is_open}, IF({is_open}, NULL, {of_invalid} + INTERVAL 1 HOUR)"
        f" FROM seq_1_to_{invalid}",
        "INSERT INTO apr_valid_records (DATA, PROPOSTA, CEDENTE, RAMO, STATUS, VLR_APROVADOS, is_bot_processed,"
        f" is_confirmado) SELECT {day}, p, {client.format('p')}, 'Centro',"
        f" ELT(p MOD 10 + 1, {steps}), 100, 1, p MOD 3 > 0"
        f" FROM (SELECT seq - 1 AS p FROM seq_1_to_{proposals}) AS proposals",
        "INSERT INTO apr_proposal_products (DATA, PROPOSTA, CEDENTE, PRODUTO)"
        f" SELECT {day}, p, {client.format('p')}, CONCAT('Produto ', p MOD 20)"
        f" FROM (SELECT seq - 1 AS p FROM seq_1_to_{proposals}) AS proposals",
        "INSERT INTO apr_processing_log (target_date, run_timestamp, run_mode, execution_time_seconds)"
        f" SELECT CURRENT_DATE - INTERVAL (seq DIV 96) DAY, NOW() - INTERVAL 15 * seq MINUTE, 1 + (seq MOD 50 = 0), 2"
        f" FROM seq_1_to_{96 * DAYS}",
        f"INSERT INTO apr_daily_summary (DATA) SELECT CURRENT_DATE - INTERVAL seq DAY FROM seq_0_to_{DAYS - 1}",
        "ANALYZE TABLE apr_status_history, apr_invalid_records, apr_valid_records, apr_proposal_products",
    )
