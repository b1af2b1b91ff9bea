"""The dashboard of the ledger's journal, for ledgers that Grafana can read. Provisioned by JOURNAL_KIND alone."""

from __future__ import annotations

from grafana.src.kit import (
    DATABASES,
    JOURNAL_UID,
    LONG_THIRD,
    LONG_TWO_THIRDS,
    LONG_WHOLE,
    Column,
    Row,
    SqlVariable,
    link_to,
    note,
    render,
    sql_grid,
    sql_source,
)
from grafana.src.tables import CHANGE_WORDS

UID = "tables-journal"
#: What `JOURNAL_KIND` may be.
KINDS = tuple(DATABASES)
ROW_TABLE = link_to("tables", "Show this table", table="${__data.fields.Table}")

# `change` is a reserved word in MariaDB but behind a dot. What is older than the limits is read with `rounds changes`.
CHANGES = """\
SELECT c.at * 1000 AS found_at, c.table_name, c.change AS kind, c.row_count, c.unlisted, c.check_id
FROM tables_change c
WHERE $__unixEpochFilter(c.at) AND c.table_name IN (${table:sqlstring})
ORDER BY c.at DESC, c.id
LIMIT 1000"""
KEYS = """\
SELECT c.at * 1000 AS found_at, c.table_name, c.change AS kind, k.label
FROM tables_changed_key k
JOIN tables_change c ON c.id = k.change_id
WHERE $__unixEpochFilter(c.at) AND c.table_name IN (${table:sqlstring})
ORDER BY c.at DESC, k.id
LIMIT 5000"""

HOW_TO_READ = """\
A check that found changes has one line for each kind, and one for each changed row, up to `journal_max` of a check; the
rest is counted as *not listed*. Entries are kept for 30 days.

What stands under **Key** is decided by `keys` of the table in the exporter's configuration:

- `keys: hashed`, the default: a pseudonym, always the same for the same row. Without the salt of the installation
  nobody can tell which row it is.
- `keys: raw`: the key itself, from the next check on. It then stands in the ledger, and whoever sees this page sees it.

`rounds changes` lists the same, and more of it, also where the ledger is a SQLite file.
"""


def dashboard(kind: str) -> str:
    """The dashboard's file for a kind of ledger."""
    source = sql_source(kind, JOURNAL_UID)
    common = [
        Column("Found at", "found_at", unit="dateTimeAsIso", width=170),
        Column("Table", "table_name", label=True, link=ROW_TABLE),
        Column("Change", "kind", label=True, texts=CHANGE_WORDS, width=110),
    ]
    changes = sql_grid(
        101,
        "Checks that found changes",
        "The latest 1,000 in the time shown. Checks are numbered for each table: lines of one number are of one check.",
        [
            *common,
            Column("Rows", "row_count", unit="locale", decimals=0, width=100),
            Column("Not listed", "unlisted", unit="locale", decimals=0, width=100),
            Column("Check number", "check_id", unit="none", width=120),
        ],
        LONG_WHOLE,
        source=source,
        sql=CHANGES,
        no_value="No check found changes in this time",
    )
    keys = sql_grid(
        102,
        "Changed rows",
        "The latest 5,000 in the time shown: pseudonyms, or keys where the table has `keys: raw`.",
        [*common, Column("Key", "label", label=True, width=260)],
        LONG_TWO_THIRDS,
        source=source,
        sql=KEYS,
        no_value="No check found changes in this time",
    )
    reading = note(
        103, "How to read this", "What the journal holds, and how to have keys in it.", HOW_TO_READ, LONG_THIRD
    )
    every = "SELECT DISTINCT table_name FROM tables_change"
    return render(
        UID,
        "Tables: journal",
        "Each check that found changes, and the rows that it found changed, from the ledger.",
        variables=[SqlVariable("table", "Table", source, every)],
        alerts='component="tables",kind!="event"',
        rows=[Row(200, "History: $table", [changes]), Row(300, "Detail: $table", [keys, reading])],
        time_from="now-24h",
    )
