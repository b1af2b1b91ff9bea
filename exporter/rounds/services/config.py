"""The section ``services`` of the configuration."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self, TypeAlias

import jmespath
import jmespath.exceptions
import re2
from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    Tag,
    WithJsonSchema,
    model_validator,
)

from rounds.fields import (
    SHOWN_TYPE,
    Count,
    Duration,
    HttpUrl,
    Integer,
    Model,
    Name,
    Port,
    Secret,
    SecretFile,
    exclusive,
    format_duration,
    problem,
)
from rounds.services.tls import TlsOptions

#: Labels that every check has, and those that Prometheus or its discovery put on each series.
_RESERVED_LABELS = frozenset(
    ("check", "tier", "state", "phase", "reason", "level", "kind", "url", "le", "job", "instance", "alertname")
)
#: What HTTP allows in no header's value; a tab it does.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Pattern:
    """A regular expression of RE2, which takes linear time on every input: a body cannot stall the prober."""

    __slots__ = ("_compiled", "text")

    def __init__(self, text: str) -> None:
        options = re2.Options()
        options.log_errors = False
        self.text = text
        self._compiled = re2.compile(text.encode(), options)

    def found_in(self, data: bytes) -> bool:
        """Whether it matches anywhere."""
        return self._compiled.search(data) is not None


def _pattern(value: object) -> Pattern:
    if not isinstance(value, str):
        raise problem("should be a regular expression; put it in quotes")
    try:
        return Pattern(value)
    except re2.error as error:
        text = error.args[0]
        detail = text.decode() if isinstance(text, bytes) else text
        raise problem(f"is not a regular expression that RE2 knows: {detail}") from None


def _expression(value: object) -> str:
    if not isinstance(value, str):
        raise problem("should be a JMESPath expression; put it in quotes")
    try:
        jmespath.compile(value)
    except jmespath.exceptions.JMESPathError as error:
        raise problem(f"is not a JMESPath expression: {str(error).splitlines()[0]}") from None
    return value


def _status(value: object) -> range:
    """``200`` is that code, ``2xx`` the whole class."""
    if isinstance(value, str) and len(value) == 3 and value[0] in "12345" and value[1:] == "xx":  # noqa: PLR2004
        return range(int(value[0]) * 100, int(value[0]) * 100 + 100)
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:  # noqa: PLR2004
        return range(value, value + 1)
    raise problem("should be a status code such as 200, or a class such as 2xx")


def _show_status(codes: range) -> int | str:
    return codes.start if len(codes) == 1 else f"{codes.start // 100}xx"


Regex: TypeAlias = Annotated[
    Pattern,
    PlainValidator(_pattern),
    PlainSerializer(lambda pattern: pattern.text),
    WithJsonSchema({"type": "string", "format": "regex", SHOWN_TYPE: "regular expression"}),
]
Expression: TypeAlias = Annotated[
    str, BeforeValidator(_expression), WithJsonSchema({"type": "string", SHOWN_TYPE: "JMESPath expression"})
]
StatusCodes: TypeAlias = Annotated[
    range,
    PlainValidator(_status),
    PlainSerializer(_show_status),
    WithJsonSchema(
        {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[1-5]xx$"}], SHOWN_TYPE: "status code or class"}
    ),
]
IpFamily: TypeAlias = Literal["prefer_ipv4", "prefer_ipv6", "ipv4", "ipv6"]


class BasicAuth(Model):
    """A user and password for HTTP basic authentication."""

    username: str
    """Who logs in; without ``:``."""
    password: Secret | None = None
    """The user's password."""
    password_file: SecretFile | None = None
    """A file that holds it."""

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        exclusive(self, "password", "password_file")
        if ":" in self.username:
            raise problem("cannot hold a ':' in basic authentication (RFC 7617)", "username")
        return self


class HeaderCondition(Model):
    """A condition on a response header; of several values of one header, each is looked at."""

    header: str
    """The header's name."""
    regex: Regex
    """What its value is searched for: a regular expression of RE2."""
    allow_missing: bool = False
    """A response without the header meets the condition; otherwise it fails."""


