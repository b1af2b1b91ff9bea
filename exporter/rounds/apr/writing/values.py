"""Values as programs have them, from a driver or from a data frame, made into what the tables take."""

from __future__ import annotations

import unicodedata
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

_LARGEST = 2**31 - 1


def missing(value: object) -> bool:
    """Whether a value is none: NULL, or what data frames have in its place, which equals nothing."""
    return value is None or value != value  # noqa: PLR0124


def words(value: object, length: int) -> str | None:
    """Text, cut to what a column holds."""
    if missing(value):
        return None
    # Halves of a surrogate pair cannot be stored.
    return str(value).encode("utf-8", "replace").decode("utf-8")[:length]


def day(value: object) -> date | None:
    """A date; None where it is none."""
    if missing(value):
        return None
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None


def whole(value: object) -> int | None:
    """A whole number that fits a column; None where it is none."""
    number = amount(value)
    return None if number is None or number != int(number) or abs(number) > _LARGEST else int(number)


def amount(value: object) -> Decimal | None:
    """A number; None where it is none."""
    if missing(value):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def folded(text: str) -> str:
    """What a text is compared by: the tables' collation knows neither case nor accents nor blanks at the end."""
    letters = unicodedata.normalize("NFKD", text.rstrip(" ").casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))
