"""Where the documentation's commands are run: a folder with all that they speak of, and the processes that they ask."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from docs.pages import ROOT, Command
from docs.unrun import script_of
from rounds.cli import main
from rounds.demo import bundle
from rounds.demo.ports import pick_port
from rounds.demo.scaling import Scale
from support.apr import sqlite_installation
from support.binaries import require_binary
from support.databases import SqliteFiles
from support.emr import ExistingStore
from support.syncs import sync_table

#: What has a name of the reader's is called NAME, as on the pages. First runs are spread over the interval.
CONFIG = """
sources:
  tables: {{kind: sqlite, path: patients.db}}
  apr: {{kind: sqlite, path: "{apr}"}}
  clinic: {{kind: sqlite, path: "{syncs}"}}
  desk: {{kind: sqlite, path: monitoring.db}}
state: {{url: "sqlite:///{state}/state.db"}}
tables:
  - {{name: patients, source: tables, table: patients, columns: [NAME], interval: 1s}}
  - {{name: NAME, source: tables, table: patients, columns: [NAME], interval: 1s}}
apr: {{source: apr, interval: 1s}}
services:
  defaults: {{interval: 1s, timeout: 1s, degraded_after: 100ms, down_after: 500ms}}
  checks:
    - {{name: NAME, kind: tcp, host: 127.0.0.1, port: {port}}}
    - {{name: api-gateway, kind: tcp, host: 127.0.0.1, port: {port}}}
syncs:
  - {{name: cliniko, source: clinic, interval: 1s, active_interval: 1s}}
emr:
  - {{name: docassist, source: desk, interval: 1s, checks: {{database: {{path: clinic.db, interval: 1s}}}}}}
"""
#: Folders and words of the pages, and what they are here.
PLACES = {
    "/var/lib/rounds": "state",
    "--output /etc/alertmanager": "--output rendered",
    "/etc/rounds/": "",
    "/tmp/health-status.json": "health-status.json",
    "/tmp/alerts.log": "alerts.log",
    "--collector NAME": "--collector tables/NAME",
    "--collector=emr/NAME": "--collector=emr/docassist",
}
#: What is typed besides: so that a command ends, where it asks at the terminal, and for addresses that are defaults.
BESIDES = {
    "rounds syncs tail": "--once",
    "rounds status": "--url=http://127.0.0.1:12780",
    "openssl pkcs8 -topk8": "-passout pass:secret",
    "openssl rsa": "-passin pass:secret",
    "rounds doctor": (
        "--exporter=http://127.0.0.1:12780 --prometheus=http://127.0.0.1:9090 --alertmanager=http://127.0.0.1:9093"
    ),
}
#: Commands that end so where they found something; elsewhere tests see that they find it.
FINDS = {"rounds doctor": 1}


@dataclass
class Room:
    """A folder, in which commands are run one after the other.

    Attributes:
        folder: the folder.
        addresses: where processes of the usual addresses listen here.
    """

    folder: Path
    addresses: dict[str, str]
    _silence: str = field(default="", repr=False)

    def begin_page(self, commands: Sequence[Command]) -> None:
        """A ledger in which each table has been checked; an empty one where a page tells how to begin with one."""
        shutil.rmtree(self.folder / "state")
        if any("tables import" in command.text for command in commands):
            (self.folder / "state").mkdir()
        else:
            shutil.copytree(self.folder / "checked", self.folder / "state")

    def run(self, command: Command) -> str:
        """Run a command. Gives what went wrong, empty where nothing did."""
        text = re.sub(r"(\bexpire .*)\bID\b", lambda found: found[1] + self._silence, command.plain)
        for words, more in BESIDES.items():
            # What the page itself says comes later, and holds.
            text = text.replace(words, f"{words} {more}")
        for usual, here in {**self.addresses, **PLACES}.items():
            text = text.replace(usual, here)
        code, output = self._in_process(text) if _is_plain(text) else self._by_shell(text)
        if "silence add" in text:
            self._silence = output.strip()
        fine = code == 0 or any(text.startswith(words) and code == found for words, found in FINDS.items())
        return "" if fine else f"{command}\n    ended with {code}: {output.strip()[-600:]}"

    def _in_process(self, text: str) -> tuple[int, str]:
        """A command of Rounds, without the second that a process takes to start."""
        words = shlex.split(text.replace("\\\n", " "), comments=True)
        out = self.folder / "output"
        with out.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            try:
                with contextlib.chdir(self.folder):
                    code = main(words[1:])
            except SystemExit as end:
                code = int(end.code or 0)
        return code, out.read_text(encoding="utf-8")

    def _by_shell(self, text: str) -> tuple[int, str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", text],
            cwd=self.folder,
            env={**_environment(), "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout


def _environment() -> dict[str, str]:
    """For processes that are not in the repository's folder and are to have its package."""
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'exporter'}:{os.environ.get('PYTHONPATH', '')}"}


def _is_plain(text: str) -> bool:
    return text.startswith("rounds ") and not re.search(r"[|<>&;$]", text.partition(" #")[0])


