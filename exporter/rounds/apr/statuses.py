"""Which bucket a proposal's status falls in: the same answer from Python, MariaDB and SQLite.

The text is compared without blanks around it, without case and without accents, on purpose: the column holds what
people and programs typed, and MariaDB's own comparison depends on a table's collation.
"""

from __future__ import annotations

import functools
import unicodedata
from typing import Literal

#: A status that contains this waits for somebody.
_WAITING = ("aguardando", "aguardando")
#: Whole statuses, normalised, and their buckets.
_EXACT = {
    "em analise": "em_analise",
    "aprovado": "aprovado",
    "enviado para assinar": "enviado",
    "assinado": "assinado",
    "liberado": "liberado",
    "finalizado": "finalizado",
    "pago": "pago",
}
_OTHER = "other"
#: Blanks besides the ordinary one, by their code points: tab, line feed, carriage return, no-break space.
_BLANKS = (9, 10, 13, 160)
#: Letters with accents, in which the sets for SQLite are looked for: Latin-1 and Latin Extended-A.
_LETTERS = "".join(map(chr, range(0xC0, 0x180)))


def normalised(status: str) -> str:
    """A status without blanks around it, in lower case, without accents."""
    for code in _BLANKS:
        status = status.replace(chr(code), " ")
    letters = unicodedata.normalize("NFKD", status.strip(" ").casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def bucket_of(status: str | None) -> str:
    """The bucket of a status, one of ``rounds.apr.metrics.STATUSES``; ``other`` for none."""
    text = normalised(status or "")
    return _WAITING[1] if _WAITING[0] in text else _EXACT.get(text, _OTHER)


def bucket_sql(column: str, kind: Literal["mariadb", "sqlite"]) -> str:
    """An expression that gives the bucket, for a list of columns or ``GROUP BY``.

    It holds no percent sign, no colon and no backslash, so it may stand in any driver's statement.

    Args:
        column: the column with the status, as it stands in the statement.
        kind: of the database.
    """
    if kind == "mariadb":
        text = _mariadb_text(column)
        waiting = f"INSTR({text}, '{_WAITING[0]}') > 0"
        exact = [(f"{text} = '{status}'", bucket) for status, bucket in _EXACT.items()]
    else:
        text = _blanks_trimmed(column, "char({})")
        waiting = f"{text} GLOB '*{_any_case(_WAITING[0])}*'"
        exact = [(f"{text} GLOB '{_any_case(status)}'", bucket) for status, bucket in _EXACT.items()]
    cases = " ".join(f"WHEN {condition} THEN '{bucket}'" for condition, bucket in [(waiting, _WAITING[1]), *exact])
    return f"CASE {cases} ELSE '{_OTHER}' END"


def _mariadb_text(column: str) -> str:
    text = f"CONVERT({column} USING utf8mb4)"
    return f"{_blanks_trimmed(text, 'CONVERT(CHAR({} USING latin1) USING utf8mb4)')} COLLATE utf8mb4_unicode_ci"


def _blanks_trimmed(text: str, character: str) -> str:
    for code in _BLANKS:
        text = f"REPLACE({text}, {character.format(code)}, ' ')"
    return f"TRIM({text})"


@functools.cache
def _any_case(text: str) -> str:
    """A pattern of SQLite's GLOB for a text in any case and with any accents."""
    return "".join(_any_accent(letter) for letter in text)


def _any_accent(letter: str) -> str:
    if letter == " ":
        return letter
    return f"[{letter}{letter.upper()}{''.join(each for each in _LETTERS if normalised(each) == letter)}]"
