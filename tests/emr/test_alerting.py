"""Alerts of the application are all stored; the desktop shows some, and what it has not taken is not said of it."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rounds.emr.app import alerting, notification
from rounds.emr.app.alerting import PER_HOUR, QUIET, Alerts, Sieve
from rounds.emr.app.batch import Alert
from rounds.emr.app.scrubbing import Scrubber
from support.waiting import eventually

NASTY = [
    'it\'s "quoted"',
    "$(touch owned) `touch owned` ; touch owned | touch owned & touch owned",
    "two\nlines\tand a tab",
    "--help",
    "-u",
    "",
    "<b>bold</b> & <a href='file:///etc'>link</a>",
    "über 北京 \N{SNOWMAN}",
    "%s %n {key} {{}} \\n",
]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Shown:
    """A desktop that takes everything, or nothing."""

    def __init__(self, taken: bool = True) -> None:
        self.taken = taken
        self.said: list[tuple[str, str, str]] = []

    def __call__(self, severity: str, title: str, message: str) -> bool:
        self.said.append((severity, title, message))
        return self.taken


def alerts(stored: list[Alert], show: Callable[[str, str, str], bool], clock: Clock | None = None) -> Alerts:
    return Alerts("docassist", Scrubber(), stored.append, show=show, clock=lambda: 5.0, monotonic=clock or Clock())


def channels(stored: list[Alert]) -> list[tuple[str, tuple[str, ...]]]:
    return [(alert.severity, alert.channels) for alert in stored]


def test_all_are_stored_and_those_from_error_up_are_shown() -> None:
    stored: list[Alert] = []
    desktop = Shown()
    raised = alerts(stored, desktop)
    for severity in ("info", "warning", "error", "critical", "CRITICAL", "senseless"):
        raised.alert(severity, "Title", "Message", key="backup:old")
    assert raised.settle(10)
    assert sorted(channels(stored)) == [
        ("critical", ()),
        ("critical", ("notification",)),
        ("error", ()),
        ("error", ("notification",)),
        ("info", ()),
        ("warning", ()),
    ]
    assert desktop.said == [("error", "Title", "Message"), ("critical", "Title", "Message")]
    assert {(alert.at, alert.key, alert.title, alert.message) for alert in stored} == {(5.0, "backup:old", None, None)}


def test_after_ten_in_an_hour_only_critical_ones_are_shown_and_all_are_stored() -> None:
    stored: list[Alert] = []
    desktop, clock = Shown(), Clock()
    raised = alerts(stored, desktop, clock)
    for number in range(PER_HOUR + 3):
        raised.alert("error", f"Error {number}")
    for number in range(13):
        raised.alert("critical", f"Critical {number}")
    assert raised.settle(10)
    assert len(stored) == PER_HOUR + 3 + 13
    assert [severity for severity, _, _ in desktop.said] == ["error"] * PER_HOUR + ["critical"] * 13
    assert channels(stored)[PER_HOUR : PER_HOUR + 3] == [("error", ())] * 3
    clock.now += 3601
    raised.alert("error", "An hour later")
    assert raised.settle(10)
    assert channels(stored)[-1] == ("error", ("notification",))


def test_the_same_key_is_shown_once_in_an_hour_unless_it_gets_worse() -> None:
    stored: list[Alert] = []
    desktop, clock = Shown(), Clock()
    raised = alerts(stored, desktop, clock)
    for severity in ("error", "error", "critical", "critical"):
        raised.alert(severity, "Backup", key="backup:old")
    raised.alert("error", "Another", key="backup:new")
    assert raised.settle(10)
    assert [severity for severity, _, _ in desktop.said] == ["error", "critical", "error"]
    clock.now += QUIET + 1
    raised.alert("error", "Backup", key="backup:old")
    assert raised.settle(10)
    assert len(desktop.said) == 4
    assert len(stored) == 6


def test_what_the_desktop_did_not_take_is_not_said_of_it_and_keeps_nothing_back() -> None:
    stored: list[Alert] = []
    desktop = Shown(taken=False)
    raised = alerts(stored, desktop)
    for _ in range(PER_HOUR + 5):
        raised.alert("error", "Backup", key="backup:old")
    assert raised.settle(10)
    assert len(desktop.said) == PER_HOUR + 5
    assert set(channels(stored)) == {("error", ())}
    desktop.taken = True
    raised.alert("error", "Backup", key="backup:old")
    assert raised.settle(10)
    assert channels(stored)[-1] == ("error", ("notification",))


def test_what_fails_when_it_is_shown_is_stored() -> None:
    class Hostile:
        def __str__(self) -> str:
            raise ValueError("no text")

    def broken(*_: str) -> bool:
        raise OSError("no desktop")

    stored: list[Alert] = []
    for show, title in ((broken, "Title"), (Shown(), Hostile())):
        raised = alerts(stored, show)
        raised.alert("critical", title)
        assert raised.settle(10)
    assert channels(stored) == [("critical", ()), ("critical", ())]


def test_a_desktop_that_hangs_keeps_nothing_out_of_the_store() -> None:
    clock, hanging = Clock(), threading.Event()

    def show(*_: str) -> bool:
        hanging.wait()
        return True

    stored: list[Alert] = []
    raised = alerts(stored, show, clock)
    for _ in range(alerting.WAITING + 10):
        raised.alert("critical", "Title")
    # What no queue takes goes to the store at once, and nobody has waited for anything.
    assert len(stored) >= 9
    assert not raised.settle(0.01)
    clock.now += alerting.PATIENCE + 1
    hanging.set()
    assert raised.settle(10)
    assert len(stored) == alerting.WAITING + 10
    assert sum(alert.channels == ("notification",) for alert in stored) == 1


def test_at_the_end_what_still_waits_is_stored() -> None:
    hanging = threading.Event()

    def show(*_: str) -> bool:
        return hanging.wait()

    stored: list[Alert] = []
    raised = alerts(stored, show)
    raised.alert("error", "The one that hangs")
    assert eventually(lambda: raised._queue.qsize() == 0)
    raised.alert("critical", "The next")
    raised.abandon()
    assert channels(stored) == [("critical", ())]
    hanging.set()
    assert raised.settle(10)


def test_a_key_that_is_no_name_is_not_stored_but_tells_alerts_apart() -> None:
    stored: list[Alert] = []
    desktop = Shown()
    raised = alerts(stored, desktop)
    for key in ("patient Ada Lovelace", "patient Grace Hopper", "patient Ada Lovelace", ""):
        raised.alert("error", "Title", key=key)
    assert raised.settle(10)
    assert [alert.key for alert in stored] == ["_other", "_other", "_other", ""]
    assert len(desktop.said) == 3


def test_titles_are_stored_only_where_messages_were_opted_in() -> None:
    stored: list[Alert] = []
    raised = Alerts("docassist", Scrubber.allow(messages=True), stored.append, least=None)
    raised.alert("critical", "Title", "Message")
    assert [(alert.title, alert.message, alert.channels) for alert in stored] == [("Title", "Message", ())]


def test_a_child_has_a_thread_of_its_own() -> None:
    stored: list[Alert] = []
    raised = alerts(stored, Shown())
    raised.alert("error", "In the parent")
    assert raised.settle(10)
    child = os.fork()
    if child == 0:
        stored.clear()
        raised.alert("error", "In the child")
        os._exit(0 if raised.settle(10) and len(stored) == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_the_sieve_forgets() -> None:
    sieve = Sieve(Clock())
    for number in range(5000):
        sieve.shown("critical", f"key{number}")
    assert len(sieve._last) == 1000
    assert sieve.passes("critical", "key0")
    assert not sieve.passes("critical", "key4999")


# --- what the operating system is given -------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A notify-send that writes down its arguments, and ends as the file ``exit`` beside it says."""
    folder = tmp_path / "bin"
    folder.mkdir()
    said = tmp_path / "said"
    said.mkdir()
    script = folder / "notify-send"
    script.write_text(
        f"#!{sys.executable} -S\n"
        "import json, os, sys\n"
        f"open({str(said)!r} + f'/{{os.getpid()}}', 'w').write(json.dumps(sys.argv[1:]))\n"
        f"sys.exit(int(open({str(tmp_path / 'exit')!r}).read()))\n"
    )
    script.chmod(0o755)
    (tmp_path / "exit").write_text("0")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(program: Path) -> list[list[str]]:
    files = sorted((program / "said").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    found = [json.loads(file.read_text()) for file in files]
    for file in files:
        file.unlink()
    return found


def test_no_shell_sees_title_or_message(program: Path) -> None:
    for text in NASTY:
        assert notification.show("docassist", "critical", text, text)
        ((*options, title, message),) = said(program)
        assert options == ["--app-name", "docassist", "--urgency", "critical", "--"]
        assert title == (text or "docassist")
        assert message == text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert sorted(file.name for file in program.iterdir()) == ["bin", "exit", "said"]


def test_what_no_argument_can_hold_is_left_out(program: Path) -> None:
    assert notification.show("docassist", "error", "a\0b\x1b[31m\udc80", "long" * 1000)
    ((*_, title, message),) = said(program)
    assert title == "ab[31m?"
    assert len(message) == 1000


def test_the_channel_is_named_where_the_program_has_taken_it_and_only_there(program: Path) -> None:
    stored: list[Alert] = []
    raised = Alerts("docassist", Scrubber(), stored.append)
    raised.alert("error", "Taken")
    assert raised.settle(10)
    (program / "exit").write_text("1")
    raised.alert("critical", "Refused")
    assert raised.settle(10)
    (program / "bin/notify-send").unlink()
    raised.alert("critical", "Absent")
    assert raised.settle(10)
    assert channels(stored) == [("error", ("notification",)), ("critical", ()), ("critical", ())]


def test_a_program_that_hangs_is_ended(program: Path) -> None:
    (program / "bin/notify-send").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    assert not notification.show("docassist", "error", "Title", "", timeout=0.1)


def test_other_systems_get_title_and_message_beside_a_script_that_never_changes() -> None:
    for platform in ("darwin", "win32"):
        made = [notification.command("docassist", "error", text or "x", text, platform) for text in NASTY]
        assert None not in made
        scripts = set()
        for each, text in zip(made, NASTY, strict=True):
            assert each is not None
            if platform == "darwin":
                assert each.argv[:2] == ["/usr/bin/osascript", "-"]
                assert each.argv[2:] == [text or "x", text]
                scripts.add(each.input)
            else:
                assert json.loads(each.input.decode("ascii")) == {"title": text or "x", "message": text}
                scripts.add(" ".join(each.argv).encode())
        assert len(scripts) == 1
