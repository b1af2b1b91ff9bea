"""Watched tables in a real exporter: its metrics, its logs, its commands, and what may be found in none of them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rounds.cli import main
from rounds.sources import Source
from support.databases import sources_yaml
from support.exporter import RunningExporter, running_exporter, until
from support.patients import Patient, PatientsTable, ServerPatients, SqlitePatients

#: Nothing else looks like these.
NAMES = [f"Planted Patient {number} Zzyzx" for number in range(8)]
IDS = [7_301_928_450_000 + 17 * number for number in range(8)]


def patients_of(numbers: range) -> list[Patient]:
    return [(IDS[number], NAMES[number]) for number in numbers]


def config(patients: PatientsTable, folder: Path, source: Source | None = None, **keys: Any) -> str:
    """A configuration that watches the table once a second."""
    table = {"name": "patients", "source": "clinic", "table": patients.table, "interval": "1s", **keys}
    rest = yaml.safe_dump({"state": {"url": f"sqlite:///{folder / 'state.db'}"}, "tables": [table]})
    return rest + sources_yaml({"clinic": source or patients.source})


async def changes(exporter: RunningExporter) -> tuple[float | None, ...]:
    samples = await exporter.samples()
    return tuple(
        samples.get(("rounds_table_changes_total", frozenset({"table": "patients", "change": change}.items())))
        for change in ("inserted", "deleted", "modified")
    )


async def until_changes(exporter: RunningExporter, *wanted: int) -> None:
    async def are() -> bool:
        return await changes(exporter) == wanted

    await until(are, within=20)


async def test_metrics_tell_what_happened(patients: PatientsTable, tmp_path: Path) -> None:
    patients.replace(patients_of(range(6)))
    async with running_exporter(tmp_path, config(patients, tmp_path)) as exporter:
        await exporter.ready()
        assert await changes(exporter) == (0, 0, 0)
        assert await exporter.value("rounds_table_rows", table="patients") == 6
        assert await exporter.value("rounds_table_key_max", table="patients") in (IDS[5], None)
        patients.replace(patients_of(range(8)))
        await until_changes(exporter, 2, 0, 0)
        assert await exporter.value("rounds_table_rows", table="patients") == 8
        assert await exporter.value("rounds_table_previous_rows", table="patients") == 6
        assert await exporter.value("rounds_table_last_change_rows", table="patients", change="inserted") == 2
        assert await exporter.value("rounds_table_last_change_rows", table="patients", change="deleted") is None
        assert await exporter.value("rounds_collector_success", collector="tables/patients") == 1
        assert await exporter.value("rounds_source_up", source="clinic") == 1
        queries = await exporter.value("rounds_source_queries_total", source="clinic")
        assert queries is not None
        assert queries > 0
        page = (await exporter.get("/")).text
        assert "8 rows" in page


async def test_counters_outlive_the_process_and_a_reload(tmp_path: Path) -> None:
    patients = SqlitePatients(tmp_path)
    patients.replace(patients_of(range(6)))
    async with running_exporter(tmp_path, config(patients, tmp_path), "--web.enable-lifecycle") as exporter:
        await exporter.ready()
        patients.replace(patients_of(range(7)))
        await until_changes(exporter, 1, 0, 0)
        baseline = await exporter.value("rounds_table_baseline_timestamp_seconds", table="patients")
        exporter.file.write_text(config(patients, tmp_path, interval="2s"), encoding="utf-8")
        assert (await exporter.client.post(f"{exporter.url}/-/reload")).status_code == 200
        assert await changes(exporter) == (1, 0, 0)
        assert await exporter.value("rounds_collector_interval_seconds", collector="tables/patients") == 2
        assert await exporter.value("rounds_collector_info", collector="tables/patients", source="clinic") == 1
        patients.replace(patients_of(range(8)))
        await until_changes(exporter, 2, 0, 0)
        assert await exporter.value("rounds_table_baseline_timestamp_seconds", table="patients") == baseline
    patients.replace(patients_of(range(5)))
    # An hour to the next check: what is told at the start is what the ledger holds.
    async with running_exporter(tmp_path, config(patients, tmp_path, interval="1h")) as exporter:
        assert await changes(exporter) in ((2, 0, 0), (2, 3, 0))
        await exporter.ready()
        assert await changes(exporter) == (2, 3, 0)
        assert await exporter.value("rounds_table_baseline_timestamp_seconds", table="patients") == baseline


@pytest.mark.parametrize("keys", ["hashed", "raw"])
async def test_no_name_and_by_default_no_id_is_found_anywhere(
    patients: PatientsTable, tmp_path: Path, keys: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {"keys": keys, "key_max": False}
    patients.replace(patients_of(range(6)))
    async with running_exporter(tmp_path, config(patients, tmp_path, **given), "--log.level=debug") as exporter:
        await exporter.ready()
        patients.replace([(IDS[0], NAMES[7]), *patients_of(range(2, 8))])
        await until_changes(exporter, 2, 1, 1)
        # A failure too: drivers like to quote statements and values.
        patients.sql("ALTER TABLE patients RENAME TO elsewhere")

        async def failed() -> bool:
            return await exporter.value("rounds_collector_success", collector="tables/patients") == 0

        await until(failed, within=20)
        told = [(await exporter.get(path)).text for path in ("/metrics", "/", "/config", "/api/v1/status")]
        await exporter.stop()
        told.append(exporter.log)
    for command in (["changes"], ["changes", "--format=json"], ["ledger", "export"], ["ledger", "check"]):
        assert main([*command, f"--config.file={exporter.file}"]) == 0, command
        out = capsys.readouterr()
        told += [out.out + out.err]
    files = b"".join(file.read_bytes() for file in tmp_path.glob("state.db*"))
    everything = files + "\n".join(told).encode()
    for name in NAMES:
        assert name.encode() not in everything
        assert name.split()[2].encode() + b" Zzyzx" not in everything
    shapes: list[Callable[[int], bytes]] = [
        lambda number: str(number).encode(),
        lambda number: struct.pack("<q", number),
        lambda number: struct.pack(">q", number),
    ]
    found = [number for number in IDS for shape in shapes if shape(number) in everything]
    assert bool(found) is (keys == "raw"), "raw keys are asked for; hashed ones tell nothing"
    salt = (tmp_path / "state.db.salt").read_text(encoding="utf-8").strip()
    assert salt.encode() not in everything.replace((tmp_path / "state.db.salt").read_bytes(), b"")


def test_once_checks_one_table(mariadb: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patients = ServerPatients(mariadb)
    patients.replace(patients_of(range(6)))
    file = tmp_path / "rounds.yml"
    file.write_text(config(patients, tmp_path), encoding="utf-8")
    once = ["once", f"--config.file={file}", "--collector=tables/patients"]
    assert main(once) == 0
    assert 'rounds_table_rows{table="patients"} 6' in capsys.readouterr().out
    patients.replace(patients_of(range(8)))
    assert main(once) == 0
    out = capsys.readouterr().out
    assert 'rounds_table_changes_total{table="patients",change="inserted"} 2' in out
    patients.sql("DROP TABLE patients")
    assert main(once) == 1
    captured = capsys.readouterr()
    assert 'rounds_table_changes_total{table="patients",change="inserted"} 2' not in captured.out


def test_changes_lists_the_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patients = SqlitePatients(tmp_path)
    patients.replace([(1, "a"), (2, "b")])
    file = tmp_path / "rounds.yml"
    file.write_text(config(patients, tmp_path, keys="raw"), encoding="utf-8")
    assert main(["once", f"--config.file={file}"]) == 0
    patients.replace([(2, "c"), *((key, "new") for key in range(10, 22))])
    assert main(["once", f"--config.file={file}"]) == 0
    capsys.readouterr()
    assert main(["changes", f"--config.file={file}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["TIME", "TABLE", "CHANGE", "ROWS", "KEYS"]
    told = {line.split()[2]: line.split(maxsplit=4)[3:] for line in lines[1:]}
    assert told["deleted"] == ["1", "1"]
    assert told["modified"] == ["1", "2"]
    assert told["inserted"][0] == "12"
    assert told["inserted"][1].endswith("and 4 more")
    assert main(["changes", f"--config.file={file}", "--format=json", "--table=patients"]) == 0
    entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(next(entry for entry in entries if entry["change"] == "inserted")["keys"]) == [
        str(key) for key in range(10, 22)
    ]
    assert main(["changes", f"--config.file={file}", "--table=other"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


class TestImport:
    @pytest.fixture
    def state(self, tmp_path: Path) -> Path:
        """What the older monitor left behind."""
        file = tmp_path / "monitor_state.json"
        records = [{"id": key, "name": f"Name {key}"} for key in range(1, 7)]
        content = {"timestamp": "2026-11-01T08:00:00.123456", "record_count": 6, "max_id": 6, "records": records}
        file.write_text(json.dumps(content), encoding="utf-8")
        return file

    @pytest.mark.parametrize("keys", ["raw", "hashed"])
    def test_going_over_raises_no_alert_and_loses_no_change(
        self, patients: PatientsTable, tmp_path: Path, state: Path, keys: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        patients.replace([(1, "Name 1"), (2, "Other"), *((key, f"Name {key}") for key in range(4, 8))])
        file = tmp_path / "rounds.yml"
        file.write_text(config(patients, tmp_path, keys=keys, columns=["name"]), encoding="utf-8")
        assert main(["tables", "import", str(state), "--table=patients", f"--config.file={file}"]) == 0
        assert "recorded 6 rows" in capsys.readouterr().out
        assert main(["once", f"--config.file={file}"]) == 0
        out = capsys.readouterr().out
        for change in ("inserted", "deleted", "modified"):
            assert f'rounds_table_changes_total{{table="patients",change="{change}"}} 1' in out
        assert main(["once", f"--config.file={file}"]) == 0
        assert 'rounds_table_changes_total{table="patients",change="inserted"} 1' in capsys.readouterr().out
        assert b"Name 4" not in (tmp_path / "state.db").read_bytes()

    def test_only_before_the_first_check(self, tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "rounds.yml"
        file.write_text(config(SqlitePatients(tmp_path), tmp_path, columns=["name"]), encoding="utf-8")
        assert main(["once", f"--config.file={file}"]) == 0
        assert main(["tables", "import", str(state), "--table=patients", f"--config.file={file}"]) == 2
        assert "has a record already" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            ("{", ":1: is not JSON"),
            ("[]", "has no list 'records'"),
            ('{"timestamp": "yesterday", "records": []}', "timestamp: should be a time"),
            (
                '{"timestamp": "2026-11-01T08:00:00", "records": [{"id": 1}]}',
                "records[0]: should have an id and a name",
            ),
            ('{"timestamp": "2026-11-01T08:00:00", "records": [{"id": 1, "name": 5}]}', "records[0]"),
            ('{"timestamp": "2026-11-01T08:00:00", "record_count": 2, "records": [{"id": 1, "name": "a"}]}', "damaged"),
            ('{"timestamp": "9026-11-01T08:00:00", "records": []}', "lies in the future"),
        ],
    )
    def test_a_broken_file_is_refused(
        self, tmp_path: Path, state: Path, content: str, complaint: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        state.write_text(content, encoding="utf-8")
        file = tmp_path / "rounds.yml"
        file.write_text(config(SqlitePatients(tmp_path), tmp_path, columns=["name"]), encoding="utf-8")
        assert main(["tables", "import", str(state), "--table=patients", f"--config.file={file}"]) == 2
        told = capsys.readouterr().err
        assert complaint in told
        assert main(["once", f"--config.file={file}"]) == 0, "nothing of it was recorded"
        assert 'rounds_table_changes_total{table="patients",change="deleted"} 0' in capsys.readouterr().out

    @pytest.mark.parametrize("keys", ["raw", "hashed"])
    @pytest.mark.parametrize("other", ["ids", "names"])
    def test_the_state_of_another_table_is_refused(
        self, patients: PatientsTable, tmp_path: Path, other: str, keys: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        patients.replace([(key, f"Name {key}") for key in range(1, 13)])
        records = [
            {"id": key + (1000 if other == "ids" else 0), "name": f"{'Name' if other == 'ids' else 'Drug'} {key}"}
            for key in range(1, 13)
        ]
        state = tmp_path / "monitor_state.json"
        state.write_text(json.dumps({"timestamp": "2026-11-01T08:00:00", "records": records}), encoding="utf-8")
        file = tmp_path / "rounds.yml"
        file.write_text(config(patients, tmp_path, keys=keys, columns=["name"]), encoding="utf-8")
        command = ["tables", "import", str(state), "--table=patients", f"--config.file={file}"]
        assert main(command) == 2
        assert "is it the state of another table" in capsys.readouterr().err
        records[4] = {"id": 5, "name": "Name 5"}
        state.write_text(json.dumps({"timestamp": "2026-11-01T08:00:00", "records": records}), encoding="utf-8")
        assert main(command) == 0, "most rows may have changed"

    def test_numbers_that_became_texts_on_their_way_are_still_ids(
        self, patients: PatientsTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if isinstance(patients, SqlitePatients):
            pytest.skip("its columns hold values of any type, so a text is another id than the number")
        patients.replace([(1, "Name 1"), (2, "Name 2"), (3, "Name 3")])
        records = [{"id": "1", "name": "Name 1"}, {"id": 2.0, "name": "Name 2"}, {"id": 3, "name": "Name 3"}]
        state = tmp_path / "monitor_state.json"
        state.write_text(json.dumps({"timestamp": "2026-11-01T08:00:00", "records": records}), encoding="utf-8")
        file = tmp_path / "rounds.yml"
        file.write_text(config(patients, tmp_path, columns=["name"]), encoding="utf-8")
        assert main(["tables", "import", str(state), "--table=patients", f"--config.file={file}"]) == 0
        assert main(["once", f"--config.file={file}"]) == 0
        out = capsys.readouterr().out
        assert 'rounds_table_scans_total{table="patients",result="scanned"} 1' in out
        for change in ("inserted", "deleted", "modified"):
            assert f'rounds_table_changes_total{{table="patients",change="{change}"}} 0' in out

    @pytest.mark.parametrize("number", ["a1", 1.5])
    def test_ids_that_the_column_cannot_hold_are_refused(
        self, patients: PatientsTable, tmp_path: Path, number: object, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if isinstance(patients, SqlitePatients):
            pytest.skip("its columns hold values of any type")
        state = tmp_path / "monitor_state.json"
        content = {"timestamp": "2026-11-01T08:00:00", "records": [{"id": number, "name": "Name 1"}]}
        state.write_text(json.dumps(content), encoding="utf-8")
        file = tmp_path / "rounds.yml"
        file.write_text(config(patients, tmp_path, columns=["name"]), encoding="utf-8")
        assert main(["tables", "import", str(state), "--table=patients", f"--config.file={file}"]) == 1
        assert "no whole numbers" in capsys.readouterr().err

    def test_a_table_is_reset_by_a_command(
        self, patients: PatientsTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        patients.replace([(1, "Name 1"), (2, "Name 2")])
        file = tmp_path / "rounds.yml"
        file.write_text(config(patients, tmp_path), encoding="utf-8")
        reset = ["tables", "reset", "--table=patients", f"--config.file={file}"]
        assert main(reset) == 2, "there is nothing to be forgotten yet"
        assert "no record yet" in capsys.readouterr().err
        assert main(["once", f"--config.file={file}"]) == 0
        patients.replace([(1, "Name 1")])
        assert main(reset) == 0
        assert main(["once", f"--config.file={file}"]) == 0
        out = capsys.readouterr().out
        assert 'rounds_table_changes_total{table="patients",change="deleted"} 0' in out
        assert 'rounds_table_rebaselines_total{table="patients",reason="reset"} 1' in out

    def test_a_table_that_is_not_watched(self, tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "rounds.yml"
        file.write_text(config(SqlitePatients(tmp_path), tmp_path), encoding="utf-8")
        assert main(["tables", "import", str(state), "--table=patient", f"--config.file={file}"]) == 2
        assert "did you mean 'patients'" in capsys.readouterr().err
        assert main(["tables", "import", str(state), "--table=patients", f"--config.file={file}"]) == 2
        assert "columns: [NAME]" in capsys.readouterr().err
