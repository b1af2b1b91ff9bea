#!/usr/bin/env python3
"""Builds the sdist and the wheel of a release, and looks at what is in them.

The same source and the same tools give the same bytes: times come from SOURCE_DATE_EPOCH, by default the time of the
commit, and owners and modes are the same for everybody. The wheel is built from the sdist, so that the two agree.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from setup import WRITTEN, revision  # noqa: E402 - after the path is set

PACKAGE = "exporter/rounds"
#: What the sdist is made of, besides what setuptools adds: nothing else in the folder can get into it.
ABOUT = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "requirements.txt")
ADDED = ("PKG-INFO", "setup.cfg")
#: What a module is, and what goes with modules.
KINDS = (".py", ".html", ".typed")


class ReleaseError(Exception):
    """What was built is not what should be."""


def build(root: Path, output: Path) -> tuple[Path, Path]:
    """Build both, look at them, and put them into a folder. Returns the sdist and the wheel.

    Raises:
        ReleaseError: a build failed, or there is something in one of them that should not be, or lacking.
    """
    output.mkdir(parents=True, exist_ok=True)
    epoch = _epoch(root)
    with tempfile.TemporaryDirectory(prefix="rounds-dist-") as name:
        work = Path(name)
        source = _copy(root, work / "source")
        modules = {file.relative_to(source / "exporter").as_posix() for file in _files(source / PACKAGE)}
        strange = sorted(name for name in modules if not name.endswith(KINDS))
        if strange:
            raise ReleaseError("\n".join(f"exporter/{name} is no part of the package" for name in strange))
        made = _run(source, work / "sdist", "--sdist", epoch, ROUNDS_REVISION=revision(root) or "unknown")
        sdist = output / made.name
        _settle(made, sdist, epoch)
        with tarfile.open(sdist) as archive:
            archive.extractall(work / "unpacked", filter="data")
        made = _run(next((work / "unpacked").iterdir()), work / "wheel", "--wheel", epoch)
        wheel = output / made.name
        shutil.copyfile(made, wheel)
    inspect(sdist, wheel, modules)
    return sdist, wheel


def inspect(sdist: Path, wheel: Path, modules: set[str]) -> None:
    """Compare what is in them with what should be.

    Args:
        sdist: the source archive.
        wheel: the wheel.
        modules: the package's files in the checkout, as paths that begin with ``rounds/``.

    Raises:
        ReleaseError: with one line for each difference.
    """
    wanted = dict.fromkeys(modules | {WRITTEN.as_posix()}, "the package")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    (about,) = {name.partition("/")[0] for name in inside if ".dist-info/" in name} or {"no .dist-info"}
    wanted |= {f"{about}/{name}": "metadata" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    wanted |= {f"{about}/top_level.txt": "metadata", f"{about}/licenses/LICENSE": "the licence"}
    problems = [f"{wheel.name}: {name} is missing ({wanted[name]})" for name in set(wanted) - inside]
    problems += [f"{wheel.name}: {name} does not belong there" for name in inside - set(wanted)]
    with tarfile.open(sdist) as tar:
        inside = {member.name.partition("/")[2] for member in tar if member.isfile()}
    expected = {*ABOUT, *ADDED, *(f"exporter/{name}" for name in wanted if name.startswith("rounds/"))}
    made = {name for name in inside if ".egg-info/" in name}
    problems += [f"{sdist.name}: {name} is missing" for name in expected - inside]
    problems += [f"{sdist.name}: {name} does not belong there" for name in inside - expected - made]
    if problems:
        raise ReleaseError("\n".join(sorted(problems)))


def _epoch(root: Path) -> int:
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if not given and (root / ".git").exists():
        command = ["git", "-C", str(root), "log", "-1", "--format=%ct"]
        given = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603
    # The first time that a zip archive can hold.
    return max(int(given or 0), 315_532_800)


def _files(folder: Path) -> Iterable[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _copy(root: Path, target: Path) -> Path:
    """Copy what is built from, so that nothing is written into the checkout, where programs may be running."""
    shutil.copytree(root / PACKAGE, target / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ABOUT:
        shutil.copyfile(root / name, target / name)
    return target


def _run(source: Path, output: Path, what: str, epoch: int, **more: str) -> Path:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), **more}
    command = [sys.executable, "-m", "build", "--no-isolation", what, "--outdir", str(output), str(source)]
    # Not in the repository: a folder of it would be taken for a module of that name.
    ended = subprocess.run(  # noqa: S603
        command, check=False, capture_output=True, text=True, env=environment, cwd=source.parent, umask=0o022
    )
    if ended.returncode:
        raise ReleaseError(f"{what.removeprefix('--')}:\n{ended.stdout}{ended.stderr}".rstrip())
    (made,) = output.iterdir()
    return made


def _settle(made: Path, sdist: Path, epoch: int) -> None:
    """Write a source archive again with one time, one owner, and two modes, in the order of names."""
    packed = io.BytesIO()
    with tarfile.open(made) as old, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old, key=lambda each: each.name):
            plain = tarfile.TarInfo(member.name)
            plain.type, plain.size, plain.mtime = member.type, member.size, epoch
            plain.mode = 0o755 if member.isdir() else 0o644
            new.addfile(plain, old.extractfile(member) if member.isfile() else None)
    with sdist.open("wb") as stream, gzip.GzipFile("", "wb", fileobj=stream, mtime=epoch) as archive:
        archive.write(packed.getvalue())


def main() -> int:
    """Build into dist/, or where an argument says. The exit code is 1 where that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", type=Path, default=ROOT / "dist", help="a folder (default: dist)")
    try:
        for file in build(ROOT, parser.parse_args().output):
            print(file)
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
