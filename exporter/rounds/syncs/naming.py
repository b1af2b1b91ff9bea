"""The parts of a table's name, for those who read a log and those who write one. Imports nothing but ``re``."""

from __future__ import annotations

import re

_PART = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')


def parts_of(name: str) -> list[str]:
    """The parts of a qualified name; double quotes keep a point in a part."""
    return [match[1].replace('""', '"') if match[1] else match[2].strip() for match in _PART.finditer(name)]
