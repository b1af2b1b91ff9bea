"""The dashboard of the pipeline's rows, asked of its database. Provisioned by APR_KIND alone.

"Current" is the latest business date, never the clock's today: at the weekend that is Friday. Times are compared by the
database's clock, and told as Unix time, so that no time zone of a session matters.
"""

from __future__ import annotations

from grafana.src.apr import TYPE_COLOURS
from grafana.src.kit import (
    APR_UID,
    DEGRADED,
    DOWN,
    HALF,
    PARTS,
    UP,
    WARNING,
    WHOLE,
    Column,
    Row,
    SqlVariable,
    Texts,
    TextVariable,
    note,
    render,
    sql_grid,
    sql_source,
)

from rounds.apr.config import AprSection
from rounds.apr.metrics import FINAL_STATUSES
from rounds.apr.statuses import bucket_sql

UID = "apr-records"
SOURCE = sql_source("mariadb", APR_UID)
#: As the exporter has them unless it is told otherwise; Grafana does not know its configuration.
STUCK_AFTER = int(AprSection.model_fields["stuck_after"].default)
LOOK_BACK = int(AprSection.model_fields["look_back"].default)

CHANGES: Texts = {"first": ("first", PARTS[8]), "status": ("status", PARTS[0]), "values": ("values", PARTS[2])}
OUTCOMES: Texts = {"succeeded": ("succeeded", UP), "failed": ("failed", DOWN)}
BOT: Texts = {
    "opened": ("opened", PARTS[2]),
    "processed": ("processed", WARNING),
    "confirmed": ("confirmed", UP),
}
TYPES: Texts = {name: (name, colour) for name, colour in TYPE_COLOURS.items()}

#: The first is the one to begin with; letters come after digits.
DATES = """\
SELECT day FROM (
  SELECT 'latest' AS day
  UNION ALL SELECT CAST(DATA AS CHAR) FROM (SELECT DISTINCT DATA FROM apr_valid_records ORDER BY DATA DESC LIMIT 400) d
) AS days
ORDER BY day DESC"""
#: The latest date in any of the tables.
LATEST = """(SELECT MAX(day) FROM (
  SELECT MAX(DATA) AS day FROM apr_valid_records
  UNION ALL SELECT MAX(DATA) FROM apr_invalid_records
  UNION ALL SELECT MAX(DATA) FROM apr_status_history
  UNION ALL SELECT MAX(target_date) FROM apr_processing_log
) AS days)"""
#: The date that is selected.
DAY = f"IF('${{date}}' = 'latest', {LATEST}, '${{date}}')"


def client(table: str) -> str:
    """The rows of clients whose name contains what was typed."""
    return f"INSTR({table}.CEDENTE, ${{cedente:sqlstring}}) > 0"


