"""Children are watched, and surely ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from rounds.demo.ports import pick_port
from rounds.demo.processes import Child, ChildDiedError

STUBBORN = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("ready", grandchild.pid, flush=True)
signal.pause()
"""
OBEDIENT = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("bye", flush=True), sys.exit(0)))
print("ready", flush=True)
signal.pause()
"""
#: A demo in small: it starts a child, tells its process id and waits.
PARENT = """
import asyncio, sys
from pathlib import Path
from rounds.demo.processes import Child

async def main():
    waiting = "import signal; print('ready', flush=True); signal.pause()"
    child = Child("child", [sys.executable, "-c", waiting], Path(sys.argv[1]))
    await child.start()
    while not child.log.read_text():
        await asyncio.sleep(0.01)
    print(child.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def started(code: str, folder: Path) -> Child:
    child = Child("child", [sys.executable, "-c", code], folder)
    await child.start()
    async with asyncio.timeout(20):
        while "ready" not in child.log.read_text():
            await asyncio.sleep(0.01)
    return child


async def gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while runs(pid):
            await asyncio.sleep(0.01)


async def test_a_child_may_end_in_its_own_time(tmp_path: Path) -> None:
    child = await started(OBEDIENT, tmp_path)
    await child.stop(grace=20)
    assert not runs(child.pid)
    assert child.log_tail().endswith("    bye")


async def test_a_child_that_ignores_sigterm_is_killed_with_what_it_started(tmp_path: Path) -> None:
    child = await started(STUBBORN, tmp_path)
    grandchild = int(child.log.read_text().split()[1])
    await child.stop(grace=0.1)
    assert not runs(child.pid)
    await gone(grandchild)


async def test_stopping_again_or_before_the_start_does_nothing(tmp_path: Path) -> None:
    await Child("child", ["false"], tmp_path).stop()
    child = await started(OBEDIENT, tmp_path)
    await child.stop()
    await child.stop()


async def test_a_child_that_dies_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = Child("child", [sys.executable, "-c", "print('first'); raise SystemExit('no such file')"], tmp_path)
    await child.start()
    with pytest.raises(ChildDiedError, match=r"child ended with exit code 1(?s:.*)    no such file"):
        await child.watch()
    await child.stop()


async def test_a_child_that_is_killed_by_others_is_told(tmp_path: Path) -> None:
    child = await started(OBEDIENT, tmp_path)
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(ChildDiedError, match="child was ended by SIGKILL"):
        await child.watch()
    await child.stop()


async def test_waiting_for_an_answer_notices_death(tmp_path: Path) -> None:
    child = Child("child", [sys.executable, "-c", "raise SystemExit('bad configuration')"], tmp_path)
    await child.start()
    with pytest.raises(ChildDiedError, match="bad configuration"):
        await child.ready(f"http://127.0.0.1:{pick_port()}/")
    await child.stop()


async def test_waiting_for_an_answer_ends(tmp_path: Path) -> None:
    child = await started(OBEDIENT, tmp_path)
    with pytest.raises(TimeoutError, match=r"child does not answer(?s:.*)ready"):
        await child.ready(f"http://127.0.0.1:{pick_port()}/", seconds=0.2)
    await child.stop()


async def test_an_answer_is_readiness(tmp_path: Path) -> None:
    port = pick_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(tmp_path), str(port)]
    child = Child("child", command, tmp_path)
    await child.start()
    await child.ready(f"http://127.0.0.1:{port}/")
    await child.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel offers no such help")
async def test_a_child_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert runs(child)
    parent.kill()
    await parent.wait()
    await gone(child)
