"""Opens a log for one look after the other, wherever it is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rounds.databases.databases import Databases
from rounds.errors import CollectorError
from rounds.sources import HttpSource
from rounds.syncs.api import Api
from rounds.syncs.config import Sync
from rounds.syncs.database import DatabaseLog
from rounds.syncs.layout import Layout, examine
from rounds.syncs.log import Log

#: Seconds after which a table's columns and indexes are looked at again.
_KNOWN_FOR = 300.0


class Reading:
    """The way to one log. Used by one thread; :meth:`cancel` may come from another.

    Args:
        sync: the configuration.
        databases: opens sessions; its sources are those of the configuration.
    """

    def __init__(self, sync: Sync, databases: Databases) -> None:
        self._sync = sync
        self._databases = databases
        source = databases.source(sync.source)
        self._api = Api(sync, source, databases) if isinstance(source, HttpSource) else None
        self._cancel: Callable[[], None] | None = None
        self._layout: Layout | None = None
        self._looked = 0.0

    @contextmanager
    def open(self) -> Iterator[Log]:
        """The log, for one look.

        Raises:
            CollectorError: the source fails, or has no such log; with ``query`` where its form is not as configured.
        """
        if self._api is not None:
            self._cancel = self._api.cancel
            yield self._api.fetch()
            return
        with self._databases.open(self._sync.source, timeout=self._sync.timeout) as session:
            self._cancel = session.cancel
            try:
                if self._layout is None or time.monotonic() - self._looked > _KNOWN_FOR:
                    self._layout, self._looked = examine(session, self._sync), time.monotonic()
                yield DatabaseLog(session, self._layout, self._sync)
            except CollectorError:
                self._layout = None  # it may have changed
                raise
            finally:
                self._cancel = None

    def cancel(self) -> None:
        """Make what is under way fail soon."""
        cancel = self._cancel
        if cancel is not None:
            cancel()
