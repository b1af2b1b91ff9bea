"""A stand-in for Snowflake, for tests and the demo: fakesnow's server, and what is needed beyond it.

It runs in an environment of its own, with fakesnow and an older connector, so it imports nothing of Rounds:
``python fakesnow_server.py --port 18443``. What it adds:

- Version 5 of the connector wants ``masterToken`` and ``sessionId`` in the answer to a login.
- ``SYSTEM$LAST_CHANGE_COMMIT_TIME('database.schema.table')``, which fakesnow lacks. Snowflake's moves with what is
  committed to that table. This one is kept for each database, and moves with every statement seen by this server that
  may change something there; so it moves more often, and a change of another table moves it too.
- ``/control``: GET tells the logins and paths seen, POST takes faults to show, see :class:`Faults`. Every password is
  good otherwise, since fakesnow knows no users and no privileges.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import importlib
import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import snowflake.connector.errors
import sqlglot
import uvicorn
from sqlglot import exp
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

#: The package hides this module behind a function of the same name.
server: Any = importlib.import_module("fakesnow.server")

_TOKEN = re.compile(r"SYSTEM\$LAST_CHANGE_COMMIT_TIME\s*\(\s*(?:'((?:[^']|'')*)'|\?)\s*\)", re.IGNORECASE)
_READS = re.compile(r"\s*(SELECT|WITH|SHOW|DESC|DESCRIBE|USE|BEGIN|START|ROLLBACK|EXPLAIN)\b", re.IGNORECASE)


@dataclass
class Faults:
    """What goes wrong on purpose.

    Attributes:
        login: code and message that every login is refused with.
        status: HTTP status that every login is answered with.
        statements: for statements that hold a text: ``{"text", "code", "sqlstate", "message"}`` to fail with,
            ``{"text", "seconds"}`` to wait before they run, or ``{"text", "instead"}`` to run another one, where
            fakesnow lacks what they ask for.
    """

    login: list[str] | None = None
    status: int | None = None
    statements: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class State:
    """What the server has seen, and what it does wrong."""

    faults: Faults = field(default_factory=Faults)
    logins: list[dict[str, Any]] = field(default_factory=list)
    paths: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    #: So that tokens move on over a restart, as Snowflake's do.
    begun: int = field(default_factory=time.time_ns)

    def token(self, database: str) -> int:
        """What moves with every change in a database."""
        return self.begun + self.tokens[database] + self.tokens["*"]


STATE = State()
_background: set[asyncio.Task[Any]] = set()


async def login(request: Request) -> Response:
    """Log in."""
    body = await _body(request)
    STATE.logins.append({"data": body.get("data"), "query": dict(request.query_params)})
    if STATE.faults.status:
        return Response(status_code=STATE.faults.status)
    if STATE.faults.login:
        return _failure(*STATE.faults.login)
    answer = json.loads(bytes((await server.login_request(_with_body(request, body))).body))
    answer["data"] |= {"masterToken": answer["data"]["token"], "sessionId": len(STATE.logins)}
    return JSONResponse(answer)


async def query(request: Request) -> Response:
    """Run a statement."""
    body = await _body(request)
    sql = str(body.get("sqlText", ""))
    for fault in STATE.faults.statements:
        if fault["text"] in sql:
            await asyncio.sleep(fault.get("seconds", 0))
            if "code" in fault:
                return _failure(fault["code"], fault["message"], fault.get("sqlstate"))
            body["sqlText"] = sql = fault.get("instead", sql)
    if found := _TOKEN.search(sql):
        return await _last_change(request, body, sql, found)
    # A client that hangs up must not keep a statement that runs from being counted.
    task = asyncio.create_task(_run(request, body, sql))
    _background.add(task)
    task.add_done_callback(_background.discard)
    return await asyncio.shield(task)


async def control(request: Request) -> JSONResponse:
    """Tell what was seen; take over faults; with ``{"forget": true}`` forget what was seen."""
    if request.method == "POST":
        wanted = await request.json()
        if wanted.pop("forget", False):
            STATE.logins.clear()
            STATE.paths.clear()
        STATE.faults = Faults(**wanted)
    sessions = [{"database": each.database} for each in server.sessions.values()]
    return JSONResponse({"logins": STATE.logins, "paths": STATE.paths, "sessions": sessions})


async def _run(request: Request, body: dict[str, Any], sql: str) -> Response:
    try:
        return await _answer(request, body)
    finally:
        # After it: whoever reads the token before it reads the rows must see another one later.
        if not _READS.match(sql):
            for database in _databases(request, sql):
                STATE.tokens[database] += 1


async def _last_change(request: Request, body: dict[str, Any], sql: str, found: re.Match[str]) -> Response:
    name = found[1].replace("''", "'") if found[1] is not None else body["bindings"].pop("1")["value"]
    database = _databases(request, f"DESCRIBE TABLE {name}")[0]
    token = STATE.token(database)
    try:
        cursor = server.to_conn(server.to_token(request)).cursor()
        await run_in_threadpool(cursor.execute, f"SELECT 1 FROM {name} LIMIT 0")  # noqa: S608
    except snowflake.connector.errors.Error as error:
        return _failure(f"{error.errno:06d}", str(error.msg), error.sqlstate)
    if not body.get("bindings"):
        body.pop("bindings", None)
    body["sqlText"] = sql[: found.start()] + str(token) + sql[found.end() :]
    return await _answer(request, body)


async def _answer(request: Request, body: dict[str, Any]) -> Response:
    answer: Response = await server.query_request(_with_body(request, body))
    return answer


def _databases(request: Request, sql: str) -> list[str]:
    """The databases that a statement names, and the session's own where a table is named without; ``*`` for all."""
    connection = server.sessions.get(server.to_token(request))
    own = str(getattr(connection, "database", None) or "*").upper()
    try:
        tables = list(sqlglot.parse_one(sql, dialect="snowflake").find_all(exp.Table))
    except sqlglot.errors.SqlglotError:
        return ["*"]
    return sorted({table.catalog.upper() or own for table in tables}) or ["*"]


async def _body(request: Request) -> dict[str, Any]:
    raw = await request.body()
    if request.headers.get("Content-Encoding") == "gzip":
        raw = gzip.decompress(raw)
    body: dict[str, Any] = json.loads(raw)
    return body


def _with_body(request: Request, body: dict[str, Any]) -> Request:
    dropped = (b"content-encoding", b"content-length")
    headers = [pair for pair in request.scope["headers"] if pair[0].lower() not in dropped]
    raw = json.dumps(body).encode()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw, "more_body": False}

    return Request({**request.scope, "headers": headers}, receive)


def _failure(code: str, message: str, sqlstate: str | None = None) -> JSONResponse:
    data = {"errorCode": code, "sqlState": sqlstate}
    return JSONResponse({"data": data, "code": code, "message": message, "success": False})


class _Count(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        if request.url.path != "/control":
            STATE.paths[request.url.path] += 1
        return await call_next(request)


def _routes() -> list[BaseRoute]:
    ours = {"/session/v1/login-request": login, "/queries/v1/query-request": query}
    others = [route for route in server.routes if route.path not in ours]
    mine = [Route(path, handler, methods=["POST"]) for path, handler in ours.items()]
    return [Route("/control", control, methods=["GET", "POST"]), *mine, *others]


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description="A stand-in for Snowflake that keeps its data in memory.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    app = Starlette(routes=_routes())
    app.add_middleware(_Count)
    uvicorn.run(app, host=options.host, port=options.port, log_level="error", access_log=False)


if __name__ == "__main__":
    main()
