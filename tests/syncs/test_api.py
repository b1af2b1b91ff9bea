"""Reading a log through an HTTP API, from a real server."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import pytest

from rounds.databases.databases import Databases
from rounds.errors import CollectorError
from rounds.sources import HttpSource
from rounds.syncs.api import LARGEST_ANSWER
from rounds.syncs.config import Sync
from rounds.syncs.log import Log
from rounds.syncs.reading import Reading
from support.certificates import Authority
from support.databases import databases_for
from support.servers import Answer, HttpServer, Listener, redirect, reply

NOW = 1_780_000_000
TOKEN = "token of the tests"


def row(number: int, **values: Any) -> dict[str, Any]:
    """A row as the existing program's API shows it."""
    return {
        "id": f"00000000-0000-4000-8000-{number:012}",
        "organization_id": "org_1",
        "source_system": "cliniko",
        "operation_type": "full_patients",
        "status": "completed",
        "records_processed": 648,
        "records_success": 640,
        "records_failed": 8,
        "error_details": {},
        "started_at": f"2026-05-28T{number:02}:00:00+00:00",
        "completed_at": None,
        "updated_at": None,
        "metadata": {"step": "completed"},
        **values,
    }


def logs(*rows: Any) -> bytes:
    return reply(body=json.dumps({"organization_id": "x", "logs": rows, "total_logs": len(rows)}).encode())


def sync_of(*organizations: str, **keys: Any) -> Sync:
    given = {"api": "logs", "organizations": {"only": list(organizations)}, "timeout": "5s", **keys}
    return Sync.model_validate({"name": "cliniko", "source": "api", **given})


class Asked:
    """A reading of an API, and what the exporter knows of its source."""

    def __init__(self, url: str, sync: Sync, **keys: Any) -> None:
        source = HttpSource.model_validate({"kind": "http", "url": url, "token": TOKEN, **keys})
        self.databases: Databases = databases_for({"api": source})
        self.reading = Reading(sync, self.databases)

    async def look(self, use: Callable[[Log], Any] = lambda log: list(log.recent(0, 1000))) -> Any:
        """What a look gives, made in a thread of its own."""

        def work() -> Any:
            with self.reading.open() as log:
                return use(log)

        return await asyncio.to_thread(work)

    async def error(self) -> CollectorError:
        """How a look fails; nothing secret is in its text."""
        with pytest.raises(CollectorError) as caught:
            await self.look()
        assert TOKEN not in str(caught.value)
        assert "Somebody" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        return caught.value

    @property
    def up(self) -> bool | None:
        return self.databases.health["api"].up


@asynccontextmanager
async def api(
    pages: bytes | Answer | Mapping[str, bytes | Answer], *organizations: str, **keys: Any
) -> AsyncIterator[tuple[HttpServer, Asked]]:
    """A server and a reading of it; organisations are ``org_1`` unless named."""
    async with HttpServer(dict(pages) if isinstance(pages, Mapping) else pages) as server:
        yield server, Asked(server.url, sync_of(*(organizations or ("org_1",)), **keys))


async def test_rows_are_read_through_the_endpoint_of_logs() -> None:
    async with api(logs(row(1), row(3, status="RUNNING", metadata='{"step": "x"}'), row(2))) as (server, asked):
        found = await asked.look()
        assert [each.id[-1] for each in found] == ["3", "2", "1"]
        newest = found[0]
        assert (newest.status, newest.organization, newest.metadata) == ("running", "org_1", {"step": "x"})
        assert (newest.processed, newest.succeeded, newest.failed, newest.details) == (648, 640, 8, {})
        [request] = server.requests
        assert request.target == "/api/v1/cliniko/sync-logs/org_1?limit=50"
        assert request.header("Authorization") == f"Bearer {TOKEN}"
        assert asked.databases.health["api"].queries == 1
        assert asked.up is True


async def test_rows_are_read_through_the_endpoint_of_the_status() -> None:
    answer = {"total_patients": 648, "sync_logs": [row(1, id=7)], "health_check": {"Somebody": 1}}
    async with api(reply(body=json.dumps(answer).encode()), api="status") as (server, asked):
        assert [each.id for each in await asked.look()] == ["7"]
        target = "/api/v1/cliniko/status/org_1?include_logs=true&include_health_check=false&logs_limit=50"
        assert server.targets == [target]


async def test_a_look_answers_everything_out_of_one_request() -> None:
    rows = [row(1), row(2), row(3), row(4, started_at=None), row(2)]

    def use(log: Log) -> Any:
        glimpses = list(log.glimpses(since))
        return (
            [(each.id[-1], each.started is None) for each in glimpses],
            [each.id[-1] for each in log.recent(0, 2)],
            [each.id[-1] for each in log.records([rows[2]["id"], "gone", rows[0]["id"], rows[2]["id"]])],
            log.now(),
        )

    async with api(logs(*rows)) as (server, asked):
        since = (await asked.look())[1].started
        glimpses, recent, records, now = await asked.look(use)
        assert glimpses == [("4", True), ("2", False), ("3", False)]
        assert recent == ["3", "2"]
        assert records == ["3", "1"]
        assert abs(now - time.time()) < 60
        assert len(server.requests) == 2


