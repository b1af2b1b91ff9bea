"""Why a run failed, as one of a few classes. The texts that tell it never leave this module.

Programs write whatever an exception says: a status code among ids and names, or a page of SQL. So a number counts only
where it stands as a status code does, and only the first part of a text is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rounds.syncs.states import ERROR_CLASSES, WRITER, ErrorClass

#: Characters of all texts together that are looked at.
LONGEST = 65_536
#: Values of an error's JSON document that are looked at, and how deep.
_VALUES = 1000
_DEPTH = 6
_LONGEST_TYPE = 64

_TYPES: Mapping[str, ErrorClass] = {
    **{name: name for name in ERROR_CLASSES},
    "cliniko_auth_failed": "auth",
    "database_constraint_error": "constraint",
    "rate_limited": "rate_limit",
    "network_error": "network",
}
#: Before a status code or behind it stands what makes it one; a patient may be number 401.
_BEFORE = (
    r"(?:^\W{0,3}|\b(?:https?(?:/[\d.]{1,3})?|status|status[ _]?code|code|error|response|returned|got|api)\W{1,4})"
)
_BEHIND = r"(?=\W{1,3}(?:client|server|error|unauthori[sz]ed|forbidden|too many|bad gateway|service|gateway))"


def _code(codes: str) -> str:
    return rf"{_BEFORE}(?:{codes})\b|\b(?:{codes})\b{_BEHIND}"


#: Classes and what their texts hold; the first that fits. What a database says of its constraints quotes values, so it
#: comes before what looks for words that a value may hold.
_TEXTS: tuple[tuple[ErrorClass, tuple[str, ...]], ...] = (
    (
        "constraint",
        (
            r"duplicate (?:key|entry)",
            r"\bviolat(?:es|ed|ion)\b",
            r"(?:integrity|constraint)_?error",
            r"(?:unique|foreignkey|notnull|check)violation",
            r"\b(?:unique|foreign key|check|not null) constraint",
        ),
    ),
    ("config", (r"no service config", r"sync(?:ing)?(?: is)? disabled", r"no credentials", r"no api[ _]key")),
    ("rate_limit", (_code("429"), r"\brate[ _-]?limit", r"too many requests")),
    (
        "auth",
        (
            _code("401|403"),
            r"\bunauthori[sz]ed\b",
            r"\bforbidden\b",
            r"\bauthentication (?:failed|error|required)",
            r"\b(?:invalid|expired|revoked|bad|wrong) (?:api[ _-]?)?(?:key|token|credentials?|password)\b",
        ),
    ),
    ("config", (r"not configured", r"\bmissing (?:config|credentials|setting|api[ _]key)", r"credentials missing")),
    ("timeout", (_code("408|504"), r"time[ _-]?out", r"timed[ -]out")),
    (
        "network",
        (
            _code("502|503"),
            r"connect(?:ion|error)",
            r"\bnetwork\b",
            r"\bdns\b",
            r"getaddrinfo",
            r"name resolution",
            r"name or service not known",
            r"unreachable",
            r"server disconnected",
            r"\b(?:ssl|tls)\b",
            r"broken pipe",
        ),
    ),
)
_PATTERNS = tuple((kind, re.compile("|".join(texts), re.IGNORECASE | re.ASCII)) for kind, texts in _TEXTS)


def class_of_type(error_type: object) -> ErrorClass | None:
    """The class that a program itself names; None where it is none."""
    return _TYPES.get(error_type[:_LONGEST_TYPE].strip().lower()) if isinstance(error_type, str) else None


def classify(metadata: Mapping[str, Any], details: Any) -> ErrorClass:
    """Why a run failed.

    Args:
        metadata: of its row.
        details: of its row: a JSON value, a text, or None.
    """
    if metadata.get("writer") == WRITER:  # which tells of records that failed too
        return class_of_type(metadata.get("error_type")) or "other"
    values = [*_values(metadata.get("error_type")), *_named(metadata.get("errors")), *_named(details)]
    for value in values:
        found = class_of_type(value)
        if found is not None and found != "other":
            return found
    told = "\n".join(_bounded(values, metadata.get("error"), metadata.get("errors"), details))
    return next((kind for kind, pattern in _PATTERNS if pattern.search(told)), "other")


def _named(errors: Any) -> Iterator[str]:
    """The types that a document of errors names."""
    if isinstance(errors, Mapping):
        if isinstance(errors.get("error_type"), str):
            yield errors["error_type"]
        errors = errors.get("errors")
    if isinstance(errors, list):
        for error in errors[:_VALUES]:
            if isinstance(error, Mapping) and isinstance(error.get("error_type"), str):
                yield error["error_type"]


def _bounded(*documents: Any) -> Iterator[str]:
    left = LONGEST
    for document in documents:
        for count, text in enumerate(_values(document)):
            if left <= 0 or count == _VALUES:
                break
            yield text[:left]
            left -= len(text)


def _values(document: Any, depth: int = _DEPTH) -> Iterator[str]:
    """The texts in a JSON document."""
    if isinstance(document, str):
        yield document
    elif depth and isinstance(document, Mapping):
        for value in document.values():
            yield from _values(value, depth - 1)
    elif depth and isinstance(document, list):
        for value in document:
            yield from _values(value, depth - 1)
