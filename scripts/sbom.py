#!/usr/bin/env python3
"""Writes the bill of materials of a release: what requirements.txt pins, as CycloneDX 1.6 in JSON.

cyclonedx-py reads the pins and their hashes. Licences, and which package needs which, are in the metadata of installed
packages, so this runs in an environment that has them; where another version is installed they are left out.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[1]
#: Longer ones are a whole licence rather than its name.
LONGEST_NAME = 80


def bill(root: Path) -> dict[str, Any]:
    """The bill of materials of a checkout.

    Raises:
        ValueError: it does not hold to CycloneDX' schema.
        subprocess.CalledProcessError: requirements.txt or pyproject.toml could not be read.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--no-validate", "--output-reproducible"]
        command += ["--pyproject", str(root / "pyproject.toml"), "-o", file.name, str(root / "requirements.txt")]
        # What it warns of is completed below.
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)  # noqa: S603
        made: dict[str, Any] = json.loads(Path(file.name).read_text(encoding="utf-8"))
    references = {_plain(each["name"]): each["bom-ref"] for each in made["components"]}
    needs = {each["ref"]: each for each in made["dependencies"]}
    for component in made["components"]:
        del component["description"]  # the line of requirements.txt, with all hashes once more
        metadata = _installed(component["name"], component["version"])
        if metadata is None:
            continue
        licences = list(_licences(metadata.metadata))
        if licences:
            component["licenses"] = licences
        _needs(needs, component["bom-ref"], references, metadata.requires or ())
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [*project["dependencies"], *project["optional-dependencies"]["postgresql"]]
    _needs(needs, made["metadata"]["component"]["bom-ref"], references, own)
    made["dependencies"] = sorted(needs.values(), key=lambda each: str(each["ref"]))
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made))
    if problem:
        raise ValueError(f"the bill of materials does not hold to its schema: {problem}")
    return made


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed(name: str, version: str) -> Any:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    return found if found.version == version else None


def _licences(metadata: Any) -> Iterable[dict[str, Any]]:
    """As a package declares it: an SPDX expression, else its classifiers, else a name."""
    if metadata["License-Expression"]:
        yield {"expression": metadata["License-Expression"], "acknowledgement": "declared"}
        return
    classified = [each.rpartition(" :: ")[2] for each in metadata.get_all("Classifier", ()) if "License ::" in each]
    names = [each for each in classified if each != "OSI Approved"]
    if not names and metadata["License"] and len(metadata["License"]) <= LONGEST_NAME:
        names = [metadata["License"]]
    yield from ({"license": {"name": name, "acknowledgement": "declared"}} for name in names)


def _needs(
    needs: dict[str, dict[str, Any]], reference: str, references: dict[str, str], required: Iterable[str]
) -> None:
    """Enter which pinned packages another one needs. What only extras need that nobody asked for is not pinned."""
    names = [_plain(re.split(r"[^\w.-]", each, maxsplit=1)[0]) for each in required]
    found = sorted({references[name] for name in names if name in references})
    if found:
        needs[reference]["dependsOn"] = found


def main() -> int:
    """Write the bill of materials into dist/, or where an argument says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", type=Path, default=ROOT / "dist", help="a folder (default: dist)")
    folder: Path = parser.parse_args().output
    made = bill(ROOT)
    about = made["metadata"]["component"]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{about['name']}-{about['version']}.cdx.json"
    file.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
