"""Commands of the documentation that no test runs: the one place for the reasons.

A command is run by ``test_commands.py`` if its program is among :data:`RUN`, unless it begins like one of
:data:`UNRUN`, which says why not and what is checked instead. One that is neither fails the test.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from docs.pages import ROOT, Command
from docs.parsing import wrong_words

#: Programs that are run as they stand, in a folder of their own, against processes of the test's.
RUN = frozenset(
    "rounds amtool cat curl df du grep ls mkdir openssl promtool ps python python3 sqlite3 tail".split()  # noqa: SIM905
)

#: Gives what is wrong with a command, as far as that can be told without running it.
Check = Callable[[Command], list[str]]


def _nothing(_: Command) -> list[str]:
    return []


def _target(command: Command) -> list[str]:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = [word for word in command.words[1:] if not word.startswith("-") and "=" not in word]
    return [f"the Makefile has no target {word}" for word in named if word not in targets]


def _files(command: Command) -> list[str]:
    """Files of the repository that are named are there."""
    known = {path.name for path in ROOT.iterdir()}
    named = [word.partition("=")[2] if word.startswith("-") else word for word in command.words]
    paths = [word.removeprefix("./").split(":")[0] for word in named]
    return [
        f"there is no {path}"
        for path in paths
        if path.split("/")[0] in known and not (list(ROOT.glob(path)) if "*" in path else (ROOT / path).exists())
    ]


def _compose(command: Command) -> list[str]:
    """Its files are there and have the services that are named; the parser takes what Rounds is to do inside."""
    words = command.words
    files, at = [], 2
    while words[at].startswith("-"):
        files += [words[at + 1]] if words[at] in ("-f", "--file") else []
        at += 2
    # Without a file, whichever the reader started: the plain one, perhaps with overlays, named in .env.
    files = files or [
        "docker-compose.yml",
        *(str(file.relative_to(ROOT)) for file in ROOT.glob("deploy/compose/*.yml")),
    ]
    missing = [f"there is no {file}" for file in files if not (ROOT / file).is_file()]
    if missing:
        return missing
    services = {name for file in files for name in _services(ROOT / file)}
    verb, *arguments = words[at : words.index("|") if "|" in words else None]
    plain = [word for word in arguments if not word.startswith("-") and not word.isdigit()]
    inside = arguments[arguments.index(plain[0]) + 1 :] if verb in ("exec", "run") and plain else []
    if verb in ("exec", "run", "ps", "logs", "up", "stop", "start", "restart", "rm", "kill", "pause", "unpause"):
        named = plain[:1] if verb in ("exec", "run", "logs") else plain
        missing = [f"no service {name} in {', '.join(files)}" for name in named if name not in services]
    return missing + (wrong_words(inside[1:], whole=True) if inside[:1] == ["rounds"] else [])


class _Loader(yaml.SafeLoader):
    """Passes over Compose's own tags, such as ``!reset``."""


_Loader.add_multi_constructor("!", lambda *_: None)


@functools.cache
def _services(file: Path) -> set[str]:
    return set(yaml.load(file.read_text(encoding="utf-8"), _Loader).get("services") or ())


def _script(command: Command) -> list[str]:
    """The script is there and knows the flags."""
    words = command.words
    at = next(index for index, word in enumerate(words) if word.endswith(".py"))
    if not (ROOT / words[at]).is_file():
        return [f"there is no {words[at]}"]
    flags = [word.partition("=")[0] for word in words[at + 1 :] if word.startswith("--")]
    text = (ROOT / words[at]).read_text(encoding="utf-8")
    return [f"{words[at]} has no flag {flag}" for flag in flags if f'"{flag}"' not in text]


def _setting(command: Command) -> list[str]:
    """A line of ``.env``: its variable is one of those that ``.env.example`` tells."""
    known = (ROOT / ".env.example").read_text(encoding="utf-8")
    name = command.text.partition("=")[0].removeprefix("export ").strip()
    return [] if re.search(rf"\b{name}\b", known) else [f".env.example does not tell of {name}"]


def _pytest(command: Command) -> list[str]:
    return _files(command)


