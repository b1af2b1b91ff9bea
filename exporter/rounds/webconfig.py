"""The file of ``--web.config.file``: TLS, passwords, headers, in the format that Prometheus' exporters share.

It is read again when it or a file that it names changes, so that certificates and passwords change without a restart.
"""

from __future__ import annotations

import hashlib
import re
import ssl  # pydantic reads annotations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeAlias

import structlog
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from rounds import documents
from rounds.config import validated
from rounds.errors import ConfigError
from rounds.fields import Integer, Model, Secret, one_of_pattern, parse_duration, problem
from rounds.webguard import BasicAuth, RateLimiter, ResponseHeaders
from rounds.webtls import TlsServer, following

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

log = structlog.get_logger()

_FLAG = "--web.config.file"
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_HEADERS = (
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
)
_HEADER_VALUES = {"X-Frame-Options": ("deny", "sameorigin"), "X-Content-Type-Options": ("nosniff",)}


def _bcrypt(value: Secret) -> Secret:
    if not _BCRYPT.fullmatch(value.reveal()):
        raise problem("is no bcrypt hash such as htpasswd -nB makes: $2y$, cost 04 to 31, and 53 characters")
    return value


def _interval(value: object) -> float:
    return 0 if str(value) == "0" else parse_duration(value)


def _header_values(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        allowed = _HEADER_VALUES.get(name)
        if value and allowed and value not in allowed:
            raise problem(f"should be {' or '.join(allowed)}", name)
    return {name: value for name, value in headers.items() if value}


_HeaderName: TypeAlias = Annotated[
    str, AfterValidator(one_of_pattern("|".join(_HEADERS), f"cannot be set; only {', '.join(_HEADERS)}"))
]
_HeaderText: TypeAlias = Annotated[
    str, AfterValidator(one_of_pattern(r"[ -~]*", "should be one line of plain ASCII characters"))
]
_UserName: TypeAlias = Annotated[
    str, AfterValidator(one_of_pattern(r"[^:]+", "holds ':' or nothing, so that nobody could log in by that name"))
]


class HttpServer(Model):
    """The section ``http_server_config``."""

    http2: bool = True
    """Read for the sake of shared files; Rounds speaks HTTP/1.1, which every client of an HTTP/2 server speaks too."""

    headers: Annotated[dict[_HeaderName, _HeaderText], AfterValidator(_header_values)] = Field(default_factory=dict)
    """Headers of every response; a blank one is left out."""


class RateLimit(Model):
    """The section ``rate_limit``: a token bucket for all requests together."""

    interval: Annotated[float, BeforeValidator(_interval)] = 0
    """Seconds between two requests in the long run; 0 means no limit."""

    burst: Integer = 0
    """Requests that may come at once."""

    @model_validator(mode="after")
    def _lets_some_in(self) -> Self:
        if self.interval and self.burst < 1:
            raise problem("should be 1 or more; otherwise every request is refused", "burst")
        return self


class WebSettings(Model):
    """One state of the file."""

    tls_server_config: TlsServer | None = None
    http_server_config: HttpServer = HttpServer()
    basic_auth_users: dict[_UserName, Annotated[Secret, AfterValidator(_bcrypt)]] = Field(default_factory=dict)
    """Bcrypt hashes of passwords by the users' names."""

    rate_limit: RateLimit = RateLimit()

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        return {key: value for key, value in tree.items() if value not in (None, {}) or key not in cls.model_fields}


class WebConfig:
    """The file for the life of the process, for use on one event loop.

    Attributes:
        settings: its newest state that is in order.
    """

    def __init__(self) -> None:
        self.settings = WebSettings()
        self._path = Path()
        self._seen: dict[Path, bytes | None] = {}

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """Read and check the file; without one there is neither TLS nor a password.

        Raises:
            ConfigError: with one line for each problem, none of which holds a password, hash or key.
        """
        web = cls()
        if path is not None:
            web._path = path
            web.settings = web._read()
        return web

    @property
    def tls(self) -> TlsServer | None:
        """How TLS is served, None where it is not."""
        return self.settings.tls_server_config

    def refresh(self) -> None:
        """Take over what has changed on disk. What is broken is told once, and the last good state stays."""
        if all(_digest(file) == seen for file, seen in self._seen.items()):
            return
        try:
            self.settings = self._read(self.settings)
        except ConfigError as error:
            log.error("web configuration not reloaded, the last good one stays", problems=error.problems)  # noqa: TRY400
        else:
            log.info("web configuration reloaded")

    def ssl_context(self) -> ssl.SSLContext | None:
        """The context for a server, None without TLS. Each new connection is served by the file's newest state."""
        return following(self._newest_context) if self.tls else None

    def _newest_context(self) -> ssl.SSLContext:
        self.refresh()
        if self.tls is None:
            raise AssertionError("a running server never loses TLS")
        return self.tls.context

    def _read(self, running: WebSettings | None = None) -> WebSettings:
        # Digests come first: a change while the files are being read is then found by the next look.
        self._seen = {file: _digest(file) for file in (self._path, *self._seen)}
        document = documents.load_literal(self._path, _FLAG)
        self._seen = {
            self._path: self._seen[self._path],
            **{file: _digest(file) for file in self._named(document.tree)},
        }
        settings = validated(document, WebSettings)
        if running is not None:
            _refuse_loss(running, settings, document)
        return settings

    def _named(self, tree: Any) -> list[Path]:
        """The files that the web configuration names, also where they cannot be read yet."""
        section = tree.get("tls_server_config")
        if not isinstance(section, dict):
            return []
        named = [section.get(f"{name}_file") for name in ("cert", "key", "client_ca")]
        return [self._path.parent / Path(name).expanduser() for name in named if name and isinstance(name, str)]


def _refuse_loss(running: WebSettings, new: WebSettings, document: documents.Document) -> None:
    """Refuse what would unlock a running server; an editor that empties the file before it writes would be enough."""
    problems = []
    if (new.tls_server_config is None) != (running.tls_server_config is None):
        problems.append(document.problem(("tls_server_config",), "TLS is not switched on or off without a restart"))
    if running.basic_auth_users and not new.basic_auth_users:
        problems.append(document.problem(("basic_auth_users",), "passwords are not switched off without a restart"))
    if problems:
        raise ConfigError(problems)


def _digest(file: Path) -> bytes | None:
    # The content, not the time of change: two changes within one tick of the clock must both be seen.
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except (OSError, ValueError):
        return None


def protect(app: ASGIApp, web: WebConfig) -> ASGIApp:
    """The application behind everything that the web configuration asks for, now or after it has changed."""
    locked = BasicAuth(app, lambda: web.settings.basic_auth_users)
    limited = RateLimiter(locked, lambda: web.settings.rate_limit)
    guarded = ResponseHeaders(limited, lambda: web.settings.http_server_config.headers)

    async def fresh(scope: Scope, receive: Receive, send: Send) -> None:
        web.refresh()
        await guarded(scope, receive, send)

    return fresh
