"""The configuration: files to one typed object, or every problem with its file and line."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError, create_model, model_validator

from rounds import documents
from rounds.documents import Document
from rounds.errors import ConfigError
from rounds.fields import Count, Model, SourceName, problem
from rounds.ledger.settings import State
from rounds.sources import Source

ModelT = TypeVar("ModelT", bound=BaseModel)

_MESSAGES = {
    "missing": "is required",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "string_type": "should be text; put it in quotes",
    "string_too_short": "should not be empty",
    "dict_type": "should be a mapping of keys to values",
    "model_type": "should be a mapping of keys to values",
    "model_attributes_type": "should be a mapping of keys to values",
    "list_type": "should be a list",
}


_NOTHING = object()


class Config(Model):
    """What every domain shares. :func:`config_model` adds one section for each domain."""

    max_series: Count = 10_000
    """Most time series that one job may export; a run that finds more fails with the reason ``limit``."""

    sources: dict[str, Annotated[Source, Field(discriminator="kind")]] = {}
    """Databases and APIs that domains read, by name. The name is the label ``source``."""

    state: State = State()
    """The ledger: the one database that lasts. It is opened only when a configured domain keeps something in it."""

    @model_validator(mode="after")
    def _sources_exist(self) -> Self:
        for at, marker, name, beside in _source_names(self, ()):
            source = self.sources.get(name)
            if source is None:
                raise problem(f"there is no source '{name}'{did_you_mean(name, self.sources)}", *at)
            if source.kind not in marker.kinds:
                kinds = " or ".join(marker.kinds)
                raise problem(f"the source '{name}' is of kind {source.kind}; it should be {kinds}", *at)
            needed = marker.needs.get(source.kind)
            if needed and getattr(beside, needed) is None:
                raise problem(
                    f"the source '{name}' is of kind {source.kind}, which needs the key {needed} beside it", *at
                )
        return self


def _source_names(
    value: object, at: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], SourceName, str, BaseModel]]:
    """Every name of a source in a section: where it stands, what will do, the name, and what it is a key of."""
    if isinstance(value, BaseModel):
        for key, field in type(value).model_fields.items():
            below = getattr(value, key)
            for marker in field.metadata:
                if isinstance(marker, SourceName) and below is not None:
                    yield (*at, key), marker, below, value
            yield from _source_names(below, (*at, key))
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield from _source_names(below, (*at, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _source_names(below, (*at, index))


def config_model(sections: Mapping[str, Any]) -> type[Config]:
    """The configuration's type, with one optional section for each domain.

    Args:
        sections: the type of each domain's section, by the domain's name.
    """
    fields: dict[str, Any] = {}
    for name, section in sections.items():
        described = next((model.__doc__ for model in models_in(section)), None)
        fields[name] = (section | None, Field(default=None, description=described))
    model: type[Config] = create_model("Config", __base__=Config, **fields)
    return model


def load_config(files: Sequence[Path], sections: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Config:
    """Read and check the files.

    Raises:
        ConfigError: with one line for each problem, in the order of the files' lines.
    """
    return validated(documents.load(files, environ), config_model(sections))


def validated(document: Document, model: type[ModelT]) -> ModelT:
    """A document as the typed object that it describes.

    Raises:
        ConfigError: with one line for each problem, in the order of the files' lines.
    """
    try:
        return model.model_validate(document.tree)
    except ValidationError as error:
        raise ConfigError(_problems(error, document, model)) from None


def _problems(error: ValidationError, document: Document, model: type[BaseModel]) -> list[str]:
    found: dict[str, tuple[str, int]] = {}
    for detail in error.errors(include_url=False, include_input=False):
        path = _tree_path(document.tree, detail["loc"], missing=detail["type"] == "missing")
        context = detail.get("ctx", {})
        path += tuple(context.get("at", ()))
        place = document.place(path)
        order = (str(place.file), place.line) if place else ("", 0)
        found[document.problem(path, _message(detail["type"], detail["msg"], detail["loc"], context, model))] = order
    return sorted(found, key=found.__getitem__)


def _message(
    kind: str, text: str, loc: tuple[str | int, ...], context: Mapping[str, Any], model: type[BaseModel]
) -> str:
    if kind == "extra_forbidden":
        return "unknown key" + did_you_mean(str(loc[-1]), _keys_at(model, loc[:-1]))
    if kind == "union_tag_invalid":
        return f"unknown kind '{context['tag']}'; one of {str(context['expected_tags']).replace(chr(39), '')}"
    if kind == "union_tag_not_found":
        return f"needs the key {context['discriminator']}".replace("'", "")
    return _MESSAGES.get(kind, text.removeprefix("Input ").removeprefix("Value error, "))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest known word, empty where none is near."""
    near = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def _tree_path(tree: Any, loc: Sequence[str | int], *, missing: bool) -> tuple[str | int, ...]:
    """An error's location without the parts that are no keys, such as a union's tag; a missing key is the last one."""
    path: list[str | int] = []
    last = len(loc) - 1
    for index, part in enumerate(loc):
        below = _below(tree, part)
        if below is _NOTHING and not (missing and index == last):
            continue
        tree = below
        path.append(part)
    return tuple(path)


def _below(tree: Any, part: str | int) -> Any:
    if isinstance(tree, dict):
        return tree.get(part, _NOTHING)
    if isinstance(tree, list) and isinstance(part, int) and part < len(tree):
        return tree[part]
    return _NOTHING


def _keys_at(model: type[BaseModel], loc: Sequence[str | int]) -> set[str]:
    """The keys that may stand at a location; of all kinds where the location leaves the kind open."""
    models = [model]
    for part in loc:
        below = [each.model_fields[part] for each in models if isinstance(part, str) and part in each.model_fields]
        if below:
            models = [found for field in below for found in models_in(field.annotation)]
        else:
            tagged = [each for each in models if "kind" in each.model_fields and part in _literal(each)]
            models = tagged or models
    return {key for each in models for key in each.model_fields}


def _literal(model: type[BaseModel]) -> tuple[Any, ...]:
    return get_args(model.model_fields["kind"].annotation)


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a key's type allows."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in models_in(part)]
