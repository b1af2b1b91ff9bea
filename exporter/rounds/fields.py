"""The types of configuration values, shared by every section."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Protocol, TypeAlias, TypeVar
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import available_timezones

import httpx
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from rounds.documents import Text

#: The keyword of the JSON Schema that says what a text holds, for people: a duration, a path.
SHOWN_TYPE = "x-type"

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_SECONDS = (86_400, 3_600, 60, 1, 0.001)


class Model(BaseModel):
    """A section: immutable, refuses unknown keys, and never echoes what was written, since it may be a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True)


def problem(message: str, *at: str | int) -> PydanticCustomError:
    """An error for a validator to raise; ``at`` leads from the validated object to the key that is to blame."""
    return PydanticCustomError("refused", "{message}", {"message": message, "at": at})


class Named(Protocol):
    """An entry of a section that has a name."""

    @property
    def name(self) -> str:
        """What it is called."""


NamedT = TypeVar("NamedT", bound=Named)


def distinct(items: list[NamedT], *at: str | int) -> list[NamedT]:
    """See that no two of them have the same name, as a validator; ``at`` leads from the validated object to them.

    Raises:
        PydanticCustomError: two have, at the second one's name.
    """
    seen: set[str] = set()
    for index, item in enumerate(items):
        if item.name in seen:
            raise problem("is the name of another one", *at, index, "name")
        seen.add(item.name)
    return items


class Secret:
    """A value that is never shown: its repr, its str and its JSON are ``<secret>``. :meth:`reveal` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that hands it to a server."""
        return self._text

    def __repr__(self) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(repr)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "writeOnly": True, SHOWN_TYPE: "secret"}

    @classmethod
    def _validate(cls, value: Any) -> Secret:
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str):
            raise problem("should be text; put it in quotes")
        return cls(value)


def parse_duration(text: object) -> float:
    """Seconds of a duration such as ``15s``, ``1m30s``, ``500ms``, ``1h`` or ``7d``.

    Raises:
        PydanticCustomError: it is not one.
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) and text else None
    if match is None:
        unit = f"; write {text}s" if isinstance(text, int | float) and not isinstance(text, bool) else ""
        raise problem(f"should be a duration such as 15s, 1m30s or 500ms{unit}")
    parts = zip(match.groups(), _SECONDS, strict=True)
    return sum(float(number) * seconds for number, seconds in parts if number)


def format_duration(seconds: float) -> str:
    """The shortest spelling of a duration that :func:`parse_duration` reads."""
    left = round(seconds * 1000)
    text = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise problem("should be longer than zero")
    return seconds


def _path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise problem("should be the path of a file")
    folder = value.folder if isinstance(value, Text) else Path()
    return folder / value


def readable_file(value: object) -> Path:
    """The path of a file that can be read, relative to the configuration file that names it.

    Raises:
        PydanticCustomError: it cannot be read.
    """
    path = _path(value)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise problem(f"{path} cannot be read: {error.strerror}") from None


def _secret_file(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    path = readable_file(value)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise problem(f"{path} is not UTF-8 text") from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise problem(f"{path} is empty")
    return Secret(secret)


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise problem("should be a whole number")
    return value


def _url(value: object) -> str:
    if not isinstance(value, str):
        raise problem("should be text; put it in quotes")
    text = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise problem("is not a URL") from None
    if parts.scheme.lower() not in ("http", "https"):
        raise problem("should start with http:// or https://")
    if "@" in parts.netloc:
        raise problem("should hold no user or password; they have keys of their own")
    if not parts.hostname or port == 0 or re.search(r"[\s\x00-\x1f]", text):
        raise problem("is not a URL such as http://host:8000/health")
    normal = urlunsplit((parts.scheme.lower(), parts.netloc, parts.path or "/", parts.query, ""))
    try:
        httpx.URL(normal)
    except httpx.InvalidURL:
        raise problem("is not a URL: its host is no name that can be looked up") from None
    return normal


def shown_url(url: str) -> str:
    """A URL as it may be shown: what stands behind its question mark may be a key, so it is left out."""
    path, mark, _ = url.partition("?")
    return path + ("?<secret>" if mark else "")


def exclusive(model: BaseModel, *names: str) -> None:
    """Refuse a section in which more than one of the keys is given.

    Raises:
        PydanticCustomError: two of them are.
    """
    given = [name for name in names if name in model.model_fields_set]
    if len(given) > 1:
        raise problem(f"cannot stand beside {given[0]}; give one of them", given[1])


def _time_zone(name: str) -> str:
    if name not in available_timezones():
        raise problem("should be a time zone such as America/Sao_Paulo")
    return name


TimeZone: TypeAlias = Annotated[
    str,
    AfterValidator(_time_zone),
    WithJsonSchema({"type": "string", SHOWN_TYPE: "time zone", "examples": ["America/Sao_Paulo", "UTC"]}),
]


class SourceName:
    """Marks a text as the name of a configured source of one of these kinds; the whole configuration checks it.

    ``needs`` names, by kind, a key beside it that must be there with such a source.
    """

    def __init__(self, *kinds: str, needs: Mapping[str, str] = MappingProxyType({})) -> None:
        self.kinds = kinds
        self.needs = needs

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say so in the JSON Schema too."""
        return {**handler(schema), SHOWN_TYPE: f"name of a source ({', '.join(self.kinds)})"}


