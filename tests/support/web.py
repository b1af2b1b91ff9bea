"""A real uvicorn in a thread, behind a web configuration."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import uvicorn
from starlette.types import Receive, Scope, Send

from rounds.webconfig import WebConfig, protect


class Serve(Protocol):
    """Starts a server behind a file's content and yields its port."""

    def __call__(self, text: str) -> AbstractContextManager[int]: ...


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-frame-options", b"from the app")]})
    await send({"type": "http.response.body", "body": b"inside"})


@contextlib.contextmanager
def running(web: WebConfig) -> Iterator[int]:
    """Serve until left."""
    config = uvicorn.Config(protect(_app, web), lifespan="off", log_config=None, loop="asyncio")
    config.load()
    config.ssl = web.ssl_context()
    server = _Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert server.ready.wait(10)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)
    assert not thread.is_alive()
