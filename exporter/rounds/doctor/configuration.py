"""Reads a configuration as far as it can be read, so that what is in order can be examined beside what is not."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rounds import documents
from rounds.config import Config, config_model, load_config
from rounds.doctor.finding import Finding
from rounds.documents import KeyPath
from rounds.domain import Domain
from rounds.errors import ConfigError
from rounds.needs import AddressNeed, FileNeed, Need

#: Stands for variables that are not set, where the rest is to be read all the same.
_UNSET = "\N{REPLACEMENT CHARACTER}unset\N{REPLACEMENT CHARACTER}"
#: A mistake may uncover others: a source that is left out is missed by what names it.
_ROUNDS = 50
_MEANT = re.compile(r"did you mean '([^']+)'\?")
_LINE = re.compile(r":\d+$")


@dataclass(frozen=True)
class Reading:
    """What was read.

    Attributes:
        files: the files.
        config: what of it is in order; None where nothing could be read.
        problems: why it is refused, one line each; empty where it is valid.
        domains: all of them.
    """

    files: Sequence[Path]
    config: Config | None
    problems: Sequence[str]
    domains: Sequence[Domain] = field(default=(), repr=False)

    @property
    def on(self) -> dict[str, Any]:
        """The sections of the domains that are on, by name."""
        sections = {domain.name: getattr(self.config, domain.name, None) for domain in self.domains}
        return {name: section for name, section in sections.items() if section is not None}

    @property
    def needs(self) -> list[Need]:
        """What these domains need."""
        return [
            need for domain in self.domains if domain.name in self.on for need in domain.needs(self.on[domain.name])
        ]


def read(files: Sequence[Path], domains: Sequence[Domain]) -> Reading:
    """Read the files, as :func:`rounds.config.load_config` does, or what of them is in order."""
    sections = {domain.name: domain.section for domain in domains}
    try:
        return Reading(files, load_config(files, sections), (), domains)
    except ConfigError as error:
        return Reading(files, _salvage(files, sections), error.problems, domains)


def _salvage(files: Sequence[Path], sections: Mapping[str, Any]) -> Config | None:
    try:
        tree = copy.deepcopy(documents.load(files, _Lenient(os.environ)).tree)
    except ConfigError:
        return None
    _leave_out(tree, _unset(tree))
    model = config_model(sections)
    for _ in range(_ROUNDS):
        try:
            return model.model_validate(tree)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            _leave_out(tree, [(*detail["loc"], *detail.get("ctx", {}).get("at", ())) for detail in details])
    return None


class _Lenient(dict[str, str]):
    """An environment in which every variable is set."""

    def __contains__(self, _: object) -> bool:
        return True

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ARG002
        """Its value, or what stands for one that is not set."""
        return super().get(name, _UNSET)


def _unset(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The places of values in which a variable is not set."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _unset(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _unset(below, (*path, index))
    elif isinstance(value, str) and _UNSET in value:
        yield path


def _leave_out(tree: Any, paths: Iterable[KeyPath]) -> None:
    """Leave out the sources, the entries of lists and the sections that these paths lead into."""
    parts = {_part(tree, path) for path in paths if path and path[0] in tree}
    # What is in a section before the section, and a list from its end, so that places stay what they are.
    for *above, last in sorted(parts, key=lambda part: (len(part), str(part[-1]).rjust(9)), reverse=True):
        value = tree
        for key in above:
            value = value[key]
        del value[last]


def _part(tree: Any, path: KeyPath) -> KeyPath:
    """The source, the entry of a list or the section that a path leads into."""
    depth = 2 if path[:2] == ("services", "checks") else 1
    try:
        value = tree[path[0]] if depth == 1 else tree[path[0]][path[1]]
        entry = path[depth]
        is_entry = isinstance(value, list) and isinstance(entry, int) and entry < len(value)
        is_source = path[0] == "sources" and entry in value
    except (IndexError, KeyError, TypeError):
        return path[:1]
    return path[: depth + 1] if is_entry or is_source else path[:1]


def refused(problems: Sequence[str]) -> Iterator[Finding]:
    """Problems, as the exporter words them: ``file:line: path: message; remedy``."""
    for problem in problems:
        place, mark, told = problem.partition(": ")
        yield Finding("error", "configuration", place, told if mark else problem, (_remedy(place, told),))


def _remedy(place: str, told: str) -> str:
    """What to write, where the problem says so."""
    key, _, message = told.rpartition(": ")
    meant = _MEANT.search(message)
    if meant:
        return f"in {place}: write {meant[1]}"
    if message == "is required":
        return f"in {place}: add {key}"
    advice = message.partition("; ")[2]
    if _LINE.search(place):
        return f"in {place}: {advice or 'correct it; docs/configuration.md has every key'}"
    return advice or f"correct {place}; docs/configuration.md has every key"


def examine(reading: Reading) -> Iterator[Finding]:
    """Whether the configuration is accepted, and which domains it turns on."""
    yield from refused(reading.problems)
    names = ", ".join(map(str, reading.files))
    if reading.config is None:
        return
    off = [domain.name for domain in reading.domains if domain.name not in reading.on]
    told = f"domains on: {', '.join(reading.on) or 'none'}; off, as they have no section: {', '.join(off) or 'none'}"
    if not reading.problems:
        yield Finding("ok", "configuration", names, f"valid; {told}")
    if not reading.on:
        remedy = "add a section such as services: (docs/configuration.md)"
        yield Finding("hint", "configuration", names, "no domain is on, so nothing is watched", (remedy,))
    used = {need.source for need in reading.needs if not isinstance(need, AddressNeed | FileNeed)}
    for source in reading.config.sources:
        if source not in used and not reading.problems:
            remedy = f"remove sources.{source}, or name it in a domain's section"
            yield Finding("hint", "configuration", f"sources.{source}", "no domain reads it", (remedy,))
