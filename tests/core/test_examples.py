"""Every configuration that the documentation shows is one that is accepted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from _pytest.mark.structures import ParameterSet

from rounds.cli import main
from rounds.config import config_model
from rounds.domains import all_domains
from rounds.reference import json_schema

ROOT = Path(__file__).parents[2]
SECTIONS = {"sources", "tables", "apr", "services", "syncs", "emr", "state", "max_series"}


def blocks(text: str) -> list[str]:
    found = re.findall(r"^( *)```yaml\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def commented(text: str) -> list[str]:
    """Parts of a file that are there to be used when the marks before their lines are taken away."""
    paragraphs = re.findall(r"(?:^#.*\n)+", text, re.MULTILINE)
    lines = [[line.removeprefix("#").removeprefix(" ") for line in each.splitlines()] for each in paragraphs]
    return ["\n".join(each[each.index("sources:") :]) for each in lines if "sources:" in each]


def examples() -> list[ParameterSet]:
    found = []
    for file in [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]:
        for number, block in enumerate(blocks(file.read_text(encoding="utf-8"))):
            tree = yaml.safe_load(block)
            # Docker Compose has services of its own.
            if isinstance(tree, dict) and set(tree) <= SECTIONS and "checks" in tree.get("services", ["checks"]):
                found.append(pytest.param(block, id=f"{file.relative_to(ROOT)}-{number}"))
    default = (ROOT / "exporter" / "rounds.yml").read_text(encoding="utf-8")
    return found + [pytest.param(each, id=f"rounds.yml-{number}") for number, each in enumerate(commented(default))]


@pytest.mark.parametrize("example", examples())
def test_an_example_is_accepted(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in re.findall(r"\$\{(\w+)\}", example):
        monkeypatch.setenv(variable, "x")
    secret = tmp_path / "secret"
    secret.write_text("x\n", encoding="utf-8")
    tree = yaml.safe_load(example)
    # A source that stands in another example on the page.
    asked = {each.get("source") for name in ("tables", "syncs", "emr") for each in tree.get(name, ())} - {None}
    text = re.sub(r"(_file: )(\"[^\"]*\"|[^\s,}]+)", rf"\g<1>{secret}", example)
    if "sources" not in tree and asked:
        text += "\nsources:\n" + "".join(f"  {name}: {{kind: sqlite, path: x.db}}\n" for name in sorted(asked))
    file = tmp_path / "rounds.yml"
    file.write_text(text, encoding="utf-8")
    assert main(["check-config", f"--config.file={file}"]) == 0, capsys.readouterr().err


def test_editors_take_the_examples_too() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema(config_model({domain.name: domain.section for domain in all_domains()}))
    jsonschema.Draft202012Validator.check_schema(schema)
    known = jsonschema.Draft202012Validator(schema)
    found = [(str(each.values[0]), each.id) for each in examples()]
    # A date is a text in JSON.
    trees = {name: json.loads(json.dumps(yaml.safe_load(text), default=str)) for text, name in found}
    assert not [(name, error.message) for name, tree in trees.items() for error in known.iter_errors(tree)]
    assert list(known.iter_errors({"tables": [{"name": "a", "source": "s", "table": "t", "interval": 5}]}))


def test_there_are_examples_of_each_domain() -> None:
    text = "\n".join(str(each.values[0]) for each in examples())
    assert all(re.search(rf"^{section}:", text, re.MULTILINE) for section in SECTIONS - {"max_series", "services"})
