"""Commands that a domain brings to the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rounds.errors import ConfigError
from rounds.fields import Named
from rounds.resources import Resources

Entry = TypeVar("Entry", bound=Named)


@dataclass(frozen=True)
class Command:
    """One command of a domain.

    Attributes:
        words: what is typed behind ``rounds``, such as ``("tables", "import")``.
        text: what it does, for ``--help``: a phrase that begins in lower case and ends without a full stop.
        arguments: adds its arguments to a parser; ``--config.file`` and the flags of logs are there already.
        run: does it. Takes the parsed arguments, the domain's section (None when absent) and the resources; gives the
            exit code. May raise ConfigError for arguments that make no sense, and CollectorError.
    """

    words: tuple[str, ...]
    text: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Any, Resources], int]


def chosen(section: Sequence[Entry] | None, where: str, what: str, name: str | None) -> Sequence[Entry]:
    """Those entries of a section that an option chose: the one with this name, or all.

    Args:
        section: the domain's.
        where: its key.
        what: what an entry is called, and the option with two dashes before it.
        name: what was given; None where nothing was.

    Raises:
        ConfigError: there is no such section, or no such entry.
    """
    if not section:
        raise ConfigError([f"{where}: there is no such section in the configuration"])
    if name is None:
        return section
    found = [entry for entry in section if entry.name == name]
    if not found:
        known = ", ".join(entry.name for entry in section)
        raise ConfigError([f"--{what}: unknown {what} {name}; known: {known}"])
    return found
