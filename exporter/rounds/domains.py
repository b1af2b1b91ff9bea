"""The list of all domains. A new domain is one line here."""

from __future__ import annotations

from rounds.apr.domain import Apr
from rounds.domain import Domain
from rounds.emr.domain import Emr
from rounds.services.domain import Services
from rounds.syncs.domain import Syncs
from rounds.tables.domain import Tables


def all_domains() -> list[Domain]:
    """Fresh domains, in the order of their sections."""
    return [Tables(), Apr(), Services(), Syncs(), Emr()]
