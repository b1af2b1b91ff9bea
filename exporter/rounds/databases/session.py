"""What a session with a source is, whatever the source's kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self, TypeAlias

Kind: TypeAlias = Literal["mariadb", "postgresql", "sqlite", "snowflake"]
Row: TypeAlias = tuple[Any, ...]

#: Seconds for a session to be opened.
CONNECT_WITHIN = 10.0
#: Seconds that the client waits for a statement beyond the time after which the server ends it.
PATIENCE = 2.0
#: Seconds for a server to be told that a statement is to end.
KILL_WITHIN = 2.0


class Session(ABC):
    """A session with one source, for one run. Used by one thread; :meth:`cancel` may come from another.

    Statements are in the source's own SQL, with the driver's own placeholders: ``?`` for SQLite and Snowflake, ``%s``
    for MariaDB and PostgreSQL, where a literal ``%`` is always doubled. Every statement is counted in
    ``rounds_source_queries_total``. What goes wrong is a CollectorError whose message holds no value and no secret.
    """

    kind: Kind
    #: Seconds that a statement may take.
    timeout: float

    @abstractmethod
    def all(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """The rows of a statement whose result is small.

        Raises:
            CollectorError: ``connect``, ``auth``, ``timeout`` or ``query``.
        """

    @abstractmethod
    def stream(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[Row]:
        """The rows of a statement, fetched as they are taken: memory does not grow with the result.

        The statement is sent when the first row is taken. The next statement, and the end of the session, give up rows
        that were not taken; a MariaDB session is of no use any more then, except to be closed.

        Raises:
            CollectorError: as :meth:`all`, also while rows are taken.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Make the statement under way end early, from another thread. The session is of no use afterwards.

        Does not wait, so that an event loop may call it: the statement ends within a few seconds.
        """

    @abstractmethod
    def close(self) -> None:
        """End the session. Never raises."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
