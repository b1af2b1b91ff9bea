"""The demo's child processes: started with a log file, watched, and surely ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any

import httpx

from rounds.demo import tether

_LINES = 15
#: Seconds within which a child does what it is waited for, on a machine that is busy with other things.
_PATIENCE = 120.0
#: Seconds between two looks for more of a log.
_LOOK = 0.1


class ChildDiedError(Exception):
    """A child ended by itself. The message holds the last lines of its log."""


class Child:
    """One child process. It leads a process group of its own, so that a Ctrl-C of the terminal reaches the demo alone,
    which then ends its children in order; and it does not outlive the demo, however that ends.

    Args:
        name: for messages.
        command: the program and its arguments.
        folder: where its log, ``<name>.log``, is written.
        user: who it runs as, where that is not who runs the demo; needs root.
        home: its working directory, where that is not the demo's.
        end: the signal that asks it to end.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        *,
        user: str = "",
        home: Path | None = None,
        end: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = [f"--user={user}", *command] if user else command
        self._home = home
        self._end = end
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process id, and its group's."""
        assert self._process is not None, "started"  # noqa: S101 - for the type checker
        return self._process.pid

    async def start(self) -> None:
        """Start it."""
        # By its file and without the variables that add to the path, which may be relative to another folder.
        beside = (sys.executable, "-P", tether.__file__, str(os.getpid()))
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *beside,
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                cwd=self._home,
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

    async def done(self, seconds: float = _PATIENCE) -> None:
        """Wait until it has done its work, where it is to end by itself.

        Raises:
            ChildDiedError: it failed.
            TimeoutError: it does not end in time.
        """
        assert self._process is not None, "started"  # noqa: S101 - for the type checker
        async with asyncio.timeout(seconds):
            code = await self._process.wait()
        if code:
            raise ChildDiedError(f"{self.name} failed. The end of its log:\n{self.log_tail()}")

    async def ready(self, url: str, seconds: float = _PATIENCE) -> None:
        """Wait until it answers 200.

        Raises:
            ChildDiedError: it ended before.
            TimeoutError: it does not answer in time.
        """
        await self.lives_until(_answers(url), seconds, f"does not answer at {url}")

    async def said(self, line: str, seconds: float = _PATIENCE) -> None:
        """Wait until this is a line of its log.

        Raises:
            ChildDiedError: it ended before.
            TimeoutError: it does not say so in time.
        """
        await self.lives_until(self._says(line), seconds, "is not ready")

    async def lines(self) -> AsyncIterator[str]:
        """The lines of its log, those to come too."""
        with self.log.open(encoding="utf-8", errors="replace") as log:
            line = ""
            while True:
                line += log.readline()
                if line.endswith("\n"):
                    yield line.rstrip()
                    line = ""
                else:
                    await asyncio.sleep(_LOOK)

    async def stop(self, grace: float = 5.0) -> None:
        """Ask it to end, and kill it and whatever it started when the grace is over."""
        if self._process is None:
            return
        try:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError, TimeoutError):
                    self._process.send_signal(self._end)
                    async with asyncio.timeout(grace):
                        await self._process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def _says(self, wanted: str) -> None:
        async for line in self.lines():
            if line == wanted:
                return

    async def lives_until(self, event: Coroutine[Any, Any, None], seconds: float, otherwise: str) -> None:
        """Wait until an event, which the child's death makes vain.

        Args:
            event: what is waited for.
            seconds: how long.
            otherwise: completes the sentence "NAME ...", where it does not come.

        Raises:
            ChildDiedError: it ended before.
            TimeoutError: it does not come in time.
        """
        watch, happens = asyncio.create_task(self.watch()), asyncio.create_task(event)
        try:
            done, _ = await asyncio.wait((watch, happens), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise TimeoutError(f"{self.name} {otherwise}. The end of its log:\n{self.log_tail()}")
            await done.pop()
        finally:
            watch.cancel()
            happens.cancel()

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
            await asyncio.sleep(_LOOK)
