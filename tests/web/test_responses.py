"""Headers and the rate limit, through a real server."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from rounds.webconfig import RateLimit
from rounds.webguard import RateLimiter
from support.web import Serve

HEADERS = """\
http_server_config:
  http2: true
  headers:
    Content-Security-Policy: "default-src 'self'; report-uri ${HOME}"
    X-Frame-Options: deny
    X-Content-Type-Options: nosniff
    X-XSS-Protection: ""
    Strict-Transport-Security: max-age=31536000
"""


def get(port: int) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{port}/")


def test_headers_are_on_every_response(serve: Serve, file: Path) -> None:
    with serve(HEADERS) as port:
        headers = get(port).headers
        assert headers["content-security-policy"] == "default-src 'self'; report-uri ${HOME}"
        assert headers.get_list("x-frame-options") == ["deny"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["strict-transport-security"] == "max-age=31536000"
        assert "x-xss-protection" not in headers
        file.write_text("http_server_config: {headers: {X-Frame-Options: sameorigin}}")
        assert get(port).headers["x-frame-options"] == "sameorigin"


def test_headers_are_on_refusals_too(serve: Serve) -> None:
    users = f"basic_auth_users: {{ana: $2y$04${'.' * 53}}}"
    with serve(HEADERS + users) as port:
        refusal = get(port)
        assert (refusal.status_code, refusal.headers["x-frame-options"]) == (401, "deny")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "tls_server_config:\nbasic_auth_users:\n", "{}"])
def test_an_empty_file_changes_nothing(serve: Serve, text: str) -> None:
    with serve(text) as port:
        assert get(port).headers["x-frame-options"] == "from the app"


def test_the_rate_limit_answers_429(serve: Serve) -> None:
    with serve("rate_limit: {interval: 1h, burst: 3}") as port:
        assert [get(port).status_code for _ in range(4)] == [200, 200, 200, 429]
        assert int(get(port).headers["retry-after"]) in range(3590, 3601)


@pytest.mark.parametrize("text", ["interval: 0, burst: 1", "interval: 0s, burst: 1", "interval: '0'", "burst: 1"])
def test_no_interval_is_no_limit(serve: Serve, text: str) -> None:
    with serve(f"rate_limit: {{{text}}}") as port:
        assert [get(port).status_code for _ in range(5)] == [200] * 5


async def test_a_token_comes_back_after_each_interval() -> None:
    seconds = iter((100.0, 100.0, 100.0, 100.0, 100.125, 100.25, 100.375, 100.5, 200.0, 200.0, 200.0))
    limit = RateLimit.model_validate({"interval": "250ms", "burst": 2})
    answers: list[int] = []

    async def app(*_: object) -> None:
        answers.append(200)

    async def send(message: Message) -> None:
        if "status" in message:
            answers.append(message["status"])

    async def receive() -> Message:
        raise AssertionError

    limiter = RateLimiter(app, lambda: limit, clock=lambda: next(seconds))
    for _ in range(10):
        await limiter({"type": "http"}, receive, send)
    assert answers == [200, 200, 429, 429, 200, 429, 200, 200, 200, 429]
