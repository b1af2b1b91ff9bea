"""The pipeline in a real exporter: what it tells, what it never tells, and how it bears a MariaDB that is not well."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from rounds.cli import main
from support.apr import DAY, Installation, mariadb_installation
from support.apr_reading import put
from support.binaries import require_binary
from support.databases import sources_yaml
from support.exporter import RunningExporter, running_exporter, until
from support.mariadb import MariadbFolder, MariadbServer, mariadb_folder
from support.servers import HttpServer, reply

CLIENT, MANAGER, PRODUCT, REASON = (f"Zzyzx Planted {what}" for what in ("Client", "Manager", "Product", "Reason"))
NEVER = ("Zzyzx", "Planted")
#: A function that fails, and the columns of a view that uses it in the place of apr_valid_records.
_FAILS = (
    "CREATE FUNCTION fails() RETURNS INT DETERMINISTIC BEGIN"
    f" SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no value for {CLIENT}'; RETURN 1; END"
)
_COLUMNS = (
    "CURRENT_DATE AS DATA, 1 AS PROPOSTA, 'x' AS CEDENTE, 'x' AS RAMO, 'x' AS STATUS, 1 AS VLR_APROVADOS,"
    " fails() AS VALOR_TITULOS, CURRENT_TIMESTAMP AS last_updated"
)


def config(source: Any, folder: Path, *, more: str = "", **keys: Any) -> str:
    """A configuration that reads the pipeline once a second."""
    section = {"source": "apr", "interval": "1s", **keys}
    state = f"state: {{url: 'sqlite:///{folder / 'state.db'}'}}\n"
    return f"{state}{sources_yaml({'apr': source})}{yaml.safe_dump({'apr': section})}{more}"


def plant(installation: Installation) -> None:
    """Names in every column that can hold one."""
    key = {"DATA": DAY.isoformat(), "PROPOSTA": 7, "CEDENTE": CLIENT}
    people = {"GERENTE": MANAGER, "EMPRESA": CLIENT, "RAMO": CLIENT}
    put(
        installation,
        "apr_invalid_records",
        {**key, **people, "VALIDATION_TYPE": "SEUNO", "PRODUTO": PRODUCT, "MOTIVO": REASON, "STATUS": REASON},
    )
    put(installation, "apr_status_history", {**key, "RAMO": CLIENT, "NEW_STATUS": REASON, "CHANGE_SOURCE": MANAGER})
    put(installation, "apr_valid_records", {**key, **people, "STATUS": REASON, "usuario_processar": MANAGER})
    put(installation, "apr_proposal_products", {**key, "PRODUTO": PRODUCT})
    put(installation, "apr_processing_log", {"target_date": DAY.isoformat(), "error_message": REASON})


async def test_no_name_is_found_anywhere(
    installation: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(installation)
    async with running_exporter(tmp_path, config(installation.source, tmp_path), "--log.level=debug") as exporter:
        await exporter.ready()
        assert await exporter.value("rounds_apr_status_changes_total", source="other", new_status="other") == 1
        assert await exporter.value("rounds_apr_runs_total", run_mode="PRODUCTION", outcome="failed") == 1
        assert await exporter.value("rounds_source_up", source="apr") == 1
        page = (await exporter.get("/")).text
        assert "1 proposals, 1 open invalid records" in page
        # A failure too, of a kind whose message quotes a name.
        if installation.kind == "mariadb":
            installation.sql(
                "DROP TABLE apr_valid_records", _FAILS, f"CREATE VIEW apr_valid_records AS SELECT {_COLUMNS}"
            )

            async def failed() -> bool:
                return await exporter.value("rounds_collector_success", collector="apr") == 0

            await until(failed, within=20)
            assert "MariaDB error 1644" in exporter.log
        told = [(await exporter.get(path)).text for path in ("/metrics", "/", "/config", "/api/v1/status")]
        await exporter.stop()
        told.append(exporter.log)
    for command in (["ledger", "export"], ["ledger", "check"]):
        assert main([*command, f"--config.file={exporter.file}"]) == 0, command
        out = capsys.readouterr()
        told += [out.out + out.err]
    everything = "\n".join(told) + b"".join(f.read_bytes() for f in tmp_path.glob("state.db*")).decode("latin-1")
    for word in NEVER:
        assert word not in everything


async def test_names_are_told_where_they_are_asked_for(installation: Installation, tmp_path: Path) -> None:
    plant(installation)
    text = config(installation.source, tmp_path, labels={"cedente": 1})
    async with running_exporter(tmp_path, text) as exporter:
        await exporter.ready()
        assert await exporter.value("rounds_apr_invalid_records_by_cedente", cedente=CLIENT) == 1
        told = (await exporter.get("/metrics")).text
        assert MANAGER not in told
        assert PRODUCT not in told


async def test_a_reload_goes_over_to_other_limits(installation: Installation, tmp_path: Path) -> None:
    plant(installation)
    text = config(installation.source, tmp_path)
    async with running_exporter(tmp_path, text, "--web.enable-lifecycle") as exporter:
        await exporter.ready()
        exporter.file.write_text(config(installation.source, tmp_path, stuck_after="3h"), encoding="utf-8")
        assert (await exporter.client.post(f"{exporter.url}/-/reload")).status_code == 200
        await value_becomes(exporter, 3 * 3600, "rounds_apr_threshold_seconds", threshold="stuck_after")
        assert await exporter.value("rounds_apr_invalid_records_detected_total", validation_type="SEUNO") == 1


@pytest.fixture
def folder() -> Iterator[MariadbFolder]:
    """A server of this test's own, which may be killed."""
    with mariadb_folder() as made:
        yield made


