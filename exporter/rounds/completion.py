"""Scripts by which a shell completes what somebody types after ``rounds``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import shtab

#: Bash makes three words of ``--config.file=FILE``, of which shtab's function knows the first and the last.
_BASH = """
_rounds() {
  local word joined=()
  for word in "${COMP_WORDS[@]:0:COMP_CWORD}"; do
    [[ $word == = ]] || joined+=("$word")
  done
  word=${COMP_WORDS[COMP_CWORD]}
  [[ $word == = ]] && word=
  local COMP_WORDS=("${joined[@]}" "$word") COMP_CWORD=${#joined[@]}
  _shtab_rounds
}

complete -o bashdefault -F _rounds rounds
"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for ``bash`` or ``zsh``: commands, options, choices, and files where an option takes one."""
    _names_files(parser)
    written: str = shtab.complete(parser, shell=shell).rstrip("\n") + "\n"
    if shell == "bash":
        return written + _BASH
    # What takes a value may be followed by an equals sign.
    return re.sub(r'^(  "\*?--[\w.-]+)(\[(?:\\.|[^]\\])*]:)', r"\1=\2", written, flags=re.MULTILINE)


def _names_files(parser: argparse.ArgumentParser) -> None:
    """Mark what takes a path, in the commands below too; a parser itself says only how it is converted."""
    for action in parser._actions:  # noqa: SLF001  # there is no other way to list them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for below in action.choices.values():
                _names_files(below)
        elif action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
