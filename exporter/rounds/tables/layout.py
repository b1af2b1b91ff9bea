"""How a watched table is cut into buckets, and what the ledger keeps of one: pairs of a key and a row hash.

A bucket's digest is the number of its pairs and the sum of their row hashes. A sum sees what XOR does not: two equal
rows do not cancel each other. Every row hash covers the key too, so rows that swap their contents change the sum.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass, field
from typing import Literal

#: Sums of row hashes are kept modulo this, so that they fit a signed 64-bit column. Row hashes are below it too.
MODULUS = 2**63
#: The bucket of rows whose key is NULL in a range layout. A real one is a multiple of an even width.
NULL_BUCKET = 1


@dataclass(frozen=True)
class Layout:
    """Which bucket a row is in.

    Attributes:
        kind: ``range``: by one integer key, which the pairs hold as it is; the bucket is ``key - MOD(key, size)``, or
            :data:`NULL_BUCKET`. ``hash``: by a keyed hash of the key, which the pairs hold; the bucket is its
            remainder modulo ``size``.
        size: width of a range, or number of hash buckets; a power of two.
        labels: whether pairs of a hash layout hold the key's text besides, for the journal (``keys: raw``).
    """

    kind: Literal["range", "hash"]
    size: int
    labels: bool = False


@dataclass
class Pairs:
    """The rows of a bucket: ``keys[i]`` (a key or a keyed hash of it), ``hashes[i]``, and ``labels[i]`` where kept.

    Packed it is: the number of pairs as 4 bytes, the keys, the hashes (8 bytes each, little endian), the labels.
    """

    keys: array[int] = field(default_factory=lambda: array("q"))
    hashes: array[int] = field(default_factory=lambda: array("q"))
    labels: list[str] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, key: int, row_hash: int, label: str | None = None) -> None:
        """Append a pair."""
        self.keys.append(key)
        self.hashes.append(row_hash)
        if label is not None:
            if self.labels is None:
                self.labels = []
            self.labels.append(label)

    @property
    def digest(self) -> int:
        """The sum of the row hashes modulo :data:`MODULUS`."""
        return sum(self.hashes) % MODULUS

    def pack(self) -> bytes:
        """As bytes, for the ledger."""
        keys, hashes = self.keys, self.hashes
        if sys.byteorder == "big":
            keys, hashes = array("q", keys), array("q", hashes)
            keys.byteswap()
            hashes.byteswap()
        head = len(keys).to_bytes(4, "little")
        labels = b"".join(
            len(text).to_bytes(4, "little") + text for text in (label.encode() for label in self.labels or ())
        )
        return head + keys.tobytes() + hashes.tobytes() + labels

    @classmethod
    def unpack(cls, data: bytes) -> Pairs:
        """Pairs from the ledger.

        Raises:
            ValueError: the bytes are no packed pairs.
        """
        size = int.from_bytes(data[:4], "little")
        end = 4 + 16 * size
        if len(data) < end:
            raise ValueError("a bucket in the ledger is cut short")
        keys, hashes = array("q"), array("q")
        keys.frombytes(data[4 : 4 + 8 * size])
        hashes.frombytes(data[4 + 8 * size : end])
        if sys.byteorder == "big":
            keys.byteswap()
            hashes.byteswap()
        return cls(keys, hashes, _labels(data[end:]) if len(data) > end else None)


def _labels(data: bytes) -> list[str]:
    labels, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        labels.append(data[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return labels
