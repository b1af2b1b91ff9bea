"""The canonical form of rows, as docs/tables.md has it, in a second hand: what SQL's hashes are compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

#: Length of a text in front of it, or a comma behind it.
Encoded = bytes


def plain(text: str | None) -> Encoded:
    """A value whose text has no comma."""
    return ("N" if text is None else text).encode() + b","


def counted(text: str | None) -> Encoded:
    """Any text."""
    if text is None:
        return b"N"
    data = text.encode()
    return str(len(data)).encode() + b":" + data


def typed(value: object) -> Encoded:
    """A value of SQLite: text that is no valid UTF-8 is given as its bytes in a tuple."""
    if value is None:
        return b"N"
    if isinstance(value, int):
        return f"i{value},".encode()
    if isinstance(value, float):
        return f"r{value!r},".encode()
    if isinstance(value, bytes):
        return f"b{len(value)}:".encode() + value
    data = value[0] if isinstance(value, tuple) else str(value).encode()
    return f"t{len(data)}:".encode() + data


def row_hash(salt: str, encoded: Sequence[Encoded]) -> int:
    """The hash of a row: of its key and its columns."""
    return _hash(salt + "r", encoded)


def key_hash(salt: str, encoded: Sequence[Encoded]) -> int:
    """The hash of a key."""
    return _hash(salt + "k", encoded)


def _hash(start: str, encoded: Sequence[Encoded]) -> int:
    digest = hashlib.sha256(start.encode() + b"".join(encoded)).hexdigest()
    return int(digest[:16], 16) & 0x7FFFFFFFFFFFFFFF
