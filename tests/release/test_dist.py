"""A release is built, installed where nothing of the checkout is, and used."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from release.conftest import ROOT, Release, build
from rounds.version import program_revision

pytestmark = pytest.mark.slow

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def script(name: str) -> Any:
    """One of scripts/ as a module."""
    specification = importlib.util.spec_from_file_location(f"scripts_{name}", ROOT / "scripts" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def clean() -> dict[str, str]:
    """An environment in which Python finds nothing of the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.fixture(scope="module")
def installed(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel; what it depends on is taken from the running one."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, env=clean())
    bin_, (site,) = folder / "bin", folder.glob("lib/python*/site-packages")
    command = [sys.executable, "-m", "pip", "--python", str(bin_ / "python"), "install", "--quiet"]
    # Isolated from the checkout, which lies on this process' path.
    subprocess.run(
        [*command, "--no-index", "--no-deps", "--no-compile", str(release.wheel)], check=True, env=clean(), cwd=folder
    )
    # Behind the wheel's own, and without the editable installation, which a .pth file there is.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return bin_


@pytest.fixture
def rounds(installed: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs the installed command in an empty folder and gives what it prints."""

    def run(*words: str) -> str:
        ended = subprocess.run(
            [str(installed / "rounds"), *words], check=False, capture_output=True, text=True, env=clean(), cwd=tmp_path
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run


def test_names_say_the_version(release: Release) -> None:
    assert release.wheel.name == f"rounds_exporter-{PROJECT['version']}-py3-none-any.whl"
    assert release.sdist.name == f"rounds_exporter-{PROJECT['version']}.tar.gz"


def test_it_is_the_same_when_built_again_elsewhere_by_somebody_else(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.setenv("LC_ALL", "C")
    old = os.umask(0o077)
    try:
        again = build(tmp_path)
    finally:
        os.umask(old)
    assert digest(again.sdist) == digest(release.sdist)
    assert digest(again.wheel) == digest(release.wheel)


def test_the_sdist_builds_the_same_wheel(release: Release, tmp_path: Path) -> None:
    """Whoever packages it needs the sdist alone, and no git."""
    with tarfile.open(release.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
        times = {member.mtime for member in archive}
    (source,) = tmp_path.iterdir()
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        "--outdir",
        str(tmp_path / "made"),
        str(source),
    ]
    environment = clean() | {"SOURCE_DATE_EPOCH": str(int(*times))}
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=environment, umask=0o022)
    (made,) = (tmp_path / "made").iterdir()
    assert digest(made) == digest(release.wheel)


def test_what_is_in_the_wheel(release: Release) -> None:
    with zipfile.ZipFile(release.wheel) as archive:
        names = set(archive.namelist())
        about = message_from_bytes(archive.read(next(name for name in names if name.endswith("/METADATA"))))
        assert (
            archive.read(next(name for name in names if name.endswith("/LICENSE"))) == (ROOT / "LICENSE").read_bytes()
        )
    assert {"rounds/py.typed", "rounds/_revision.py", "rounds/emr/app/monitor.py"} <= names
    assert not [
        name for name in names if "__pycache__" in name or name.endswith((".pyc", ".env", ".pem", ".key", ".db"))
    ]
    assert not [name for name in names if name.startswith(("tests", "scripts", "setup"))]
    assert (about["Name"], about["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Requires-Python"] == PROJECT["requires-python"]


def test_git_knows_every_file_of_the_package(release: Release) -> None:
    """A file that lies about in the checkout must not be released."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "exporter/rounds"]
    known = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    with zipfile.ZipFile(release.wheel) as archive:
        inside = {f"exporter/{name}" for name in archive.namelist() if name.startswith("rounds/")}
    assert inside - {"exporter/rounds/_revision.py"} == set(known), "git add what is new"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a release is made of."""
    shutil.copytree(
        ROOT / "exporter/rounds", tmp_path / "exporter/rounds", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in script("dist").ABOUT:
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", ["notes.txt", "key.pem", "emr/monitoring.db"])
def test_what_is_no_part_of_the_package_is_refused(checkout: Path, name: str) -> None:
    (checkout / "exporter/rounds" / name).write_text("x", encoding="utf-8")
    dist = script("dist")
    with pytest.raises(dist.ReleaseError, match=f"{name} is no part of the package"):
        dist.build(checkout, checkout / "dist")


def test_a_release_that_lacks_something_is_refused(checkout: Path) -> None:
    (checkout / "exporter/rounds/apr/page.html").write_text("x", encoding="utf-8")
    _edit(checkout / "pyproject.toml", 'license-files = ["LICENSE"]', "license-files = []")
    _edit(checkout / "MANIFEST.in", "CHANGELOG.md ", "")
    dist = script("dist")
    with pytest.raises(dist.ReleaseError) as refused:
        dist.build(checkout, checkout / "dist")
    lines = str(refused.value).splitlines()
    assert [line.partition(": ")[2] for line in lines] == [
        "rounds/apr/page.html is missing (the package)",
        "rounds_exporter-0.1.0.dist-info/licenses/LICENSE is missing (the licence)",
        "CHANGELOG.md is missing",
        "LICENSE is missing",
        "exporter/rounds/apr/page.html is missing",
    ]


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_the_version_is_told_with_its_revision(rounds: Callable[..., str]) -> None:
    said = rounds("--version")
    if (ROOT / ".git").exists():
        assert (
            said.removesuffix("\n").replace("-dirty", "")
            == f"rounds {PROJECT['version']} (revision {program_revision()})"
        )
    else:
        assert said == f"rounds {PROJECT['version']} (revision unknown)\n"


def test_help_and_completion(rounds: Callable[..., str]) -> None:
    assert "check-config" in rounds("--help")
    assert "_shtab_rounds" in rounds("completion", "bash")


def test_it_collects_from_a_database(rounds: Callable[..., str], tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "clinic.db") as database:
        database.execute("CREATE TABLE patients (id INTEGER PRIMARY KEY, name TEXT)")
        database.executemany("INSERT INTO patients (name) VALUES (?)", [("Ada",), ("Grace",)])
    database.close()
    (tmp_path / "rounds.yml").write_text(
        f"""
state: {{url: "sqlite:///{tmp_path}/state.db"}}
sources: {{clinic: {{kind: sqlite, path: {tmp_path}/clinic.db}}}}
tables: [{{name: patients, source: clinic, table: patients, key: id, columns: [name], interval: 1m}}]
""",
        encoding="utf-8",
    )
    assert "valid" in rounds("check-config")
    found = rounds("once")
    assert 'rounds_table_rows{table="patients"} 2\n' in found
    revision = rounds("--version").partition("revision ")[2].strip(")\n")
    assert f'rounds_build_info{{version="{PROJECT["version"]}",revision="{revision}"' in found


def test_the_library_of_applications_comes_with_it(installed: Path, tmp_path: Path) -> None:
    """Its package needs the standard library alone."""
    program = "import rounds, rounds.emr; assert rounds.emr.Monitor; print(rounds.__file__)"
    ended = subprocess.run(
        [str(installed / "python"), "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env=clean(),
        cwd=tmp_path,
    )
    assert Path(ended.stdout.strip()).is_relative_to(installed.parent)
