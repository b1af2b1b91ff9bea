"""Words behind ``rounds``, as its real parser takes them."""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import re
from collections.abc import Sequence

from rounds.cli import _parser


def wrong_words(words: Sequence[str], *, whole: bool) -> list[str]:
    """What the command line has against these words; nothing where it takes them.

    Args:
        words: those behind ``rounds``, up to a pipe.
        whole: they are all that is typed, so that what is required must be there.
    """
    words = _until_shell(words)
    parser = _the_parser()
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            parser.parse_args(words)
    except SystemExit as end:
        told = errors.getvalue().strip().rpartition("error: ")[2]
        if end.code and (whole or "arguments are required" not in told):
            return [told]
    flags = _flags(parser, words)
    return [f"no flag {word}" for word in words if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in flags]


@functools.cache
def _the_parser() -> argparse.ArgumentParser:
    return _parser()


def _until_shell(words: Sequence[str]) -> list[str]:
    ends = [index for index, word in enumerate(words) if word in ("|", ">", ">>", "&&", "||", ";", "<", "2>&1", "&")]
    return list(words[: ends[0]] if ends else words)


def _flags(parser: argparse.ArgumentParser, words: Sequence[str]) -> set[str]:
    """The flags of the command that the words lead to."""
    for word in words:
        below = next((each for each in parser._actions if isinstance(each, argparse._SubParsersAction)), None)
        if below is None or word not in below.choices:
            break
        parser = below.choices[word]
    return set(parser._option_string_actions)
