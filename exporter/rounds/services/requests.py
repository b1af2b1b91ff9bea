"""What is asked of whom: the check's own request, and those that redirects lead to."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import httpcore
import httpx

from rounds.fields import shown_url
from rounds.services.config import HttpCheck
from rounds.services.resolver import literal
from rounds.services.trail import Failure

REDIRECTS = frozenset((301, 302, 303, 307, 308))

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LAST_PORT = 65_535
#: Methods whose requests say how long their body is, also where it is empty (RFC 9110, 8.6).
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))
#: Headers that speak of a body, and go when it goes.
_BODY_HEADERS = frozenset((b"content-type", b"content-encoding", b"content-language", b"content-location"))

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a connection leads.

    Attributes:
        host: a name or an IP address, without brackets.
        server_name: the name for TLS.
    """

    secure: bool
    host: str
    port: int
    server_name: str


@dataclass(frozen=True, slots=True)
class Hop:
    """One request of a probe. Made once where possible, and sent as often as needed.

    Attributes:
        own: it goes where the check points, so that configured headers, credentials and body go along.
        shown: method and URL as they may be shown.
        request: what goes over the wire; its target is a whole URL where a proxy is to pass it on.
        proxy: whom to connect to instead; https goes through it by ``connect``.
        connect: the request that opens a tunnel through the proxy, for https.
    """

    url: httpx.URL
    method: str
    own: bool
    body: bytes | None
    endpoint: Endpoint
    shown: str
    request: httpcore.Request
    proxy: Endpoint | None
    connect: httpcore.Request | None


class Requests:
    """Makes the requests of one check."""

    def __init__(self, check: HttpCheck) -> None:
        self._method = check.method
        self._any_host = check.redirects == "any_host"
        self._proxy = _endpoint(httpx.URL(check.proxy_url)) if check.proxy_url else None
        self._general: Headers = [
            (b"User-Agent", b"rounds"),
            (b"Accept", b"*/*"),
            (b"Accept-Encoding", check.compression.encode()),
        ]
        if check.connection == "fresh":
            self._general.append((b"Connection", b"close"))
        self._configured = _configured_headers(check)
        self._forced_name = check.tls.server_name or _host_header_name(self._configured)
        self._url = httpx.URL(check.url)
        body = check.body or check.body_file
        self.first = self._hop(self._url, check.method, body.reveal().encode() if body else None, own=True)

    def after(self, hop: Hop, status: int, location: bytes, cookies: httpx.Cookies) -> Hop:
        """The request that a redirect asks for.

        Args:
            cookies: those that the probe was given so far.

        Raises:
            Failure: ``redirect``; it must not or cannot be followed.
        """
        try:
            url = hop.url.join(location.decode("utf-8", "replace")).copy_with(userinfo=b"", fragment=None)
        except (httpx.InvalidURL, ValueError) as error:
            raise Failure("redirect", "a redirect to what is no URL") from error
        if url.scheme not in _DEFAULT_PORTS or not url.host or (url.port or 0) > _LAST_PORT:
            raise Failure("redirect", "a redirect to what is no URL of http or https")
        home = _same_place(self._url, url) and not (hop.endpoint.secure and url.scheme == "http")
        if not self._any_host and not home:
            raise Failure("redirect", f"a redirect to another host: {shown_url(str(url))}")
        # Whoever was sent elsewhere and back comes with what the other host chose to ask.
        own = hop.own and home
        method, body = hop.method, hop.body
        if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):  # noqa: PLR2004
            method, body = "GET", None
        if body is not None and not own:
            raise Failure("redirect", f"a redirect that would take the body to another host: {shown_url(str(url))}")
        return self._hop(url, method, body, own=own, cookies=cookies)

    def _hop(
        self, url: httpx.URL, method: str, body: bytes | None, *, own: bool, cookies: httpx.Cookies | None = None
    ) -> Hop:
        headers = self._headers(url, method, own=own, cookies=cookies)
        if body is not None or method in _WITH_BODY:
            headers.append((b"Content-Length", b"%d" % len(body or b"")))
        endpoint = _endpoint(url, self._forced_name if own else None)
        passed_on = self._proxy is not None and not endpoint.secure
        target = bytes(url.scheme + "://", "ascii") + url.netloc + url.raw_path if passed_on else url.raw_path
        tunnel = None
        if self._proxy is not None and endpoint.secure:
            authority = b"%s:%d" % (_bracketed(endpoint.host), endpoint.port)
            tunnel = httpcore.Request(
                "CONNECT", _wire_url(self._proxy, authority), headers=[(b"Host", authority), (b"User-Agent", b"rounds")]
            )
        return Hop(
            url=url,
            method=method,
            own=own,
            body=body,
            endpoint=endpoint,
            shown=f"{method} {shown_url(str(url))}",
            request=httpcore.Request(method, _wire_url(endpoint, target), headers=headers, content=body),
            proxy=self._proxy,
            connect=tunnel,
        )

    def _headers(self, url: httpx.URL, method: str, *, own: bool, cookies: httpx.Cookies | None) -> Headers:
        configured = self._configured if own else []
        if method != self._method:
            configured = [item for item in configured if item[0].lower() not in _BODY_HEADERS]
        given = {name.lower() for name, _ in configured}
        general = [(b"Host", url.netloc), *self._general]
        headers = [item for item in general if item[0].lower() not in given] + configured
        if cookies:
            asking = httpx.Request("GET", url)
            cookies.set_cookie_header(asking)
            values = [value for name, value in headers if name.lower() == b"cookie"]
            values += [value for name, value in asking.headers.raw if name.lower() == b"cookie"]
            headers = [item for item in headers if item[0].lower() != b"cookie"]
            headers += [(b"Cookie", b"; ".join(values))] if values else []
        return headers


