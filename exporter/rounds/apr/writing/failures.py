"""What goes wrong when the tables are written, in words that hold no value: a driver's text quotes rows."""

from __future__ import annotations

import re

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

#: Characters of an error that are kept.
_KEPT = 500
#: Where SQLAlchemy begins to quote a statement and its values.
_QUOTES = ("[SQL", "[parameters", "(Background on")
#: Quoted text, and numbers long enough to be one of a proposal, a title or a person.
_VALUES = re.compile(r"'[^']*'?|\"[^\"]*\"?|`[^`]*`?|\d{5,}")


class WriteFailed(SQLAlchemyError):  # noqa: N818  # says what happened
    """The tables could not be written. Its text names what failed and the database's number for it, and no value."""


def described(error: BaseException) -> str:
    """The kind of an error, with the database's own number where it has one."""
    if isinstance(error, WriteFailed):
        return str(error)
    if isinstance(error, DBAPIError) and error.orig is not None:
        original = error.orig
        number = getattr(original, "errno", None) or getattr(original, "sqlite_errorname", None)
        if number is None and original.args and isinstance(original.args[0], int):
            number = original.args[0]
        return type(original).__name__ + (f" ({number})" if number is not None else "")
    return type(error).__name__


def without_values(text: str) -> str:
    """The first line of an error's text without what may be somebody's: quoted text, long numbers, statements."""
    first = text.strip().partition("\n")[0]
    for start in _QUOTES:
        first = first.partition(start)[0]
    return _VALUES.sub("?", first).strip()[:_KEPT]
