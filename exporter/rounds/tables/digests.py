"""Finds changes by digests: the database sums up buckets of rows, and only buckets whose sums differ are read.

What is kept of a bucket is what was read, not what the sums said before: the record agrees with itself though rows
change between the two statements, and what was missed in between differs from the record at the next check.
"""

from __future__ import annotations

from rounds.ledger.ledger import Ledger
from rounds.tables import buckets
from rounds.tables.buckets import DamagedError, batched
from rounds.tables.compare import Changes
from rounds.tables.dialects.dialect import Dialect, Plan
from rounds.tables.layout import Pairs
from rounds.tables.spool import Spool
from rounds.tables.strategy import Findings


class Digests:
    """The strategy of digests, for one check of one table.

    Args:
        dialect: the database.
        ledger: where the record is.
        table: the table's name in the ledger.
        spool: takes the buckets that were read.
        most_keys: how many changed keys are listed at most.
    """

    def __init__(self, dialect: Dialect, ledger: Ledger, table: str, spool: Spool, most_keys: int) -> None:
        self._dialect = dialect
        self._ledger = ledger
        self._table = table
        self._spool = spool
        self._most_keys = most_keys

    def baseline(self, plan: Plan) -> Findings:
        """Read all."""
        for bucket, pairs in self._dialect.pairs(plan):
            self._spool.add(bucket, pairs)
        key_max = self._dialect.extent(plan.key[0])[2] if plan.key_max else None
        return Findings(self._spool, None, None, self._spool.rows, key_max)

    def changes(self, plan: Plan, row_count: int, *, keys_only: bool) -> Findings:
        """Sum up, and read what differs."""
        changes = Changes(plan.layout, self._most_keys)
        with self._ledger.reading() as connection:
            known = buckets.digests(connection, self._table)
            if sum(rows for rows, _ in known.values()) != row_count:
                raise DamagedError
            sums = dict(self._dialect.digests(plan))
            differing = [
                bucket for bucket, digest in sums.items() if keys_only or known.get(bucket) != (digest.rows, digest.sum)
            ]
            # Half of the table in pieces costs as much as the whole at once.
            whole = 2 * len(differing) > len(sums)
            if differing:
                for bucket, pairs in self._dialect.pairs(plan, None if whole else differing):
                    self._spool.add(bucket, pairs)
            looked_at = known.keys() if whole else (known.keys() - sums.keys()) | set(differing)
            gone = sorted((looked_at & known.keys()) - set(self._spool.buckets))
            # Compared once all is read: the source does not wait for it.
            for batch in batched(self._spool):
                old = dict(buckets.read(connection, self._table, [each.bucket for each in batch]))
                for each in batch:
                    new = Pairs.unpack(each.pairs)
                    changes.compare(each.bucket, old.get(each.bucket, Pairs()), new, keys_only=keys_only)
            for bucket, pairs in buckets.read(connection, self._table, gone):
                changes.compare(bucket, pairs, Pairs())
        counts = changes.counts
        return Findings(
            self._spool,
            gone,
            changes,
            row_count + counts["inserted"] - counts["deleted"],
            max((digest.key_max for digest in sums.values() if digest.key_max is not None), default=None),
        )
