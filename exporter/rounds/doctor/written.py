"""What configuration files say literally, before variables are put in: files that they name, secrets, variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rounds import documents
from rounds.documents import Document, KeyPath
from rounds.errors import ConfigError

_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)(:-[^}]*)?\}")
_SECRET = re.compile(r"(^|_)(password|token|secret)$")
_SECRET_FILE = re.compile(r"(password|token|secret|key|salt|body)_file$")


@dataclass(frozen=True)
class Written:
    """A value as it is written.

    Attributes:
        place: ``file:line``.
        path: the keys that lead to it.
        text: the value.
    """

    place: str
    path: KeyPath
    text: str

    @property
    def key(self) -> str:
        """The key, by its whole path."""
        return Document().problem(self.path, "").removesuffix(": ")

    @property
    def variables(self) -> list[tuple[str, bool]]:
        """The variables that it names, and whether each has a default."""
        return [(name, bool(default)) for name, default in _VARIABLE.findall(self.text)]

    @property
    def is_secret(self) -> bool:
        """Whether a secret stands here in so many words."""
        below_headers = self.path[-2:-1] == ("headers",) and str(self.path[-1]).lower() in ("authorization", "cookie")
        return (bool(_SECRET.search(str(self.path[-1]))) or below_headers) and not self.variables and bool(self.text)

    @property
    def names_file(self) -> bool:
        """Whether it names a file."""
        return str(self.path[-1]).endswith("_file") or "header_files" in self.path[-2:-1]

    @property
    def names_secret_file(self) -> bool:
        """Whether it names a file that holds a secret."""
        return bool(_SECRET_FILE.search(str(self.path[-1]))) or "header_files" in self.path[-2:-1]


def written(files: Sequence[Path]) -> list[Written]:
    """All texts of these files; of one that cannot be read none."""
    found: list[Written] = []
    for file in files:
        try:
            document = documents.load_literal(file, "")
        except ConfigError:
            continue
        found += _texts(document, document.tree, ())
    return found


def _texts(document: Document, value: object, path: KeyPath) -> Iterator[Written]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _texts(document, below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _texts(document, below, (*path, index))
    elif isinstance(value, str) and path:
        yield Written(str(document.place(path) or ""), path, value)


def replaced(text: str, environ: dict[str, str]) -> str:
    """A text with its variables put in; one that is not set is empty."""
    return _VARIABLE.sub(lambda match: environ.get(match[1]) or (match[2] or ":-")[2:], text)
