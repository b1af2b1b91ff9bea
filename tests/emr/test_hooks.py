"""What nobody catches is noticed, as it is said in the reference; programs end as they did, and say what they said."""

from __future__ import annotations

import asyncio
import concurrent.futures
import faulthandler
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rounds.emr.app.fatal import FatalFile
from rounds.emr.app.hooks import Hooks
from support.emr_app import App
from support.waiting import eventually


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(tmp_path / "app")


NOTHING = "pass"
_NO_STORE = """
start = module.Monitor.__init__
module.Monitor.__init__ = lambda self, *args, **keys: start(self, *args, **{**keys, "store": None})
"""

# --- the main thread --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("raise ValueError('secret')", "ValueError"),
        ("def deeper(n): return deeper(n + 1)\ndeeper(0)", "RecursionError"),
        ("[0] * 10 ** 17", "MemoryError"),
        ("raise ExceptionGroup('secret', [OSError('secret'), KeyError('secret')])", "ExceptionGroup"),
    ],
)
def test_an_exception_of_the_main_thread_is_a_crash(app: App, code: str, kind: str) -> None:
    done = app.run(code)
    assert done.returncode == 1
    assert f"{kind}" in done.stderr
    assert "Traceback (most recent call last)" in done.stderr
    assert "rounds" not in done.stderr
    assert app.errors == {(kind, "main"): 1}
    assert app.crashes == {("python",): 1}
    assert app.endings == ["python"]
    assert app.rows("SELECT kind, error_type FROM rounds_crash") == [("python", kind)]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("sys.exit(3)", 3),
        ("sys.exit('a word')", 1),
        (NOTHING, 0),
    ],
)
def test_an_end_on_purpose_is_none(app: App, code: str, status: int) -> None:
    done = app.run("monitor.count('visits_saved')\n" + code)
    assert done.returncode == status
    assert app.errors == {}
    assert app.crashes == {}
    assert app.endings == ["clean"]
    assert app.counter("events_total") == {("visits_saved",): 1}


def test_who_calls_the_hook_and_goes_on_has_not_crashed(app: App) -> None:
    """As a toolkit does that calls slots of the program from a loop of its own."""
    done = app.run(
        """
        try:
            raise LookupError("in a slot")
        except LookupError:
            sys.excepthook(*sys.exc_info())
        monitor.count("visits_saved")
        """
    )
    assert "LookupError: in a slot" in done.stderr
    assert app.errors == {("LookupError", "main"): 1}
    assert app.crashes == {}
    assert app.endings == ["clean"]


def test_without_a_store_a_program_ends_as_it_does(app: App) -> None:
    done = app.run("raise ValueError('as before')", before="import rounds.emr.app.monitor as module\n" + _NO_STORE)
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: as before\n")
    assert [file.name for file in app.folder.iterdir()] == ["program.py"]


# --- all the others, in one process -----------------------------------------------------------------------------------

_OTHERS = """
import asyncio, gc, threading, time
from concurrent.futures import ThreadPoolExecutor


class OfThread(Exception): pass
class OfExecutor(Exception): pass
class OfHeldFuture(Exception): pass
class OfMap(Exception): pass
class Asked(Exception): pass
class OfTask(Exception): pass
class OfTaskWithHandler(Exception): pass
class OfExecutorOfLoop(Exception): pass
class OfDestructor(Exception): pass
class AtShutdown(Exception): pass


def raises(error):
    raise error


thread = threading.Thread(target=raises, args=(OfThread(),))
thread.start()
thread.join()
ends = threading.Thread(target=raises, args=(SystemExit(),))
ends.start()
ends.join()

pool = ThreadPoolExecutor(2)
pool.submit(raises, OfExecutor())
pool.map(raises, [OfMap(), OfMap()])
held = pool.submit(raises, OfHeldFuture())
try:
    pool.submit(raises, Asked()).result()
except Asked:
    pass
assert isinstance(pool.submit(raises, Asked()).exception(), Asked)
assert pool.submit(int, "7").result() == 7


def handler(loop, context):
    print("handler", type(context["exception"]).__name__)


async def main(*error):
    tasks = [asyncio.get_running_loop().create_task(asyncio.to_thread(raises, each)) for each in error]
    await asyncio.wait(tasks)


async def quiet():
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()


asyncio.run(main(OfTask()))
asyncio.run(quiet())
loop = asyncio.new_event_loop()
loop.set_exception_handler(handler)
loop.run_until_complete(main(OfTaskWithHandler()))
loop.run_in_executor(None, raises, OfExecutorOfLoop())
loop.run_until_complete(loop.shutdown_default_executor())
gc.collect()
loop.close()
gc.collect()


class Destroyed:
    def __del__(self):
        raise OfDestructor


Destroyed()


def late():
    while True:
        time.sleep(0.001)


threading.Thread(target=late, daemon=True).start()
"""


