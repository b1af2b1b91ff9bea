"""What a response must be like. Pure functions of the configuration and the response."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import jmespath
from jmespath.visitor import TreeInterpreter

from rounds.services.config import HeaderCondition, HttpCheck
from rounds.services.trail import Failure

if TYPE_CHECKING:
    from jmespath.visitor import _TreeNode


@dataclass(frozen=True, slots=True)
class Head:
    """What a response says before its body.

    Attributes:
        status: the status code.
        version: ``1.0`` or ``1.1``.
        secure: it came over TLS.
        headers: names in any case, and values, in the order in which they came.
    """

    status: int
    version: str
    secure: bool
    headers: Sequence[tuple[bytes, bytes]]


class Conditions:
    """A check's conditions, judged in the order status, version, TLS, headers, body, JSON; the first unmet one counts.

    Attributes:
        need_body: a condition looks at the body.
    """

    def __init__(self, check: HttpCheck) -> None:
        self._check = check
        self._codes = frozenset(code for codes in check.expect_status for code in codes)
        self._json = [(text, jmespath.compile(text).parsed, True) for text in check.json_matches]
        self._json += [(text, jmespath.compile(text).parsed, False) for text in check.json_not_matches]
        self.need_body = bool(check.body_matches or check.body_not_matches or self._json)

    def of_head(self, head: Head) -> Failure | None:
        """The first condition on status, version, TLS or headers that is not met."""
        check = self._check
        if head.status not in self._codes:
            return Failure("http_status", f"status {head.status}, expected {_shown_codes(check.expect_status)}")
        if check.expect_http_versions and head.version not in check.expect_http_versions:
            expected = ", ".join(check.expect_http_versions)
            return Failure("body", f"HTTP version {head.version}, expected {expected}")
        if check.require_tls and not head.secure:
            return Failure("tls", "the response did not come over TLS")
        for conditions, wanted in ((check.header_matches, True), (check.header_not_matches, False)):
            for condition in conditions:
                if not _header_meets(condition, head.headers, wanted=wanted):
                    verb = "does not match" if wanted else "is missing or matches"
                    return Failure("body", f"header {condition.header} {verb} {condition.regex.text}")
        return None

    def of_body(self, body: bytes) -> Failure | None:
        """The first condition on the body that is not met."""
        for pattern in self._check.body_matches:
            if not pattern.found_in(body):
                return Failure("body", f"the body does not match {pattern.text}")
        for pattern in self._check.body_not_matches:
            if pattern.found_in(body):
                return Failure("body", f"the body matches {pattern.text}")
        return self._of_json(body) if self._json else None

    def _of_json(self, body: bytes) -> Failure | None:
        try:
            document = json.loads(body, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return Failure("body", "the body is not JSON")
        for text, expression, wanted in self._json:
            value = evaluate(expression, document)
            if value is not wanted:
                found = str(value).lower() if value is not None else "neither true nor false"
                return Failure("body", f"JSON condition is {found}: {text}")
        return None


def _shown_codes(expected: Sequence[range]) -> str:
    return ", ".join(str(codes.start) if len(codes) == 1 else f"{codes.start // 100}xx" for codes in expected)


def _header_meets(condition: HeaderCondition, headers: Sequence[tuple[bytes, bytes]], *, wanted: bool) -> bool:
    """Whether one value matches (wanted) or none does. A header that is absent meets neither, unless it may be."""
    name = condition.header.lower().encode()
    values = [value for key, value in headers if key.lower() == name]
    if not values:
        return condition.allow_missing
    return any(condition.regex.found_in(value) for value in values) is wanted


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is Python's, not JSON's")


class _MissingError(Exception):
    """The document has no such key or index."""


class _Strict(TreeInterpreter):
    """JMESPath in which a missing key is an error instead of null.

    Else a service that no longer answers what it should would pass ``failed != `true```, and every condition under
    ``json_not_matches``. Where a key may be missing, the expression has to say what holds then: ``key || 'default'``.
    """

    def visit_field(self, node: _TreeNode, value: Any) -> Any:
        if isinstance(value, dict) and node["value"] in value:
            return value[node["value"]]
        raise _MissingError

    def visit_index(self, node: _TreeNode, value: Any) -> Any:
        if isinstance(value, list) and -len(value) <= node["value"] < len(value):
            return value[node["value"]]
        raise _MissingError

    def visit_or_expression(self, node: _TreeNode, value: Any) -> Any:
        left, right = node["children"]
        try:
            chosen = self.visit(left, value)
        except _MissingError:
            chosen = self.visit(right, value)
            if _is_false(chosen):
                raise
            return chosen
        return self.visit(right, value) if _is_false(chosen) else chosen


def _is_false(value: Any) -> bool:
    """What JMESPath counts as false: null, false, and what is empty; not 0."""
    return value is None or value is False or value in ("", [], {})


_strict = _Strict()


def evaluate(expression: _TreeNode, document: Any) -> bool | None:
    """The truth of a parsed JMESPath expression, None where it has none: a key is missing, or it gives no boolean."""
    try:
        value = _strict.visit(expression, document)
    except Exception:  # noqa: BLE001  # the library fails in many ways on types that do not fit; all mean the same
        return None
    return value if isinstance(value, bool) else None
