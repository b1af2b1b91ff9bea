"""A log behind an HTTP API, which is asked for the newest rows of each organisation.

A look asks once and answers everything out of that, so that a row which is older than the newest fifty of its
organisation is gone. An organisation that the API does not know (404) has no rows, which is told as a problem; where it
knows none of them, the look fails, as it is rather the address that is wrong.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from rounds.databases import faults
from rounds.databases.databases import Databases
from rounds.databases.faults import Fault
from rounds.databases.health import Health
from rounds.errors import CollectorError
from rounds.sources import HttpSource
from rounds.syncs.config import Sync
from rounds.syncs.layout import REQUIRED, missing_columns
from rounds.syncs.log import Glimpse, Log, Record
from rounds.syncs.rows import record
from rounds.syncs.threaded import ThreadedLoop

#: Rows that are asked for, of each organisation.
ROWS = 50
#: Bytes of an answer that are read.
LARGEST_ANSWER = 10 * 2**20
#: An organisation that the API does not know.
UNKNOWN_ORGANIZATION = "no logs of an organization"

#: Requests at a time.
_AT_A_TIME = 4

_ENDPOINTS = {
    "logs": ("/api/v1/cliniko/sync-logs/", f"limit={ROWS}", "logs"),
    "status": (
        "/api/v1/cliniko/status/",
        f"include_logs=true&include_health_check=false&logs_limit={ROWS}",
        "sync_logs",
    ),
}

_REFUSED = Fault("auth", "the API refuses the token", "check token, and what it is allowed to read")
_UNSENDABLE = Fault("auth", "the token cannot be sent", "check that it is one line of ASCII")
_UNTRUSTED = Fault("connect", "the API's certificate is not trusted, or it does not speak TLS", "check url")
_MOVED = Fault("query", "the API answers with a redirect, which is not followed", "check url")
_NO_ENDPOINT = Fault("query", "the API has no such endpoint, or knows none of the organisations", "check url and api")
_TOO_LONG = Fault("query", f"the API's answer is longer than {LARGEST_ANSWER // 2**20} MiB", "check url and api")
_PACKED = Fault("query", "the API's answer is compressed, which was not asked for", "check the proxy before it")
_NO_JSON = Fault("query", "the API's answer is no JSON", "check url and api")
_OTHER_SHAPE = Fault("query", "the API's answer has not the form that is expected", "check url and api")
_UNCONFIGURED = Fault("query", "an API is read by its endpoint and for each organisation", "set api and organizations")


class Api:
    """Asks the API. Used by one thread; :meth:`cancel` may come from another.

    Args:
        sync: the configuration.
        source: where the API is.
        databases: has the counts of requests.
    """

    def __init__(self, sync: Sync, source: HttpSource, databases: Databases) -> None:
        self._sync = sync
        self._source = source
        self._databases = databases
        self._loop: ThreadedLoop | None = None
        # Made once, as all certificates of the system are read for it.
        self._tls = ssl.create_default_context() if source.url.startswith("https:") else False
        base, _, query = source.url.partition("?")
        path, parameters, self._key = _ENDPOINTS[sync.api or "logs"]
        self._prefix = base.rstrip("/") + path
        self._suffix = "?" + "&".join(each for each in (query, parameters) if each)

    def fetch(self) -> Log:
        """Ask for all rows.

        Raises:
            CollectorError: ``connect``, ``auth``, ``timeout``, or ``query`` for an answer of another form.
        """
        health = self._databases.health[self._sync.source]
        if self._sync.api is None or not self._sync.organizations.only:
            raise self._fault(_UNCONFIGURED)
        self._loop = ThreadedLoop()
        try:
            found = self._loop.run(self._all(self._sync.organizations.only, health))
        except asyncio.CancelledError:
            raise self._fault(faults.GIVEN_UP) from None
        except CollectorError as error:
            health.up = error.reason == "query"
            raise
        finally:
            self._loop = None
        health.up = True
        if all(rows is None for rows in found.values()):
            raise self._fault(_NO_ENDPOINT, "HTTP status 404")
        return ApiLog(self._sync, found)

    def cancel(self) -> None:
        """Give up what is under way."""
        loop = self._loop
        if loop is not None:
            loop.cancel()

    def _fault(self, fault: Fault, code: str = "") -> CollectorError:
        return fault.error(self._sync.source, code)

    async def _all(self, organizations: Sequence[str], health: Health) -> dict[str, list[Any] | None]:
        token = self._source.token or self._source.token_file
        headers = {"User-Agent": "rounds", "Accept": "application/json", "Accept-Encoding": "identity"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token.reveal()}"
        gate = asyncio.Semaphore(_AT_A_TIME)
        try:
            async with (
                asyncio.timeout(self._sync.timeout),
                httpx.AsyncClient(
                    headers=headers, verify=self._tls, trust_env=False, timeout=self._source.timeout
                ) as client,
            ):

                async def ask(organization: str) -> list[Any] | None:
                    async with gate, asyncio.timeout(self._source.timeout):
                        health.sent()
                        return await self._one(client, organization)

                return dict(zip(organizations, await _together([ask(each) for each in organizations]), strict=True))
        except TimeoutError:
            raise self._fault(faults.NO_ANSWER) from None
        except UnicodeError:
            raise self._fault(_UNSENDABLE) from None
        except httpx.HTTPError as error:
            raise self._of_network(error) from None

    async def _one(self, client: httpx.AsyncClient, organization: str) -> list[Any] | None:
        """The rows of an organisation, None where the API does not know it."""
        # A point is written out too, or ".." would be taken for the folder above.
        segment = quote(organization, safe="").replace(".", "%2E")
        async with client.stream("GET", f"{self._prefix}{segment}{self._suffix}") as response:
            status = response.status_code
            code = f"HTTP status {status}"
            if status == HTTPStatus.NOT_FOUND:
                return None
            if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise self._fault(_REFUSED, code)
            if response.is_redirect:
                raise self._fault(_MOVED, code)
            if status != HTTPStatus.OK:
                raise self._fault(Fault("query", "the API failed", "look into its log"), code)
            if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
                raise self._fault(_PACKED)
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    raise self._fault(_TOO_LONG)
        try:
            answer = json.loads(body, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            raise self._fault(_NO_JSON) from None
        rows = answer.get(self._key) if isinstance(answer, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self._fault(_OTHER_SHAPE, f"no list of objects under {self._key}")
        return rows

    def _of_network(self, error: httpx.HTTPError) -> CollectorError:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLError):
                return self._fault(_UNTRUSTED)
            if isinstance(cause, OSError):
                return self._fault(faults.of_network(cause))
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, httpx.LocalProtocolError):
            return self._fault(_UNSENDABLE)
        return self._fault(faults.LOST)


class ApiLog(Log):
    """What the API said.

    Args:
        sync: the configuration.
        found: rows by organisation, None for one that the API does not know.

    Raises:
        CollectorError: ``query``; the rows lack something without which they say nothing.
    """

    def __init__(self, sync: Sync, found: Mapping[str, Sequence[Mapping[str, Any]] | None]) -> None:
        names = dict(sync.columns)
        rows = [(organization, row) for organization, some in found.items() for row in some or ()]
        present = {name for name, key in names.items() if any(key in row for _, row in rows)}
        missing = [str(names[name]) for name in REQUIRED if name not in present] if rows else []
        if missing:
            raise _OTHER_SHAPE.error(sync.source, f"no row has {', '.join(missing)}")
        self.problems = frozenset(
            (missing_columns(present) if rows else set())
            | {UNKNOWN_ORGANIZATION for some in found.values() if some is None}
        )
        self._records: dict[str, Record] = {}
        for organization, row in rows:
            values = {name: row.get(key) for name, key in names.items()} | {"organization_id": organization}
            if values["source_system"] in (None, sync.source_system) or sync.source_system is None:
                one = record(values, sync.zone)
                if one.id:
                    self._records.setdefault(one.id, one)

    def now(self) -> float:
        """This machine's clock."""
        return time.time()

    def recent(self, since: float, limit: int) -> Iterator[Record]:
        """As in Log."""
        found = [one for one in self._records.values() if one.started is not None and one.started >= since]
        yield from sorted(found, key=_begun, reverse=True)[:limit]

    def glimpses(self, since: float, limit: int = 100_000) -> Iterator[Glimpse]:
        """As in Log; exact."""
        found = [one for one in self._records.values() if one.started is None or one.started >= since]
        for one in sorted(found, key=_begun)[:limit]:
            yield Glimpse(one.id, one.started, one.status)

    def records(self, ids: Sequence[str]) -> Iterator[Record]:
        """As in Log."""
        yield from (self._records[each] for each in dict.fromkeys(ids) if each in self._records)


def _begun(one: Record) -> float:
    return one.started or 0


async def _together(work: Sequence[Coroutine[Any, Any, list[Any] | None]]) -> list[list[Any] | None]:
    """What all of them give; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