def one_of_pattern(pattern: str, hint: str) -> Callable[[str], str]:
    """A validator for texts of one shape; ``hint`` says which."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise problem(hint)
        return text

    return check


_DURATION_SCHEMA = WithJsonSchema(
    {"type": "string", "pattern": "^([0-9.]+(ms|s|m|h|d))+$", SHOWN_TYPE: "duration", "examples": ["15s", "1h"]}
)
_PATH_SCHEMA = WithJsonSchema({"type": "string", "format": "path", SHOWN_TYPE: "path"})
_NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"

#: Seconds, longer than zero, written as ``15s``.
Duration: TypeAlias = Annotated[
    float,
    BeforeValidator(lambda value: _positive(parse_duration(value))),
    PlainSerializer(format_duration),
    _DURATION_SCHEMA,
]
#: A whole number; unlike Python's ``int`` not a truth value.
#: Text that is not empty, as that of a variable may be which nobody has filled in.
Given: TypeAlias = Annotated[str, Field(min_length=1)]
Integer: TypeAlias = Annotated[int, BeforeValidator(_number)]
Count: TypeAlias = Annotated[int, BeforeValidator(_number), Field(ge=1)]
Port: TypeAlias = Annotated[int, BeforeValidator(_number), Field(ge=1, le=65_535)]
#: The path of a readable file.
ReadableFile: TypeAlias = Annotated[Path, BeforeValidator(readable_file), _PATH_SCHEMA]
#: An http or https URL without credentials; without a scheme it is http.
HttpUrl: TypeAlias = Annotated[
    str,
    BeforeValidator(_url),
    PlainSerializer(shown_url),
    WithJsonSchema({"type": "string", "format": "uri", SHOWN_TYPE: "URL"}),
]
#: A path that need not exist yet.
FilePath: TypeAlias = Annotated[Path, BeforeValidator(_path), _PATH_SCHEMA]
#: A secret that stands in a file of its own; one newline at its end is not part of it.
SecretFile: TypeAlias = Annotated[Secret, BeforeValidator(_secret_file), _PATH_SCHEMA]
#: A name that becomes a label's value: short, without white space.
Name: TypeAlias = Annotated[
    str,
    AfterValidator(
        one_of_pattern(
            _NAME_PATTERN,
            "should be a short name of letters, digits, '.', '_' and '-', such as api-gateway",
        )
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME_PATTERN}$", SHOWN_TYPE: "name"}),
]
