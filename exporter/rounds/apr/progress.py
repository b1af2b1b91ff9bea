"""How far each proposal has come, from what is added to its history: no run reads the history again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from rounds.apr.metrics import FINAL_STATUSES
from rounds.apr.schema import PROPOSALS

#: Proposals in one statement.
_AT_A_TIME = 500


@dataclass(frozen=True)
class Step:
    """A row of a proposal's history. ``changed_at`` is in Unix seconds, None where the row has no time."""

    history_id: int
    business_day: int
    status: str
    changed_at: float | None


class Progress:
    """What a run adds to the progress of proposals.

    Args:
        salt: the installation's; proposals are known by keyed hashes, as their key has the client's name.
    """

    def __init__(self, salt: str) -> None:
        self._key = salt.encode()[: hashlib.blake2b.MAX_KEY_SIZE]
        self._steps: dict[int, Step] = {}

    def add(self, day: date, number: object, client: object, step: Step) -> None:
        """A row of the history, in any order: the one with the highest id is the latest."""
        text = f"{day.isoformat()}\0{number}\0{client}"
        digest = hashlib.blake2b(text.encode(), digest_size=8, key=self._key).digest()
        proposal = int.from_bytes(digest) >> 1
        known = self._steps.get(proposal)
        if known is None or step.history_id > known.history_id:
            self._steps[proposal] = step

    def save(self, connection: Connection, *, since: date, highest: int) -> None:
        """Keep it, and forget proposals whose history is gone.

        Args:
            connection: of a writing transaction.
            since: business dates before it are of no interest, or gone.
            highest: the history's highest id; those above were taken back, as by restoring a backup.
        """
        connection.execute(delete(PROPOSALS).where(PROPOSALS.c.history_id > highest))
        connection.execute(delete(PROPOSALS).where(PROPOSALS.c.business_day < since.toordinal()))
        recent = {key: step for key, step in self._steps.items() if step.business_day >= since.toordinal()}
        for some in _pieces(list(recent)):
            query = select(PROPOSALS.c.proposal, PROPOSALS.c.history_id).where(PROPOSALS.c.proposal.in_(some))
            known: dict[int, int] = {row.proposal: row.history_id for row in connection.execute(query)}
            new = [_row(key, recent[key]) for key in some if key not in known]
            newer = [_row(key, recent[key]) for key in some if key in known and recent[key].history_id > known[key]]
            if new:
                connection.execute(insert(PROPOSALS), new)
            if newer:
                statement = update(PROPOSALS).where(PROPOSALS.c.proposal == bindparam("key"))
                connection.execute(statement, [{"key": row.pop("proposal"), **row} for row in newer])


def forget(connection: Connection) -> None:
    """The history was replaced."""
    connection.execute(delete(PROPOSALS))


def stuck(connection: Connection, before: float) -> dict[str, int]:
    """Proposals by the status, not a final one, that they have had since before this time, in Unix seconds."""
    query = (
        select(PROPOSALS.c.status, func.count().label("proposals"))
        .where(PROPOSALS.c.status.not_in(FINAL_STATUSES), PROPOSALS.c.changed_at < before)
        .group_by(PROPOSALS.c.status)
    )
    return {row.status: row.proposals for row in connection.execute(query)}


def _pieces(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(keys), _AT_A_TIME):
        yield keys[start : start + _AT_A_TIME]


def _row(proposal: int, step: Step) -> dict[str, object]:
    return {"proposal": proposal, **vars(step)}
