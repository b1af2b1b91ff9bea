"""A stand-in for Ollama's HTTP API, for tests and the demo: what is documented of it, and how it fails.

It serves from a thread of its own::

    with Ollama(models=("qwen2.5:7b",)) as server:
        server.show(Condition.STUCK)
        ...  # ask server.url
"""

from __future__ import annotations

import enum
import hashlib
import json
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from rounds.demo.ports import LOOPBACK

VERSION = "0.5.4"
#: Seconds for which a model stays in memory after its last answer.
_KEPT = 300.0
_SIZE = 4_683_087_332


class Condition(enum.Enum):
    """What the server does."""

    ABSENT = "absent"
    """Nothing listens."""
    HANGING = "hanging"
    """It takes connections and answers nothing."""
    EMPTY = "empty"
    """There is no model."""
    INSTALLED = "installed"
    """The models are there, and one that is asked for is loaded."""
    LOADED = "loaded"
    """All of them are in memory, too."""
    STUCK = "stuck"
    """Everything answers but generation."""
    FAILING = "failing"
    """Every answer has the status 500."""
    GARBAGE = "garbage"
    """Every answer is cut off JSON."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A server that is stopped does not wait for requests that hang.
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of who has asked and is gone."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Ollama:
    """The server, at ``url``.

    Args:
        models: that are installed, with their tags.
        condition: what it does at first.
        port: where it listens; 0 for any free one, which it keeps.
        host: the address.
        answer_after: seconds that a generation takes; the first one of a model takes twice as long.

    Attributes:
        requests: method and path of each request, in the order in which they came.
    """

    def __init__(
        self,
        models: tuple[str, ...] = ("qwen2.5:7b",),
        condition: Condition = Condition.INSTALLED,
        port: int = 0,
        host: str = LOOPBACK,
        answer_after: float = 0.0,
    ) -> None:
        self.models = models
        self.answer_after = answer_after
        self.requests: list[tuple[str, str]] = []
        self._host = host
        self._condition = condition
        self._loaded: dict[str, float] = {}
        #: Set when those who wait in vain are to be let go.
        self._released = threading.Event()
        # Also where nothing is to listen at first: the port is known from now on.
        self._server: _Server | None = self._listen(port)
        self.port = int(self._server.server_address[1])
        self.url = f"http://{host}:{self.port}"

    @property
    def condition(self) -> Condition:
        """What it does now."""
        return self._condition

    def __enter__(self) -> Self:
        if self._server is not None:
            self._serve(self._server)
        self.show(self._condition)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def show(self, condition: Condition) -> None:
        """Do this from now on. Requests that hang are let go without an answer."""
        self._condition = condition
        self._released.set()
        self._released = threading.Event()
        if condition is Condition.ABSENT:
            self._stop()
        elif self._server is None:
            self._server = self._listen(self.port)
            self._serve(self._server)

    def _listen(self, port: int) -> _Server:
        ollama = self

        class Handler(_Handler):
            server_of = ollama

        return _Server((self._host, port), Handler)

    def _serve(self, server: _Server) -> None:
        threading.Thread(target=server.serve_forever, args=(0.02,), name="ollama", daemon=True).start()

    def _stop(self) -> None:
        self._released.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def hang(self) -> None:
        """Wait until something else is to be shown."""
        self._released.wait()

    def loaded(self) -> dict[str, float]:
        """Models in memory, and until when, in Unix time."""
        now = time.time()
        if self._condition is Condition.LOADED:
            return dict.fromkeys(self.models, now + _KEPT)
        return {name: until for name, until in self._loaded.items() if until > now}

    def generate(self, name: str) -> float:
        """Take the time that an answer takes, and keep the model. Returns the seconds that loading took."""
        loading = 0.0 if name in self.loaded() else self.answer_after
        time.sleep(self.answer_after + loading)
        self._loaded[name] = time.time() + _KEPT
        return loading


class _Handler(BaseHTTPRequestHandler):
    server_of: Ollama
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if not self._is_well():
            return
        server = self.server_of
        installed = () if server.condition is Condition.EMPTY else server.models
        match self.path:
            case "/":
                self._send(200, b"Ollama is running", "text/plain; charset=utf-8")
            case "/api/version":
                self._answer(200, {"version": VERSION})
            case "/api/tags":
                self._answer(200, {"models": [_model(name, modified_at=_iso(0)) for name in installed]})
            case "/api/ps":
                loaded = {name: until for name, until in server.loaded().items() if name in installed}
                self._answer(
                    200,
                    {
                        "models": [
                            _model(name, expires_at=_iso(until), size_vram=_SIZE) for name, until in loaded.items()
                        ]
                    },
                )
            case _:
                self._send(404, b"404 page not found", "text/plain")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._is_well():
            return
        if self.path != "/api/generate":
            self._send(404, b"404 page not found", "text/plain")
            return
        try:
            asked = json.loads(body)
        except ValueError:
            self._answer(400, {"error": "invalid JSON"})
            return
        self._generate(asked)

    def _generate(self, asked: dict[str, Any]) -> None:
        server = self.server_of
        name = _full(str(asked.get("model", "")))
        if server.condition is Condition.EMPTY or name not in server.models:
            self._answer(404, {"error": f"model '{asked.get('model')}' not found"})
            return
        if server.condition is Condition.STUCK:
            server.hang()
            self.close_connection = True
            return
        began = time.time()
        loading = server.generate(name)
        said = {"model": name, "created_at": _iso(time.time())}
        end = {
            **said,
            "response": "",
            "done": True,
            "done_reason": "stop",
            "total_duration": _nanoseconds(time.time() - began),
            "load_duration": _nanoseconds(loading),
            "prompt_eval_count": 1,
            "prompt_eval_duration": _nanoseconds(0),
            "eval_count": 1,
            "eval_duration": _nanoseconds(server.answer_after),
        }
        if asked.get("stream") is False:
            self._answer(200, {**end, "response": "Hello"})
        else:
            lines = [{**said, "response": "Hello", "done": False}, end]
            body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            self._send(200, body, "application/x-ndjson")

    def _is_well(self) -> bool:
        """Whether the request is to be answered; else it has been dealt with."""
        server = self.server_of
        server.requests.append((self.command, self.path))
        match server.condition:
            case Condition.HANGING:
                server.hang()
                self.close_connection = True
            case Condition.FAILING:
                self._answer(500, {"error": "internal server error"})
            case Condition.GARBAGE:
                self._send(200, b'{"models": [{"na', "application/json; charset=utf-8")
            case Condition.ABSENT:
                self.close_connection = True
            case _:
                return True
        return False

    def _answer(self, status: int, document: object) -> None:
        self._send(status, json.dumps(document).encode(), "application/json; charset=utf-8")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Requests are not shown."""


def _full(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def _model(name: str, **more: object) -> dict[str, Any]:
    family = name.partition(":")[0]
    return {
        "name": name,
        "model": name,
        "size": _SIZE,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": family,
            "families": [family],
            "parameter_size": "7.6B",
            "quantization_level": "Q4_K_M",
        },
        **more,
    }