PROPOSALS = f"""\
SELECT v.PROPOSTA, v.CEDENTE, v.RAMO, v.GERENTE, v.STATUS, v.VLR_APROVADOS, v.VALOR_TITULOS, v.QTD_TITULOS,
  UNIX_TIMESTAMP(v.last_updated) * 1000 AS updated_at
FROM apr_valid_records v
WHERE v.DATA = {DAY} AND {client("v")}
ORDER BY v.last_updated DESC, v.PROPOSTA
LIMIT 1000"""
OPEN_RECORDS = f"""\
SELECT UNIX_TIMESTAMP(i.detected_at) * 1000 AS found_at, i.VALIDATION_TYPE, CAST(i.DATA AS CHAR) AS day, i.PROPOSTA,
  i.CEDENTE, i.GERENTE, i.PRODUTO, i.MOTIVO
FROM apr_invalid_records i
WHERE i.is_resolved = 0 AND {client("i")}
ORDER BY i.detected_at, i.id
LIMIT 1000"""
BY_CLIENT = f"""\
SELECT i.CEDENTE, COUNT(*) AS records, SUM(i.is_resolved = 0) AS still_open,
  COUNT(DISTINCT i.DATA, i.PROPOSTA) AS proposals
FROM apr_invalid_records i
WHERE $__timeFilter(i.detected_at) AND {client("i")}
GROUP BY i.CEDENTE
ORDER BY records DESC, i.CEDENTE
LIMIT 20"""
BY_PRODUCT = f"""\
SELECT COALESCE(i.PRODUTO, 'SEM PRODUTO') AS product, COUNT(*) AS records, SUM(i.is_resolved = 0) AS still_open
FROM apr_invalid_records i
WHERE $__timeFilter(i.detected_at) AND {client("i")}
GROUP BY COALESCE(i.PRODUTO, 'SEM PRODUTO')
ORDER BY records DESC, product
LIMIT 20"""
PRODUCTS = f"""\
SELECT p.PRODUTO, COUNT(*) AS proposals, SUM(p.QTD_TITULOS) AS titles, SUM(p.VALOR_TITULOS) AS worth
FROM apr_proposal_products p
WHERE p.DATA = {DAY} AND {client("p")}
GROUP BY p.PRODUTO
ORDER BY worth DESC, p.PRODUTO
LIMIT 20"""
FLAPPING = f"""\
SELECT i.PROPOSTA, i.CEDENTE, i.VALIDATION_TYPE, COUNT(*) AS times, UNIX_TIMESTAMP(MAX(i.resolved_at)) * 1000 AS last_at
FROM apr_invalid_records i
WHERE i.DATA = {DAY} AND i.is_resolved = 1 AND {client("i")}
GROUP BY i.PROPOSTA, i.CEDENTE, i.VALIDATION_TYPE
HAVING COUNT(*) > 1
ORDER BY times DESC, last_at DESC
LIMIT 200"""
# No bare changed_at, MAX(id) or join: with these the database takes two to ten times as long for a million rows.
STUCK = f"""\
SELECT CAST(h.DATA AS CHAR) AS day, h.PROPOSTA, h.CEDENTE, h.NEW_STATUS, UNIX_TIMESTAMP(h.changed_at) * 1000 AS since
FROM apr_status_history h
WHERE h.DATA >= {LATEST} - INTERVAL {LOOK_BACK // 86_400} DAY
  AND UNIX_TIMESTAMP(h.changed_at) < UNIX_TIMESTAMP() - {STUCK_AFTER} AND {client("h")}
  AND {bucket_sql("h.NEW_STATUS", "mariadb")} NOT IN ({", ".join(f"'{status}'" for status in FINAL_STATUSES)})
  AND h.id = (
    SELECT n.id FROM apr_status_history n
    WHERE n.DATA = h.DATA AND n.PROPOSTA = h.PROPOSTA AND n.CEDENTE = h.CEDENTE ORDER BY n.id DESC LIMIT 1
  )
ORDER BY since, h.id
LIMIT 500"""
STATUS_CHANGES = f"""\
SELECT UNIX_TIMESTAMP(h.changed_at) * 1000 AS changed, CAST(h.DATA AS CHAR) AS day, h.PROPOSTA, h.CEDENTE,
  CASE WHEN h.OLD_STATUS IS NULL THEN 'first' WHEN BINARY h.OLD_STATUS = BINARY h.NEW_STATUS THEN 'values'
  ELSE 'status' END AS kind,
  h.OLD_STATUS, h.NEW_STATUS, h.OLD_VLR_APROVADOS, h.NEW_VLR_APROVADOS, h.CHANGE_SOURCE
FROM apr_status_history h
WHERE $__timeFilter(h.changed_at) AND {client("h")}
ORDER BY h.changed_at DESC, h.id DESC
LIMIT 500"""
RUNS = """\
SELECT UNIX_TIMESTAMP(l.run_timestamp) * 1000 AS logged_at, CAST(l.target_date AS CHAR) AS day, l.run_mode,
  IF(COALESCE(l.error_message, '') = '', 'succeeded', 'failed') AS outcome, l.execution_time_seconds,
  l.total_records_queried, l.valid_records,
  COALESCE(l.invalid_nfechave, 0) + COALESCE(l.invalid_duplicata, 0) + COALESCE(l.invalid_seuno, 0) AS invalid,
  l.records_stored, LEFT(l.error_message, 200) AS error
FROM apr_processing_log l
WHERE $__timeFilter(l.run_timestamp)
ORDER BY l.id DESC
LIMIT 200"""
BOT_ACTIVITY = f"""\
SELECT UNIX_TIMESTAMP(v.last_updated) * 1000 AS updated_at, CAST(v.DATA AS CHAR) AS day, v.PROPOSTA, v.CEDENTE,
  v.STATUS,
  CASE WHEN v.is_confirmado = 1 THEN 'confirmed' WHEN v.is_bot_processed = 1 THEN 'processed' ELSE 'opened' END AS bot,
  v.rating_selecionado, v.usuario_processar, v.usuario_confirmar
FROM apr_valid_records v
WHERE $__timeFilter(v.last_updated) AND {client("v")}
  AND (v.is_processado = 1 OR v.is_bot_processed = 1 OR v.is_confirmado = 1)
ORDER BY v.last_updated DESC, v.PROPOSTA
LIMIT 500"""
SUMMARIES = """\
SELECT CAST(s.DATA AS CHAR) AS day, s.total_proposals, s.valid_proposals, s.invalid_proposals, s.proposals_aguardando,
  s.proposals_enviado, s.proposals_assinado, s.proposals_liberado, s.proposals_finalizado, s.total_vlr_aprovados,
  s.total_valor_titulos, UNIX_TIMESTAMP(s.last_updated) * 1000 AS updated_at
FROM apr_daily_summary s
ORDER BY s.DATA DESC
LIMIT 31"""

