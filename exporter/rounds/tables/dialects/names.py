"""The name of a table as configured, made into the name that the database knows."""

from __future__ import annotations

from collections.abc import Callable

from rounds.errors import CollectorError
from rounds.tables.config import split_name


def parts(table: str, most: int, fold: Callable[[str], str] = str) -> list[str]:
    """The parts of a table's name, as the database spells them.

    Args:
        table: the name as configured.
        most: the number of parts that a name may have in this kind of database.
        fold: what the database does to a part without double quotes.

    Raises:
        CollectorError: ``query`` when the name has too many parts.
    """
    found = [
        part[1:-1].replace('""', '"') if len(part) > 1 and part[0] == part[-1] == '"' else fold(part)
        for part in split_name(table)
    ]
    if len(found) > most:
        raise CollectorError(
            "query", f"the table's name has {len(found)} parts, but here it may have at most {most}: check table"
        )
    return found
