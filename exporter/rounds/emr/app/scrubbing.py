"""What may be written down about a call, an error or an alert: names given by code, and messages where allowed."""

from __future__ import annotations

from typing import Self

#: Characters of a message that are kept.
_LENGTH = 500


class Scrubber:
    """Keeps messages back unless they were opted in. Tags, contexts, arguments and users are never stored.

    An exception of its own becomes "nothing passes": it never reaches the application.
    """

    def __init__(self, *, messages: bool = False) -> None:
        self.messages = messages

    @classmethod
    def allow(cls, *, messages: bool = False) -> Self:
        """Messages of exceptions and alerts may be stored where ``messages`` is said."""
        return cls(messages=messages)

    def message(self, text: object) -> str | None:
        """The text where messages were opted in, else None."""
        if not self.messages:
            return None
        try:
            # SQLite takes no half of a surrogate pair.
            return str(text)[:_LENGTH].encode(errors="replace").decode()
        except Exception:
            return None