class Settings(Model):
    """For every kind of check."""

    interval: Duration = 15.0
    """From the start of one probe to the start of the next."""
    timeout: Duration = 10.0
    """Bounds the whole probe, redirects and body included; at most ``interval``. Make it longer than ``down_after``, or
    slowness beyond it cannot be seen."""
    degraded_after: Duration = 1.0
    """From this response time on the check is degraded; shorter than ``down_after``."""
    down_after: Duration = 5.0
    """From this response time on it is down, with the reason ``slow``."""
    failures_before_down: Count = 1
    """Failed probes in a row before the state becomes down. Alert rules wait by themselves, so it is rarely needed."""
    successes_before_up: Count = 1
    """Good probes in a row before a check that is down comes up."""
    tier: Name = "core"
    """The label ``tier``. Alert rules never page for ``frontend``."""
    ip_family: IpFamily = "prefer_ipv4"
    """``prefer_ipv4`` and ``prefer_ipv6`` try the other family's addresses too; ``ipv4`` and ``ipv6`` do not."""
    tls: TlsOptions = TlsOptions()
    """How TLS connections are made and verified."""


class HttpSettings(Settings):
    """For HTTP checks besides."""

    method: Annotated[str, Field(pattern=r"^[A-Z]{1,20}$")] = "GET"
    """The request's method, such as ``HEAD`` or ``POST``."""
    headers: dict[str, Secret] = {}
    """Headers of the request by their names; all values are secret."""
    header_files: dict[str, SecretFile] = {}
    """Headers whose values stand in files, by their names."""
    body: Secret | None = None
    """What is sent with the request."""
    body_file: SecretFile | None = None
    """A file that holds it."""
    basic_auth: BasicAuth | None = None
    """A user and password for basic authentication."""
    bearer_token: Secret | None = None
    """A bearer token. One of it, its file and ``basic_auth``."""
    bearer_token_file: SecretFile | None = None
    """A file that holds it."""
    expect_status: list[StatusCodes] = Field(default_factory=lambda: [range(200, 201)], min_length=1)
    """Status codes and classes of a healthy answer, such as ``[2xx, 404]``; only 200 when absent."""
    expect_http_versions: list[Literal["1.0", "1.1"]] = []
    """The HTTP versions that a response may have; any when empty."""
    require_tls: bool = False
    """Fail with the reason ``tls`` when the last response did not come over TLS."""
    header_matches: list[HeaderCondition] = []
    """Conditions on headers that must hold."""
    header_not_matches: list[HeaderCondition] = []
    """Conditions on headers that must not hold."""
    body_matches: list[Regex] = []
    """Regular expressions of RE2; the body must match each."""
    body_not_matches: list[Regex] = []
    """Regular expressions of RE2; the body must match none."""
    json_matches: list[Expression] = []
    """JMESPath expressions that must be true of the body, such as ``status == 'ok'``. What is no JSON, lacks a key or
    gives no boolean fails; ``key || 'default'`` provides for a key that may be missing."""
    json_not_matches: list[Expression] = []
    """JMESPath expressions that must be false of the body. What is no JSON, lacks a key or gives no boolean fails here
    too."""
    compression: Literal["identity", "gzip", "deflate"] = "identity"
    """The encoding that is asked for, and the only one that is ever decoded."""
    max_body_bytes: Count = 1_048_576
    """A longer body, after decoding, fails with the reason ``too_large``."""
    max_redirects: Annotated[Integer, Field(ge=0, le=20)] = 5
    """So many are followed; 0 judges a redirect by its own status code."""
    redirects: Literal["same_host", "any_host"] = "same_host"
    """``same_host``: to the same host and port, or to the same host's https. ``any_host`` follows redirects elsewhere;
    configured headers, credentials and body never go there."""
    connection: Literal["fresh", "reuse"] = "fresh"
    """``reuse`` keeps the connection; a fresh one for each probe sees faults of DNS and TLS that a kept one hides."""
    proxy_url: HttpUrl | None = None
    """An HTTP proxy. The environment's proxy variables are ignored."""

    @model_validator(mode="after")
    def _consistent_request(self) -> Self:
        exclusive(self, "body", "body_file")
        exclusive(self, "basic_auth", "bearer_token", "bearer_token_file")
        for name in ("bearer_token", "bearer_token_file"):
            token: Secret | None = getattr(self, name)
            if token and _CONTROL.search(token.reveal()):
                raise problem("holds a line break or another control character", name)
        names = [name.lower() for name in (*self.headers, *self.header_files)]
        for key in ("headers", "header_files"):
            for name, value in getattr(self, key).items():
                _check_header(key, name, value.reveal())
                if names.count(name.lower()) > 1:
                    raise problem("is given twice", key, name)
                if name.lower() == "accept-encoding":
                    raise problem("is set by the key compression", key, name)
                if name.lower() == "authorization" and {"basic_auth", "bearer_token", "bearer_token_file"} & (
                    self.model_fields_set
                ):
                    raise problem("is set by basic_auth or bearer_token already", key, name)
        return self