def reader(server: MariadbServer, installation: Installation) -> Any:
    """A source whose user may have no more than two connections."""
    server.sql(
        "CREATE OR REPLACE USER apr_reader@'127.0.0.1' IDENTIFIED BY 'read' WITH MAX_USER_CONNECTIONS 2",
        f"GRANT SELECT ON {installation.url.database}.* TO apr_reader@'127.0.0.1'",
    )
    return server.source(str(installation.url.database), user="apr_reader", password="read")


async def value_becomes(exporter: RunningExporter, wanted: float, name: str, **labels: str) -> None:
    async def is_so() -> bool:
        return await exporter.value(name, **labels) == wanted

    await until(is_so, within=40)


async def others_go_on(exporter: RunningExporter) -> None:
    """The other domains, and the exporter itself, notice nothing."""

    async def counts() -> tuple[float, float]:
        probes = await exporter.value("rounds_check_probes_total", check="shop", tier="core")
        scans = await exporter.value("rounds_collector_runs_total", collector="tables/patients")
        return probes or 0, scans or 0

    before = await counts()

    async def went_on() -> bool:
        return all(now >= then + 2 for now, then in zip(await counts(), before, strict=True))

    await until(went_on, within=8)
    assert await exporter.value("rounds_collector_success", collector="services") == 1
    assert await exporter.value("rounds_collector_success", collector="tables/patients") == 1
    assert await exporter.value("rounds_source_up", source="clinic") == 1


@pytest.mark.slow
async def test_mariadb_is_killed_locked_paused_and_started_again(folder: MariadbFolder, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "clinic.db")) as clinic:
        clinic.execute("CREATE TABLE patients (id INTEGER, name TEXT)")
    row = {"DATA": DAY.isoformat(), "PROPOSTA": 1, "CEDENTE": "x", "NEW_STATUS": "Pago", "CHANGE_SOURCE": "BOT"}
    counted = {"name": "rounds_apr_status_changes_total", "source": "BOT", "new_status": "pago"}
    up = {"name": "rounds_source_up", "source": "apr"}
    good = {"name": "rounds_collector_success", "collector": "apr"}
    async with HttpServer({"/": reply(body=b"ok")}) as shop, contextlib.AsyncExitStack() as stack:
        with contextlib.ExitStack() as first:
            server = first.enter_context(folder.running())
            server.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1")  # what is committed outlives its death
            installation = mariadb_installation(server)
            put(installation, "apr_status_history", row)
            more = (
                f"services: {{checks: [{{name: shop, url: '{shop.url}', interval: 500ms, timeout: 400ms,"
                " degraded_after: 200ms, down_after: 300ms}]}\n"
                "tables: [{name: patients, source: clinic, table: patients, interval: 500ms}]\n"
            )
            source = reader(server, installation)
            text = config(source, tmp_path, timeout="3s", more=more)
            text = text.replace(
                "sources: {", f'sources: {{"clinic": {{"kind": "sqlite", "path": "{tmp_path}/clinic.db"}}, '
            )
            exporter = await stack.enter_async_context(running_exporter(tmp_path, text))
            await exporter.ready()
            await value_becomes(exporter, 1, **counted)

            # A lock on a table: the statement is ended, by the server and by us, and never more than one waits.
            with closing(server.connect(str(installation.url.database))) as owner, owner.cursor() as cursor:
                cursor.execute("LOCK TABLES apr_status_history WRITE")
                most = 0
                while await exporter.value(**good) != 0:
                    most = max(most, server.open_sessions(str(installation.url.database)) - 1)
                assert 1 <= most <= 2
                await others_go_on(exporter)
                assert server.open_sessions(str(installation.url.database)) - 1 <= 2
                cursor.execute("UNLOCK TABLES")
            await value_becomes(exporter, 1, **good)

            put(installation, "apr_status_history", row)
        # Killed.
        await value_becomes(exporter, 0, **up)
        await others_go_on(exporter)
        with folder.running() as server:
            await value_becomes(exporter, 1, **up)
            await value_becomes(exporter, 1, **good)
            await value_becomes(exporter, 2, **counted)
            # Paused: connections are made, and nobody answers.
            server.sql("FLUSH STATUS")
            os.kill(server.pid, signal.SIGSTOP)
            try:
                await value_becomes(exporter, 0, **up)
                await others_go_on(exporter)
                ours = [link for link in Path(f"/proc/{exporter.process.pid}/task").iterdir() if _named(link, "apr")]
                assert len(ours) <= 1, "one run at a time, however long it hangs"
            finally:
                os.kill(server.pid, signal.SIGCONT)
            put(installation, "apr_status_history", row)
            await value_becomes(exporter, 1, **up)
            await value_becomes(exporter, 3, **counted)
            used = int(server.sql("SHOW GLOBAL STATUS LIKE 'Max_used_connections'")[0][1])
            assert used <= 2 + 1, "two of ours and one of the test's"
    assert "used up its share" not in exporter.log


def _named(task: Path, name: str) -> bool:
    try:
        return (task / "comm").read_text(encoding="utf-8").strip() == name
    except OSError:
        return False


def test_once(installation: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(installation)
    file = tmp_path / "rounds.yml"
    file.write_text(config(installation.source, tmp_path), encoding="utf-8")
    assert main(["once", "--collector=apr", f"--config.file={file}"]) == 0
    out = capsys.readouterr().out
    assert 'rounds_apr_invalid_records{validation_type="SEUNO"} 1' in out
    command = [str(require_binary("promtool")), "check", "metrics"]
    checked = subprocess.run(command, input=out, capture_output=True, text=True, check=False)
    # What it has against the process' metrics is the client library's.
    complaints = [line for line in (checked.stdout + checked.stderr).splitlines() if "rounds_apr" in line]
    assert not complaints
