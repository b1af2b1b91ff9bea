"""Which errors are the same, what is noted of them, and what is not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rounds.emr import Monitor, Scrubber
from rounds.emr.app import errors
from rounds.emr.app.errors import Portrait, Portraits, look
from support.emr_monitor import Monitored, monitored

MODULE = """
import json

def check(value):
    if value == 1:
        raise ValueError("one")
    if value == 2:
        raise ValueError("two")
    return json.loads("{") if value == 3 else json.loads("[") or json.loads("{")

def save(value):
    for _ in range(1):
        check(value)

def run(value):
    save(value)
"""


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Monitored]:
    with monitored(tmp_path) as made:
        yield made


@pytest.fixture
def monitor(app: Monitored) -> Monitor:
    return app.monitor


def module(source: str, file: str = "clinic.py") -> dict[str, Any]:
    """A module of that source, as if it came from that file."""
    names: dict[str, Any] = {"__name__": "clinic"}
    exec(compile(source, file, "exec"), names)
    return names


def portrait(call: Callable[[], object]) -> Portrait:
    """What there is to say of what it raises; the test's own frame is not part of it."""
    try:
        call()
    except Exception as error:  # noqa: BLE001
        assert error.__traceback__ is not None  # noqa: PT017
        return Portraits().of(look(error, error.__traceback__.tb_next))
    raise AssertionError("nothing was raised")


def mark(source: str, value: int, file: str = "clinic.py") -> str:
    return portrait(lambda: module(source, file)["run"](value)).fingerprint


# --- fingerprints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "changed",
    [
        MODULE.replace("\n", "\n\n"),
        MODULE.replace("    if value == 1", "    # Why.\n    if value == 1"),
        MODULE.replace("import json", "import json\n\ndef other():\n    raise KeyError\n\nimport os"),
        MODULE.replace("    if value == 1", "    text = 'more'\n    number = len(text)\n    if value == 1"),
        MODULE.replace("def save(value):", "def save(value):\n    '''Saves.'''\n    kept = [value, value]"),
    ],
    ids=["blank lines", "a comment", "code above", "code in the function", "code in a caller"],
)
def test_a_fingerprint_outlasts_changes_elsewhere(changed: str, value: int) -> None:
    assert mark(changed, value) == mark(MODULE, value)


def test_a_fingerprint_does_not_depend_on_where_a_program_is_installed() -> None:
    assert mark(MODULE, 1, "/opt/docassist/clinic.py") == mark(MODULE, 1, r"C:\Users\Maria da Silva\clinic.py")


def test_a_fingerprint_is_another_for_each_place_that_raises() -> None:
    marks = {mark(MODULE, value) for value in (1, 2, 3)}
    # The first and the second call in one line.
    twice = module("import json\ndef run(value): return json.loads(value) or json.loads('{')\n")
    marks |= {portrait(lambda text=text: twice["run"](text)).fingerprint for text in ("{", "[]")}  # type: ignore[misc]
    assert len(marks) == 5
    # Lines that are equal.
    equal = module("def run(value):\n  if value:\n    raise OSError\n  else:\n    raise OSError\n")
    assert len({portrait(lambda value=value: equal["run"](value)).fingerprint for value in (0, 1)}) == 2  # type: ignore[misc]


def test_a_fingerprint_is_another_for_another_kind_and_caller() -> None:
    def raises(kind: type[Exception]) -> None:
        raise kind

    def also(kind: type[Exception]) -> None:
        raises(kind)

    class OtherError(OSError):
        pass

    kinds: tuple[type[Exception], ...] = (OSError, KeyError, OtherError)
    assert len({portrait(lambda kind=kind: raises(kind)).fingerprint for kind in kinds}) == 3  # type: ignore[misc]
    assert portrait(lambda: raises(OSError)).fingerprint != portrait(lambda: also(OSError)).fingerprint