async def test_rows_of_another_system_are_left_out_and_names_are_configured() -> None:
    rows = [row(1), row(2, source_system="clerk"), row(3, source_system=None)]
    async with api(logs(*rows)) as (_, asked):
        assert [each.id[-1] for each in await asked.look()] == ["3", "1"]
    async with api(logs(*rows), source_system=None) as (_, asked):
        assert len(await asked.look()) == 3
    renamed = [{"key": 1, "begun": NOW, "state": "failed", "what": "sync_patients"}]
    columns = {"id": "key", "started_at": "begun", "status": "state", "operation_type": "what"}
    async with api(logs(*renamed), columns=columns) as (_, asked):
        [found] = await asked.look()
        assert (found.id, found.started, found.status, found.operation) == ("1", NOW, "failed", "sync_patients")
        problems = await asked.look(lambda log: log.problems)
        assert {"no column metadata", "no column completed_at"} <= problems


HOSTILE = ["..", ".", "a/b", "../../admin", "a?b=c#d", "a b%2F%", "Zoë\n", '{}"\\', "%2e%2e"]


async def test_an_organization_is_one_part_of_the_path_whatever_it_holds() -> None:
    async with api(logs(row(1)), *HOSTILE) as (server, asked):
        await asked.look()
        parts = [each.partition("?")[0].removeprefix("/api/v1/cliniko/sync-logs/") for each in server.targets]
        assert all(part and not set(part) & set("/?#. ") for part in parts), parts
        assert {unquote(part) for part in parts} == set(HOSTILE)


async def test_what_the_url_has_besides_is_kept() -> None:
    async with HttpServer(logs(row(1))) as server:
        for end in ("/base", "/base/"):
            await Asked(f"{server.url}{end}?key=1", sync_of("org_1")).look()
        assert set(server.targets) == {"/base/api/v1/cliniko/sync-logs/org_1?key=1&limit=50"}


async def test_each_organization_has_its_own_rows_whatever_they_say() -> None:
    pages = {
        "/api/v1/cliniko/sync-logs/a": logs(row(1, organization_id="b")),
        "/api/v1/cliniko/sync-logs/b": logs(row(2, organization_id=None)),
        "/api/v1/cliniko/sync-logs/c": logs(),
    }
    async with api(pages, "a", "b", "c") as (_, asked):
        assert [each.organization for each in await asked.look()] == ["b", "a"]
        assert asked.databases.health["api"].queries == 3
        assert await asked.look(lambda log: log.problems) == set()


async def test_an_organization_that_is_not_known_hurts_no_other() -> None:
    pages = {"/api/v1/cliniko/sync-logs/a": logs(row(1)), "*": reply(404, b"Somebody")}
    async with api(pages, "a", "b") as (_, asked):
        assert [each.organization for each in await asked.look()] == ["a"]
        assert await asked.look(lambda log: log.problems) == {"no logs of an organization"}
    async with api(pages, "b", "c") as (_, asked):
        error = await asked.error()
        assert error.reason == "query"
        assert "404" in str(error)


