"""YAML text to a plain tree in which every value knows its file and line.

Environment variables are put in here, after parsing and as strings, so no value of a variable is ever read as YAML.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from rounds.errors import ConfigError

KeyPath: TypeAlias = tuple[str | int, ...]

_VARIABLE = re.compile(r"(?P<escaped>\$)?\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
_COLLECTION_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_SUSPECT = re.compile(r"\$\{[^}]*\}?")


class Text(str):
    """A string of a configuration file; remembers the file's folder, against which relative paths are resolved."""

    __slots__ = ("folder",)
    folder: Path

    @classmethod
    def of(cls, value: str, folder: Path) -> Text:
        """Make one that belongs to a file in ``folder``."""
        text = cls(value)
        text.folder = folder
        return text


@dataclass(frozen=True)
class Place:
    """Where a value stands."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass
class Document:
    """A tree of mappings, lists and scalars, and the place of each node by its path from the root."""

    tree: Any = None
    places: dict[KeyPath, Place] = field(default_factory=dict)

    def place(self, path: Sequence[str | int]) -> Place | None:
        """The place of a path, or of its nearest ancestor that stands in a file."""
        known = tuple(path)
        while known and known not in self.places:
            known = known[:-1]
        return self.places.get(known)

    def problem(self, path: Sequence[str | int], message: str) -> str:
        """One line: ``file:line: path: message``."""
        dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        where = self.place(path)
        return ": ".join(str(part) for part in (where, dotted, message) if part)


def load(files: Sequence[Path], environ: Mapping[str, str] | None = None) -> Document:
    """Read the files and merge them in order: mappings merge, lists append, a scalar may be set only once.

    Raises:
        ConfigError: a file cannot be read, is no YAML mapping, repeats a key, names an environment variable that is not
            set, or sets what another file has set.
    """
    merged = Document({})
    for file in files:
        _merge(merged, _read(file, os.environ if environ is None else environ, "--config.file"), ())
    return merged


def load_literal(file: Path, flag: str) -> Document:
    """Read one file in a format that others share: its values are taken as they stand, and it may be empty.

    Args:
        file: the file.
        flag: the command line's flag that names it.

    Raises:
        ConfigError: it cannot be read, is no YAML mapping, or repeats a key.
    """
    return _read(file, None, flag)


def _read(file: Path, environ: Mapping[str, str] | None, flag: str) -> Document:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        remedy = f"; name the file with {flag}" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError([f"{file}: cannot be read: {error.strerror}{remedy}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file}: is not UTF-8 text (byte {error.start})"]) from None
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if environ is None and (node is None or node.tag == "tag:yaml.org,2002:null"):
            return Document({}, {(): Place(file, 1)})
        if not isinstance(node, yaml.MappingNode):
            example = "" if environ is None else ", such as 'services:'"
            raise ConfigError([f"{file}:1: must hold a mapping of sections{example}"])
        builder = _Builder(loader, file, environ)
        document = Document(builder.build(node, ()), builder.places)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError([f"{file}:{line}: is not valid YAML: {error.problem or error.context}"]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError([f"{file}:{line}: is not valid YAML: {error.reason}"]) from None
    finally:
        if loader is not None:
            loader.dispose()
    if builder.problems:
        raise ConfigError(builder.problems)
    return document


class _Builder:
    """Turns YAML nodes into a tree, noting places; collects problems so that all are told at once."""

    def __init__(self, loader: yaml.SafeLoader, file: Path, environ: Mapping[str, str] | None) -> None:
        self._loader = loader
        self._file = file
        self._environ = environ
        self._open: set[int] = set()
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[str] = []

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self.places[path] = Place(self._file, node.start_mark.line + 1)
        if id(node) in self._open:
            self._problem(node, path, "contains itself by an alias")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTION_TAGS:
                self._problem(node, path, f"has the tag {node.tag}, which is not known")
                return None
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
            value = self._loader.construct_object(node)
            return self._text(value, node, path) if isinstance(value, str) else value
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    self._problem(key, (*path, key.value), f"is given twice; first on line {seen[key.value]}")
                seen.setdefault(key.value, key.start_mark.line + 1)
        self._loader.flatten_mapping(node)
        tree: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, path, "has a key that is not plain text")
                continue
            tree[key.value] = self.build(value, (*path, key.value))
            self.places[*path, key.value] = Place(self._file, key.start_mark.line + 1)
        return tree

    def _text(self, value: str, node: yaml.Node, path: KeyPath) -> Text:
        environ = self._environ
        if environ is None:
            return Text.of(value, self._file.parent)

        def put_in(match: re.Match[str]) -> str:
            if match["escaped"]:
                return match[0][1:]
            found = environ.get(match["name"], "")
            if found or match["default"] is not None:
                return found or match["default"]
            if match["name"] not in environ:
                remedy = f"set it, or write ${{{match['name']}:-default}}"
                self._problem(node, path, f"environment variable {match['name']} is not set; {remedy}")
            return ""

        for suspect in _SUSPECT.finditer(value):
            if not any(known.start() <= suspect.start() < known.end() for known in _VARIABLE.finditer(value)):
                self._problem(node, path, "has a '${' that names no variable; write $${ for a literal one")
        return Text.of(_VARIABLE.sub(put_in, value), self._file.parent)

    def _problem(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        place = Place(self._file, node.start_mark.line + 1)
        self.problems.append(Document(places={path: place}).problem(path, message))


def _merge(into: Document, other: Document, path: KeyPath) -> None:
    for key, value in other.tree.items():
        here = (*path, key)
        present = into.tree.get(key)
        if key not in into.tree:
            into.tree[key] = value
            _adopt(into, other, here, here)
        elif isinstance(present, dict) and isinstance(value, dict):
            below = Document(present, into.places)
            _merge(below, Document(value, other.places), here)
        elif isinstance(present, list) and isinstance(value, list):
            for index, item in enumerate(value):
                _adopt(into, other, (*here, index), (*here, len(present)))
                present.append(item)
        else:
            raise ConfigError([other.problem(here, f"is already set at {into.place(here)}")])
    into.places.setdefault((), other.places.get((), Place(Path(), 1)))


def _adopt(into: Document, other: Document, old: KeyPath, new: KeyPath) -> None:
    for path, place in other.places.items():
        if path[: len(old)] == old:
            into.places[*new, *path[len(old) :]] = place