def _privileged(command: Command) -> list[str]:
    """The repository's files are there, and a command of Rounds is one."""
    found = re.match(r"sudo (-u \w+ )?(\w+=\S+\s+)*rounds ", " ".join(command.words))
    behind = command.words[len(found[0].split()) :] if found else []
    return _files(command) + (wrong_words(behind, whole=True) if found else [])


def _syntax(command: Command) -> list[str]:
    done = subprocess.run(["bash", "-n", "-c", command.text], capture_output=True, text=True, check=False)
    return [done.stderr.strip()] if done.returncode else []


def _rounds(command: Command) -> list[str]:
    return wrong_words(command.words[1:], whole=True)


@dataclass(frozen=True)
class Unrun:
    """Commands that are not run.

    Attributes:
        begins: a regular expression for how they begin.
        reason: why not.
        check: what is checked instead.
    """

    begins: str
    reason: str
    check: Check = _nothing


UNRUN = (
    Unrun(r"sudo (-u \S+ )?", "changes the computer, as root", _privileged),
    Unrun(r"rounds completion .*\| sudo ", "changes the computer, as root", _rounds),
    Unrun(r"rounds run\b", "serves until told to stop; the exporter that other commands ask is one", _rounds),
    Unrun(r"rounds demo\b", "runs until told to stop; tests/demo runs it", _rounds),
    Unrun(r"docker compose\b", "needs a container engine; tests/compose runs the files", _compose),
    Unrun(r"for volume in ", "copies containers' volumes", _syntax),
    Unrun(r"docker (run|cp|build|load|save|stop|start|volume|tag|push)\b", "needs a container engine"),
    Unrun(r"make\b", "prepares environments, or runs all tests", _target),
    Unrun(
        r"(python3? -m )?pip install\b|pipx ", "asks a package registry; the release's tests install wheel and sdist"
    ),
    Unrun(r"python3? -m venv ", "prepares an environment"),
    Unrun(r"promtool test ", "takes a minute; tests/bundle runs it", _files),
    Unrun(r"git (clone|pull|checkout|fetch)\b|cd ", "is about the reader's own folders"),
    Unrun(r"(PYTHONPATH=\S+ |ROUNDS_\w+=\S+ )*python3? bench/", "measures for minutes", _script),
    Unrun(r"(\w+=\S+ )*pytest\b", "runs tests", _pytest),
    Unrun(r"(export )?[A-Z][A-Z_]+=('[^']*'|\S+)\s*(#.*)?$", "is a line of .env", _setting),
    Unrun(r"curl .*:11434/|ollama ", "asks a server of language models"),
    Unrun(r"openssl s_client .*\bHOST\b", "asks a server of the reader's"),
    Unrun(r"set -a; |sed -i ", "is about the reader's own settings", _syntax),
    Unrun(r"\(umask ", "makes a secret of the reader's", _syntax),
    Unrun(r"sha256sum ", "compares a release's files", _syntax),
    Unrun(r"apt(-get)? ", "installs Debian's packages"),
    Unrun(r"(systemctl|systemd-\w+|journalctl|loginctl|useradd|adduser|install) ", "changes the computer", _files),
    Unrun(r"kubectl |helm |kustomize ", "needs a cluster; the manifests are validated by tests", _files),
    Unrun(r"(mariadb|mysql|mariadb-dump|mysqldump|psql|pg_dump|snowsql)\b", "logs in to a server of the reader's"),
    Unrun(r"(chmod|chown|cp|mv|rm|kill) ", "is about the reader's own files and processes"),
)


def unrun(command: Command) -> Unrun | None:
    """Why a command is not run, None where it is, or is not known."""
    return next((each for each in UNRUN if re.match(each.begins, command.plain)), None)


def program(command: Command) -> str:
    """The program that a command begins with, behind variables that are set for it."""
    return next((word for word in command.plain.split() if not re.match(r"[A-Z_]+=", word)), "")


def script_of(word: str) -> str:
    """What stands for a program in the folder of the tests."""
    return f'exec "{sys.executable}" {word} "$@"\n'
