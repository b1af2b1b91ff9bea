"""Servers as child processes of the tests: started, waited for, and surely ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rounds.demo import tether

_READY_WITHIN = 30.0
_END_WITHIN = 10.0


@contextlib.contextmanager
def folder(prefix: str, owner: str | None = None) -> Iterator[Path]:
    """A temporary folder that another user may own; pytest's own folders are closed to other users."""
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        path = Path(name)
        if owner:
            os.chown(path, *_ids(owner))
        yield path


@contextlib.contextmanager
def server(
    command: Sequence[str],
    log: Path,
    ready: Callable[[], object],
    user: str | None = None,
    end: signal.Signals = signal.SIGKILL,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until left; it does not outlive the tests, however they end.

    Args:
        command: the program and its arguments.
        log: where its output goes.
        ready: raises while it does not answer yet.
        user: who it runs as, where that is not who runs the tests.
        end: what ends it. Its data are of no use any more.
    """
    tether_to_us = [sys.executable, tether.__file__, str(os.getpid())]
    if user:
        # The new user need not be able to read the tests' Python, so the tether comes before the change of user;
        # setpriv sets again what that change clears.
        tether_to_us += ["setpriv", f"--reuid={user}", f"--regid={_ids(user)[1]}", "--clear-groups", "--pdeathsig=KILL"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*tether_to_us, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
        )
    try:
        _wait(process, ready, log)
        yield process
    finally:
        process.send_signal(end)
        try:
            process.wait(_END_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ids(user: str) -> tuple[int, int]:
    import pwd  # noqa: PLC0415  # only where users can be changed

    found = pwd.getpwnam(user)
    return found.pw_uid, found.pw_gid


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], object], log: Path) -> None:
    end = time.monotonic() + _READY_WITHIN
    while True:
        try:
            ready()
        except Exception as error:
            if process.poll() is not None or time.monotonic() > end:
                tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
                raise RuntimeError(f"{process.args!r} is not ready: {error}\n{tail}") from error
            time.sleep(0.02)
        else:
            return
