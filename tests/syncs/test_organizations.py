"""Which organisations have series of their own, and what becomes of the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rounds.exposition import render
from rounds.syncs import following
from rounds.syncs.organizations import organization_of
from support.syncs_memory import NOON, MemoryLog, Watch

DAY = 86_400.0
HOSTILE = [
    '"',
    "\\",
    "a\nb",
    "\0",
    "\ud800",
    "x" * 128,
    "x" * 129,
    '"' * 128,
    "\x01" * 128,
    "\N{PILE OF POO}" * 128,
    "_other",
    "_other/1",
    "",
    " ",
    "{organization='1'}",
    "\N{RIGHT-TO-LEFT OVERRIDE}1",
    "\N{ZERO WIDTH SPACE}",
    "1\r\n# HELP x y",
]


@pytest.fixture
def log() -> MemoryLog:
    """An empty log."""
    return MemoryLog()


def ended(log: MemoryLog, organization: str, status: str = "completed", **values: object) -> str:
    """A run that has ended now."""
    began = {"started": log.clock - 60, "completed": log.clock}
    return log.put(organization=organization, **{"status": status, **began, **values})


def test_the_most_recent_have_labels_and_keep_them(log: MemoryLog, tmp_path: Path) -> None:
    watch = Watch(log, tmp_path, organizations={"max": 3})
    for number in range(6):
        ended(log, f"old {number}", started=NOON - 1000 + number)
    found = watch.look()
    assert set(found.all("last_end_timestamp_seconds", operation="full_patients")) == {
        ("old 3",),
        ("old 4",),
        ("old 5",),
    }
    assert found.all("organizations") == {("yes",): 3, ("no",): 3}
    for _ in range(5):
        ended(log, "new")
        ended(log, "old 0")
        found = watch.look()
    assert found.all("runs_total", state="completed") == {
        ("old 3", "full_patients"): 0,
        ("old 4", "full_patients"): 0,
        ("old 5", "full_patients"): 0,
        ("_other", "full_patients"): 10,
    }
    watch.configure(organizations={"max": 3})
    assert watch.look().one("runs_total", organization="_other", state="completed") == 10


def test_a_place_is_free_once_an_organisation_has_had_no_run_for_long(log: MemoryLog, tmp_path: Path) -> None:
    watch = Watch(log, tmp_path, organizations={"max": 1}, look_back="10d")
    ended(log, "gone")
    watch.look()
    totals = []
    for _ in range(14):
        ended(log, "stays")
        totals.append(watch.look(DAY).all("runs_total", state="completed"))
    assert {("gone", "full_patients"): 0, ("_other", "full_patients"): 1} in totals
    # Nobody but the one with a label of its own is left, so that _other has nobody.
    assert ("gone", "full_patients") not in totals[-1]
    assert set(totals[-1]) == {("stays", "full_patients")}
    first = next(each["stays", "full_patients"] for each in totals if ("stays", "full_patients") in each)
    assert first == 1, "from the look on in which it gets a label"
    assert watch.look().all("first_seen_timestamp_seconds")["stays", "full_patients"] < NOON + DAY


def test_an_organisation_with_a_run_under_way_is_not_forgotten(log: MemoryLog, tmp_path: Path) -> None:
    watch = Watch(log, tmp_path, organizations={"max": 1}, look_back="10d")
    log.put(organization="slow", updated=NOON)
    watch.look()
    assert watch.look(9 * DAY).one("runs_orphaned") == 1


def test_exactly_those_of_a_list_have_labels(log: MemoryLog, tmp_path: Path) -> None:
    only = ["2", "7", "nobody"]
    watch = Watch(
        log, tmp_path, organizations={"only": only, "names": {"2": "Clinic \N{LATIN SMALL LETTER E WITH ACUTE}"}}
    )
    watch.look()
    for number in range(9):
        ended(log, str(number), "failed")
        log.put(organization=str(number), updated=log.clock - 1000)
    found = watch.look()
    assert found.all("runs_total", state="failed") == {
        ("Clinic \N{LATIN SMALL LETTER E WITH ACUTE}", "full_patients"): 1,
        ("7", "full_patients"): 1,
        ("_other", "full_patients"): 7,
    }
    assert found.one("runs_active", organization="_other") == 7
    assert found.one("runs_stale", organization="_other") == 7
    assert found.all("organizations") == {("yes",): 2, ("no",): 7}
    of_others = {name for name in found.families if "organization" in found.families[name].metric.labels} & {
        name for name, family in found.families.items() if any("_other" in labels for labels, _ in family.samples)
    }
    counted = {"runs_total", "records_total", "patients_deleted_total"}
    assert of_others == counted | {"runs_active", "runs_stale", "runs_orphaned"}


def test_fewer_places_after_a_reload(log: MemoryLog, tmp_path: Path) -> None:
    watch = Watch(log, tmp_path)
    for number in range(4):
        ended(log, str(number))
    watch.look()
    for number in range(4):
        ended(log, str(number), started=log.clock + number)
    assert watch.look().total("runs_total", organization="0") == 1
    watch.configure(organizations={"max": 2})
    found = watch.look()
    assert {organization for organization, _ in found.all("runs_total", state="completed")} == {"2", "3", "_other"}
    assert found.total("runs_total", organization="_other") == 0, "what was counted under a label stays there"
    watch.configure(organizations={"max": 0})
    assert {key[0] for key in watch.look().all("runs_total", state="completed")} == {"_other"}


def test_names_and_ids_that_are_the_same(log: MemoryLog, tmp_path: Path) -> None:
    watch = Watch(log, tmp_path, organizations={"names": {"2": "1"}})
    watch.look()
    ended(log, "1", "failed")
    ended(log, "2", started=log.clock)
    found = watch.look()
    assert found.one("runs_total", organization="1", state="failed") == 1
    assert found.one("runs_total", organization="1", state="completed") == 1
    assert found.all("last_run_state", state="completed") == {("1", "full_patients"): 1}, "the newer one's"


def test_operations_without_a_label(log: MemoryLog, tmp_path: Path) -> None:
    watch = Watch(log, tmp_path, operations=["full_patients"])
    watch.look()
    ended(log, "1", operation="made up")
    ended(log, "1", operation="clerk", started=log.clock + 1)
    ended(log, "1")
    log.put(operation="made up")
    found = watch.look()
    assert found.all("runs_total", state="completed") == {("1", "full_patients"): 1, ("1", "_other"): 2}
    assert found.one("runs_active", operation="_other") == 1
    assert set(found.all("failures_total", error_class="auth")) == {("full_patients",), ("_other",)}


def test_hostile_organisations(log: MemoryLog, tmp_path: Path) -> None:
    watch = Watch(log, tmp_path)
    watch.look()
    for organization in HOSTILE:
        log.put(organization=organization, operation="\x02" * 300, updated=log.clock)
        ended(log, organization, "failed", metadata={"patients_deleted": 1})
    found = watch.look()
    families = list(found.families.values())
    text = render(families).decode()
    parsed = {sample.name: sample for family in text_string_to_metric_families(text) for sample in family.samples}
    assert parsed
    assert found.one("runs_total", organization="_other", operation="full_patients", state="failed") == 3
    assert found.total("runs_total", state="failed") == len(HOSTILE)
    assert found.total("runs_active") == len(HOSTILE)
    # A label as the ledger keeps it, which servers hold to its length.
    for organization, operation in found.all("runs_total", state="failed"):
        assert len(json.dumps([organization, operation, "completed"], ensure_ascii=False)) <= 512
    watch.configure()
    assert watch.look().total("runs_total", state="failed") == len(HOSTILE)


def test_organisations_that_can_be_no_label() -> None:
    assert organization_of("") == ""
    assert organization_of("org_1") == "org_1"
    assert organization_of("a\nb\ud800") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    hidden = {organization_of(text) for text in ("_other", "x" * 129, "y" * 129, "_other/1")}
    assert len(hidden) == 4, "they are told apart, though nobody sees it"
    assert all(each.startswith("_other/") for each in hidden)


def test_five_thousand_organisations(log: MemoryLog, tmp_path: Path) -> None:
    watch = Watch(log, tmp_path)
    watch.look()
    for number in range(5000):
        ended(log, f"org_{number}", started=log.clock + number / 100)
        if number % 10 == 0:
            log.put(organization=f"org_{number}", metadata={"step": "storing_patients"})
    found = watch.look(100)
    assert found.all("organizations") == {("yes",): 30, ("no",): 4970}
    assert found.one("runs_total", organization="_other", state="completed") == 4970
    assert found.total("runs_total") == 5000
    assert found.one("runs_active", organization="_other") == 497
    assert found.total("runs_active") == 500
    assert found.series < 2500
    assert "5000 organisations" in watch.collector.found()
    series = found.series
    for number in range(0, 5000, 7):
        ended(log, f"org_{number}")
    found = watch.look(100)
    assert found.series == series
    assert found.total("runs_total") == 5000 + 715


def test_so_many_organisations_are_remembered(log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "KEYS", 20)
    watch = Watch(log, tmp_path, organizations={"max": 3})
    ended(log, "first")
    watch.look()
    for number in range(100):
        ended(log, str(number), started=log.clock + number)
    found = watch.look(200)
    assert found.all("organizations") == {("yes",): 3, ("no",): 17}
    assert found.total("runs_total") == 100
    assert found.one("last_run_state", organization="first", state="completed") == 1


def test_runs_are_expected_of_an_organization_that_is_named_though_it_has_none(log: MemoryLog, tmp_path: Path) -> None:
    """A misspelt id is noticed."""
    named = {"only": ["1", "2", "_other"], "names": {"2": "south"}}
    watch = Watch(log, tmp_path, organizations=named, expect_every={"full_patients": "1h"})
    ended(log, "1")
    assert set(watch.look().all("expected_interval_seconds")) == {
        ("1", "full_patients"),
        ("south", "full_patients"),
    }


def test_failures_are_counted_from_0_on_for_every_operation(log: MemoryLog, tmp_path: Path) -> None:
    watch = Watch(log, tmp_path, operations=["full_patients", "night"], expect_every="1h")
    counted = watch.look().all("failures_total", error_class="auth")
    assert counted == {("full_patients",): 0, ("night",): 0, ("_other",): 0}
