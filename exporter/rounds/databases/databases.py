"""The configured sources as a whole: opens sessions, and knows of each source whether it answers."""

from __future__ import annotations

from collections.abc import Mapping

from rounds.databases import reaper
from rounds.databases.health import Health
from rounds.databases.session import Session
from rounds.errors import CollectorError
from rounds.sources import MariadbSource, PostgresqlSource, SnowflakeSource, Source, SqliteSource


class Databases:
    """Opens sessions with the configured sources and counts. Thread-safe; lives as long as the process."""

    def __init__(self) -> None:
        self._sources: Mapping[str, Source] = {}
        self._health: dict[str, Health] = {}

    def configure(self, sources: Mapping[str, Source]) -> None:
        """Go over to these sources. Counts of a source whose name stays go on."""
        self._health = {name: self._health.get(name) or Health() for name in sources}
        self._sources = dict(sources)

    @property
    def health(self) -> dict[str, Health]:
        """What is known of each configured source, by its name."""
        return self._health

    def source(self, name: str) -> Source:
        """A configured source, for what is no session that only reads."""
        return self._sources[name]

    def open(self, name: str, *, timeout: float | None = None) -> Session:
        """Open a session with a source. Blocks, for at most some 10 seconds.

        Args:
            name: the source's name in the configuration.
            timeout: seconds that a statement may take, on the client and in the server; the source's own when None.

        Raises:
            CollectorError: ``connect``, ``auth`` or ``timeout``.
        """
        source, health = self._sources[name], self._health[name]
        try:
            session = _open(name, source, source.timeout if timeout is None else timeout, health)
        except CollectorError:
            health.up = False
            raise
        health.up = True
        return session

    def close(self, within: float) -> None:
        """Wait until servers have been told of statements that were given up, at most so many seconds."""
        reaper.settle(within)


def _open(name: str, source: Source, timeout: float, health: Health) -> Session:
    # Drivers take long to import, and one is no part of the installation that everybody has.
    match source:
        case MariadbSource():
            from rounds.databases.mariadb import MariadbSession  # noqa: PLC0415

            return MariadbSession(name, source, timeout, health)
        case PostgresqlSource():
            try:
                from rounds.databases.postgresql import PostgresqlSession  # noqa: PLC0415
            except ImportError:
                remedy = "run: pip install 'rounds-exporter[postgresql]'"
                raise CollectorError(
                    "connect", f"source '{name}': the driver of PostgreSQL is not installed; {remedy}"
                ) from None
            return PostgresqlSession(name, source, timeout, health)
        case SqliteSource():
            from rounds.databases.sqlite import SqliteSession  # noqa: PLC0415

            return SqliteSession(name, source, timeout, health)
        case SnowflakeSource():
            from rounds.databases.snowflake import SnowflakeSession  # noqa: PLC0415

            return SnowflakeSession(name, source, timeout, health)
        case _:
            raise TypeError(f"source '{name}' is no database")
