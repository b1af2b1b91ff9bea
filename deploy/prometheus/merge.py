#!/usr/bin/env python3
"""Makes one configuration of Prometheus from ours and fragments: ``merge.py --output FILE BASE FRAGMENT...``.

Prometheus reads one file, and several of the set-ups in deploy/compose add something to it. A fragment is a file that
holds only what is added, or a folder of such files, which are taken in the order of their names:

- mappings merge, key by key;
- lists append; an entry that is there already is not added again;
- an entry of ``scrape_configs`` whose job_name is there already is merged with it;
- a value that another file has set to something else is refused.

Relative paths of rule files and target files are taken from the file that names them, and become absolute.

Exit codes: 0 done, 1 a file could not be read or written, 2 the files do not go together; nothing is written then.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


class MergeError(Exception):
    """The files do not go together."""


def merge(files: Sequence[Path]) -> dict[str, Any]:
    """One configuration from these files, the first of which is the base.

    Raises:
        MergeError: they do not go together.
        OSError: one cannot be read.
    """
    merged: dict[str, Any] = {}
    for file in files:
        try:
            tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise MergeError(f"{file}: is not valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(tree, dict):
            raise MergeError(f"{file}: should hold a mapping")
        merged = _merged(merged, _absolute(tree, file.absolute().parent), str(file), "")
    return merged


def _merged(one: Any, other: Any, file: str, at: str) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        result = dict(one)
        for key, value in other.items():
            below = f"{at}.{key}" if at else str(key)
            result[key] = _merged(one[key], value, file, below) if key in one else value
        return result
    if isinstance(one, list) and isinstance(other, list):
        return _joined(one, other, file, at)
    if one != other:
        raise MergeError(f"{file}: {at}: is already set to {one!r}")
    return one


def _joined(one: list[Any], other: list[Any], file: str, at: str) -> list[Any]:
    result = list(one)
    for entry in other:
        name = entry.get("job_name") if isinstance(entry, dict) else None
        same = [index for index, known in enumerate(result) if name and known.get("job_name") == name]
        if same:
            result[same[0]] = _merged(result[same[0]], entry, file, f"{at}[{name}]")
        elif entry not in result:
            result.append(entry)
    return result


def _absolute(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The tree with the paths of rule files and target files as they are found from anywhere."""

    def placed(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: placed(below, name) for name, below in value.items()}
        if isinstance(value, list):
            files = key in ("rule_files", "files")
            return [str(folder / each) if files and isinstance(each, str) else placed(each) for each in value]
        return value

    result: dict[str, Any] = placed(tree)
    return result


def _listed(paths: Sequence[Path]) -> list[Path]:
    """The files, with those of a folder in its place."""
    return [file for path in paths for file in (sorted(path.glob("*.yml")) if path.is_dir() else [path])]


def _write(path: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="merge.py", description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="the file to write")
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help="the base, then fragments or folders")
    options = parser.parse_args(arguments)
    files = _listed(options.files)
    try:
        tree = merge(files)
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=10_000)
        _write(options.output, "# Made by merge.py. Change the files that it was made from instead.\n" + text)
    except MergeError as error:
        print(f"merge.py: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"merge.py: {error.filename or options.output}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{options.output}: made from {', '.join(map(str, files))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
