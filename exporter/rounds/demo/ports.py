"""Ports on the loopback interface."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"
#: Below those that systems give to whoever asks for any: no connection takes one of these by chance before it is bound.
_QUIET = range(16_000, 32_000)


def pick_port(preferred: int = 0, host: str = LOOPBACK) -> int:
    """The preferred port where it is free, else any free one.

    Another program may take the port before the caller binds it; the bind fails then, which is said and ends the demo.
    """
    for port in (*((preferred,) if preferred else ()), *random.sample(_QUIET, 20), 0):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((host, port))
            except OSError:
                if port == 0:
                    raise
                continue
            return int(candidate.getsockname()[1])
    raise AssertionError("the loop returns or raises")