@contextlib.contextmanager
def open_room(folder: Path) -> Iterator[Room]:
    """Prepare a folder and start an exporter, Prometheus and Alertmanager, until left."""
    ports = {name: pick_port() for name in ("exporter", "prometheus", "alertmanager")}
    addresses = {
        f"{host}:{usual}": f"127.0.0.1:{ports[name]}"
        for name, usual in (("exporter", 12780), ("prometheus", 9090), ("alertmanager", 9093))
        for host in ("127.0.0.1", "localhost", *(("exporter", "exporter-a", "exporter-b") if usual == 12780 else ()))
    }
    _furnish(folder, ports["exporter"])
    watching = folder / "watching"
    watching.mkdir()
    alertmanager = bundle.write_alertmanager(ROOT, watching, Scale(1), "http://127.0.0.1:1/slack", None)
    prometheus = bundle.write_prometheus(
        ROOT,
        watching,
        Scale(1),
        {
            "exporter:12780": addresses["exporter:12780"],
            "alertmanager:9093": addresses["127.0.0.1:9093"],
            "127.0.0.1:9090": addresses["127.0.0.1:9090"],
        },
    )
    listen = "--web.listen-address=127.0.0.1:{}".format
    started = (
        [sys.executable, "-m", "rounds", "run", "--config.file=running.yml", listen(ports["exporter"])],
        [
            str(require_binary("alertmanager", "prometheus-alertmanager")),
            f"--config.file={alertmanager}",
            "--storage.path=am",
            listen(ports["alertmanager"]),
            "--cluster.listen-address=",
        ],
        [
            str(require_binary("prometheus")),
            f"--config.file={prometheus}",
            "--storage.tsdb.path=tsdb",
            listen(ports["prometheus"]),
        ],
    )
    with contextlib.ExitStack() as stack:
        for words in started:
            stack.enter_context(_running(words, folder))
        room = Room(folder, addresses)
        # Meanwhile the processes start.
        (folder / "state").mkdir()
        code, said = room._in_process("rounds once")
        assert code == 0, said
        shutil.copytree(folder / "state", folder / "checked")
        for port in ports.values():
            _until_ready(f"http://127.0.0.1:{port}/-/ready")
        yield room


def _furnish(folder: Path, port: int) -> None:
    """Put everything into the folder that commands speak of."""
    files = SqliteFiles(folder)
    with contextlib.closing(sqlite3.connect(folder / "patients.db")) as connection:
        connection.executescript(
            "CREATE TABLE patients (ID INTEGER PRIMARY KEY, NAME TEXT); INSERT INTO patients VALUES (1, 'a'), (2, 'b');"
        )
    shutil.copy(folder / "patients.db", folder / "clinic.db")
    apr = sqlite_installation(files)
    syncs = sync_table("sqlite", files, "real")
    syncs.put_all([{"started_at": time.time() - 60, "status": "completed", "organization_id": "org_1"}])
    ExistingStore(folder / "monitoring.db").error()
    given = {"apr": apr.source.path.name, "syncs": syncs.source.path.name, "port": port}
    for name, state in (("rounds.yml", "state"), ("rounds-writing.yml", "state"), ("running.yml", "running")):
        (folder / name).write_text(CONFIG.format(**given, state=state), encoding="utf-8")
    (folder / "running").mkdir()
    older = {"timestamp": "2026-01-05T08:00:00", "record_count": 1, "max_id": 1, "records": [{"id": 1, "name": "a"}]}
    (folder / "monitor_state.json").write_text(json.dumps(older), encoding="utf-8")
    older = {"timestamp": "2026-01-05T08:00:00", "services": [{"name": "api-gateway", "status": "UP"}]}
    (folder / "health-status.json").write_text(json.dumps(older), encoding="utf-8")
    for log in ("alerts.log", "patients_monitor.log"):
        (folder / log).write_text("2026-01-05T08:00:00 [CRITICAL] api-gateway: down\n", encoding="utf-8")
    backup = folder / "data/backups/backup_2026-01-31_18-00-00"
    backup.mkdir(parents=True)
    programs = folder / "bin"
    programs.mkdir()
    for name, word in (("rounds", "-m rounds"), ("python", ""), ("python3", "")):
        (programs / name).write_text("#!/bin/sh\n" + script_of(word), encoding="utf-8")
        (programs / name).chmod(0o755)
    # Copies, since commands may write where they are.
    for name in ("alertmanager", "deploy", "grafana", "prometheus", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("secrets"))
    for path in [path for path in ROOT.iterdir() if path.is_file()]:
        shutil.copy(path, folder)


@contextlib.contextmanager
def _running(words: Sequence[str], folder: Path) -> Iterator[None]:
    with (folder / "processes.log").open("ab") as log:
        process = subprocess.Popen(
            words, cwd=folder, env=_environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _until_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    with httpx.Client(trust_env=False) as client:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if client.get(url).status_code == 200:
                    return
            assert time.monotonic() < deadline, url
            time.sleep(0.05)
