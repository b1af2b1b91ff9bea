"""What a session with a source is, whatever the source's kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self, TypeAlias

Kind: TypeAlias = Literal["mariadb", "postgresql", "sqlite", "snowflake"]
Row: TypeAlias = tuple[Any, ...]


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

        Raises:
            CollectorError: as :meth:`all`, also while rows are taken.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Make the statement under way end early, from another thread. The session is of no use afterwards."""

    @abstractmethod
    def close(self) -> None:
        """End the session. Never raises."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
