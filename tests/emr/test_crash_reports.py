"""Reports of crashes: files with names and figures, in the store once, and sent when there is a network."""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import socket
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rounds.emr.app import crashes, spool
from rounds.emr.app.crashes import ACTIONS, KEPT, Actions, Folder, Report
from rounds.emr.app.monitor import Monitor
from rounds.emr.app.scrubbing import Scrubber
from support.emr_app import App
from support.emr_sink import HANG, sink
from support.waiting import eventually

CRASH = """
def save(visit):
    try:
        {}["visit"]
    except KeyError as missing:
        raise ValueError("Ada Lovelace") from missing

for number in range(25):
    monitor.action(f"step_{number}")
monitor.action("Ada Lovelace")
monitor.count("visits_saved")
save("Ada Lovelace")
"""


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(tmp_path / "app")


def submitted(app: App) -> list[int]:
    return [sent for (sent,) in app.rows("SELECT submitted FROM rounds_crash ORDER BY id")]


# --- what a report says -----------------------------------------------------------------------------------------------


def test_a_report_says_what_happened_where_and_nothing_of_people(app: App) -> None:
    began = time.time()
    done = app.run(CRASH)
    assert "ValueError: Ada Lovelace\n" in done.stderr
    (file,) = app.reports.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert app.reports.stat().st_mode & 0o777 == 0o700
    (report,) = app.reported()
    assert file.name == f"crash_{report['id']}.json"
    assert re.fullmatch(r"\d{8}_\d{6}_\d+_[0-9a-f]{8}", report["id"])
    at = datetime.fromisoformat(report["timestamp"])
    assert at.tzinfo == UTC
    assert began - 1 < at.timestamp() < time.time() + 1
    assert (report["kind"], report["error_type"], report["culprit"]) == ("python", "ValueError", "__main__:save")
    assert [line.rpartition(":")[0] for line in report["trace"]] == ["__main__:<module>", "__main__:save"]
    assert [cause["error_type"] for cause in report["causes"]] == ["KeyError"]
    assert (report["app"], report["app_version"]) == ("docassist", "1.4.2")
    assert report["python"] == platform.python_version()
    assert report["os"].startswith(platform.system())
    assert 1e6 < report["memory"]["resident_bytes"] < report["memory"]["total_bytes"]
    assert 0 < report["memory"]["available_bytes"] <= report["memory"]["total_bytes"]
    assert 0 < report["disk"]["free_bytes"] <= report["disk"]["total_bytes"]
    names = [action["name"] for action in report["recent_actions"]]
    assert names == [*(f"step_{number}" for number in range(25 - ACTIONS + 1, 25)), "_other"]
    text = file.read_text()
    for hidden in ("Lovelace", socket.gethostname(), getpass.getuser(), str(app.folder), "program.py", "/usr", "raise"):
        assert hidden not in text
    assert set(report) == {
        *("id", "timestamp", "kind", "error_type", "fingerprint", "culprit", "trace", "causes", "app", "app_version"),
        *("python", "os", "machine", "memory", "disk", "recent_actions"),
    }
    rows = app.rows("SELECT id, kind, error_type, fingerprint, report, submitted FROM rounds_crash")
    assert rows == [(report["id"], "python", "ValueError", report["fingerprint"], file.name, 0)]
    assert app.rows("SELECT fingerprint FROM rounds_error_group") == [(report["fingerprint"],)]
    assert app.counter("events_total") == {("visits_saved",): 1}


def test_operations_are_among_the_recent_actions(app: App) -> None:
    app.run("""
        @monitor.operation("search")
        def search():
            pass

        @monitor.operation("save")
        def save():
            raise ValueError("Ada Lovelace")

        for _ in range(30):
            search()
        monitor.action("print")
        save()
    """)
    (report,) = app.reported()
    done = [(action["name"], action.get("outcome")) for action in report["recent_actions"]]
    assert done == [*([("search", "ok")] * (ACTIONS - 2)), ("print", None), ("save", "error")]


