"""A server of language models that is checked: a stand-in with Ollama's documented API, and servers that are worse."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from rounds.demo.ollama import Condition, Ollama
from rounds.demo.ports import pick_port
from rounds.emr.health import http
from rounds.emr.health.background import AGAIN
from rounds.emr.health.llm import REASONS, Llm
from rounds.emr.health.result import Health
from support.waiting import eventually

MODEL = "qwen2.5:7b"
UP, MODELS = ("llm_up",), ("llm_models",)
INSTALLED, LOADED, VRAM = ("llm_model_installed", MODEL), ("llm_model_loaded", MODEL), ("llm_model_vram_bytes", MODEL)
SECONDS = ("llm_generation_seconds", MODEL)


@pytest.fixture
def ollama() -> Iterator[Ollama]:
    with Ollama((MODEL, "llama3:latest")) as server:
        yield server


@contextmanager
def speaking(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does anything with a connection. Gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(65_536)
                        speak(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def answer(body: bytes, status: str = "200 OK", *headers: str) -> Callable[[socket.socket], None]:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]).encode()
    return lambda connection: connection.sendall(head + body)


@pytest.mark.parametrize(
    ("condition", "state", "reason", "figures"),
    [
        (Condition.ABSENT, "unhealthy", "unreachable", {UP: 0}),
        (Condition.HANGING, "degraded", "timeout", {UP: 0}),
        (Condition.EMPTY, "degraded", "no_models", {UP: 1, MODELS: 0, INSTALLED: 0, LOADED: 0, VRAM: 0}),
        (Condition.INSTALLED, "healthy", "", {UP: 1, MODELS: 2, INSTALLED: 1, LOADED: 0, VRAM: 0}),
        (Condition.LOADED, "healthy", "", {UP: 1, MODELS: 2, INSTALLED: 1, LOADED: 1, VRAM: 4_683_087_332}),
        (Condition.STUCK, "healthy", "", {UP: 1, MODELS: 2, INSTALLED: 1, LOADED: 0, VRAM: 0}),
        (Condition.FAILING, "unhealthy", "status", {UP: 0}),
        (Condition.GARBAGE, "unhealthy", "invalid", {UP: 0}),
    ],
)
def test_each_condition_of_the_server(
    ollama: Ollama, condition: Condition, state: str, reason: str, figures: dict[tuple[str, ...], float]
) -> None:
    ollama.show(condition)
    health = Llm(ollama.url, model=MODEL, timeout=0.3 if condition is Condition.HANGING else 5).run()
    assert (health.state, health.reason, health.figures) == (state, reason, figures), health
    ollama.show(Condition.INSTALLED)
    assert Llm(ollama.url, model=MODEL).run().state == "healthy", "it is seen as soon as it is well"


@pytest.mark.parametrize(
    ("model", "is_there"),
    [
        ("qwen2.5:7b", True),
        ("qwen2.5", False),
        ("qwen2.5:7", False),
        ("qwen2.5:14b", False),
        ("qwen", False),
        ("llama3", True),
        ("llama3:latest", True),
        ("llama3:8b", False),
    ],
)
def test_the_model_is_needed_by_its_exact_name(ollama: Ollama, model: str, is_there: bool) -> None:
    health = Llm(ollama.url, model=model).run()
    assert (health.state, health.reason) == (("healthy", "") if is_there else ("degraded", "model_missing"))
    assert health.figures["llm_model_installed", model] == is_there


def test_a_port_in_a_models_name_is_no_tag() -> None:
    with Ollama(("registry.example:5000/clinic/notes:latest",)) as server:
        assert Llm(server.url, model="registry.example:5000/clinic/notes").run().state == "healthy"


def test_without_a_model_any_will_do(ollama: Ollama) -> None:
    health = Llm(ollama.url).run()
    assert (health.state, health.figures) == ("healthy", {UP: 1, MODELS: 2})
    ollama.show(Condition.EMPTY)
    assert Llm(ollama.url).run().reason == "no_models"


# --- generation -------------------------------------------------------------------------------------------------------


def test_a_model_that_does_not_generate_is_unhealthy(ollama: Ollama, monkeypatch: pytest.MonkeyPatch) -> None:
    ollama.show(Condition.STUCK)
    checked = Llm(ollama.url, model=MODEL, generate_every=3600, generate_timeout=0.3)
    health = checked.run()
    assert (health.state, health.reason, health.figures[UP]) == ("unhealthy", "generation", 1)
    assert SECONDS not in health.figures
    ollama.show(Condition.INSTALLED)
    assert checked.run().reason == "generation", "not asked again yet"
    checked._generate_timeout = 30
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + AGAIN + 1)
    health = checked.run()
    assert (health.state, health.figures[LOADED]) == ("healthy", 0)
    assert 0 < health.figures[SECONDS] < 60
    assert checked.run().figures[LOADED] == 1, "it is in memory from then on"


def test_generation_does_not_hold_up_the_check(ollama: Ollama) -> None:
    ollama.show(Condition.STUCK)
    checked = Llm(ollama.url, model=MODEL, generate_every=1)
    for _ in range(3):
        assert checked.run().state == "healthy", "nothing is known yet"
    assert [path for _, path in ollama.requests].count("/api/generate") == 1, "never two at a time"
    ollama.show(Condition.STUCK)  # lets go of the one that hangs; the next one hangs again
    assert eventually(lambda: checked.run().reason == "generation")


def test_generation_has_its_own_pace(ollama: Ollama, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = Llm(ollama.url, model=MODEL, generate_every=3600)
    for later, times in ((0, 1), (3599, 1), (3601, 2)):
        now = time.monotonic() + later
        with monkeypatch.context() as patch:
            # It moves on, so that nothing that has a deadline waits without end.
            real = time.perf_counter
            began = real()
            patch.setattr(time, "monotonic", lambda now=now, began=began, real=real: now + real() - began)
            assert checked.run().state == "healthy"
        assert [path for _, path in ollama.requests].count("/api/generate") == times


def test_nothing_is_generated_unasked_or_with_a_model_that_is_not_there(ollama: Ollama) -> None:
    Llm(ollama.url, model=MODEL).run()
    Llm(ollama.url, model="qwen", generate_every=1).run()
    assert ("POST", "/api/generate") not in ollama.requests


# --- servers that are worse -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_server_that_gives_a_byte_now_and_then_is_not_waited_for(where: str) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n" + (b"\r\n" if where == "body" else b"X: "))
        for _ in range(500):
            connection.sendall(b" ")
            time.sleep(0.02)

    with speaking(drip) as url:
        began = time.monotonic()
        health = Llm(url, timeout=0.4).run()
        taken = time.monotonic() - began
    assert (health.state, health.reason) == ("degraded", "timeout")
    assert 0.4 <= taken < 30


@pytest.mark.parametrize(
    ("speak", "reason"),
    [
        (answer(b"[]"), "invalid"),
        (answer(b"{}"), "invalid"),
        (answer(b'{"version": 5}'), "invalid"),
        (answer(b'{"version": "Ram Kumar\\u0027s computer"}'), "invalid"),
        (answer(b'{"version": "1"}'), "invalid"),  # and no list of models
        (answer(b'{"version": "1", "models": [{"name": 5}]}'), "invalid"),
        (answer(b'{"version": "1", "models": null}'), "no_models"),
        (answer(b"[" * 200_000), "invalid"),
        (answer(b'{"version": "1", "models": [], "x": "' + b"x" * http._LIMIT + b'"}'), "invalid"),
        (answer(b"\xff\xfe"), "invalid"),
        (answer(b"", "204 No Content"), "status"),
        (answer(b"", "404 Not Found"), "status"),
        (lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), "invalid"),
        (lambda connection: None, "invalid"),
        (lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), "invalid"),
    ],
)
def test_what_is_not_ollama(speak: Callable[[socket.socket], None], reason: str) -> None:
    with speaking(speak) as url:
        health = Llm(url).run()
    assert health.reason == reason, health
    assert "Ram Kumar" not in health.text


def test_an_answer_without_end_is_not_read_to_it() -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n" + b" " * (2 * http._LIMIT))
        connection.recv(1)  # until the other end has had enough

    with speaking(flood) as url:
        assert Llm(url, timeout=20).run().reason == "invalid"


def test_sizes_that_make_no_sense_are_not_told() -> None:
    models = b'{"version": "1", "models": [{"name": "qwen2.5:7b", "size_vram": 1%s}]}' % (b"0" * 400)
    with speaking(answer(models)) as url:
        health = Llm(url, model=MODEL).run()
    assert (health.state, health.figures[VRAM]) == ("healthy", 0)


def test_nothing_is_followed(ollama: Ollama) -> None:
    with speaking(answer(b"", "302 Found", f"Location: {ollama.url}/api/version")) as url:
        health = Llm(url).run()
    assert (health.state, health.reason) == ("unhealthy", "status")
    assert ollama.requests == []


def test_no_proxy_of_the_environment_is_asked(ollama: Ollama, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{pick_port()}")
    assert Llm(ollama.url).run().state == "healthy"


def test_a_path_and_a_key_in_the_url_are_kept(ollama: Ollama) -> None:
    health = Llm(f"{ollama.url}/proxied/?key=secret").run()
    assert ollama.requests == [("GET", "/proxied/api/version?key=secret")]
    assert "secret" not in health.text


@pytest.mark.parametrize("url", ["http://no-such-host.invalid:1", "http://" + "x" * 300, "https://127.0.0.1:{port}"])
def test_what_cannot_be_reached(ollama: Ollama, url: str) -> None:
    health = Llm(url.format(port=ollama.port), timeout=2).run()
    assert (health.state, health.reason) == ("unhealthy", "unreachable")


@pytest.fixture(autouse=True)
def _reasons_are_of_the_closed_list(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[Llm], Health] = Llm.run

    def run(self: Llm) -> Health:
        health = real(self)
        assert health.reason in ("", *REASONS)
        assert bool(health.reason) is (health.state != "healthy")
        assert health.text
        return health

    monkeypatch.setattr(Llm, "run", run)
