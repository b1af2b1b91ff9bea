"""How the changes of a table are found. Digests are one way; what a database keeps of its history would be another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rounds.tables.compare import Changes
from rounds.tables.dialects.dialect import Plan
from rounds.tables.spool import Spool


@dataclass
class Findings:
    """What a scan found.

    Attributes:
        replaced: buckets to be kept in the place of those in the ledger.
        gone: buckets to be dropped; None means all but the replaced ones.
        changes: None for a baseline, which counts nothing.
        row_count: rows in the table, in agreement with what is kept and counted.
        key_max: the largest key, None where it is not asked for.
    """

    replaced: Spool
    gone: list[int] | None
    changes: Changes | None
    row_count: int
    key_max: int | None


class Strategy(Protocol):
    """Finds what changed since the last scan."""

    def baseline(self, plan: Plan) -> Findings:
        """Record the table as it is.

        Raises:
            CollectorError: the source fails.
        """

    def changes(self, plan: Plan, row_count: int, *, keys_only: bool) -> Findings:
        """Compare the table with its record.

        Args:
            plan: the plan that it was recorded with.
            row_count: how many rows it had then.
            keys_only: hashes of rows cannot be compared, only their keys.

        Raises:
            CollectorError: the source fails.
            DamagedError: the record cannot be read.
        """
