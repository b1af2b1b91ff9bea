"""The demo's child processes: started with a log file, watched, and surely ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx

_LINES = 15


class ChildDiedError(Exception):
    """A child ended by itself. The message holds the last lines of its log."""


class Child:
    """One child process. It leads a process group of its own, so that a Ctrl-C of the terminal reaches the demo alone,
    which then ends its children in order; and it does not outlive the demo, however that ends.

    Args:
        name: for messages.
        command: the program and its arguments.
        folder: where its log, ``<name>.log``, is written.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = command
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process id, and its group's."""
        assert self._process is not None, "started"  # noqa: S101 - for the type checker
        return self._process.pid

    async def start(self) -> None:
        """Start it."""
        tether = (sys.executable, "-m", "rounds.demo.tether", str(os.getpid()))
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *tether,
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )

    async def watch(self) -> None:
        """Wait until it dies.

        Raises:
            ChildDiedError: always, since it should not.
        """
        assert self._process is not None, "started"  # noqa: S101 - for the type checker
        code = await self._process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise ChildDiedError(f"{self.name} {how}. The end of its log:\n{self.log_tail()}")

    async def ready(self, url: str, seconds: float = 30.0) -> None:
        """Wait until it answers 200.

        Raises:
            ChildDiedError: it ended before.
            TimeoutError: it does not answer in time.
        """
        watch = asyncio.create_task(self.watch())
        answer = asyncio.create_task(_answers(url))
        try:
            done, _ = await asyncio.wait((watch, answer), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise TimeoutError(f"{self.name} does not answer at {url}. The end of its log:\n{self.log_tail()}")
            await done.pop()
        finally:
            watch.cancel()
            answer.cancel()

    async def stop(self, grace: float = 5.0) -> None:
        """Ask it to end, and kill it and whatever it started when the grace is over."""
        if self._process is None:
            return
        try:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError, TimeoutError):
                    self._process.terminate()
                    async with asyncio.timeout(grace):
                        await self._process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    def log_tail(self) -> str:
        """The last lines of its log, indented."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:]
        return "\n".join(f"    {line}" for line in lines) or "    (empty)"


async def _answers(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=2.0) as client:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get(url)).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.1)
