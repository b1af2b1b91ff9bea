"""Runs the compose files as a project of its own, beside whatever else runs on the machine."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from rounds.demo.ports import pick_port

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
BASE = "docker-compose.yml"
DEMO = "docker-compose.demo.yml"

#: The variables that choose the published ports.
PORTS = ("ROUNDS_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT", "SLACK_PORT", "MAILPIT_PORT")
#: Those that overlays in deploy/compose add.
OVERLAY_PORTS = ("PROMETHEUS_2_PORT",)


def require_compose() -> None:
    """Skip the test where there is no ``docker compose``. It is skipped in continuous integration too: no engine is
    part of that machine, and what needs none is tested there.
    """
    if shutil.which("docker") is None or _docker("compose", "version"):
        pytest.skip("docker compose is not installed")


def require_engine() -> None:
    """Skip the test where no container engine answers; see :func:`require_compose`."""
    require_compose()
    if _docker("info"):
        pytest.skip("no container engine answers")


def _docker(*arguments: str) -> int:
    return subprocess.run(["docker", *arguments], capture_output=True, check=False).returncode


def copy_checkout(folder: Path) -> Path:
    """A copy of this checkout as a fresh clone has it: without files that git ignores, such as .env."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def wait_for(what: str, look: Callable[[], T | None], seconds: float) -> T:
    """What ``look`` finds, once it is neither None nor False nor empty. A refused connection is nothing found."""
    end = time.monotonic() + seconds
    while True:
        try:
            found = look()
        except OSError:
            found = None
        if found:
            return found
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.5)


class Stack:
    """A project of containers.

    Args:
        folder: the checkout with the compose files.
        files: which of them.
        name: the project's name; another one for each stack that exists at a time.
    """

    def __init__(self, folder: Path, files: Sequence[str], name: str) -> None:
        self.folder = folder
        self._command = ["docker", "compose", "-p", name, *(word for file in files for word in ("-f", file))]
        self.ports = {variable: pick_port() for variable in PORTS}
        self._further = {variable: pick_port() for variable in OVERLAY_PORTS}

    def environment(self) -> Mapping[str, str]:
        """Not the tests' own: variables there would go before those of .env."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ}
        return kept | {name: str(port) for name, port in (self.ports | self._further).items()}

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``docker compose`` with these arguments."""
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            logs = self.run("logs", "--tail=20", check=False).stdout
            pytest.fail(f"docker compose {' '.join(arguments)}: {done.returncode}\n{done.stderr[-3000:]}\n{logs}")
        return done

    def up(self, *, build: bool = False) -> float:
        """Start everything and wait until it is healthy. Gives the seconds that took."""
        begin = time.monotonic()
        self.run("up", "-d", *(["--build"] if build else []), "--wait")
        return time.monotonic() - begin

    def down(self, *arguments: str) -> float:
        """End everything. Gives the seconds that took."""
        begin = time.monotonic()
        self.run("down", *arguments)
        return time.monotonic() - begin

    def states(self) -> dict[str, str]:
        """Of each service that is to run: ``healthy``, ``starting``, ``exited``..."""
        lines = self.run("ps", "--all", "--format", "json").stdout.splitlines()
        return {each["Service"]: each["Health"] or each["State"] for each in map(json.loads, lines)}

    def inspect(self) -> dict[str, dict[str, Any]]:
        """What the engine knows of each service's container."""
        ids = self.run("ps", "--all", "--quiet").stdout.split()
        found = json.loads(subprocess.run(["docker", "inspect", *ids], capture_output=True, check=True).stdout)
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in found}

    def log(self, service: str) -> str:
        """A service's log."""
        return self.run("logs", "--no-log-prefix", service).stdout

    def read(self, service: str, path: str) -> str:
        """A file in a service's container."""
        return self.run("exec", "-T", service, "cat", path).stdout

    def url(self, variable: str, path: str) -> str:
        """The address of a published port's path."""
        return f"http://127.0.0.1:{self.ports[variable]}{path}"

    def get(self, variable: str, path: str, password: str | None = None) -> Any:
        """What a published port answers: JSON, parsed, or text.

        Raises:
            OSError: nothing answers, or with an error.
        """
        request = urllib.request.Request(self.url(variable, path))
        if password is not None:
            pair = base64.b64encode(f"admin:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {pair}")
        # No proxy of the machine is for 127.0.0.1.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            text = answer.read().decode()
            return json.loads(text) if "json" in answer.headers.get_content_type() else text

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """What Prometheus answers to a query: a list of series, each with ``metric`` and ``value``."""
        parameters = {"query": expression} | ({"time": str(at)} if at else {})
        path = f"/api/v1/query?{urllib.parse.urlencode(parameters)}"
        found: list[dict[str, Any]] = self.get("PROMETHEUS_PORT", path)["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """The names of the alerts that fire in Prometheus."""
        alerts = self.get("PROMETHEUS_PORT", "/api/v1/alerts")["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def password(self) -> str:
        """That of Grafana's first user, as a person finds it: the log's last line at the first start."""
        return self.log("grafana-password").splitlines()[1].strip()
