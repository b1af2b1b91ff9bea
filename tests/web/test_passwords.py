"""Basic authentication through a real server and a real client."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping
from pathlib import Path

import bcrypt
import httpx
import pytest
from structlog.testing import capture_logs

from rounds.fields import Secret
from rounds.webguard import BasicAuth
from support.web import Serve

ODD = ["@:/?#%\"'$\\ ", "{curly", "päss wörd ☃ 密码", "${HOME}", "$2y$10$", " ", ":", "a" * 72, "b" * 100]


def hashed(password: str) -> str:
    # As htpasswd makes them: it cuts what bcrypt does not look at, and calls its version 2y.
    return bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$")


def users(**passwords: str) -> str:
    return "basic_auth_users:\n" + "".join(f"  {name}: {hashed(password)}\n" for name, password in passwords.items())


def status(port: int, *credentials: str) -> int:
    auth = (credentials[0], credentials[1]) if credentials else None
    return httpx.get(f"http://127.0.0.1:{port}/any/path", auth=auth, timeout=10).status_code


class Checks:
    """Counts bcrypt's work and remembers the threads that did it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[str] = []
        real = bcrypt.checkpw

        def check(password: bytes, expected: bytes) -> bool:
            self.threads.append(threading.current_thread().name)
            return real(password, expected)

        monkeypatch.setattr("rounds.webguard.bcrypt.checkpw", check)

    def take(self) -> int:
        """How much work there was since the last call."""
        count = len(self.threads)
        self.threads.clear()
        return count


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    return Checks(monkeypatch)


def test_only_the_right_password_lets_in(serve: Serve) -> None:
    with serve(users(ana="right", bob="other")) as port:
        assert status(port, "ana", "right") == 200
        assert status(port, "bob", "other") == 200
        for refused in (("ana", "wrong"), ("ana", "other"), ("ana", ""), ("carl", "right"), ("", ""), ("ANA", "right")):
            assert status(port, *refused) == 401


def test_a_refusal_asks_for_a_password_and_tells_nothing(serve: Serve) -> None:
    with serve(users(ana="right")) as port:
        for path in ("/", "/metrics", "/-/healthy", "/no/such"):
            refusal = httpx.get(f"http://127.0.0.1:{port}{path}")
            assert (refusal.status_code, refusal.text) == (401, "Unauthorized\n")
            assert refusal.headers["www-authenticate"] == 'Basic realm="rounds", charset="UTF-8"'


@pytest.mark.parametrize(
    "header",
    ["", "Basic", "Basic !!!", "Basic YW5h", "Bearer YW5hOnJpZ2h0", "Basic /////w==", "YW5hOnJpZ2h0"],
)
def test_a_header_that_is_no_basic_auth_is_refused(serve: Serve, header: str) -> None:
    with serve(users(ana="right")) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/", headers={"Authorization": header}).status_code == 401


def test_the_scheme_may_be_written_in_any_case(serve: Serve) -> None:
    token = base64.b64encode(b"ana:right").decode()
    with serve(users(ana="right")) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/", headers={"Authorization": f"bASIC {token}"}).status_code == 200


@pytest.mark.parametrize("password", ODD)
def test_every_character_may_stand_in_a_password(serve: Serve, password: str) -> None:
    with serve(users(ana=password)) as port:
        assert status(port, "ana", password) == 200
        assert status(port, "ana", "x" + password) == 401


@pytest.mark.parametrize("name", ["ünï ☃", "{x", "@home", "123", "yes", "a'b\"c\\", "${HOME}"])
def test_every_character_but_the_colon_may_stand_in_a_name(serve: Serve, name: str) -> None:
    with serve(f"basic_auth_users: {{{json.dumps(name)}: {hashed('right')}}}") as port:
        assert status(port, name, "right") == 200


@pytest.mark.parametrize("version", ["$2a$", "$2b$", "$2y$"])
def test_every_usual_kind_of_hash_is_understood(serve: Serve, version: str) -> None:
    with serve(f"basic_auth_users: {{ana: {version}{hashed('right')[4:]}}}") as port:
        assert status(port, "ana", "right") == 200
        assert status(port, "ana", "wrong") == 401


