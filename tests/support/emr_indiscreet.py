# ruff: noqa: TRY301, BLE001, N818, PLW0108  # as programs are that talk too much
"""A program that puts a patient's name wherever a program can put one, and uses everything the library has."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import functools
import logging
import os
import sqlite3
import sys
import threading
import urllib.request
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rounds.emr import Health, Monitor, Scrubber, init_monitoring, monitor_all, retry_with_monitoring
from rounds.emr import alert_on_failure as alerting_on_failure
from rounds.emr.app import lookout

PATIENT = os.environ["PATIENT"]
RECORD: dict[str, Any] = {"patient": {"name": PATIENT, "visits": [{"note": f"seen: {PATIENT}", PATIENT: 1}]}}

logging.basicConfig(filename="log.txt", level=logging.DEBUG)
logging.captureWarnings(True)
# What the program itself writes down is its own affair.
for name in ("asyncio", "concurrent.futures", "py.warnings"):
    logging.getLogger(name).propagate = False


class Talkative(Exception):
    """Shows what it is about in every way that an exception has."""

    def __init__(self, record: object) -> None:
        super().__init__(record, PATIENT)
        self.patient = PATIENT
        self.add_note(f"while working for {PATIENT}")

    def __str__(self) -> str:
        return f"cannot save {PATIENT}"

    __repr__ = __str__


class Hostile:
    """Fails with the name wherever it is looked at."""

    def _fail(self, *_: object) -> Any:
        raise ValueError(PATIENT)

    __str__ = __repr__ = __hash__ = __eq__ = __len__ = __bool__ = __format__ = __float__ = __int__ = _fail


def of_sql() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as clinic:
        clinic.execute("CREATE TABLE patients (name TEXT UNIQUE)")
        clinic.execute("INSERT INTO patients VALUES (?)", (PATIENT,))
        clinic.execute("INSERT INTO patients VALUES (?)", (PATIENT,))


def of_sql_text() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as clinic:
        clinic.execute(f"SELECT * FROM patients WHERE name = '{PATIENT}' {PATIENT}")


def of_url() -> None:
    urllib.request.urlopen(f"http://127.0.0.1:1/patients?name={PATIENT}")


def of_url_that_fails() -> None:
    urllib.request.urlopen(f"http://127.0.0.1:1/patients/{PATIENT.replace(' ', '%20')}", timeout=1)


def of_path() -> None:
    Path(f"data/letters/{PATIENT}.pdf").read_bytes()


def of_locals() -> None:
    patient, record = PATIENT, RECORD
    assert not (patient and record), f"{patient} {record}"


def of_chain() -> None:
    try:
        raise Talkative(RECORD)
    except Talkative as cause:
        try:
            raise KeyError(PATIENT) from cause
        except KeyError:
            raise RuntimeError(f"{RECORD}") from None


def of_group() -> None:
    raise ExceptionGroup(PATIENT, [Talkative(RECORD), ExceptionGroup(PATIENT, [ValueError(PATIENT)])])


def of_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.warn(f"no birthday: {PATIENT}", stacklevel=1)


def of_code() -> None:
    exec(
        compile(f"def saved():\n  raise ValueError('{PATIENT}')\nsaved()", f"{PATIENT}.py", "exec"),
        {"__name__": PATIENT},
    )


def of_type() -> None:
    raise type(f"About {PATIENT}", (Exception,), {"__module__": PATIENT})(PATIENT)


def of_hostile() -> None:
    raise Talkative(Hostile())


FAILURES = [
    *(of_sql, of_sql_text, of_url, of_url_that_fails, of_path, of_locals, of_chain, of_group, of_warning, of_code),
    *(of_type, of_hostile),
]


def use(monitor: Monitor) -> None:
    """Everything that a monitor offers, each with the name in it."""
    monitor.action(PATIENT)
    monitor.action(f"open {PATIENT}")
    for fail in FAILURES:
        with contextlib.suppress(BaseException), monitor.operation(f"save {PATIENT}"):
            fail()
        with contextlib.suppress(BaseException):
            monitor.operation(fail.__name__)(fail)()
        try:
            fail()
        except BaseException as error:
            monitor.capture(error, operation=f"save {PATIENT}", fingerprint=PATIENT)
        monitor.alert("critical", f"{fail.__name__} {PATIENT}", f"{RECORD}", key=f"patient {PATIENT}")
    for odd in (PATIENT, f"saved {PATIENT}", Hostile(), RECORD, PATIENT.encode(), None):
        for say in (
            lambda value: monitor.count(value),
            lambda value: monitor.count("visits_saved", value),
            lambda value: monitor.gauge(value).set(1),
            lambda value: monitor.gauge("active_consultations").set(value),
            lambda value: monitor.timing(value, 0.1),
            lambda value: monitor.timing("search", 0.1, value),
            lambda value: monitor.message(value),
            lambda value: monitor.alert(value, value, value, key=value),
            lambda value: monitor.action(value),
        ):
            say(odd)

    @monitor.retry(attempts=2, delay=0.001, name=PATIENT)
    def retried() -> None:
        raise Talkative(RECORD)

    with contextlib.suppress(Talkative):
        retried()

    @monitor.check(PATIENT, interval=3600)
    def check() -> Health:
        raise Talkative(RECORD)

    @monitor.check("letters", interval=3600)
    def other_check() -> Health:
        return Health.degraded(f"no letter for {PATIENT}", reason=f"letter {PATIENT}")

    @monitor.operation
    def generator(patient: str) -> Iterator[str]:
        yield patient
        raise Talkative(RECORD)

    @monitor.operation
    async def awaited(patient: str) -> None:
        raise Talkative(patient)

    with contextlib.suppress(Talkative):
        list(generator(PATIENT))
    with contextlib.suppress(Talkative):
        asyncio.run(awaited(PATIENT))


def use_existing() -> None:
    """The same with the names that the existing program has."""
    system = init_monitoring("data/monitoring.db", None, "1", app="docassist", scrub=Scrubber.allow())
    system.set_user(PATIENT, {"doctor": PATIENT, "patient_id": PATIENT, "nested": RECORD}, clinic=PATIENT)
    tracker: Any = system.error_tracker
    tracker.set_user(PATIENT, {"name": PATIENT})
    for fail in FAILURES:
        for decorate in (
            monitor_all(f"save {PATIENT}"),
            monitor_all,
            alerting_on_failure(title_template=f"{PATIENT} {{error}}", message_template="{error} {function_name}"),
            retry_with_monitoring(max_attempts=1),
        ):
            decorated: Any = decorate(functools.wraps(fail)(lambda fail=fail: fail()))
            with contextlib.suppress(BaseException):
                decorated()
        try:
            fail()
        except BaseException as error:
            tracker.capture_exception(error, context={"patient": RECORD}, tags={"patient": PATIENT})
    tracker.capture_message(f"saved {PATIENT}", level="info", context=RECORD)
    tracker.capture_message(f"saved {PATIENT}", level=PATIENT)
    metrics: Any = system.metrics
    metrics.record_timing(f"save {PATIENT}", 5, tags={"patient": PATIENT})
    metrics.record_count(f"saved {PATIENT}", 1, tags={PATIENT: "1"})
    metrics.record_gauge(f"open {PATIENT}", 1, tags=RECORD)
    alerting: Any = system.alerting
    alerting.alert("error", f"Backup of {PATIENT}", f"{RECORD}")
    system.stop()


def use_hooks() -> None:
    """What nobody catches."""
    thread = threading.Thread(target=of_chain, name=PATIENT, args=())
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1, thread_name_prefix=PATIENT) as pool:
        pool.submit(of_group)

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(asyncio.to_thread(of_sql), name=PATIENT)
        await asyncio.wait([task])

    asyncio.run(main())

    class Forgotten:
        patient = PATIENT

        def __del__(self) -> None:
            raise Talkative(RECORD)

    Forgotten()
    sys.stderr.flush()


def main(ending: str) -> None:
    """Use everything, and end."""
    use_existing()
    monitor = Monitor("docassist", "1", store="data/monitoring.db", listen="127.0.0.1:0", scrub=Scrubber.allow())
    # However busy the machine is.
    lookout.PATIENCE = 60
    atexit.register(monitor.close, 60)
    monitor.install_hooks()
    use(monitor)
    use_hooks()
    monitor.flush(60)
    Path("metrics.txt").write_bytes(urllib.request.urlopen(f"http://127.0.0.1:{monitor.port}/metrics").read())
    if ending == "fatal":
        patient = PATIENT
        ctypes.string_at(0)
        assert patient
    local = RECORD
    assert local
    of_chain()


if __name__ == "__main__":
    main(sys.argv[1])