def _check_header(key: str, name: str, value: str) -> None:
    token = set("!#$%&'*+-.^_`|~")
    if not name or not all(char.isascii() and (char.isalnum() or char in token) for char in name):
        raise problem("is not the name of a header", key, name)
    if name.lower() in ("content-length", "transfer-encoding", "connection"):
        raise problem("is set by the prober", key, name)
    if _CONTROL.search(value):
        raise problem("holds a line break or another control character", key, name)


class _Identity(Model):
    name: Name
    """What it is called in metrics and messages: the label ``check``. Its job is ``services/NAME``."""
    labels: dict[str, str] = {}
    """Values of extra labels by their names; each must be declared in ``services.labels``."""


class HttpCheck(HttpSettings, _Identity):
    """One HTTP endpoint."""

    kind: Literal["http"] = "http"
    """May be left out."""
    url: HttpUrl
    """What is asked. Without a scheme it is http; it holds no user or password."""


class TcpCheck(Settings, _Identity):
    """One TCP port that must accept a connection, such as a database's or a cache's."""

    kind: Literal["tcp"]
    """What it is."""
    host: Annotated[str, Field(min_length=1)]
    """A name or an address."""
    port: Port
    """The port."""
    use_tls: bool = False
    """Shake hands over TLS too."""


def _kind(value: Any) -> str:
    return str(value.get("kind", "http") if isinstance(value, dict) else getattr(value, "kind", "http"))


Check: TypeAlias = HttpCheck | TcpCheck


class ServicesSection(Model):
    """The checks and what they have in common."""

    labels: list[str] = []
    """Names of extra labels that checks may set. They are on every series of every check, empty where unset."""
    scheduled: bool = True
    """Probe by the checks' intervals. Otherwise a check is probed when ``/probe`` is asked for it, and only then: so
    Prometheus spreads checks over several exporters."""
    defaults: HttpSettings = HttpSettings()
    """What holds for all checks that do not say otherwise."""
    checks: Annotated[
        list[
            Annotated[
                Annotated[HttpCheck, Tag("http")] | Annotated[TcpCheck, Tag("tcp")],
                Discriminator(
                    _kind,
                    custom_error_type="unknown_kind",
                    custom_error_message="unknown kind; one of http, tcp",
                ),
            ]
        ],
        Field(min_length=1),
    ]
    """The checks."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for index, label in enumerate(self.labels):
            _check_label(label, index)
            if label in self.labels[:index]:
                raise problem("is declared twice", "labels", index)
        first: dict[str, int] = {}
        checks: list[Check] = []
        for index, check in enumerate(self.checks):
            if check.name in first:
                taken = f"the name {check.name} is taken by checks[{first[check.name]}]"
                raise problem(taken, "checks", index, "name")
            first[check.name] = index
            for label in check.labels:
                if label not in self.labels:
                    raise problem("is not declared in services.labels", "checks", index, "labels", label)
            complete = self._with_defaults(check)
            _check_times(complete, index)
            checks.append(complete)
        object.__setattr__(self, "checks", checks)
        return self

    def _with_defaults(self, check: Check) -> Check:
        inherited = self.defaults.model_fields_set & set(type(check).model_fields) - check.model_fields_set
        for group in (
            {"body", "body_file"},
            {"basic_auth", "bearer_token", "bearer_token_file"},
        ):
            if group & check.model_fields_set:
                inherited -= group
        return check.model_copy(update={name: getattr(self.defaults, name) for name in inherited})


def _check_label(label: str, index: int) -> None:
    plain = label.isascii() and label.isidentifier() and not label.startswith("__")
    if not plain:
        raise problem("is not a label name of letters, digits and '_'", "labels", index)
    if label in _RESERVED_LABELS:
        raise problem(f"the label {label} is taken", "labels", index)


def _check_times(check: Check, index: int) -> None:
    at = ("checks", index)
    if check.timeout > check.interval:
        timeout, interval = format_duration(check.timeout), format_duration(check.interval)
        raise problem(f"the timeout {timeout} is longer than the interval {interval}", *at, "timeout")
    if check.degraded_after >= check.down_after:
        degraded, down = format_duration(check.degraded_after), format_duration(check.down_after)
        raise problem(f"degraded_after {degraded} should be shorter than down_after {down}", *at, "degraded_after")
