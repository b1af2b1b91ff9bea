"""A demo as a process, and what it prints."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from typing import Self

import psutil

#: The program, and the program on a machine without servers, wherever they are installed.
WHOLE = ("-m", "rounds")
_NOWHERE = "from rounds.demo import servers; servers.FOLDERS = ()"
LONELY = ("-c", f"{_NOWHERE}; from rounds.cli import main; raise SystemExit(main())")


class Demo:
    """A running demo and what it has printed."""

    """One that runs until left.

    Args:
        port: where its exporter listens.
        program: what Python is to run.
        flags: of the command.
        environment: more variables.
    """

    def __init__(
        self, port: int, program: Sequence[str] = WHOLE, flags: Sequence[str] = (), **environment: str
    ) -> None:
        self.output = ""
        self._command = (sys.executable, *program, "demo", f"--web.listen-address=127.0.0.1:{port}", *flags)
        self._environment = os.environ | environment
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.output += line.decode()
            self._changed.set()
        self._changed.set()

    async def says(self, pattern: str) -> re.Match[str]:
        while (match := re.search(pattern, self.output, re.MULTILINE)) is None:
            assert not self._reader.done(), self.output
            self._changed.clear()
            await self._changed.wait()
        return match

    async def ends(self) -> int:
        async with asyncio.timeout(20):
            code = await self.process.wait()
            await self._reader
        return code

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)
