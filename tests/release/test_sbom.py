"""The bill of materials lists what is installed with Rounds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from release.conftest import ROOT

pytestmark = pytest.mark.slow

PINS = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sbom")
    subprocess.run([sys.executable, str(ROOT / "scripts/sbom.py"), str(folder)], check=True)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def bill(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def test_it_holds_to_the_schema(file: Path, bill: Any) -> None:
    assert file.name == "rounds-exporter-0.1.0.cdx.json"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read_text(encoding="utf-8")) is None
    bill = json.loads(json.dumps(bill))
    bill["components"][0]["type"] = "spoon"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is not None


def test_the_root_is_rounds(bill: Any) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == (project["name"], project["version"])
    assert root["licenses"][0]["license"]["id"] == project["license"]


def test_every_pin_is_there_with_its_hashes_and_licence(bill: Any) -> None:
    assert len(PINS) > 20
    assert {each["name"]: each["version"] for each in bill["components"]} == PINS
    hashes = re.findall(r"--hash=sha256:(\w+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"))
    told = [
        each["content"]
        for component in bill["components"]
        for reference in component["externalReferences"]
        for each in reference["hashes"]
    ]
    assert sorted(told) == sorted(hashes)
    assert [each["name"] for each in bill["components"] if not each.get("licenses")] == []
    assert all(each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}" for each in bill["components"])


def test_everything_is_needed_by_something(bill: Any) -> None:
    """Rounds needs each component, by itself or through others."""
    needs = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    found, waiting = set(), [bill["metadata"]["component"]["bom-ref"]]
    while waiting:
        reference = waiting.pop()
        if reference not in found:
            found.add(reference)
            waiting += needs[reference]
    assert found == set(needs)
    assert {each["bom-ref"] for each in bill["components"]} <= found