def test_a_message_is_in_it_where_messages_were_opted_in(tmp_path: Path) -> None:
    with monitoring(tmp_path, Scrubber.allow(messages=True)) as monitor:
        crash(monitor, ValueError("opted in"))
    (file,) = (tmp_path / "crash_reports").iterdir()
    assert json.loads(file.read_text())["message"] == "opted in"


class monitoring:  # noqa: N801
    """A monitor until left."""

    def __init__(self, folder: Path, scrub: Scrubber | None = None) -> None:
        self.monitor = Monitor("docassist", "1", store=folder / "monitoring.db", scrub=scrub)

    def __enter__(self) -> Monitor:
        return self.monitor

    def __exit__(self, *_: object) -> None:
        self.monitor.close()


def crash(monitor: Monitor, error: BaseException) -> None:
    """What the hook does."""
    assert monitor._lookout is not None
    monitor._lookout.crash(error)


def test_two_crashes_of_a_process_in_a_second_are_two(tmp_path: Path) -> None:
    with monitoring(tmp_path) as monitor:
        for _ in range(2):
            crash(monitor, ValueError())
    reports = list((tmp_path / "crash_reports").iterdir())
    assert len(reports) == 2
    with closing(sqlite3.connect(tmp_path / "monitoring.db")) as store:
        assert {name for (name,) in store.execute("SELECT report FROM rounds_crash")} == {file.name for file in reports}
        assert store.execute("SELECT value FROM rounds_counter WHERE name = 'crashes_total'").fetchall() == [(2,)]


def test_causes_that_go_in_circles_end() -> None:
    from rounds.emr.app.lookout import _causes  # noqa: PLC0415

    first, second = ValueError(), KeyError()
    first.__cause__, second.__context__ = second, first
    assert _causes(first) == [second]
    hidden = ValueError()
    hidden.__context__, hidden.__suppress_context__ = second, True
    assert _causes(hidden) == []


_ODD = """
class Odd(Exception):
    def fail(self, *_):
        raise OSError

    __bool__ = __len__ = __hash__ = __eq__ = __str__ = __repr__ = __getattr__ = fail


raise Odd from Odd
"""


def test_an_odd_exception_is_a_crash_all_the_same(app: App) -> None:
    app.run(_ODD)
    (report,) = app.reported()
    assert (report["error_type"], report["culprit"]) == ("Odd", "__main__:<module>")
    assert [cause["error_type"] for cause in report["causes"]] == ["Odd"]
    assert app.crashes == {("python",): 1}
    assert app.endings == ["python"]


def test_little_is_better_than_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monitoring(tmp_path) as monitor:
        assert monitor._lookout is not None
        monkeypatch.delattr(monitor._lookout, "_scrub")
        crash(monitor, ValueError())
    (file,) = (tmp_path / "crash_reports").iterdir()
    report = json.loads(file.read_text())
    assert (report["error_type"], report["culprit"], report["trace"]) == ("ValueError", "_other", [])


def test_actions_are_names() -> None:
    actions = Actions(lambda: 0.0)
    for name in ("open_patient", "patient 17: Ada", None, 7):
        actions.add(name)
    assert [each["name"] for each in actions.listed()] == ["open_patient", "_other", "_other", "_other"]
    assert actions.listed()[0]["at"] == "1970-01-01T00:00:00.000Z"


# --- the folder -------------------------------------------------------------------------------------------------------


def report(at: float = 0.0) -> Report:
    return Report(crashes.new_id(at, 7), at, "python", "ValueError", "0" * 16, b'{"trace": []}')


def test_the_newest_hundred_are_kept_and_nothing_of_anyone_else_is_removed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    made = [report(at * 60.0) for at in range(KEPT + 5)]
    for each in reversed(made):
        folder.add(each)
        folder.known(each)
    theirs = {"crash_20260101_120000_17.json", "crash_notes.txt", "fatal.txt"}
    for name in theirs:
        (tmp_path / name).write_text("{}")
    folder.prune()
    assert {file.name for file in tmp_path.iterdir()} == theirs | {each.name for each in made[5:]}


