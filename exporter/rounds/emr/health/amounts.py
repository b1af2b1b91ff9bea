"""Sizes and times as checks tell them to people."""

from __future__ import annotations

_UNITS = ((1024**4, "TiB"), (1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))
_SPANS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def size(count: float) -> str:
    """Bytes, such as ``3.2 GiB``."""
    return next((f"{count / unit:.1f} {name}" for unit, name in _UNITS if count >= unit), f"{count:.0f} bytes")


def span(seconds: float) -> str:
    """A time, in the largest unit of which there is more than one: ``36 h``, ``90 s``, ``0.3 s``."""
    return next((f"{seconds / unit:.0f} {name}" for unit, name in _SPANS if seconds >= 2 * unit), f"{seconds:.2g} s")