def test_a_fingerprint_is_the_same_in_each_process(tmp_path: Path) -> None:
    constants = """
def constants(value):
    return value in {"a", "b", "c"} or (lambda: run(value))()
"""
    (tmp_path / "clinic.py").write_text(MODULE + constants, "utf-8")
    program = """
        import clinic
        from rounds.emr.app.errors import Portraits, look
        try: clinic.constants(4)
        except ValueError as error: print(Portraits().of(look(error, error.__traceback__)).fingerprint)
    """
    (tmp_path / "main.py").write_text(textwrap.dedent(program), "utf-8")
    exporter = str(Path(__file__).parents[2] / "exporter")
    command = [sys.executable, "main.py"]
    found = {
        subprocess.run(
            command, cwd=tmp_path, env={"PYTHONPATH": exporter, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert len(found.pop().strip()) == 16


def test_a_decorator_changes_no_fingerprint(monitor: Monitor) -> None:
    def inner() -> None:
        raise OSError

    bare = portrait(inner)
    decorated = portrait(monitor.operation(monitor.count("calls")(monitor.retry(1)(inner))))
    assert decorated == bare


def test_the_depth_of_a_recursion_changes_no_fingerprint() -> None:
    def down(levels: int) -> None:
        if levels:
            up(levels - 1)
        raise OSError

    def up(levels: int) -> None:
        down(levels)

    first, second = (portrait(lambda levels=levels: down(levels)) for levels in (3, 400))  # type: ignore[misc]
    assert first.fingerprint == second.fingerprint
    assert len(second.trace.splitlines()) == 100

    def endless() -> None:
        endless()

    assert portrait(endless).error_type == "RecursionError"


def test_of_a_long_trace_both_ends_are_kept() -> None:
    def bottom() -> None:
        raise OSError

    def down(levels: int) -> None:
        if levels:
            down(levels - 1)
        bottom()

    found = portrait(lambda: down(500))
    assert found.culprit.endswith(".bottom")
    lines = found.trace.splitlines()
    assert len(lines) == 100
    assert "lambda" in lines[0]
    assert ".bottom:" in lines[-1]


def test_an_exception_group_is_known_by_what_is_in_it() -> None:
    def one() -> None:
        raise OSError

    def two() -> None:
        raise KeyError

    async def fails(*calls: Callable[[], None]) -> None:
        async def task(call: Callable[[], None]) -> None:
            await asyncio.sleep(0)
            call()

        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(task(call))

    def group(*calls: Callable[[], None]) -> Portrait:
        return portrait(lambda: asyncio.run(fails(*calls)))

    found = group(one, two)
    assert found.error_type == "ExceptionGroup"
    assert group(two, one).fingerprint == found.fingerprint
    assert group(one, one).fingerprint != found.fingerprint
    assert group(one).fingerprint == group(one, one).fingerprint


def test_a_group_of_groups_without_end_is_looked_at_in_part() -> None:
    error: Exception = OSError()
    for _ in range(200):
        error = ExceptionGroup("more", [error, *(ValueError() for _ in range(50))])
    sight = look(error, None)
    assert len(sight[2]) == 10


# --- traces -----------------------------------------------------------------------------------------------------------


def test_a_trace_is_of_modules_functions_and_lines() -> None:
    found = portrait(lambda: module(MODULE, "/home/maria/clinic.py")["run"](2))
    assert found.error_type == "ValueError"
    assert found.culprit == "clinic:check"
    assert found.trace.splitlines()[-3:] == ["clinic:run:16", "clinic:save:13", "clinic:check:8"]
    assert "maria" not in found.trace


def test_frames_of_all_kinds() -> None:
    def generates() -> Iterator[int]:
        yield 1
        raise OSError

    class Patients:
        def save(self) -> None:
            list(generates())

    anonymous: Callable[[], None] = lambda: Patients().save()  # noqa: E731
    lines = [line.rpartition(":")[0].rpartition(".")[2] for line in portrait(anonymous).trace.splitlines()]
    assert lines == ["<lambda>", "save", "generates"]


def test_code_without_a_file_or_a_module() -> None:
    without = compile("def run():\n  raise OSError", "<a text about Maria>", "exec")
    names: dict[str, Any] = {}
    exec(without, names)
    strange: dict[str, Any] = {"__name__": "Maria da Silva, 1970"}
    exec(without, strange)
    stranger: dict[str, Any] = {"__name__": ["Maria"]}
    exec(without, stranger)
    for call in (names["run"], strange["run"], stranger["run"]):
        found = portrait(call)
        assert found.trace == "_other:run:2"
        assert found.culprit == "_other:run"


def test_what_c_code_raises_is_of_the_line_that_called_it(app: Monitored, monitor: Monitor) -> None:
    load = monitor.operation("load")(json.loads)
    with pytest.raises(TypeError):
        monitor.operation("length")(len)(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        load()  # type: ignore[call-arg]
    with pytest.raises(ZeroDivisionError):
        monitor.operation("divide")(lambda: 1 // 0)()
    groups = {(kind, culprit.rpartition(".")[2]) for _, kind, culprit, _, _ in app.groups()}
    # Where nothing of the application was entered, the operation is the place.
    assert groups == {("TypeError", "length"), ("TypeError", "load"), ("ZeroDivisionError", "<lambda>")}


# --- odd exceptions ---------------------------------------------------------------------------------------------------


class HostileError(Exception):
    """Raises whatever is asked of it."""

    def _raise(self, *_: object) -> Any:
        raise RuntimeError("asked")

    __str__ = __repr__ = __eq__ = __hash__ = __getattr__ = __bool__ = __len__ = __reduce__ = _raise


class UnmarkableError(Exception):
    """Has no place for a mark."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("none")

    def __setattr__(self, name: str, value: object) -> None:
        raise RuntimeError("none")


class OddType(type):
    """A kind of kinds that hides what they are called."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("none")

    def __hash__(cls) -> int:
        raise RuntimeError("none")


class OddError(Exception, metaclass=OddType):
    """Of such a kind."""


class MariaDaSilva1970ÇéError(Exception):  # noqa: PLC2401
    """Whose name is no label."""


@pytest.mark.parametrize("messages", [False, True])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (HostileError, "HostileError"),
        (UnmarkableError, "UnmarkableError"),
        (OddError, "_other"),
        (MariaDaSilva1970ÇéError, "_other"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_odd_exception_is_captured_and_leaves_as_it_came(
    tmp_path: Path, kind: type[Exception], name: str, messages: bool
) -> None:
    error = kind()

    def raises() -> None:
        raise error

    with monitored(tmp_path, scrub=Scrubber.allow(messages=messages)) as app:
        for call in (app.monitor.operation("first")(raises), app.monitor.operation("second", expected=OSError)(raises)):
            try:
                call()
            except Exception as caught:  # noqa: BLE001
                assert caught is error  # noqa: PT017
            else:
                pytest.fail("nothing was raised")
            with contextlib.suppress(kind), app.monitor.operation("block"):
                raise error
            app.monitor.capture(error)
        assert app.outcomes == {("first", "error"): 1, ("second", "error"): 1, ("block", "error"): 2}
        # One that cannot be marked is counted by each who sees it.
        assert app.errors == {(name, "captured"): 6 if kind is UnmarkableError else 1}
        assert app.grown("telemetry_dropped_total") == {}


def test_a_message_may_use_the_monitor_and_fail(tmp_path: Path) -> None:
    class FailingError(Exception):
        def __str__(self) -> str:
            with kept.monitor.operation("text"):
                raise FailingError

    with monitored(tmp_path, scrub=Scrubber.allow(messages=True)) as kept:
        with pytest.raises(FailingError), kept.monitor.operation("work"):
            raise FailingError
        assert kept.outcomes["work", "error"] == 1
        assert kept.errors["FailingError", "captured"] >= 1


def test_kinds_without_end_become_one(app: Monitored, monitor: Monitor) -> None:
    for number in range(120):
        kind = type(f"Error{number}", (Exception,), {})
        with contextlib.suppress(Exception), monitor.operation("work"):
            raise kind
    found = app.errors
    assert len(found) == 51
    assert found["_other", "captured"] == 70


# --- capturing --------------------------------------------------------------------------------------------------------


def test_capture_gives_the_fingerprint_under_which_the_error_is_stored(app: Monitored, monitor: Monitor) -> None:
    @monitor.operation
    def raises() -> None:
        raise OSError

    def passes_on() -> None:
        raises()

    found = []
    for _ in range(2):
        try:
            passes_on()
        except OSError as error:
            found += [monitor.capture(error), monitor.capture()]
    assert len(set(found)) == 1
    assert [(group[0], group[4]) for group in app.groups()] == [(found[0], 2)]
    assert monitor.capture() == ""
    assert monitor.capture(OSError("raised by nobody"), source="asyncio", operation="task") != ""
    assert app.errors == {("OSError", "captured"): 2, ("OSError", "asyncio"): 1}


def test_a_fingerprint_can_be_given(app: Monitored, monitor: Monitor) -> None:
    for number in range(3):
        error = KeyError(number) if number else OSError(number)
        assert monitor.capture(error, fingerprint="backup-missing") == "backup-missing"
        assert monitor.capture(error) == "backup-missing"
    assert [(group[0], group[4]) for group in app.groups()] == [("backup-missing", 3)]


def test_a_fingerprint_that_is_a_text_about_somebody_is_not_kept(app: Monitored, monitor: Monitor) -> None:
    mark = monitor.capture(OSError(), fingerprint="visit of Maria da Silva")
    assert len(mark) == 16
    assert [group[0] for group in app.groups()] == [mark]


def test_the_application_waits_for_no_trace(app: Monitored, monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[str] = []
    original = errors.position

    def position(*place: Any) -> str:
        painted.append(threading.current_thread().name)
        return original(*place)

    monkeypatch.setattr(errors, "position", position)

    @monitor.operation
    def raises(depth: int) -> None:
        if depth:
            raises(depth - 1)
        raise OSError

    for _ in range(500):
        with contextlib.suppress(OSError):
            raises(3)
    assert app.errors == {("OSError", "captured"): 500}
    # By the writer, once for each place.
    assert set(painted) == {"rounds-emr-writer"}
    assert len(painted) <= 2


def test_memory_of_errors_is_bounded() -> None:
    portraits = Portraits()
    for number in range(5000):
        names = module(f"def run(value):\n  raise OSError({number})\n")
        with contextlib.suppress(OSError):
            names["run"](1)
        try:
            names["run"](1)
        except OSError as error:
            portraits.of(look(error, error.__traceback__))
    assert len(portraits._portraits) <= errors._KNOWN
    assert len(portraits._positions) <= errors._KNOWN


# --- what is kept back ------------------------------------------------------------------------------------------------


def fail_with_a_name(monitor: Monitor) -> None:
    patient = {"name": "Maria da Silva"}
    try:
        with monitor.operation("save"):
            raise ValueError(f"no such patient: {patient['name']}")  # noqa: TRY301
    except ValueError as error:
        error.add_note("a note about Maria")
        with contextlib.suppress(KeyError), monitor.operation("load"):
            raise KeyError("Maria") from error


def test_nothing_about_people_is_stored(app: Monitored, monitor: Monitor) -> None:
    fail_with_a_name(monitor)
    assert app.errors == {("ValueError", "captured"): 1, ("KeyError", "captured"): 1}
    assert app.rows("SELECT DISTINCT message FROM rounds_error_group") == [(None,)]
    monitor.close(10)
    for file in app.store.parent.iterdir():
        if file.is_file():
            assert b"Maria" not in file.read_bytes()


def test_messages_are_stored_where_that_was_asked_for(tmp_path: Path) -> None:
    with monitored(tmp_path, scrub=Scrubber.allow(messages=True)) as app:
        fail_with_a_name(app.monitor)
        app.monitor.capture(OSError("x" * 5000 + "\udc80"))
        app.monitor.capture(OSError("half \udc80 of a pair"), operation="other")
        found = {str(message) for (message,) in app.rows("SELECT message FROM rounds_error_group")}
        assert found == {"no such patient: Maria da Silva", "'Maria'", "x" * 500, "half ? of a pair"}


def test_what_a_scrubber_lets_pass() -> None:
    scrub = Scrubber.allow()
    assert scrub.message("Maria") is None
