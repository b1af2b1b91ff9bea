"""A way to a server that can be cut, as networks are."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Gate:
    """Passes bytes between whoever connects to its port and a server.

    Attributes:
        port: where it listens on 127.0.0.1; always, so that a connection never depends on the kernel's timing.
        silent: whether it takes connections and bytes and passes nothing on, so that nobody answers.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.silent = False
        self._shut = False
        self._links: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.shut()

    def shut(self) -> None:
        """End all connections, and each new one at once."""
        self._shut = True
        for link in list(self._links):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """Let connections through again."""
        self._shut = False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._shut:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._target))
                for source, target in ((client, server), (server, client)):
                    self._links.add(source)
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if not self.silent:
                    target.sendall(data)
        self._links.discard(source)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        source.close()
