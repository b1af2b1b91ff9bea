"""What one target does, the probes of another do not notice."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, aclosing

import psutil
import pytest

from support import hostile
from support.probing import prober

MIB = 1024 * 1024


@pytest.fixture
def urls() -> Iterator[dict[str, str]]:
    """The URLs of the servers in :mod:`support.hostile`; the healthy one has a process to itself."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "support.hostile"]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as good,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as bad,
    ):
        (good_in, good_out), (bad_in, bad_out) = ((each.stdin, each.stdout) for each in (good, bad))
        assert good_in
        assert good_out
        assert bad_in
        assert bad_out
        yield json.loads(bad_out.readline()) | {"healthy": json.loads(good_out.readline())["pages"] + "/healthy"}
        good_in.close()
        bad_in.close()


async def test_healthy_service_beside_all_others(urls: dict[str, str]) -> None:
    """a.9 in one run: slow, dead, silent, dripping, bombing, looping, garbage, cut off, resetting, unresolvable; and a
    healthy one, whose result and latency stay what they are alone. Memory stays flat.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}"
    targets = {urls["pages"] + path: reason for path, (_, reason) in hostile.PAGES.items() if path != "/healthy"}
    targets |= {dead: "connect", urls["rude"]: "error", "http://no-such-name.invalid": "dns"}
    process = psutil.Process()
    async with AsyncExitStack() as stack:
        healthy = await stack.enter_async_context(aclosing(prober(urls["healthy"], json_matches=["status == 'ok'"])))
        others = [
            await stack.enter_async_context(
                aclosing(prober(url, timeout="500ms" if reason == "timeout" else "5s", compression="gzip"))
            )
            for url, reason in targets.items()
        ]
        # Everything once, so that what is imported and allocated once is.
        await asyncio.gather(healthy.probe(), *(other.probe() for other in others))
        memory = process.memory_info().rss
        files = process.num_fds()
        alone = [await healthy.probe() for _ in range(50)]

        beside = []
        for _ in range(3):
            running = [asyncio.create_task(other.probe()) for other in others]
            while not all(task.done() for task in running):
                beside.append(await healthy.probe())
                await asyncio.sleep(0.005)
            found = dict(zip(targets, [task.result().reason for task in running], strict=True))
            assert found == targets

        assert len(beside) > 10
        assert {result.reason for result in alone + beside} == {None}
        slower = statistics.median(result.elapsed for result in beside) - statistics.median(
            result.elapsed for result in alone
        )
        assert slower < 0.1
        assert max(result.elapsed for result in beside) < 1  # none would pass for degraded
        assert process.memory_info().rss - memory < 24 * MIB
        assert process.num_fds() <= files
