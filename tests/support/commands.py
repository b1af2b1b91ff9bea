"""The command line, as somebody who types it meets it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from rounds.cli import main

#: Takes words; gives the exit code and the output, and where it failed the errors.
Cli: TypeAlias = Callable[..., tuple[int, str]]


def command_line(domain: str, text: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Commands of a domain, with a configuration."""
    file = folder / "rounds.yml"
    file.write_text(text, encoding="utf-8")

    def cli(*words: str) -> tuple[int, str]:
        try:
            code = main([domain, *words, f"--config.file={file}"])
        except SystemExit as error:
            code = int(error.code or 0)
        out, err = capfd.readouterr()
        return code, out + err if code else out

    return cli
