"""What is to be sent survives days without a network, within bounds, and goes in order to who takes it."""

from __future__ import annotations

import json
import sqlite3
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from rounds.emr.app import sending, sentry, spool
from rounds.emr.app.sending import Answer, Sender, Target, allowed, post
from rounds.emr.app.spool import Spool, Waiting, transaction
from rounds.emr.app.store import Store
from support.certificates import Authority
from support.emr_sink import HANG, Sink, sink
from support.waiting import eventually


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "monitoring.db"
    store = Store(made, "docassist")
    assert store.open()
    store.close()
    return made


def add(path: Path, *bodies: bytes, kind: str = "crash", at: float | None = None) -> None:
    with transaction(path) as connection:
        for body in bodies:
            name = body.decode()[:50]
            connection.execute(
                "INSERT OR IGNORE INTO rounds_crash (id, at, kind, error_type, fingerprint, report)"
                " VALUES (?, 0, 'python', '', '', '')",
                (name,),
            )
            spool.add(connection, time.time() if at is None else at, kind, name, body)


def ask(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def waiting(path: Path) -> list[str]:
    return [bytes(body).decode() for (body,) in ask(path, "SELECT body FROM rounds_spool ORDER BY id")]


def submitted(path: Path) -> list[object]:
    return [name for (name,) in ask(path, "SELECT id FROM rounds_crash WHERE submitted = 1 ORDER BY id")]


def dropped(path: Path) -> dict[str, object]:
    rows = ask(path, "SELECT labels, value FROM rounds_counter WHERE name = 'telemetry_dropped_total'")
    return {json.loads(str(labels))[0]: value for labels, value in rows}


# --- the spool --------------------------------------------------------------------------------------------------------


def test_rows_beyond_a_number_are_dropped_oldest_first_and_counted(path: Path) -> None:
    add(path, *(b"%03d" % number for number in range(spool.ROWS_MAX + 3)))
    assert waiting(path) == [f"{number:03}" for number in range(3, spool.ROWS_MAX + 3)]
    assert dropped(path) == {"size": 3}


def test_bytes_beyond_a_limit_are_dropped_oldest_first_and_counted(path: Path) -> None:
    third = spool.BYTES_MAX // 3
    add(path, b"a" * third, b"b" * third, b"c" * third, b"d" * third)
    assert [body[0] for body in waiting(path)] == ["b", "c", "d"]
    add(path, b"e" * (spool.BYTES_MAX + 1))
    assert [body[0] for body in waiting(path)] == ["b", "c", "d"], "what can never fit drives nothing out"
    assert dropped(path) == {"size": 2}


def test_rows_beyond_an_age_are_dropped_and_counted(path: Path) -> None:
    now = time.time()
    add(path, b"old", at=now - spool.AGE_MAX - 1)
    add(path, b"days old", at=now - 5 * 86_400)
    taken = Spool(path).take("crash", now)
    assert isinstance(taken, Waiting)
    assert waiting(path) == ["days old"]
    assert dropped(path) == {"age": 1}


def test_a_row_that_was_taken_is_not_given_to_another_process(path: Path) -> None:
    add(path, b"one", b"two")
    here, there = Spool(path), Spool(path)
    now = time.time()
    taken = here.take("crash", now)
    assert isinstance(taken, Waiting)
    assert taken.body == b"one"
    # The second row is not sent before the first.
    wait = there.take("crash", now)
    assert isinstance(wait, float)
    assert 0 < wait <= spool.LEASE
    # Who took it was killed.
    again = there.take("crash", now + spool.LEASE + 1)
    assert isinstance(again, Waiting)
    assert (again.body, again.attempts) == (b"one", 2)


def test_a_clock_that_was_set_back_puts_nothing_off_for_ever(path: Path) -> None:
    add(path, b"one")
    future = time.time() + 10 * 365 * 86_400
    with transaction(path) as connection:
        connection.execute("UPDATE rounds_spool SET next_attempt = ?", (future,))
    assert isinstance(Spool(path).take("crash", time.time()), Waiting)


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        Spool(tmp_path / "absent.db").take("crash", time.time())
    assert list(tmp_path.iterdir()) == []


# --- sending ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def senders() -> Iterator[list[Sender]]:
    started: list[Sender] = []
    yield started
    for sender in started:
        sender.stop()


def start(senders: list[Sender], path: Path, *targets: Target, timeout: float = 30.0, delay: float = 0.05) -> Sender:
    sender = Sender(Spool(path), targets, first_delay=delay, timeout=timeout)
    senders.append(sender)
    sender.start()
    return sender


def free_port() -> int:
    with sink() as gone:
        return gone.port


def test_what_was_said_offline_is_sent_in_order_once_there_is_a_network(path: Path, senders: list[Sender]) -> None:
    port = free_port()
    add(path, b"one", b"two", b"three")
    sender = start(senders, path, Target("crash", f"http://127.0.0.1:{port}/reports"))
    assert eventually(lambda: ask(path, "SELECT max(attempts) FROM rounds_spool") >= [(2,)])
    assert waiting(path) == ["one", "two", "three"]
    assert submitted(path) == []
    with sink(port=port) as taken:
        sender.kick()
        assert eventually(lambda: waiting(path) == [])
    assert taken.bodies == [b"one", b"two", b"three"]
    assert {each.headers["Content-Type"] for each in taken.got} == {"application/json"}
    assert submitted(path) == ["one", "three", "two"]
    assert dropped(path) == {}


def test_the_next_process_sends_what_this_one_could_not(path: Path, senders: list[Sender]) -> None:
    add(path, b"one")
    with sink() as taken:
        start(senders, path, Target("crash", taken.url()))
        assert eventually(lambda: submitted(path) == ["one"])


@pytest.mark.parametrize("status", [302, 408, 429, 500, 503])
def test_an_answer_that_may_change_is_asked_for_again(path: Path, senders: list[Sender], status: int) -> None:
    add(path, b"one", b"two")
    with sink([(status, {"Location": "/login"}), (status, {})]) as taken:
        start(senders, path, Target("crash", taken.url()))
        assert eventually(lambda: waiting(path) == [])
    assert taken.bodies == [b"one", b"one", b"one", b"two"]
    assert {each.path for each in taken.got} == {"/reports"}
    assert dropped(path) == {}


def test_a_refusal_is_given_up_and_counted_and_the_next_is_sent(path: Path, senders: list[Sender]) -> None:
    add(path, b"one", b"two")
    with sink([(400, {})]) as taken:
        start(senders, path, Target("crash", taken.url()))
        assert eventually(lambda: waiting(path) == [])
    assert taken.bodies == [b"one", b"two"]
    assert submitted(path) == ["two"]
    assert dropped(path) == {"error": 1}


def test_a_destination_that_says_nothing_is_left_and_tried_again(path: Path, senders: list[Sender]) -> None:
    add(path, b"one")
    with sink([HANG]) as taken:
        start(senders, path, Target("crash", taken.url()), timeout=0.5)
        assert eventually(lambda: submitted(path) == ["one"])
    assert len(taken.bodies) >= 2
    assert set(taken.bodies) == {b"one"}


@pytest.mark.parametrize("status", [429, 503])
def test_a_destination_says_how_long_to_wait(path: Path, senders: list[Sender], status: int) -> None:
    add(path, b"one")
    with sink([(status, {"Retry-After": "300"})]) as taken:
        sender = start(senders, path, Target("crash", taken.url()))
        assert eventually(lambda: bool(taken.got))
        assert sender.settle(10)
        ((due,),) = ask(path, "SELECT next_attempt FROM rounds_spool")
    assert isinstance(due, float)
    assert 290 < due - time.time() <= 300


def test_waiting_doubles_up_to_an_hour(path: Path, senders: list[Sender]) -> None:
    def waits(attempts: int, least: float, most: float) -> None:
        with transaction(path) as connection:
            connection.execute("UPDATE rounds_spool SET attempts = ?, next_attempt = 0", (attempts,))
        sender = Sender(Spool(path), [target], first_delay=5.0)
        before = time.time()
        taken = sender._spool.take("crash", before)
        assert isinstance(taken, Waiting)
        sender._send(target, taken)
        ((due,),) = ask(path, "SELECT next_attempt FROM rounds_spool")
        assert before + least <= due <= time.time() + most

    target = Target("crash", f"http://127.0.0.1:{free_port()}/")
    add(path, b"one")
    waits(0, 4, 6)
    waits(2, 16, 24)
    waits(30, 0.8 * 3600, 1.2 * 3600)
    waits(10_000, 0.8 * 3600, 1.2 * 3600)


def test_kinds_do_not_wait_for_each_other(path: Path, senders: list[Sender]) -> None:
    add(path, b"one")
    add(path, b"event", kind="sentry")
    with sink() as taken:
        unreachable = Target("crash", f"http://127.0.0.1:{free_port()}/")
        start(senders, path, unreachable, Target("sentry", taken.url("/events")))
        assert eventually(lambda: waiting(path) == ["one"])
    assert taken.bodies == [b"event"]


def test_only_protected_addresses_are_sent_to() -> None:
    good = ["https://reports.example/a", "http://localhost:1/", "http://127.0.0.9/", "http://[::1]:8/"]
    bad = ["http://reports.example/", "file:///a", "ftp://127.0.0.1/", "", "https://", "https://u:p@h/", "https://h:x/"]
    assert [url for url in good if not allowed(url)] == []
    assert [url for url in bad if allowed(url)] == []


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority()
    with sink(tls=authority.issue("127.0.0.1").server_context()) as taken:
        target = Target("crash", taken.url().replace("http:", "https:"))
        # As programs do that switch the checks off for themselves.
        monkeypatch.setattr(ssl, "_create_default_https_context", ssl._create_unverified_context)
        assert post(target, b"one", 5.0) == Answer(0)
        assert taken.got == []
        (tmp_path / "authority.pem").write_text(authority.cert)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        assert post(target, b"one", 5.0) == Answer(200)
        assert taken.bodies == [b"one"]


def test_no_proxy_sees_what_stays_on_the_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with sink() as taken:
        assert post(Target("crash", taken.url()), b"one", 2.0) == Answer(200)


def test_times_to_wait_are_read() -> None:
    assert sending.retry_after({"Retry-After": "12.5"}) == 12.5
    assert sending.retry_after({"Retry-After": "-1"}) == 0
    assert sending.retry_after({}) is None
    assert sending.retry_after({"Retry-After": "soon"}) is None
    found = sending.retry_after({"Retry-After": formatdate(time.time() + 100, usegmt=True)})
    assert found is not None
    assert 97 < found <= 100


# --- Sentry -----------------------------------------------------------------------------------------------------------


def test_a_dsn_is_taken_apart() -> None:
    dsn = sentry.parse("https://abc123@sentry.example:9000/prefix/42")
    assert dsn == sentry.Dsn("https://sentry.example:9000/prefix/api/42/envelope/", "abc123")
    for bad in ("", "https://sentry.example/42", "https://abc@sentry.example/", "http://abc@sentry.example/42", "abc"):
        assert sentry.parse(bad) is None


def test_sentry_is_used_where_it_is_installed_and_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environment = {"SENTRY_DSN": "https://abc@sentry.example/42"}
    monkeypatch.syspath_prepend(str(tmp_path))
    assert sentry.configured(environment) is None, "sentry_sdk is not installed"
    (tmp_path / "sentry_sdk.py").write_text("raise AssertionError('nobody needs to import it')")
    assert sentry.configured(environment) is not None
    assert sentry.configured({}) is None
    assert sentry.configured({"SENTRY_DSN": "http://abc@sentry.example/42"}) is None
    assert caplog.messages == ["Sentry is not used: its DSN is none, or neither https nor on this computer"]


def event(level: str = "error") -> sentry.Event:
    trace = ["clinic.app:main:10", "clinic.visits:Visit.save:31", "senseless"]
    return sentry.Event(1.5, "ValueError", "0" * 16, trace, level, "docassist@1.2", "production", "Linux 6", "3.11.9")


def test_an_event_is_an_envelope_of_names() -> None:
    head, item, payload, end = sentry.envelope(event("fatal")).split(b"\n")
    assert end == b""
    contents = json.loads(payload)
    assert json.loads(item) == {"type": "event", "content_type": "application/json", "length": len(payload)}
    assert json.loads(head)["event_id"] == contents["event_id"]
    assert len(contents["event_id"]) == 32
    (error,) = contents["exception"]["values"]
    assert error["type"] == "ValueError"
    assert error["mechanism"]["handled"] is False
    assert [(frame["module"], frame["function"], frame["lineno"]) for frame in error["stacktrace"]["frames"]] == [
        ("clinic.app", "main", 10),
        ("clinic.visits", "Visit.save", 31),
    ]
    assert contents["timestamp"] == "1970-01-01T00:00:01.500000Z"
    assert set(contents).isdisjoint({"server_name", "user", "message", "breadcrumbs", "request", "extra"})
    assert "value" not in error


def test_events_go_through_the_spool_and_keep_to_rate_limits(path: Path, senders: list[Sender]) -> None:
    add(path, b"one", b"two", kind="sentry")
    limits = {"X-Sentry-Rate-Limits": "60:transaction:key, 2700:default;error:organization"}
    with sink([(200, limits)]) as taken:
        dsn = sentry.parse(f"http://abc@127.0.0.1:{taken.port}/42")
        assert dsn is not None
        sender = start(senders, path, sentry.target(dsn))
        assert eventually(lambda: waiting(path) == ["two"])
        assert sender.settle(10)
        sender.kick()
        assert sender.settle(10)
        assert taken.bodies == [b"one"], "the answer wanted no more for 45 minutes"
    assert taken.got[0].path == "/api/42/envelope/"
    assert (
        taken.got[0].headers["X-Sentry-Auth"] == "Sentry sentry_version=7, sentry_client=rounds-emr/1, sentry_key=abc"
    )
    assert taken.got[0].headers["Content-Type"] == "application/x-sentry-envelope"


def test_a_rate_limited_event_is_kept(path: Path, senders: list[Sender]) -> None:
    add(path, b"one", kind="sentry")
    with sink([(429, {"Retry-After": "60"})]) as taken:
        dsn = sentry.parse(f"http://abc@127.0.0.1:{taken.port}/42")
        assert dsn is not None
        start(senders, path, sentry.target(dsn))
        assert eventually(lambda: ask(path, "SELECT attempts FROM rounds_spool") == [(1,)])
        assert eventually(lambda: bool(taken.got))
    assert waiting(path) == ["one"]
    assert dropped(path) == {}


def test_rate_limits_are_read() -> None:
    assert sentry.pause({}) is None
    assert sentry.pause({"X-Sentry-Rate-Limits": "60::organization"}) == 60
    assert sentry.pause({"X-Sentry-Rate-Limits": "60:transaction;session:key"}) is None
    assert sentry.pause({"X-Sentry-Rate-Limits": "nonsense, 5:error:key", "Retry-After": "7"}) == 7


def test_a_sink_can_be_used_twice() -> None:
    """The server that the tests above rely on lets go of its port."""
    with sink() as first:
        port = first.port
    with sink(port=port) as second:
        assert isinstance(second, Sink)