_LOCKED = """
import sqlite3
import rounds.emr.app.lookout
rounds.emr.app.lookout.PATIENCE = 0.1
monitor.flush()
other = sqlite3.connect("data/monitoring.db")
other.execute("BEGIN IMMEDIATE")
"""


def test_a_crash_that_the_store_would_not_take_is_entered_at_the_next_start_and_once(app: App) -> None:
    app.run("pass")
    done = app.run(_LOCKED + CRASH, patient=False)
    assert "ValueError: Ada Lovelace\n" in done.stderr
    assert app.crashes == {}
    (left,) = app.reports.iterdir()
    assert left.name.endswith(".json.new")
    known = left.with_suffix("")
    for again in range(3):
        app.run("monitor.flush(60)")
        assert app.crashes["python",] == 1
        assert list(app.reports.iterdir()) == [known]
        if again:
            # As if the process had been killed between the row and the file's last name.
            known.rename(left)
    rows = app.rows("SELECT id, error_type FROM rounds_crash WHERE kind = 'python'")
    assert rows == [(known.name[6:-5], "ValueError")]


def test_files_that_are_no_reports_are_not_entered(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for number, text in enumerate(("", "[]", "{}", '{"timestamp": 7}', "\0", json.dumps({
        "timestamp": "2026-01-01T00:00:00Z", "kind": "python", "error_type": "Ada Lovelace", "fingerprint": "x"
    }))):  # fmt: skip
        (tmp_path / f"crash_20260101_120000_{number}_0123abcd.json.new").write_text(text)
    assert list(folder.unknown()) == []


def test_a_file_in_the_folders_place_costs_the_report_and_nothing_else(app: App) -> None:
    app.run("pass", hooks=False)
    app.reports.write_text("in the way")
    done = app.run(CRASH)
    assert done.returncode == 1
    assert "ValueError: Ada Lovelace\n" in done.stderr
    assert app.crashes == {("python",): 1}
    assert app.rows("SELECT error_type, report FROM rounds_crash") == [("ValueError", "")]
    assert app.endings == ["clean", "python"]


# --- sending ----------------------------------------------------------------------------------------------------------


def test_a_crash_is_sent_before_the_process_ends(app: App) -> None:
    with sink() as taken:
        done = app.run(CRASH, environment={"CRASH_REPORT_URL": taken.url()})
        assert done.returncode == 1
        assert eventually(lambda: submitted(app) == [1])
    assert [each.json for each in taken.got] == app.reported()


def test_crashes_of_days_offline_are_sent_in_order_later(app: App) -> None:
    with sink() as gone:
        url = gone.url()
    for _ in range(3):
        app.run(CRASH, environment={"CRASH_REPORT_URL": url})
    assert submitted(app) == [0, 0, 0]
    assert app.rows("SELECT count(*) FROM rounds_spool") == [(3,)]
    with closing(sqlite3.connect(app.store)) as store, store:
        # Days later.
        store.execute("UPDATE rounds_spool SET at = at - 5 * 86400, next_attempt = next_attempt - 5 * 86400")
    with sink(port=gone.port) as taken:
        code = """
        import sqlite3, time
        store = sqlite3.connect("data/monitoring.db")
        end = time.monotonic() + 30
        while store.execute("SELECT count(*) FROM rounds_spool").fetchone() != (0,) and time.monotonic() < end:
            time.sleep(0.02)
        """
        app.run(code, environment={"CRASH_REPORT_URL": url})
    assert [each.json["id"] for each in taken.got] == [each["id"] for each in app.reported()]
    assert submitted(app) == [1, 1, 1]


def test_what_nobody_sends_any_more_is_dropped_when_it_is_old(app: App) -> None:
    with sink() as gone:
        url = gone.url()
    app.run(CRASH, environment={"CRASH_REPORT_URL": url})
    with closing(sqlite3.connect(app.store)) as store, store:
        store.execute("UPDATE rounds_spool SET at = at - ?", (spool.AGE_MAX,))
    app.run("monitor.flush(60)")
    assert app.rows("SELECT count(*) FROM rounds_spool") == [(0,)]
    assert app.counter("telemetry_dropped_total") == {("age",): 1}
    assert submitted(app) == [0]


def test_a_destination_that_hangs_does_not_keep_the_process(app: App) -> None:
    with sink([HANG]) as taken:
        began = time.monotonic()
        done = app.run(CRASH, environment={"CRASH_REPORT_URL": taken.url()}, patient=False)
        # Far from the 30 s that an answer may take, whatever else the machine does.
        assert time.monotonic() - began < 25
    assert done.returncode == 1
    assert submitted(app) == [0]
    assert app.rows("SELECT attempts FROM rounds_spool") == [(1,)]


def test_a_fatal_signal_is_sent_at_the_next_start(app: App) -> None:
    app.run("import ctypes\nmonitor.flush(60)\nctypes.string_at(0)")
    with sink() as taken:
        code = "import time\nend = time.monotonic() + 30\nwhile time.monotonic() < end:\n    time.sleep(0.01)\n"
        process = app.start(code, environment={"CRASH_REPORT_URL": taken.url()})
        assert eventually(lambda: app.rows("SELECT submitted FROM rounds_crash WHERE kind = 'fatal_signal'") == [(1,)])
        process.kill()
        process.communicate()
    (got,) = taken.got
    assert (got.json["kind"], got.json["error_type"]) == ("fatal_signal", "SIGSEGV")


def test_nothing_is_sent_unprotected_over_a_network(app: App) -> None:
    logged = "import logging\nlogging.basicConfig()\n"
    done = app.run(CRASH, before=logged, environment={"CRASH_REPORT_URL": "http://reports.example/secret"})
    assert "their address is neither https nor on this computer" in done.stderr
    assert "reports.example" not in done.stderr
    assert app.rows("SELECT count(*) FROM rounds_spool") == [(0,)]


@pytest.fixture
def sentry(tmp_path: Path) -> dict[str, str]:
    """An environment with a package that nobody needs to import."""
    (tmp_path / "site/sentry_sdk").mkdir(parents=True)
    (tmp_path / "site/sentry_sdk/__init__.py").write_text("raise ImportError")
    package = Path(crashes.__file__).parents[3]
    return {"PYTHONPATH": os.pathsep.join([str(package), str(tmp_path / "site")]), "ENVIRONMENT": "testing"}


def test_sentry_gets_a_crash_once_and_each_error_once(app: App, sentry: dict[str, str]) -> None:
    code = """
    for number in range(3):
        for kind in (KeyError, OSError):
            try:
                raise kind("Ada Lovelace")
            except Exception as error:
                monitor.capture(error)
    raise ValueError("Ada Lovelace")
    """
    with sink() as taken:
        environment = {**sentry, "SENTRY_DSN": f"http://abc@127.0.0.1:{taken.port}/42"}
        done = app.run(code, environment=environment)
        assert done.returncode == 1
        events = [json.loads(body.split(b"\n")[2]) for body in taken.bodies]
    (fatal,) = [event for event in events if event["level"] == "fatal"]
    assert fatal["exception"]["values"][0]["type"] == "ValueError"
    assert (fatal["release"], fatal["environment"]) == ("docassist@1.4.2", "testing")
    assert fatal["fingerprint"] == [app.reported()[0]["fingerprint"]]
    others = [event["exception"]["values"][0]["type"] for event in events if event["level"] == "error"]
    assert sorted(others) == ["KeyError", "OSError"]
    assert not [body for body in taken.bodies if b"Lovelace" in body or socket.gethostname().encode() in body]
