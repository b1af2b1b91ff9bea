"""Conditions by themselves: no server, no loop."""

from __future__ import annotations

from typing import Any

import jmespath
import pytest

from rounds.services.conditions import Conditions, Head, evaluate
from rounds.services.config import HttpCheck
from rounds.services.result import Reason
from support.probing import make_check


def conditions(**settings: Any) -> Conditions:
    check = make_check(url="http://x/", **settings)
    assert isinstance(check, HttpCheck)
    return Conditions(check)


def of_head(
    *,
    status: int = 200,
    version: str = "1.1",
    secure: bool = False,
    headers: dict[str, str] | None = None,
    **settings: Any,
) -> Reason | None:
    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    failure = conditions(**settings).of_head(Head(status, version, secure, raw))
    return failure.reason if failure else None


def of_body(body: bytes | str, **settings: Any) -> Reason | None:
    failure = conditions(**settings).of_body(body.encode() if isinstance(body, str) else body)
    return failure.reason if failure else None


@pytest.mark.parametrize(
    ("expected", "status", "reason"),
    [
        (None, 200, None),
        (None, 204, "http_status"),
        (None, 404, "http_status"),
        (["2xx"], 200, None),
        (["2xx"], 201, None),
        (["2xx"], 299, None),
        (["2xx"], 300, "http_status"),
        (["2xx"], 199, "http_status"),
        (["2xx"], 404, "http_status"),
        ([200, 404], 404, None),
        ([200, 404], 201, "http_status"),
        (["4xx", 503], 503, None),
        (["4xx", 503], 502, "http_status"),
    ],
)
def test_status_is_one_of_the_expected(expected: list[Any] | None, status: int, reason: Reason | None) -> None:
    """Behaviour 1; the default is 200 alone, as the system that is replaced had it."""
    settings: dict[str, Any] = {"expect_status": expected} if expected else {}
    assert of_head(status=status, **settings) == reason


@pytest.mark.parametrize(("version", "reason"), [("1.1", None), ("1.0", "body")])
def test_http_version(version: str, reason: Reason | None) -> None:
    """Behaviour 26."""
    assert of_head(version=version, expect_http_versions=["1.1"]) == reason
    assert of_head(version=version) is None


def test_tls_may_be_required() -> None:
    """Behaviour 12; the status is judged first."""
    assert of_head(require_tls=True) == "tls"
    assert of_head(require_tls=True, secure=True) is None
    assert of_head(require_tls=True, status=500) == "http_status"


@pytest.mark.parametrize(
    ("headers", "regex", "allow_missing", "must", "must_not"),
    [
        ({"x-state": "fine"}, "fine", False, None, "body"),
        ({"X-STATE": "fine"}, "^fine$", False, None, "body"),
        ({"X-State": "bad"}, "fine", False, "body", None),
        ({}, "fine", False, "body", "body"),
        ({}, "fine", True, None, None),
        ({"X-State": "bad"}, "fine", True, "body", None),
        ({"X-State": ""}, ".*", False, None, "body"),
        ({"X-Other": "fine"}, "fine", False, "body", "body"),
    ],
)
def test_header_conditions(
    headers: dict[str, str], regex: str, allow_missing: bool, must: Reason | None, must_not: Reason | None
) -> None:
    """Behaviour 5."""
    condition = {"header": "X-State", "regex": regex, "allow_missing": allow_missing}
    assert of_head(headers=headers, header_matches=[condition]) == must
    assert of_head(headers=headers, header_not_matches=[condition]) == must_not


@pytest.mark.parametrize(
    ("values", "must", "must_not"), [("ab", None, "body"), ("bb", "body", None), ("aa", None, "body")]
)
def test_each_value_of_a_header_counts(values: str, must: Reason | None, must_not: Reason | None) -> None:
    """Behaviour 5: "must" wants one that matches, "must not" none."""
    head = Head(200, "1.1", False, [(b"Set-Cookie", value.encode()) for value in values])
    condition = [{"header": "set-cookie", "regex": "a"}]
    for settings, reason in (({"header_matches": condition}, must), ({"header_not_matches": condition}, must_not)):
        failure = conditions(**settings).of_head(head)
        assert (failure.reason if failure else None) == reason


def test_body_must_match_every_pattern() -> None:
    """Behaviour 3."""
    assert of_body('{"status":"degraded"}', body_matches=["ok"]) == "body"
    assert of_body("a and b", body_matches=["a", "b"]) is None
    assert of_body("a", body_matches=["a", "b"]) == "body"
    assert of_body("", body_matches=["."]) == "body"