READING = """\
These rows come from the pipeline's database as they stand, with the names of clients, managers and operators. **Whoever
may look at this page sees them.** *Date* at the top chooses the business date of *Now*, of itself the latest one in the
tables; *History* follows the time shown, and *Client* narrows everything but runs and summaries to names that contain
what is typed.

- The columns of an older database may lack what *Bot activity* shows; that panel then says so, and the others work.
- Status changes, records and runs are deleted by the pipeline's cleanup, after 30 days by default.
- Counts, trends and alerts are in the dashboard *Proposal pipeline*.
"""


def count(title: str, source: str, width: int, bar: str | None = None) -> Column:
    """A column of whole numbers."""
    return Column(title, source, unit="locale", decimals=0, width=width, bar=bar)


def money(title: str, source: str, width: int = 130) -> Column:
    """A column of reais."""
    return Column(title, source, unit="currencyBRL", decimals=2, width=width)


def when(title: str, source: str) -> Column:
    """A column of times."""
    return Column(title, source, unit="dateTimeAsIso", width=165)


def words(title: str, source: str, width: int | None = None, texts: Texts | None = None) -> Column:
    """A column of text."""
    return Column(title, source, label=True, width=width, texts=texts)


PROPOSAL = Column("Proposal", "PROPOSTA", unit="none", width=90)
CLIENT = words("Client", "CEDENTE")
DATE = words("Date", "day", 105)


