"""The references: what a configuration may hold, and what is exported, as editors and people are told it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from scripts import metrics_page

from bundle.rules import alerts
from rounds import reference
from rounds.cli import main
from rounds.config import config_model
from rounds.domains import all_domains
from rounds.exporter import catalogue
from rounds.fields import Count, Duration, Integer, Model, Secret

REPOSITORY = Path(__file__).parents[2]
CONFIGURATION = config_model({domain.name: domain.section for domain in all_domains()})
SCHEMA = reference.json_schema(CONFIGURATION)
KEYS = {
    (section, key): schema
    for section, model in [("Configuration", SCHEMA), *SCHEMA["$defs"].items()]
    for key, schema in model["properties"].items()
}


def test_the_reference_is_the_generated_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config-schema", "--format=markdown"]) == 0
    documented = (REPOSITORY / "docs/configuration-reference.md").read_text(encoding="utf-8")
    assert documented == capsys.readouterr().out, "run: make docs"


def test_the_documented_catalogue_is_the_generated_one() -> None:
    documented = (REPOSITORY / "docs/metrics.md").read_text(encoding="utf-8")
    assert documented == metrics_page.page(), "run: make docs"


def test_the_catalogue_has_every_metric_under_its_domain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "--format=json"]) == 0
    told = {(each["component"], each["name"]) for each in json.loads(capsys.readouterr().out)}
    assert {name for _, name in told} == {metric.name for metric in catalogue(all_domains())}
    assert main(["metrics"]) == 0
    sections = re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", capsys.readouterr().out, re.MULTILINE | re.DOTALL)
    assert {
        (domain, name) for domain, text in sections for name in re.findall(r"^\| `(\w+)`", text, re.MULTILINE)
    } == told
    assert ("syncs", "rounds_sync_runs_total") in told
    assert ("exporter", "rounds_ledger_up") in told


def test_a_metric_names_the_alerts_and_dashboards_that_use_it() -> None:
    page = (REPOSITORY / "docs/metrics.md").read_text(encoding="utf-8")
    row = dict(re.findall(r"^\| `(\w+)` (\|.*)$", page, re.MULTILINE))
    assert "[ServiceDown](runbooks/ServiceDown.md)" in row["rounds_check_state"]
    # By a recorded series, and by a histogram's.
    assert "[EmrOperationSlow](runbooks/EmrOperationSlow.md)" in row["rounds_emr_operation_duration_seconds"]
    assert "dashboard `services`" in row["rounds_check_duration_seconds"]
    # The others are on what Prometheus and Alertmanager export of themselves.
    wanted = {rule.name for rule in alerts() if "rounds_" in rule.expr}
    assert len(wanted) > 50
    assert wanted == set(re.findall(r"\[(\w+)\]\(runbooks/", page))


def test_the_schema_is_what_is_printed_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config-schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA


def test_a_key_says_what_it_means() -> None:
    sentence = re.compile(r"(?=[A-Z`0-9])(`{2}.+?`{2}|[^`])+\.")
    silent = [".".join(at) for at, schema in KEYS.items() if not sentence.fullmatch(schema.get("description", ""))]
    assert silent == [], "each needs a docstring below it, of whole sentences"


def test_a_section_says_what_it_is() -> None:
    assert not [name for name, model in SCHEMA["$defs"].items() if not model.get("description", "").endswith(".")]


def test_a_default_is_written_as_a_file_has_it() -> None:
    assert KEYS["WatchedTable", "interval"]["default"] == "1h"
    assert KEYS["Sync", "expect_every"]["default"] == "1h"
    for (section, key), schema in KEYS.items():
        if schema.get("default") is not None and schema.get("type") == "string":
            assert isinstance(schema["default"], str), f"{section}.{key}"


def test_bounds_are_in_the_schema_s_own_words() -> None:
    assert KEYS["WatchedTable", "journal_max"]["minimum"] == 0
    assert (KEYS["Labels", "cedente"]["minimum"], KEYS["Labels", "cedente"]["maximum"]) == (0, 100)
    assert not [at for at, schema in KEYS.items() if {"ge", "gt", "le", "lt"} & set(schema)]


class Shared(Model):
    """For all."""

    often: Duration = 90
    """How often."""


class Deep(Model):
    """What lies deeper."""

    password: Secret
    """A secret | a bar."""


class One(Shared):
    """The first kind."""

    kind: Literal["one"]
    """Its kind."""
    deep: Deep | None = None
    """Below."""
    max_bytes: Count = 3 * 1024**2
    """Most bytes."""


class Two(Shared):
    """The second kind."""

    kind: Literal["two"]
    """Its kind."""
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A part."""
    names: dict[str, Annotated[Integer, Field(le=7)]] = {}
    """Numbers."""


class Whole(Model):
    """All."""

    shared: Shared = Shared()
    """What all have."""
    things: list[Annotated[One | Two, Field(discriminator="kind")]] = []
    """Two
    kinds."""
    colour: Literal["red", "blue"] = "red"
    """A colour, such as ``red``."""


def test_the_page_tells_types_bounds_defaults_and_where_shared_keys_stand() -> None:
    page = reference.markdown(Whole)
    rows: dict[str, list[str]] = {}
    for section in re.split(r"^##+ ", page, flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        rows[title] = [row.removeprefix("| ").removesuffix(" |") for row in text.splitlines() if row.startswith("| `")]
    assert rows == {
        "Top level": [
            "`shared` | [section](#shared) |  | What all have.",
            "`things` | list, each a section of kind [one](#things-kind-one), [two](#things-kind-two) |  | Two kinds.",
            "`colour` | `red`, `blue` | `red` | A colour, such as `red`.",
        ],
        "shared": ["`often` | duration | `1m30s` | How often."],
        "things: kind one": [
            "`kind` | `one` | **required** | Its kind.",
            "`deep` | [section](#things-kind-onedeep) |  | Below.",
            "`max_bytes` | bytes, at least 1 | `3145728` (3 MiB) | Most bytes.",
        ],
        "things: kind one.deep": [r"`password` | secret | **required** | A secret \| a bar."],
        "things: kind two": [
            "`kind` | `two` | **required** | Its kind.",
            "`ratio` | number, above 0, at most 1 | `0.5` | A part.",
            "`names` | mapping of names, each to a whole number, at most 7 | none | Numbers.",
        ],
    }
    assert page.count("Further keys are those of [shared](#shared).") == 2


def test_each_section_of_the_page_has_an_anchor_of_its_own() -> None:
    titles = re.findall(r"^##+ (.*)$", reference.markdown(CONFIGURATION), re.MULTILINE)
    anchors: list[Any] = [reference.anchor(title) for title in titles]
    assert len(set(anchors)) == len(anchors) > 20
