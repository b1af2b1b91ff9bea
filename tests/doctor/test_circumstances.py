"""Faults that no server here can be made to show: old versions, full disks, clear text, an exporter that stands by."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rounds.doctor import ledger, network
from rounds.doctor.rights import mariadb, postgresql
from rounds.ledger.keeper import Keeper
from rounds.ledger.settings import State
from rounds.tables.schema import SCHEMA
from rounds.version import program_version
from support.doctor import Installation
from support.mariadb import ROOT_PASSWORD
from support.postgresql import ADMIN, ADMIN_PASSWORD


@contextlib.contextmanager
def exporter(status: dict[str, Any], *, late: float = 0) -> Iterator[str]:
    """Something that tells this status of an exporter, with a clock that is so many seconds late."""
    whole = {
        "version": program_version(),
        "started": time.time(),
        "ready": True,
        "config": {"last_reload_successful": True},
        "collectors": [],
        **status,
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(whole if self.path == "/api/v1/status" else {}).encode())

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(int((timestamp or time.time()) - late))

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_an_exporter_of_another_version_with_another_clock(installation: Installation) -> None:
    installation.probe()
    with exporter({"version": "0.0.9"}, late=86_400 * 3) as url:
        diagnosis = installation.doctor(f"--exporter={url}")
    assert diagnosis.about("warning", "exporter", url, "runs version 0.0.9")
    assert diagnosis.about("warning", "clocks", url, "is 3.0 days behind")


def test_an_exporter_that_stands_by(installation: Installation) -> None:
    """Its jobs do not run, so none of them is late; but somebody must hold the lease."""
    installation.probe()
    job = {"name": "services/web", "state": "waiting", "interval": 5, "last_success": None}
    collectors = [{"name": "services", "jobs": [job]}]
    lease = {"held": False, "holder": "a-1"}
    with exporter({"lease": lease, "collectors": collectors, "started": 0}) as url:
        diagnosis = installation.doctor(f"--exporter={url}")
    assert diagnosis.about("ok", "exporter", url, "stands by, as a-1 holds")
    assert not diagnosis.about("warning", "exporter", "services/web")
    with exporter({"lease": {**lease, "holder": None}, "collectors": collectors, "started": 0}) as url:
        diagnosis = installation.doctor(f"--exporter={url}")
    assert diagnosis.about("error", "exporter", url, "nobody holds")
    with exporter({"collectors": collectors, "started": 0}) as url:
        diagnosis = installation.doctor(f"--exporter={url}")
    assert diagnosis.about("warning", "exporter", "services/web", "has not succeeded for long")


def test_servers_that_are_too_old(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mariadb, "_OLDEST", {"MariaDB": (99, 1), "MySQL": (99, 1)})
    monkeypatch.setattr(postgresql, "_OLDEST", 99)
    installation.watch_mariadb()
    installation.watch_postgresql()
    diagnosis = installation.doctor()
    (found,) = diagnosis.about("warning", "sources", "maria", "is older than 99.1")
    assert found["remedy"] == ["update the server to 99.1 or newer"]
    assert diagnosis.about("warning", "sources", "postgres", "is older than 99,")


@pytest.mark.parametrize(("private", "level"), [(True, "hint"), (False, "warning")])
def test_what_crosses_a_network_in_the_clear(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, level: str, *, private: bool
) -> None:
    monkeypatch.setattr(network, "is_loopback", lambda _: False)
    monkeypatch.setattr(network, "is_private", lambda _: private)
    installation.watch_mariadb()
    installation.watch_postgresql()
    diagnosis = installation.doctor()
    (found,) = diagnosis.about(level, "sources", "maria", "in the clear")
    assert "ssl_cert" in found["remedy"][0]
    (found,) = diagnosis.about(level, "sources", "postgres", "in the clear")
    assert "ssl = on" in found["remedy"][0]


def test_a_full_disk(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_FREE", ((2**63, "error"),))
    installation.watch_sqlite()
    (found,) = installation.doctor().about("error", "ledger", "state.db", "are free")
    assert "df -h" in found["remedy"][0]


def test_a_ledger_on_a_network_file_system(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "file_system", lambda *_: "nfs4")
    installation.watch_sqlite()
    assert installation.doctor().about("warning", "ledger", "state.db", "network file system (nfs4)")


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_a_ledger_on_a_server(installation: Installation, kind: str) -> None:
    server = installation.servers(kind)
    user, password = ("root", ROOT_PASSWORD) if kind == "mariadb" else (ADMIN, ADMIN_PASSWORD)
    login = {"user": user, "password_file": installation.secret("ledger_password", password)}
    url = f"{kind}://127.0.0.1:{server.port}/{server.create_database('ledger')}"
    installation.watch_sqlite()
    salt = installation.folder / "salt"
    installation.config["state"] = {"url": url, "salt_file": str(salt), **login}
    keeper = Keeper([SCHEMA])
    keeper.configure(State.model_validate({"url": url, "salt_file": salt, "user": user, "password": password}))
    keeper.ledger()
    keeper.close()
    diagnosis = installation.doctor()
    assert diagnosis.problems == []
    assert diagnosis.about("ok", "ledger", url, "has a version that is known here")


def test_a_refused_login_is_not_tried_again(installation: Installation) -> None:
    """Further ones would lock the account."""
    server = installation.servers("fakesnow")
    place = {"account": "test", "host": "127.0.0.1", "port": server.port, "protocol": "http"}
    login = {"user": "rounds", "password_file": installation.secret("warehouse_password")}
    installation.config["sources"] = {"warehouse": {"kind": "snowflake", **place, **login}}
    installation.config["tables"] = [{"name": name, "source": "warehouse", "table": f"a.b.{name}"} for name in "cd"]
    installation.state()
    with server.faults(login=["390102", "locked"]):
        diagnosis = installation.doctor()
        assert len(server.seen()["logins"]) == 1
    (found,) = diagnosis.about("error", "sources", "warehouse", "the user is locked")
    assert found["remedy"] == ["sources.warehouse: wait, or unlock it"]