def now() -> Row:
    """The selected date."""
    return Row(
        100,
        "Now: $date",
        [
            sql_grid(
                101,
                "Proposals",
                "The valid records of the selected date, the last changed first, 1,000 at most. A proposal has a line "
                "for each line of business.",
                [
                    PROPOSAL,
                    CLIENT,
                    words("Business", "RAMO", 120),
                    words("Manager", "GERENTE", 130),
                    words("Status", "STATUS", 170),
                    money("Approved", "VLR_APROVADOS"),
                    money("Titles' value", "VALOR_TITULOS"),
                    count("Titles", "QTD_TITULOS", 70),
                    when("Changed", "updated_at"),
                ],
                WHOLE,
                source=SOURCE,
                sql=PROPOSALS,
                no_value="No valid record of this date",
            ),
            sql_grid(
                102,
                "Open invalid records",
                "Of all dates, the oldest first, 1,000 at most. One line for each proposal and type: of "
                "a proposal with several invalid titles the first one's reason is known.",
                [
                    when("Detected", "found_at"),
                    words("Type", "VALIDATION_TYPE", 110, TYPES),
                    DATE,
                    PROPOSAL,
                    CLIENT,
                    words("Manager", "GERENTE", 120),
                    words("Product", "PRODUTO"),
                    words("Reason", "MOTIVO"),
                ],
                WHOLE,
                source=SOURCE,
                sql=OPEN_RECORDS,
                no_value="No invalid record is open",
            ),
            sql_grid(
                103,
                "Product distribution",
                "Products of the proposals of the selected date, the 20 with the highest value.",
                [
                    words("Product", "PRODUTO"),
                    count("Proposals", "proposals", 90),
                    count("Titles", "titles", 70),
                    Column("Value", "worth", unit="currencyBRL", decimals=1, width=260, bar=PARTS[0]),
                ],
                HALF,
                source=SOURCE,
                sql=PRODUCTS,
                no_value="No product of this date",
            ),
            sql_grid(
                104,
                "Stuck proposals",
                f"Proposals of the last {LOOK_BACK // 86_400} days that keep a status which is not final for more than "
                f"{STUCK_AFTER // 3600} hours, the oldest first. Somebody must move them on, or the history misses a "
                "change. The exporter's `stuck_after` may be another time.",
                [
                    when("Stuck since", "since"),
                    DATE,
                    PROPOSAL,
                    CLIENT,
                    words("Status", "NEW_STATUS", 170),
                ],
                HALF,
                source=SOURCE,
                sql=STUCK,
                no_value="No proposal is stuck",
            ),
        ],
    )


def history() -> Row:
    """The time shown."""
    return Row(
        200,
        "History",
        [
            sql_grid(
                201,
                "Recent status changes",
                "The latest 500 in the time shown. First: the first that is known of a proposal. Values: the status "
                "stayed, and the approved value or the number of titles changed.",
                [
                    when("Changed", "changed"),
                    DATE,
                    PROPOSAL,
                    CLIENT,
                    words("What", "kind", 90, CHANGES),
                    words("Old status", "OLD_STATUS", 165),
                    words("New status", "NEW_STATUS", 165),
                    money("Old value", "OLD_VLR_APROVADOS"),
                    money("New value", "NEW_VLR_APROVADOS"),
                    words("Source", "CHANGE_SOURCE", 100),
                ],
                WHOLE,
                source=SOURCE,
                sql=STATUS_CHANGES,
                no_value="No status change in this time",
            ),
            sql_grid(
                202,
                "Top issues by client",
                "Invalid records that were detected in the time shown, the 20 clients with the most. Talk to the first "
                "ones: the same fault comes again with each proposal.",
                [
                    CLIENT,
                    count("Records", "records", 220, WARNING),
                    count("Still open", "still_open", 100),
                    count("Proposals", "proposals", 100),
                ],
                HALF,
                source=SOURCE,
                sql=BY_CLIENT,
                no_value="No invalid record was detected in this time",
            ),
            sql_grid(
                203,
                "Invalid records by product",
                "Invalid records that were detected in the time shown, the 20 products with the most. The product is "
                "that of the first invalid title of a proposal.",
                [
                    words("Product", "product"),
                    count("Records", "records", 220, WARNING),
                    count("Still open", "still_open", 100),
                ],
                HALF,
                source=SOURCE,
                sql=BY_PRODUCT,
                no_value="No invalid record was detected in this time",
            ),
            sql_grid(
                204,
                "Runs",
                "The latest 200 in the time shown. Titles were queried and found valid or invalid, proposals stored. A "
                "run that failed early may be missing. Invalid titles of the type CHEQUE are not in these sums.",
                [
                    when("Logged", "logged_at"),
                    words("Of date", "day", 105),
                    words("Mode", "run_mode", 115),
                    words("Outcome", "outcome", 100, OUTCOMES),
                    Column("Took", "execution_time_seconds", unit="s", decimals=1, width=80),
                    count("Queried", "total_records_queried", 85),
                    count("Valid", "valid_records", 75),
                    count("Invalid", "invalid", 75),
                    count("Stored", "records_stored", 75),
                    words("Error", "error"),
                ],
                WHOLE,
                source=SOURCE,
                sql=RUNS,
                no_value="No run was logged in this time",
            ),
            sql_grid(
                205,
                "Bot activity",
                "Valid records that the bot touched and that changed in the time shown, the latest 500. Opened: the "
                "bot has the proposal open. Processed: it rated it, and nobody has confirmed that. Confirmed: done.",
                [
                    when("Changed", "updated_at"),
                    DATE,
                    PROPOSAL,
                    CLIENT,
                    words("Status", "STATUS", 170),
                    words("Bot", "bot", 100, BOT),
                    words("Rating", "rating_selecionado", 90),
                    words("Processed by", "usuario_processar", 140),
                    words("Confirmed by", "usuario_confirmar", 140),
                ],
                WHOLE,
                source=SOURCE,
                sql=BOT_ACTIVITY,
                no_value="Nothing was done by the bot in this time",
            ),
        ],
    )


