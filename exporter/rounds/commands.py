"""Commands that a domain brings to the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rounds.resources import Resources


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