def test_what_ends_no_process_is_noticed_once_with_its_source(app: App) -> None:
    before = """
    import sys, threading

    def tell(name):
        def hook(*args):
            kind = getattr(args[0], "exc_type", args[0])
            print(name, kind.__name__)
        return hook

    threading.excepthook, sys.unraisablehook = tell("threading"), tell("unraisable")
    """
    done = app.run(_OTHERS, before=before)
    assert done.returncode == 0, done.stderr
    assert app.errors == {
        ("OfThread", "thread"): 1,
        ("OfExecutor", "executor"): 1,
        ("OfMap", "executor"): 2,
        ("OfHeldFuture", "executor"): 1,
        ("OfTask", "asyncio"): 1,
        ("OfTaskWithHandler", "asyncio"): 1,
        ("OfExecutorOfLoop", "asyncio"): 1,
        ("OfDestructor", "unraisable"): 1,
    }
    assert app.crashes == {}
    assert app.endings == ["clean"]
    # Whoever was told before is told now.
    assert done.stdout.split("\n")[:-1] == [
        "threading OfThread",
        "threading SystemExit",
        "handler OfTaskWithHandler",
        "handler OfExecutorOfLoop",
        "unraisable OfDestructor",
    ]
    assert "Task exception was never retrieved" in done.stderr


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "number", "kind"),
    [
        ("import ctypes\ndef read():\n    ctypes.string_at(0)\nread()", signal.SIGSEGV, "SIGSEGV"),
        ("import os\ndef stop():\n    os.abort()\nstop()", signal.SIGABRT, "SIGABRT"),
    ],
)
def test_a_fatal_signal_is_told_at_the_next_start(app: App, code: str, number: int, kind: str) -> None:
    done = app.run("monitor.count('visits_saved')\nmonitor.flush(60)\n" + code)
    assert done.returncode == -number
    assert app.crashes == {}
    (left,) = app.reports.iterdir()
    assert left.stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        app.run(NOTHING)
        assert app.crashes == {("fatal_signal",): 1}
    assert app.endings == ["fatal_signal", "clean", "clean"]
    (report,) = app.reported()
    assert (report["kind"], report["error_type"], report["app_version"]) == ("fatal_signal", kind, "1.4.2")
    assert report["trace"][0].startswith("program:<module>:")
    assert report["culprit"].split(":")[1] in ("string_at", "stop")
    assert str(app.folder) not in str(report)
    ((crash, error_type, fingerprint, name),) = app.rows("SELECT id, error_type, fingerprint, report FROM rounds_crash")
    assert (crash, error_type, fingerprint) == ("run-1", kind, report["fingerprint"])
    assert [file.name for file in app.reports.iterdir()] == [name]


