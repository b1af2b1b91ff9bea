"""The configured sources as a whole: opens sessions, and knows of each source whether it answers."""

from __future__ import annotations

from collections.abc import Mapping

from rounds.databases.session import Session
from rounds.sources import Source


class Databases:
    """Opens sessions with the configured sources and counts. Thread-safe; lives as long as the process.

    ``up`` is 1 for a source that answered when it was last used, 0 for one that did not, and has no entry for one that
    has not been used; ``queries`` counts the statements sent to each.
    """

    def __init__(self) -> None:
        self._sources: Mapping[str, Source] = {}

    def configure(self, sources: Mapping[str, Source]) -> None:
        """Go over to these sources. Counts of a source whose name stays go on."""
        self._sources = dict(sources)

    def open(self, name: str, *, timeout: float | None = None) -> Session:
        """Open a session with a source. Blocks.

        Args:
            name: the source's name in the configuration.
            timeout: seconds that a statement may take, on the client and in the server; the source's own when None.

        Raises:
            CollectorError: ``connect``, ``auth`` or ``timeout``.
        """
        raise NotImplementedError
