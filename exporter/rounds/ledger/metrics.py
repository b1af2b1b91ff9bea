"""The metrics of the ledger itself."""

from __future__ import annotations

from rounds.ledger.ledger import Ledger
from rounds.metrics import Family, Metric

UP = Metric("rounds_ledger_up", "gauge", "Whether the last transaction on the ledger succeeded.")
SIZE = Metric(
    "rounds_ledger_size_bytes",
    "gauge",
    "Size of the ledger: a SQLite file with its write-ahead log, or a server's tables, asked at most every 5 minutes.",
)
CREATED = Metric("rounds_ledger_created_timestamp_seconds", "gauge", "When the ledger was begun. Kept in the ledger.")
LAST_COMMIT = Metric(
    "rounds_ledger_last_commit_timestamp_seconds",
    "gauge",
    "When the exporter last committed something to the ledger. Absent until it has.",
)
COMMITS = Metric("rounds_ledger_commits_total", "counter", "Transactions that the exporter committed to the ledger.")
QUARANTINED = Metric(
    "rounds_ledger_quarantined_files", "gauge", "Damaged ledgers that were moved aside and still lie beside it."
)
LEASE_HELD = Metric(
    "rounds_ledger_lease_held",
    "gauge",
    "Whether this exporter holds the ledger's lease, and so runs jobs. Absent where no lease is configured.",
)
LEASE_EXPIRY = Metric(
    "rounds_ledger_lease_expiry_timestamp_seconds",
    "gauge",
    "Until when the lease holds, whoever holds it, as this exporter last read it in the ledger; by its server's clock.",
)

CATALOGUE = (UP, SIZE, CREATED, LAST_COMMIT, COMMITS, QUARANTINED, LEASE_HELD, LEASE_EXPIRY)


def families(ledger: Ledger) -> list[Family]:
    """How the ledger fares now."""
    lease = ledger.lease
    values = {
        UP: int(ledger.up),
        SIZE: ledger.size,
        CREATED: ledger.created,
        LAST_COMMIT: ledger.last_commit,
        COMMITS: ledger.commits,
        QUARANTINED: len(ledger.quarantined),
        LEASE_HELD: None if lease is None else int(lease.term is not None),
        LEASE_EXPIRY: lease.seen.expires if lease and lease.seen else None,
    }
    return [metric.family([((), value)]) for metric, value in values.items()]