def detail() -> Row:
    """What is needed to find the cause."""
    return Row(
        300,
        "Detail",
        [
            sql_grid(
                301,
                "Flapping proposals",
                "Proposals of the selected date of which a record of one type was resolved twice or more. They are "
                "stored as valid and found invalid in turn: look at the pipeline's order of steps, not at the client.",
                [
                    PROPOSAL,
                    CLIENT,
                    words("Type", "VALIDATION_TYPE", 110, TYPES),
                    Column("Times", "times", unit="locale", decimals=0, width=70, steps=((None, DEGRADED),)),
                    when("Last resolved", "last_at"),
                ],
                HALF,
                source=SOURCE,
                sql=FLAPPING,
                no_value="No proposal of this date flaps",
            ),
            note(303, "How to read this", "Where these rows come from, and who may see them.", READING, HALF),
            sql_grid(
                302,
                "Daily summaries",
                "As the pipeline wrote them, the latest 31. Its five columns of statuses leave some out, so that they "
                "need not add up; its invalid number counts records.",
                [
                    DATE,
                    count("Proposals", "total_proposals", 90),
                    count("Valid", "valid_proposals", 70),
                    count("Invalid", "invalid_proposals", 70),
                    *(
                        count(title, f"proposals_{status}", 105)
                        for status, title in (
                            ("aguardando", "Aguardando"),
                            ("enviado", "Enviado"),
                            ("assinado", "Assinado"),
                            ("liberado", "Liberado"),
                            ("finalizado", "Finalizado"),
                        )
                    ),
                    money("Approved", "total_vlr_aprovados", 160),
                    money("Titles' value", "total_valor_titulos", 160),
                    when("Written", "updated_at"),
                ],
                WHOLE,
                source=SOURCE,
                sql=SUMMARIES,
                no_value="No summary was written",
            ),
        ],
    )


def dashboard() -> str:
    """The dashboard's file."""
    return render(
        UID,
        "Proposal pipeline: records",
        "Single proposals, invalid records, status changes and runs, from the pipeline's own database.",
        variables=[SqlVariable("date", "Date", SOURCE, DATES, one=True), TextVariable("cedente", "Client")],
        alerts='component="apr"',
        rows=[now(), history(), detail()],
        time_from="now-7d",
        # Nothing here is younger than the pipeline's last run, and each panel is a statement.
        refresh="1m",
    )
