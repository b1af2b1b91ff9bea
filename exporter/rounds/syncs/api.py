"""A log behind an HTTP API, which is asked for each organisation."""

from __future__ import annotations

from rounds.databases.databases import Databases
from rounds.sources import HttpSource
from rounds.syncs.config import Sync
from rounds.syncs.log import Log


class Api:
    """Asks the API."""

    def __init__(self, sync: Sync, source: HttpSource, databases: Databases) -> None:
        pass

    def fetch(self) -> Log:
        """All rows."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Give up."""
