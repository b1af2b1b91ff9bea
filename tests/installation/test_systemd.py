"""The unit is one that systemd accepts and finds safe, and what it starts runs as it says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import httpx
import pytest

from rounds.fields import parse_duration
from support.exporter import RunningExporter

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy/systemd/rounds.service"
PROGRAM = "/opt/rounds/bin/rounds"
#: Of 10; a service without any protection has 9.6.
EXPOSURE = 1.5

CONFIG = """
state: {url: "sqlite:///FOLDER/state.db"}
sources:
  clinic: {kind: sqlite, path: FOLDER/clinic.db}
  billing: {kind: postgresql, host: 127.0.0.1, port: 1, user: rounds, database: billing,
            password_file: "${CREDENTIALS_DIRECTORY}/secrets_billing_password"}
tables: [{name: patients, source: clinic, table: patients, key: id, interval: 1s}]
"""

#: What systemd does before it starts the program, as far as a process may do it to itself. 65 and 38 are the numbers of
#: PR_SET_MDWE, which MemoryDenyWriteExecute= uses where the kernel has it, and PR_SET_NO_NEW_PRIVS.
BEFORE = """
import ctypes, os, sys
control = ctypes.CDLL(None).prctl
assert control(38, 1, 0, 0, 0) == 0
control(65, 1, 0, 0, 0)
os.umask(0o077)
os.execv(sys.argv[1], sys.argv[1:])
"""


def settings() -> dict[str, list[str]]:
    """Each setting of the unit, with all its values."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name].append(value)
    return dict(found)


SETTINGS = settings()


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed, as in a container")
    return subprocess.run([program, *words], check=False, capture_output=True, text=True)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that is there."""
    program = tmp_path / "rounds-program"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    file = tmp_path / "rounds.service"
    file.write_text(UNIT.read_text(encoding="utf-8").replace(PROGRAM, str(program)), encoding="utf-8")
    return file


def test_systemd_accepts_it(unit: Path) -> None:
    verified = analyze("verify", "--man=no", str(unit))
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    # It notices a word that it does not know, which it would pass over when it starts the service.
    unit.write_text(unit.read_text(encoding="utf-8").replace("ProtectHome=", "ProtectHomes="), encoding="utf-8")
    assert "ProtectHomes" in analyze("verify", "--man=no", str(unit)).stderr


def test_systemd_finds_it_safe(unit: Path) -> None:
    found = analyze("security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}", "--json=short", str(unit))
    assert found.returncode == 0, found.stdout + found.stderr
    open_doors = {each["json_field"] for each in json.loads(found.stdout) if each["set"] is False}
    # What a program that asks others over the network, and Linux how it fares, cannot do without.
    assert open_doors == {
        "RootDirectoryOrRootImage",
        "RestrictAddressFamilies_AF_UNIX",
        "RestrictAddressFamilies_AF_INET_INET6",
        "PrivateNetwork",
        "DeviceAllow",
        "IPAddressDeny",
        "ProcSubset",
    }


def test_times_and_files_agree_with_the_exporter() -> None:
    # It ends within 10 seconds.
    assert parse_duration(f"{SETTINGS['TimeoutStopSec'][0]}s") > 10
    assert SETTINGS["Restart"] == ["on-failure"]
    # What a refused configuration ends with.
    assert SETTINGS["RestartPreventExitStatus"] == ["2"]
    assert SETTINGS["WorkingDirectory"] == [f"/var/lib/{SETTINGS['StateDirectory'][0]}"]
    assert SETTINGS["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    documented = (ROOT / "docs/systemd.md").read_text(encoding="utf-8")
    assert SETTINGS["LoadCredential"] == ["secrets:/etc/rounds/secrets"]
    for needed in ("/etc/rounds/secrets", "/opt/rounds", "${CREDENTIALS_DIRECTORY}/secrets_"):
        assert needed in documented


@pytest.mark.slow
async def test_what_it_starts_runs_reloads_and_ends(tmp_path: Path) -> None:
    """Without new privileges, without memory that is written and run, with the unit's environment alone."""
    (start,) = SETTINGS["ExecStart"]
    program, *arguments = shlex.split(start)
    assert program == PROGRAM
    etc, state, credentials = tmp_path / "etc", tmp_path / "state", tmp_path / "credentials"
    for folder in (etc, state, credentials):
        folder.mkdir(mode=0o755 if folder is etc else 0o700)
    (etc / "rounds.yml").write_text(CONFIG.replace("FOLDER", str(state)), encoding="utf-8")
    (credentials / "secrets_billing_password").write_text("x\n", encoding="utf-8")
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sqlite3; sqlite3.connect('clinic.db').execute('CREATE TABLE patients (id INTEGER)')",
        ],
        check=True,
        cwd=state,
    )
    replaced = {"--config.file=/etc/rounds/rounds.yml": f"--config.file={etc}/rounds.yml"}
    replaced["--web.listen-address=127.0.0.1:12780"] = "--web.listen-address=127.0.0.1:0"
    assert set(replaced) <= set(arguments)
    arguments = [replaced.get(word, word) for word in arguments]
    environment = dict(pair.split("=", 1) for line in SETTINGS["Environment"] for pair in shlex.split(line))
    environment |= {"PATH": "/usr/bin:/bin", "CREDENTIALS_DIRECTORY": str(credentials), "STATE_DIRECTORY": str(state)}
    environment |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    command = [sys.executable, "-c", BEFORE, sys.executable, "-m", "rounds", *arguments]
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stderr=log, cwd=state, env=environment)
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        exporter = RunningExporter(etc / "rounds.yml", tmp_path / "log", process, client)
        try:
            await exporter.listening()
            await exporter.ready()
            assert await exporter.value("rounds_table_rows", table="patients") == 0
            assert await exporter.value("process_start_time_seconds")
            assert {oct(file.stat().st_mode & 0o777) for file in state.glob("state.db*")} == {"0o600"}
            before = await exporter.value("rounds_config_last_reload_success_timestamp_seconds")
            process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(30):
                while await exporter.value("rounds_config_last_reload_success_timestamp_seconds") == before:
                    await asyncio.sleep(0.02)
            assert await asyncio.wait_for(exporter.stop(), parse_duration(f"{SETTINGS['TimeoutStopSec'][0]}s")) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert not re.search("level=(warning|error)", exporter.log), exporter.log