def learn_cookies(cookies: httpx.Cookies, hop: Hop, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Put the cookies that a response sets into the jar, which knows who may set which."""
    if any(name.lower() == b"set-cookie" for name, _ in headers):
        request = httpx.Request(hop.method, hop.url)
        cookies.extract_cookies(httpx.Response(200, headers=list(headers), request=request))


def _configured_headers(check: HttpCheck) -> Headers:
    headers = [
        (name.encode(), value.reveal().strip().encode()) for name, value in (check.headers | check.header_files).items()
    ]
    if check.basic_auth:
        password = check.basic_auth.password or check.basic_auth.password_file
        pair = f"{check.basic_auth.username}:{password.reveal() if password else ''}"
        headers.append((b"Authorization", b"Basic " + base64.b64encode(pair.encode())))
    token = check.bearer_token or check.bearer_token_file
    if token:
        headers.append((b"Authorization", b"Bearer " + token.reveal().encode()))
    return headers


def _host_header_name(headers: Headers) -> str | None:
    """The name in a configured Host header, without its port."""
    for name, value in headers:
        if name.lower() == b"host":
            return httpx.URL(f"//{value.decode()}").host or None
    return None


def _endpoint(url: httpx.URL, forced_name: str | None = None) -> Endpoint:
    host = url.raw_host.decode("ascii")
    port = url.port or _DEFAULT_PORTS[url.scheme]
    return Endpoint(url.scheme == "https", host, port, (forced_name or host).rstrip("."))


def _same_place(home: httpx.URL, url: httpx.URL) -> bool:
    """Whether a URL is still the service that the check points at.

    That is the same host and port, or the same host's https, on whatever port, where the check says http. Another port
    of one host is another service: all of a small installation's services live on one host.
    """
    if home.raw_host.lower() != url.raw_host.lower():
        return False
    if home.scheme == url.scheme:
        return _endpoint(home).port == _endpoint(url).port
    return url.scheme == "https"


def _wire_url(endpoint: Endpoint, target: bytes) -> httpcore.URL:
    scheme = b"https" if endpoint.secure else b"http"
    return httpcore.URL(scheme=scheme, host=endpoint.host.encode(), port=endpoint.port, target=target)


def _bracketed(host: str) -> bytes:
    return f"[{host}]".encode() if literal(host) and ":" in host else host.encode()
