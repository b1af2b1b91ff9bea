"""``rounds demo`` as a user runs it."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rounds.demo import warehouse
from rounds.demo.main import run
from rounds.demo.ports import pick_port
from support.demo import LONELY, Demo

#: A machine on which nothing is installed.
BARE = {"PATH": "", warehouse.VARIABLE: "/nowhere"}


@pytest.fixture
async def lonely() -> AsyncIterator[Demo]:
    """A demo on a machine without Prometheus, databases and the stand-in for Snowflake."""
    async with Demo(pick_port(), LONELY, **BARE) as demo:
        yield demo


@pytest.mark.long
async def test_without_servers_it_says_what_to_install_and_goes_on(lonely: Demo) -> None:
    async with asyncio.timeout(120):
        await lonely.says("No alerts: run `apt-get install prometheus prometheus-alertmanager` first")
        await lonely.says("^tables: SQLite, as there is no stand-in for Snowflake")
        await lonely.says("^apr: SQLite, as MariaDB is not installed: run `apt-get install mariadb-server` first")
        await lonely.says("^syncs: SQLite, as PostgreSQL is not installed: run `apt-get install postgresql` first")
        await lonely.says("services +exporter +api-gateway: up -> down$")
        await lonely.says(r"tables +script +patients: 2 inserted$")
        await lonely.says(r"tables +exporter +patients: 2 inserted \(240 -> 242\)$")
        await lonely.says(r"apr +script +4 proposals come in$")
        await lonely.says(r"apr +exporter +invalid records are open$")
        await lonely.says(r"syncs +script +harbour synchronises its 648 patients$")
        await lonely.says(r"syncs +exporter +harbour/full_patients: \[#+\.+\] \d+%$")
        await lonely.says(r"emr +script +the printer takes no prescriptions$")
    lonely.process.send_signal(signal.SIGINT)
    assert await lonely.ends() == 0
    assert "Seen in all" in lonely.output
    assert "Traceback" not in lonely.output


async def test_it_ends_when_a_part_of_it_dies(lonely: Demo) -> None:
    async with asyncio.timeout(30):
        await lonely.says("Ctrl-C ends the demo")
    (exporter,) = (child for child in lonely.children() if "run" in child.cmdline())
    exporter.kill()
    assert await lonely.ends() == 1
    assert "exporter was ended by SIGKILL. The end of its log:" in lonely.output
    assert "Traceback" not in lonely.output


async def test_a_taken_port_is_replaced_and_that_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with asyncio.timeout(30), Demo(port, LONELY, **BARE) as demo:
            found = await demo.says(r"On other ports than usual, as theirs are taken: .*the exporter (\d+)")
            await demo.says(f"checks +http://127.0.0.1:{found[1]}/$")
            demo.process.send_signal(signal.SIGTERM)
            assert await demo.ends() == 0


@pytest.mark.parametrize(("listen", "speed"), [("127.0.0.1", 1.0), ("127.0.0.1:12780", 0.0), ("127.0.0.1:12780", 9.0)])
def test_arguments_that_make_no_sense_are_refused(
    listen: str, speed: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(listen=listen, speed=speed) == 2
    assert "a speed from 0.1 to 2" in capsys.readouterr().err


def test_without_a_folder_for_its_files_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    assert run(listen=f"127.0.0.1:{pick_port()}") == 1
    said = capsys.readouterr().out
    assert "The demo ends, since there is no folder for its files (No such file or directory): set TMPDIR to" in said
