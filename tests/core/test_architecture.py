"""What keeps the house in order."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rounds.domains import all_domains
from rounds.exporter import catalogue

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "exporter/rounds"
DOMAINS = {domain.name for domain in all_domains()}
#: The only modules of the core that may know domains.
ABOVE_DOMAINS = {"domains", "cli", "__main__"}


def imports(file: Path) -> Iterator[str]:
    """The parts of ``rounds`` that a module imports, such as ``services.config``."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (name.removeprefix("rounds.") for name in names if name.startswith("rounds."))


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_dependencies_run_one_way(file: Path) -> None:
    """The core imports no domain, a domain no other, and none of them the command line or the demo."""
    part = part_of(file)
    if part in ABOVE_DOMAINS or part == "demo":
        return
    forbidden = (DOMAINS | ABOVE_DOMAINS | {"demo"}) - {part}
    assert not [name for name in imports(file) if name.partition(".")[0] in forbidden]


#: What an application imports, besides the standard library: each of these only where it is used.
LIBRARY_MAY_IMPORT = {"prometheus_client", "psutil", "sentry_sdk"}
LIBRARY = [file for part in ("app", "health", "report") for file in sorted((PACKAGE / "emr" / part).rglob("*.py"))]
LIBRARY += [PACKAGE / "emr" / name for name in ("__init__.py", "names.py", "layout.py")]


@pytest.mark.parametrize("file", LIBRARY, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_the_library_of_emr_needs_the_standard_library_alone(file: Path) -> None:
    allowed = sys.stdlib_module_names | LIBRARY_MAY_IMPORT
    own = ("emr.app", "emr.health", "emr.report", "emr.names", "emr.layout")
    # The package itself is one of these modules, and loads none of its own before it is asked for.
    assert not [name for name in imports(file) if not name.startswith(own) and name != "emr"]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} - allowed
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("rounds."):
            assert (node.module or "").split(".")[0] in allowed


def test_a_metric_is_declared_once_and_named_as_the_field_names_metrics() -> None:
    metrics = catalogue(all_domains())
    names = [metric.name for metric in metrics]
    assert len(names) == len(set(names))
    for metric in metrics:
        assert metric.name.startswith(("rounds_", "process_", "python_")), metric.name
        assert metric.name.endswith("_total") is (metric.kind == "counter"), metric.name
        assert metric.help.endswith("."), metric.name
        assert not {"service", "type", "env", "instance", "job"} & set(metric.labels), metric.name
        for label, _ in metric.values:
            assert label in metric.labels


def test_no_lock_file_spells_an_address() -> None:
    for file in REPOSITORY.glob("requirements*.txt"):
        text = file.read_text(encoding="utf-8")
        assert "://" not in text
        assert "--hash=sha256:" in text
        assert not [line for line in text.splitlines() if line.startswith("-")]