@pytest.mark.parametrize(
    ("answer", "reason", "text"),
    [
        (reply(401, b"Somebody"), "auth", "401"),
        (reply(403, b"Somebody"), "auth", "403"),
        (reply(500, b"Somebody"), "query", "500"),
        (reply(503, b"Somebody"), "query", "503"),
        (reply(429, b"Somebody"), "query", "429"),
        (reply(204, b""), "query", "204"),
        (redirect("http://127.0.0.1:1/Somebody"), "query", "redirect"),
        (redirect("/other", 308), "query", "redirect"),
        (reply(304, b""), "query", "304"),
        (reply(body=b"<html>Somebody</html>"), "query", "no JSON"),
        (reply(body=b"\xff\xfe"), "query", "no JSON"),
        (reply(body=b""), "query", "no JSON"),
        (reply(body=b"[" * 100_000), "query", "no JSON"),
        (reply(body=b'{"logs": ' + b"9" * 5000 + b"}"), "query", "no JSON"),
        (reply(body=b'["Somebody"]'), "query", "form"),
        (reply(body=b'{"logs": null}'), "query", "form"),
        (reply(body=b'{"logs": {"Somebody": 1}}'), "query", "form"),
        (reply(body=b'{"logs": ["Somebody"]}'), "query", "form"),
        (reply(body=b'{"logs": [{"Somebody": 1}]}'), "query", "id, started_at, status, operation_type"),
        (reply(body=b"{}", headers=[("Content-Encoding", "gzip")]), "query", "compressed"),
        (reply(body=b"x" * (LARGEST_ANSWER + 1)), "query", "10 MiB"),
        (reply(body=b"{", length=100), "connect", "lost"),
        (b"Somebody\r\n\r\n", "connect", "lost"),
    ],
    ids=lambda value: value[:40].decode("latin-1").partition("\r")[0] if isinstance(value, bytes) else None,
)
async def test_what_can_be_wrong_with_an_answer(answer: bytes, reason: str, text: str) -> None:
    async def serve(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with api(serve) as (server, asked):
        error = await asked.error()
        assert error.reason == reason
        assert text in str(error)
        assert len(server.requests) == 1, "nothing is followed or asked for again"
        assert asked.up is (reason == "query")


async def test_a_row_may_be_odd() -> None:
    rows = [row(1), {}, {"id": None}, row(2, started_at="x", records_failed=-1, metadata=[1], status=None), row(3)]
    async with api(logs(*rows)) as (_, asked):
        found = {
            each.id[-1]: each
            for each in await asked.look(lambda log: log.records([str(each.get("id")) for each in rows]))
        }
        assert sorted(found) == ["1", "2", "3"]
        assert found["2"].problems == {"bad_time", "bad_count", "bad_metadata"}
    body = b'{"logs": [{"id": 1, "started_at": NaN, "status": 1e999, "operation_type": [], "metadata": {"a": NaN}}]}'
    async with api(reply(body=body)) as (_, asked):
        [found] = await asked.look(lambda log: list(log.records(["1"])))
        assert (found.started, found.metadata) == (None, {"a": None})


async def test_nobody_is_there() -> None:
    async with Listener(lambda _, __: asyncio.sleep(0)) as listener:
        url = listener.url
    asked = Asked(url, sync_of("org_1"))
    assert (await asked.error()).reason == "connect"
    assert asked.up is False
    asked = Asked("http://nowhere.invalid", sync_of("org_1"))
    assert (await asked.error()).reason in ("connect", "timeout")


async def test_a_certificate_that_nobody_vouches_for(authority: Authority) -> None:
    async with HttpServer(logs(row(1)), tls=authority.issue("127.0.0.1").server_context()) as server:
        error = await Asked(server.url, sync_of("org_1")).error()
        assert error.reason == "connect"
        assert "certificate" in str(error)
        assert not server.requests


async def test_a_server_that_is_no_tls_server() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(reply(400))
        await writer.drain()

    async with Listener(serve) as listener:
        error = await Asked(listener.url.replace("http:", "https:"), sync_of("org_1")).error()
        assert error.reason == "connect"


@pytest.mark.parametrize("token", ["zwölf", "two\nlines", "nul\0"])
async def test_a_token_that_cannot_be_sent(token: str) -> None:
    async with HttpServer(logs(row(1))) as server:
        error = await Asked(server.url, sync_of("org_1"), token=token).error()
        assert error.reason == "auth"
        assert token not in str(error)
        assert not server.requests


async def _drip(_: Any, writer: asyncio.StreamWriter) -> None:
    """An answer that never ends, though something always comes."""
    writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def _silent(*_: Any) -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize("serve", [_drip, _silent])
@pytest.mark.parametrize(("look", "request_"), [("300ms", "60s"), ("60s", "300ms")])
async def test_a_look_ends_in_time(serve: Answer, look: str, request_: str) -> None:
    async with HttpServer(serve) as server:
        began = time.monotonic()
        asked = Asked(server.url, sync_of("a", "b", timeout=look), timeout=request_)
        assert (await asked.error()).reason == "timeout"
        assert time.monotonic() - began < 3
        assert asked.up is False


@pytest.mark.parametrize("serve", [_drip, _silent])
async def test_a_look_is_cancelled_from_another_thread(serve: Answer) -> None:
    async with HttpServer(serve) as server:
        asked = Asked(server.url, sync_of(*map(str, range(20)), timeout="60s"), timeout="60s")
        asked.reading.cancel()
        looking = asyncio.create_task(asked.error())
        while not server.requests:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        thread = threading.Thread(target=asked.reading.cancel)
        thread.start()
        assert (await looking).reason == "timeout"
        assert time.monotonic() - began < 1
        await asyncio.to_thread(thread.join)
        asked.reading.cancel()
        assert len(server.requests) <= 4, "few are asked for at a time"


async def test_the_organizations_must_be_configured() -> None:
    sync = Sync.model_validate({"name": "cliniko", "source": "api"})
    error = await Asked("http://127.0.0.1:1", sync).error()
    assert error.reason == "query"
    assert "organizations" in str(error)
