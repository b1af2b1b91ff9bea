"""What the library says of an application that works, fails, and is killed, as the exporter tells it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from support.emr_looking import Watch

#: An application. It is given its store, and whether it comes to a bad end.
APPLICATION = """
import os, signal, sys
from rounds.emr import Monitor

monitor = Monitor("docassist", "2.1.0", store=sys.argv[1])

@monitor.operation("save_visit", slow=0.0)
def save(good):
    if not good:
        raise ValueError("Zzyzx Planted")

for number in range(10):
    try:
        save(number % 5)
    except ValueError:
        pass
monitor.count("visits_saved", 8)
monitor.gauge("active_consultations").set(2)
monitor.flush(timeout=20)
print("written", flush=True)
sys.stdin.readline()
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
monitor.close()
"""


def run(store: Path, watch: Watch, end: str) -> int:
    """Run the application to its end, with a look while it lives."""
    command = [sys.executable, "-c", APPLICATION, str(store), end]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        found = watch.look()
        assert found.one("app_running") == 1
        assert found.one("gauge", name="active_consultations") == 2
        assert found.one("app_info", version="2.1.0") == 1
        process.stdin.write("\n")
        process.stdin.close()
    return process.returncode


def test_an_application_that_ends_well_and_one_that_is_killed(tmp_path: Path) -> None:
    store = tmp_path / "events.db"
    watch = Watch(store, tmp_path)
    assert run(store, watch, "well") == 0
    found = watch.look()
    assert found.counted("operations_total") == {("save_visit", "ok"): 8, ("save_visit", "error"): 2}
    assert found.total("operation_duration_seconds", operation="save_visit") == 10
    assert found.counted("slow_operations_total") == {"save_visit": 10}
    assert found.counted("errors_total") == {("ValueError", "captured"): 2}
    assert found.counted("events_total") == {"visits_saved": 8}
    assert found.one("error_groups") == found.one("error_groups_seen_total") == 1
    assert found.one("app_running") == 0
    assert found.all("schema_problem") == {}
    assert run(store, watch, "killed") == -signal.SIGKILL
    assert watch.look().counted("crashes_total") == {}, "nobody has noticed it yet"
    assert run(store, watch, "well") == 0
    found = watch.look()
    assert found.counted("crashes_total") == {"unclean": 1}
    assert found.one("last_crash_timestamp_seconds", kind="unclean") is not None
    assert found.counted("operations_total") == {("save_visit", "ok"): 24, ("save_visit", "error"): 6}
    assert found.one("error_groups_seen_total") == 1
    assert found.one("store_replaced_total") == 0
