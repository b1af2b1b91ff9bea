"""A real HTTP server on the loopback interface that takes reports, or refuses, or says nothing."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: An answer: status and headers. Status 0 says nothing until the test ends.
Answer = tuple[int, Mapping[str, str]]
OK: Answer = (200, {})
HANG: Answer = (0, {})


@dataclass
class Got:
    """A request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Sink:
    """What the server was sent, and what it says: the answers in turn, then 200."""

    port: int
    answers: list[Answer]
    got: list[Got] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "/reports") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def bodies(self) -> list[bytes]:
        return [each.body for each in self.got]


@contextlib.contextmanager
def sink(answers: Sequence[Answer] = (), port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Sink]:
    """A server until left."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.got.append(Got(self.path, dict(self.headers), body))
            status, headers = taken.answers.pop(0) if taken.answers else OK
            if status == 0:
                taken.ended.wait()
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # A client that does not trust the certificate.

        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", port), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        taken = Sink(server.server_address[1], list(answers))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield taken
        finally:
            taken.ended.set()
            server.shutdown()
            thread.join()