@pytest.mark.parametrize("code", ["import os; os._exit(0)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_an_end_without_a_word_is_an_unclean_one_at_the_next_start(app: App, code: str) -> None:
    app.run("monitor.count('visits_saved')\nmonitor.flush(60)\n" + code)
    assert app.endings == [None]
    for _ in range(2):
        app.run(NOTHING)
        assert app.crashes == {("unclean",): 1}
    assert app.endings == ["unclean", "clean", "clean"]
    assert app.rows("SELECT kind, error_type, report FROM rounds_crash") == [("unclean", "", "")]
    assert list(app.reports.iterdir()) == []
    assert app.counter("events_total") == {("visits_saved",): 1}


_WAITS = """
import time
monitor.count("visits_saved")
print("ready", flush=True)
while True:
    time.sleep(0.01)
"""


def terminate(process: subprocess.Popen[str]) -> tuple[int, str]:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    out, error = process.communicate(timeout=120)
    return process.returncode, out + error


def test_sigterm_ends_as_before_after_everything_was_stored(app: App) -> None:
    assert terminate(app.start(_WAITS)) == (-signal.SIGTERM, "")
    assert app.endings == ["sigterm"]
    assert app.counter("events_total") == {("visits_saved",): 1}
    app.run(NOTHING)
    assert app.crashes == {}


@pytest.mark.parametrize(("end", "status"), [("sys.exit(5)", 5), ("os._exit(6)", 6)])
def test_a_handler_of_sigterm_that_was_there_is_called(app: App, end: str, status: int) -> None:
    before = f"""
    import os, signal, sys

    def handler(number, frame):
        os.write(1, b"handled %d %d\\n" % (number, frame is not None))
        {end}

    signal.signal(signal.SIGTERM, handler)
    """
    assert terminate(app.start(_WAITS, before=before)) == (status, "handled 15 1\n")
    assert app.endings == ["sigterm"]
    assert app.counter("events_total") == {("visits_saved",): 1}


def test_sigterm_for_something_else_ends_no_run(app: App) -> None:
    before = """
    import os, signal
    signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"read again\\n"))
    """
    code = """
    import os, signal
    os.kill(os.getpid(), signal.SIGTERM)
    monitor.flush(60)
    import sqlite3
    print(sqlite3.connect("data/monitoring.db").execute("SELECT ending FROM rounds_run").fetchall(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    assert app.run(code, before=before).stdout == "read again\n[(None,)]\n"
    app.run(NOTHING)
    assert app.endings == ["unclean", "clean"]


def test_sigterm_that_is_ignored_stays_ignored(app: App) -> None:
    before = "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    done = app.run("os.kill(os.getpid(), signal.SIGTERM)", before=before)
    assert done.returncode == 0
    assert app.endings == ["clean"]


def test_what_kills_a_child_is_no_word_about_its_parent(app: App) -> None:
    done = app.run(
        """
        import ctypes, os, signal
        child = os.fork()
        if child == 0:
            ctypes.string_at(0)
        assert os.waitpid(child, 0)[1] & 0x7F == signal.SIGSEGV
        monitor.flush(60)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    app.run(NOTHING)
    assert app.crashes == {("unclean",): 1}


def test_a_faulthandler_of_the_application_is_left_alone(app: App) -> None:
    done = app.run("import ctypes\nmonitor.flush(60)\nctypes.string_at(0)", environment={"PYTHONFAULTHANDLER": "1"})
    assert "Fatal Python error: Segmentation fault" in done.stderr
    app.run(NOTHING)
    assert app.crashes == {("unclean",): 1}


# --- hooks come and go ------------------------------------------------------------------------------------------------


class Told:
    """What hooks tell."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, str]] = []

    def error(self, error: BaseException, source: str) -> None:
        self.errors.append((type(error).__name__, source))

    def crash(self, error: BaseException) -> None:
        self.errors.append((type(error).__name__, "crash"))

    def terminated(self) -> None:
        self.errors.append(("", "terminated"))

    def resumed(self) -> None:
        self.errors.append(("", "resumed"))


class Broken(Told):
    def error(self, error: BaseException, source: str) -> None:
        raise RuntimeError("of the monitor's own")

    def crash(self, error: BaseException) -> None:
        self.error(error, "crash")


ALL = ("sys", "threads", "executors", "asyncio", "unraisable", "sigterm")


def current() -> list[object]:
    return [
        sys.excepthook,
        threading.excepthook,
        ThreadPoolExecutor.submit,
        asyncio.BaseEventLoop.call_exception_handler,
        sys.unraisablehook,
        signal.getsignal(signal.SIGTERM),
    ]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def hooks(told: Told) -> Iterator[Hooks]:
    before = current()
    made = Hooks(told, None)
    yield made
    made.remove()
    assert current() == before


def test_hooks_are_set_once_and_put_back(hooks: Hooks) -> None:
    before = current()
    hooks.install(*ALL)
    installed = current()
    assert not [1 for ours, theirs in zip(installed, before, strict=True) if ours == theirs]
    hooks.install(*ALL)
    assert current() == installed
    hooks.remove()
    assert current() == before


def test_a_hook_that_somebody_else_has_set_meanwhile_stays(told: Told) -> None:
    hooks, before = Hooks(told, None), current()
    hooks.install(*ALL)
    ours, ours_of_threads = sys.excepthook, threading.excepthook
    called: list[object] = []

    def theirs(*args: Any) -> None:
        called.append(args)
        ours(*args)

    def theirs_of_threads(args: Any) -> None:
        called.append(args)
        ours_of_threads(args)

    sys.excepthook, threading.excepthook = theirs, theirs_of_threads
    try:
        hooks.remove()
        assert sys.excepthook is theirs
        assert threading.excepthook is theirs_of_threads
        assert current()[2:] == before[2:]
        # What they call of ours does nothing but call what was there.
        sys.excepthook(ValueError, ValueError("x"), None)
        assert told.errors == []
        assert len(called) == 1
    finally:
        sys.excepthook, threading.excepthook = before[:2]  # type: ignore[assignment]


def test_a_fault_of_the_monitors_own_reaches_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    hooks = Hooks(Broken(), None)
    hooks.install(*ALL)
    try:
        sys.excepthook(ValueError, ValueError("as before"), None)
        assert capsys.readouterr().err.splitlines()[-1] == "ValueError: as before"
    finally:
        hooks.remove()


def test_signals_can_only_be_hooked_in_the_main_thread(told: Told) -> None:
    hooks, before = Hooks(told, None), current()
    thread = threading.Thread(target=hooks.install, args=("sigterm", "threads"))
    thread.start()
    thread.join()
    assert current()[5] == before[5]
    assert current()[1] != before[1]
    hooks.remove()
    assert current() == before


def test_faulthandler_is_given_back_unless_somebody_has_enabled_it_again(told: Told, tmp_path: Path) -> None:
    was = faulthandler.is_enabled()
    faulthandler.disable()
    try:
        file = FatalFile(tmp_path / "reports", 1, 2.0)
        hooks = Hooks(told, file)
        hooks.install("faulthandler")
        assert faulthandler.is_enabled()
        assert file.path.exists()
        hooks.remove()
        assert not faulthandler.is_enabled()
        assert not file.path.exists()
        hooks = Hooks(told, file)
        hooks.install("faulthandler")
        with (tmp_path / "theirs").open("wb") as theirs:
            faulthandler.enable(theirs)
            hooks.remove()
            assert faulthandler.is_enabled()
            faulthandler.disable()
    finally:
        if was and sys.__stderr__ is not None:
            faulthandler.enable(sys.__stderr__)


# --- executors --------------------------------------------------------------------------------------------------------


@pytest.fixture
def pool(hooks: Hooks) -> Iterator[ThreadPoolExecutor]:
    hooks.install("executors")
    with ThreadPoolExecutor(2) as made:
        yield made


def raises(error: BaseException) -> None:
    raise error


def waits(event: threading.Event) -> None:
    event.wait()


def test_futures_are_what_they_were(pool: ThreadPoolExecutor, told: Told) -> None:
    future = pool.submit(raises, ValueError("x"))
    assert isinstance(future, Future)
    assert type(future).__name__ == "Future"
    with pytest.raises(ValueError, match="x"):
        future.result()
    assert repr(future).endswith("state=finished raised ValueError>")
    assert isinstance(future.exception(), ValueError)
    hanging = threading.Event()
    blocked = [pool.submit(waits, hanging) for _ in range(2)]
    late = pool.submit(waits, hanging)
    with pytest.raises(concurrent.futures.TimeoutError):
        blocked[0].result(timeout=0.001)
    assert late.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        late.result()
    hanging.set()
    assert set(concurrent.futures.wait([*blocked, late]).done) == {*blocked, late}
    called: list[Future[None]] = []
    future.add_done_callback(called.append)
    assert called == [future]
    assert list(pool.map(int, ["1", "2"])) == [1, 2]
    del future, blocked, late, called
    gc.collect()
    assert told.errors == []


def test_a_future_goes_with_who_asked_it(pool: ThreadPoolExecutor, told: Told) -> None:
    references: list[weakref.ref[Future[None]]] = []

    def made() -> Future[None]:
        future = pool.submit(raises, ValueError("x"))
        references.append(weakref.ref(future))
        return future

    gc.disable()
    try:
        with pytest.raises(ValueError, match="x"):
            made().result()
        assert isinstance(made().exception(), ValueError)
        # No cycle keeps one.
        assert eventually(lambda: [each() for each in references] == [None, None])
        assert told.errors == []
    finally:
        gc.enable()


def test_an_ignored_task_is_told_once_however_it_is_ignored(pool: ThreadPoolExecutor, told: Told) -> None:
    pool.submit(raises, ValueError("x"))
    assert eventually(lambda: told.errors == [("ValueError", "executor")])
    done = pool.submit(raises, KeyError("x"))
    concurrent.futures.wait([done])
    del done
    assert eventually(lambda: told.errors == [("ValueError", "executor"), ("KeyError", "executor")])
    pool.submit(raises, SystemExit())
    pool.submit(raises, KeyboardInterrupt())
    pool.shutdown()
    gc.collect()
    assert len(told.errors) == 2


async def test_what_a_coroutine_awaits_is_asked_for(pool: ThreadPoolExecutor, told: Told) -> None:
    with pytest.raises(ValueError, match="x"):
        await asyncio.get_running_loop().run_in_executor(pool, raises, ValueError("x"))
    gc.collect()
    assert told.errors == []


# --- the file of fatal signals ----------------------------------------------------------------------------------------

_WRITTEN = """{"app_version": "1"}
Fatal Python error: Segmentation fault

Thread 0x00007f0000000000 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 320 in wait

Current thread 0x00007f0000000001 (most recent call first):
  File "/home/ada lovelace/.venv/lib/clinic/visits.py", line 12 in save
  File "C:\\\\Users\\\\Ada Lovelace\\\\Ada Lovelace.py", line 3 in <module>

Extension modules: numpy (total: 1)
"""


def test_a_dump_becomes_names(tmp_path: Path) -> None:
    file = FatalFile(tmp_path, 7, 1700000000.25)
    assert file.path.name == "fatal_7_1700000000250.txt"
    assert file.read() is None
    file.path.write_text(_WRITTEN)
    found = file.read()
    assert found is not None
    assert (found.error_type, found.trace, found.about) == (
        "SIGSEGV",
        ["_other:<module>:3", "visits:save:12"],
        {"app_version": "1"},
    )
    assert time.time() - found.at < 60
    again = file.path.read_text().replace("line 12", "line 15")
    file.path.write_text(again)
    moved = file.read()
    assert moved is not None
    assert moved.fingerprint == found.fingerprint


@pytest.mark.parametrize(
    "content", [b"", b"{}\n", b"\xff\xfe", b"Fatal Python error: \n", b"{]\nFatal Python error: x\n"]
)
def test_a_dump_that_was_cut_short_harms_nobody(tmp_path: Path, content: bytes) -> None:
    file = FatalFile(tmp_path, os.getpid(), 1.0)
    file.path.write_bytes(content)
    found = file.read()
    assert found is None or (found.error_type, found.trace, found.about) == ("fatal", [], {})
