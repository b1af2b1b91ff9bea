"""What may be written down about a call, an error or an alert: names that were allowed, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from rounds.emr.names import label

#: Characters of a tag's value and of a message that are kept.
_TAG_LENGTH, _MESSAGE_LENGTH = 100, 500


class Scrubber:
    """Lets tags with allowed keys pass, as short texts; keeps messages back unless they were opted in.

    An exception of its own becomes "nothing passes": it never reaches the application.
    """

    def __init__(self, keys: frozenset[str] = frozenset(), *, messages: bool = False) -> None:
        self.keys = keys
        self.messages = messages

    @classmethod
    def allow(cls, *keys: str, messages: bool = False) -> Self:
        """Tags with these keys may be stored, and messages where ``messages`` is said."""
        return cls(frozenset(keys), messages=messages)

    def tags(self, tags: Mapping[str, object] | None) -> dict[str, str]:
        """What of them may be stored. Values that are no text, number or truth value are left out, allowed or not."""
        if not tags or not self.keys:
            return {}
        try:
            return {
                key: _storable(value, _TAG_LENGTH)
                for key in self.keys
                # What is nested may hold anything.
                if key in tags and isinstance(value := tags[key], str | int | float) and label(key) == key
            }
        except Exception:
            return {}

    def message(self, text: object) -> str | None:
        """The text where messages were opted in, else None."""
        if not self.messages:
            return None
        try:
            return _storable(text, _MESSAGE_LENGTH)
        except Exception:
            return None


def _storable(value: object, length: int) -> str:
    # SQLite takes no half of a surrogate pair.
    return str(value)[:length].encode(errors="replace").decode()
