"""Planted secrets and patients, and an exporter to which everything goes wrong: nothing of them is told anywhere."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from support.exporter import RunningExporter, running_exporter, until
from support.patients import PatientsTable, ServerPatients, SnowflakePatients
from tables.test_exporter import config, until_changes

NAME = "Planted Patient Zzyzx"
PASSPHRASE = "planted passphrase qwx"
PASSWORD = "planted password vbk"
#: Beyond 64 bits.
LARGE = 18_446_744_073_709_111_222

#: Makes the exporter fail in a way that nobody expected, with an error that quotes a row, while a file is there.
FAULT = """
import os
import rounds.tables.check as check
genuine = check.dialect_for

def dialect_for(*given):
    if os.path.exists({flag!r}):
        raise ValueError({name!r})
    return genuine(*given)

check.dialect_for = dialect_for
"""


@pytest.fixture(params=["mariadb", "snowflake"])
def patients(request: pytest.FixtureRequest, tmp_path: Path) -> PatientsTable:
    """A table whose source logs in with a planted password, or with a planted key."""
    if request.param == "mariadb":
        server = request.getfixturevalue("mariadb")
        table: PatientsTable = ServerPatients(server)
        user = f"'planted'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'"
        table.sql(f"CREATE OR REPLACE USER {user}", "GRANT SELECT ON *.* TO 'planted'@'127.0.0.1'")
        database = str(table.source.database)  # type: ignore[union-attr]
        table.source = server.source(database, user="planted", password=PASSWORD)
        table.sql("ALTER TABLE patients MODIFY id BIGINT UNSIGNED")
        return table
    server = request.getfixturevalue("fakesnow")
    table = SnowflakePatients(server)
    file = tmp_path / "key.p8"
    file.write_bytes(private_key())
    keys = {"private_key_file": file, "private_key_password": PASSPHRASE}
    table.source = server.source(str(table.source.database), **keys)  # type: ignore[union-attr]
    return table


def private_key() -> bytes:
    """A key for logging in, behind the passphrase."""
    return rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSPHRASE.encode()),
    )


@pytest.mark.slow
async def test_nothing_is_told_whatever_goes_wrong(patients: PatientsTable, tmp_path: Path) -> None:
    flag, fault = tmp_path / "fault", tmp_path / "site"
    fault.mkdir()
    (fault / "sitecustomize.py").write_text(FAULT.format(flag=str(flag), name=NAME), encoding="utf-8")
    environ = {"PYTHONPATH": os.pathsep.join([str(fault), *sys.path])}
    patients.replace([(key, NAME) for key in range(5)])
    watched: dict[str, Any] = {"keys": "raw", "interval": "500ms", "full_check_every": "500ms", "columns": ["NAME"]}
    text = config(patients, tmp_path, **watched)
    async with running_exporter(tmp_path, text, "--log.level=debug", environ=environ) as exporter:
        await exporter.ready()
        patients.sql(f"INSERT INTO patients VALUES (6, '{NAME} the second')")
        await until_changes(exporter, 1, 0, 0)
        flag.touch()
        await failing(exporter, "internal")
        flag.unlink()
        with contextlib.closing(sqlite3.connect(tmp_path / "state.db", timeout=30)) as ledger, ledger:
            ledger.execute("UPDATE tables_bucket SET digest = digest - 1, pairs = x'06000000'")
        await until_value(exporter, "rounds_table_rebaselines_total", table="patients", reason="lost")
        if patients.source.kind == "mariadb":  # fakesnow keeps no number beyond 64 bits
            patients.sql(f"INSERT INTO patients VALUES ({LARGE}, '{NAME}')")
            await failing(exporter, "value")
            assert "does not fit 64 bits" in exporter.log
        patients.sql("ALTER TABLE patients DROP COLUMN name")
        await failing(exporter, "query")
        told = [(await exporter.get(path)).text for path in ("/metrics", "/", "/config", "/api/v1/status")]
        status = [sys.executable, "-m", "rounds", "status", f"--url={exporter.url}"]
        done = subprocess.run(status, capture_output=True, text=True, check=False)
        assert "tables/patients" in done.stdout, done
        process = Path(f"/proc/{exporter.process.pid}")
        told += [done.stdout, done.stderr, *((process / name).read_text() for name in ("cmdline", "environ"))]
        await exporter.stop()
        told.append(exporter.log)
    assert "unexpected ValueError" in exporter.log
    everything = "\n".join(told).encode() + b"".join(file.read_bytes() for file in tmp_path.glob("state.db*"))
    secrets = [NAME, PASSPHRASE, PASSWORD, str(LARGE)]
    if (key := tmp_path / "key.p8").exists():
        secrets += key.read_text(encoding="ascii").splitlines()[1:-1]
    assert [secret for secret in secrets if secret.encode() in everything] == []


async def failing(exporter: RunningExporter, reason: str) -> None:
    """Wait until a run fails for a reason."""
    await until_value(exporter, "rounds_collector_failures_total", collector="tables/patients", reason=reason)


async def until_value(exporter: RunningExporter, name: str, **labels: str) -> None:
    """Wait until a metric is no longer 0."""

    async def there() -> bool:
        return bool(await exporter.value(name, **labels))

    await until(there, within=30)
