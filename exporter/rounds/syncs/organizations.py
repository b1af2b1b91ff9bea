"""Which organisations and operations have labels of their own. All the others are counted together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from rounds.syncs.config import LONGEST_ORGANIZATION, Organizations, Sync
from rounds.syncs.runs import hashed
from rounds.syncs.states import OTHER

#: What neither a label nor every ledger can hold: control characters and halves of pairs.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
#: What an organisation begins with that never has a label of its own.
_HIDDEN = f"{OTHER}/"


def organization_of(text: str) -> str:
    """What an organisation is known by: its id, but for one that can be no label."""
    found = _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    if len(text) > LONGEST_ORGANIZATION or found == OTHER or found.startswith(_HIDDEN):
        return f"{_HIDDEN}{hashed(text) & (2**64 - 1):x}"
    return found


def is_hidden(organization: str) -> bool:
    """Whether an organisation can never have a label of its own."""
    return organization.startswith(_HIDDEN)


def operation_of(text: str, sync: Sync) -> str:
    """The label of an operation."""
    return text if text in sync.operations else OTHER


def label_of(organization: str, organizations: Organizations) -> str:
    """The label of an organisation that has one."""
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", organizations.names.get(organization, organization))


def labelled(recency: Mapping[str, float], before: Iterable[str], organizations: Organizations) -> frozenset[str]:
    """Which organisations have labels.

    Who has one keeps it, as series that come and go are many, and counters that move from one to the other fall.

    Args:
        recency: when the newest run of each one began.
        before: those that have had labels so far.
        organizations: the configuration.
    """
    known = {each for each in recency if not is_hidden(each)}
    if organizations.only is not None:
        return frozenset(known & set(map(organization_of, organizations.only)))

    def newest(among: set[str], number: int) -> list[str]:
        return sorted(among, key=lambda each: (-recency[each], each))[:number]

    places = organizations.max
    stay = known & set(before)
    if len(stay) > places:
        return frozenset(newest(stay, places))
    return frozenset([*stay, *newest(known - stay, places - len(stay))])
