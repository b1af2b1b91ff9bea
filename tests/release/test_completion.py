"""Completion, as the shells themselves do it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from rounds.cli import main
from support.binaries import require_binary

#: What readline does before it calls a function: words, the last one being completed. Prints what the function offers.
_ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9; COMP_KEY=9
registered=$(complete -p rounds)
[[ $registered =~ -F\\ ([a-z_]+) ]] || exit 3
"${BASH_REMATCH[1]}" rounds "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.fixture
def bash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    file = tmp_path / "rounds.bash"
    file.write_text(script("bash", capsys), encoding="utf-8")
    return file


def offered(file: Path, *words: str) -> set[str]:
    """What bash offers for the last of these words, which are separated as bash does it, at equals signs too."""
    command = [str(require_binary("bash")), "--norc", "--noprofile", "-c", _ASK, "ask", str(file), "rounds", *words]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, cwd=file.parent)
    # Outside of a line being edited there are no options of it to set.
    assert not [line for line in ended.stderr.splitlines() if "compopt" not in line], ended.stderr
    return set(ended.stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["st"], {"status"}),
        (["comp"], {"completion"}),
        (["completion", ""], {"bash", "zsh"}),
        (["apr", "back"], {"backfill"}),
        (["--v"], {"--version"}),
        (["run", "--web.en"], {"--web.enable-lifecycle"}),
        (["status", "--u"], {"--url", "--user"}),
        (["run", "--log.level", "de"], {"debug"}),
        (["run", "--log.level", "=", "de"], {"debug"}),
        (["run", "--log.level", "="], {"debug", "info", "warn", "error"}),
        (["metrics", "--format", ""], {"json", "markdown"}),
        (["run", "--config.file", "clinic"], {"clinic.yml"}),
        (["run", "--config.file", "=", "clinic"], {"clinic.yml"}),
        (["run", "--config.file", "=", "a.yml", "--web.config.file", "cl"], {"clinic.yml"}),
    ],
    ids=" ".join,
)
def test_bash_offers(bash: Path, words: list[str], expected: set[str]) -> None:
    (bash.parent / "clinic.yml").touch()
    assert offered(bash, *words) >= expected
    # Words that do not begin so are not offered; where nothing is typed yet, all that fits is.
    if words[-1] not in {"", "="}:
        assert offered(bash, *words) == expected


def test_every_command_is_offered(bash: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = {
        line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ") and line[4] != " "
    }
    assert {"run", "status", "completion", "tables"} <= listed
    assert offered(bash, "") == listed


def test_zsh_accepts_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "_rounds"
    file.write_text(script("zsh", capsys), encoding="utf-8")
    text = file.read_text(encoding="utf-8")
    assert text.startswith("#compdef rounds\n")
    assert '"*--config.file=[' in text
    assert "--dry-run=" not in text
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("zsh is not installed")  # not a program that tests need: nothing but a syntax check
    subprocess.run([zsh, "-n", str(file)], check=True)


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["completion", "fish"])
    assert ended.value.code == 2
    assert "fish" in capsys.readouterr().err