def test_body_must_match_no_forbidden_pattern() -> None:
    """Behaviour 2: any hit fails."""
    assert of_body("fatal", body_not_matches=["error", "fatal"]) == "body"
    assert of_body("fine", body_not_matches=["error", "fatal"]) is None


def test_body_need_not_be_text() -> None:
    assert of_body(b"\xff\xfe\x00ok", body_matches=["ok"]) is None


def test_pattern_takes_linear_time() -> None:
    """A backtracking engine would not come back from this one."""
    assert of_body("a" * 60_000, body_matches=["^(a+)+$"]) is None
    assert of_body("a" * 60_000 + "b", body_matches=["^(a+)+$"]) == "body"


@pytest.mark.parametrize(
    ("body", "expression", "value"),
    [
        ('{"status": "ok"}', "status == 'ok'", True),
        ('{"status": "bad"}', "status == 'ok'", False),
        ('["a", "b"]', "length(@) == `2`", True),
        ('["a", "b"]', "[1] == 'a'", False),
        ('"fine"', "@ == 'fine'", True),
        ("true", "@", True),
        ("false", "@", False),
        ("7", "@ > `6`", True),
        ('{"mood": "😀"}', "mood == '😀'", True),
        ('{"😀": true}', '"😀"', True),
        ('{"a": {"b": [{"c": 1}]}}', "a.b[-1].c == `1`", True),
        ('{"a": 1}', "b == `1` || a == `1`", True),
        ('{"a": null}', "a == `null`", True),
        ('{"checks": [{"ok": true}, {"ok": true}]}', "length(checks[?!ok]) == `0`", True),
        ('{"checks": [{"ok": true}, {"ok": false}]}', "length(checks[?!ok]) == `0`", False),
    ],
)
def test_json_condition_with_a_truth_value(body: str, expression: str, value: bool) -> None:
    """Behaviour 4: each polarity accepts its own truth value; strings, lists and booleans are documents too."""
    assert of_body(body, json_matches=[expression]) == (None if value else "body")
    assert of_body(body, json_not_matches=[expression]) == ("body" if value else None)


@pytest.mark.parametrize(
    ("body", "expression"),
    [
        ("", "@"),
        ("not json", "@"),
        ("{", "@"),
        ("NaN", "@"),
        ("\ufefftrue,", "@"),
        ("[" * 100_000, "@"),
        ("9" * 5_000, "@ > `1`"),
        ("{}", "status == 'ok'"),
        ("{}", "status != 'ok'"),
        ("{}", "!status"),
        ('{"a": 1}', "a.b == `null`"),
        ('{"a": []}', "a[0] == `null`"),
        ('{"a": 1}', "a"),
        ('{"a": "true"}', "a"),
        ('{"a": null}', "a"),
        ("[]", "@"),
        ('{"a": 1}', "b || c"),
        ('{"a": 1}', "b || a == `2`"),
        ('{"a": 1}', "!(b || a == `2`)"),
        ('{"a": "x"}', "length(a) > b"),
        ('{"a": 1}', "length(a) > `0`"),
        ('{"a": "x", "b": 1}', "a < b"),
        ('{"a": ["x", 1]}', "max(a) == `1`"),
        ('{"checks": [{"ok": true}, {}]}', "length(checks[?!ok]) == `0`"),
    ],
)
def test_json_condition_without_a_truth_value_fails_in_both_polarities(body: str, expression: str) -> None:
    """Behaviour 4: no JSON, an empty body, a missing key, no boolean, types that do not fit: never an exception."""
    assert of_body(body, json_matches=[expression]) == "body"
    assert of_body(body, json_not_matches=[expression]) == "body"


def test_a_missing_key_may_be_provided_for() -> None:
    assert evaluate(jmespath.compile("(a || 'none') == 'none'").parsed, {}) is True
    assert evaluate(jmespath.compile("(a || 'none') == 'none'").parsed, {"a": "x"}) is False


def test_patterns_are_judged_before_json() -> None:
    failure = conditions(body_matches=["zebra"], json_matches=["@"]).of_body(b"no json")
    assert failure is not None
    assert "zebra" in failure.detail


def test_detail_shows_nothing_of_the_body_or_of_header_values() -> None:
    check = conditions(
        body_matches=["zebra"], json_matches=["a"], header_matches=[{"header": "X-Key", "regex": "zebra"}]
    )
    head = check.of_head(Head(200, "1.1", False, [(b"X-Key", b"hidden")]))
    body = check.of_body(b'{"a": "hidden"}')
    assert head is not None
    assert body is not None
    assert "hidden" not in head.detail + body.detail
    assert "X-Key" in head.detail