def test_an_unknown_name_costs_what_a_wrong_password_costs(serve: Serve, checks: Checks) -> None:
    with serve(users(ana="right")) as port:
        for credentials in (("ana", "wrong"), ("nobody", "wrong"), ("nobody", "right")):
            assert status(port, *credentials) == 401
            assert checks.take() == 1
        assert status(port) == 401
        assert checks.take() == 0


def test_a_right_password_is_checked_once_and_a_wrong_one_always(serve: Serve, checks: Checks) -> None:
    with serve(users(ana="right")) as port:
        assert [status(port, "ana", "right") for _ in range(3)] == [200] * 3
        assert checks.take() == 1
        assert [status(port, "ana", "wrong") for _ in range(3)] == [401] * 3
        assert checks.take() == 3


def test_a_password_is_checked_off_the_loop(serve: Serve, checks: Checks) -> None:
    with serve(users(ana="right")) as port:
        assert status(port, "ana", "right") == 200
    assert checks.threads == ["rounds-password"]


def test_passwords_follow_the_file(serve: Serve, file: Path) -> None:
    with serve(users(ana="before")) as port:
        assert status(port, "ana", "before") == 200
        file.write_text(users(ana="after", bob="new"))
        assert status(port, "ana", "before") == 401
        assert status(port, "ana", "after") == 200
        assert status(port, "bob", "new") == 200
        file.write_text(users(ana="after"))
        assert status(port, "bob", "new") == 401


def test_a_user_who_is_gone_is_not_let_in_by_a_shared_hash(serve: Serve, file: Path) -> None:
    shared = hashed("right")
    with serve(f"basic_auth_users: {{ana: {shared}, bob: {shared}}}") as port:
        assert status(port, "bob", "right") == 200
        file.write_text(f"basic_auth_users: {{ana: {shared}}}")
        assert status(port, "bob", "right") == 401


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ("basic_auth_users: {ana: hunter2}", ":1: basic_auth_users.ana: is no bcrypt hash"),
        ("basic_auth_users: [", ":1: is not valid YAML"),
        ("", ":1: basic_auth_users: passwords are not switched off without a restart"),
        (None, ": cannot be read"),
    ],
)
def test_a_broken_file_keeps_the_old_passwords_and_is_told_once(
    serve: Serve, file: Path, broken: str | None, problem: str
) -> None:
    before = users(ana="right")
    with serve(before) as port, capture_logs() as logs:
        if broken is None:
            file.unlink()
        else:
            file.write_text(broken)
        assert [status(port, "ana", "right"), status(port), status(port, "ana", "hunter2")] == [200, 401, 401]
        assert [log["event"] for log in logs] == ["web configuration not reloaded, the last good one stays"]
        assert logs[0]["problems"][0].startswith(f"{file}{problem}")
        file.write_text(users(ana="mended"))
        assert [status(port, "ana", "mended"), status(port, "ana", "right")] == [200, 401]
    assert "hunter2" not in repr(logs)
    assert "$2y$04$" not in repr(logs)


def test_passwords_may_come_later(serve: Serve, file: Path) -> None:
    with serve("") as port:
        assert status(port) == 200
        file.write_text(users(ana="right"))
        assert [status(port), status(port, "ana", "right")] == [401, 200]


async def _call(guard: BasicAuth, kind: str, credentials: str) -> list[str]:
    sent: list[str] = []

    async def send(message: Mapping[str, object]) -> None:
        sent.append(str(message.get("status", message["type"])))

    async def receive() -> dict[str, object]:
        raise AssertionError

    header = (b"authorization", b"Basic " + base64.b64encode(credentials.encode()))
    await guard({"type": kind, "headers": [header]}, receive, send)
    return sent


async def _inside(scope: object, receive: object, send: object) -> None:
    pass


async def test_no_other_protocol_gets_around_the_password() -> None:
    guard = BasicAuth(_inside, lambda: {"ana": Secret(hashed("right"))})
    assert await _call(guard, "websocket", "ana:wrong") == ["websocket.close"]
    assert await _call(guard, "websocket", "ana:right") == []


async def test_what_is_remembered_is_bounded_and_holds_no_password() -> None:
    people = {f"user{number}": Secret(hashed("right")) for number in range(200)}
    guard = BasicAuth(_inside, lambda: people)
    for name in people:
        assert await _call(guard, "http", f"{name}:right") == []
        assert await _call(guard, "http", f"{name}:wrong")
    assert len(guard._right) == 128
    assert not any(b"right" in proof or b"user" in proof for proof in guard._right)
