"""Frozen dataclasses that pydantic checks, and what it finds in one sentence for the user."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import Field

from models.names import nearest

Count = Annotated[int, Field(strict=True, ge=1)]
Whole = Annotated[int, Field(strict=True, ge=0)]
# Not strict: YAML 1.1 reads 1e-3 as text.
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1)]
Flag = pydantic.StrictBool

_T = TypeVar("_T")
_LEGAL = {  # where pydantic's own words are of Python, or no end of a sentence
    "bool_type": "true or false",
    "dataclass_type": "a mapping",
    "dict_type": "a mapping",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "string_pattern_mismatch": "text like {pattern}",
    "string_too_short": "text that is not empty",
    "string_type": "text",
    "tuple_type": "a list",
}


class ConfigError(ValueError):
    """A configuration, or a part of one, that cannot be used; the message is one sentence for the user."""


@typing.dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def checked(section: str) -> Callable[[type[_T]], type[_T]]:
    """Makes a frozen dataclass whose constructor raises ConfigError for a value that its annotations do not allow.

    section: where it is in a configuration, for messages. What `__post_init__` raises (ValueError, for what looks at
    several fields) begins with a key of the class, or with its full path.
    """

    def decorate(cls: type[_T]) -> type[_T]:
        made: Any = pydantic.dataclasses.dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid"))(cls)
        names = [field.name for field in dataclasses.fields(made)]
        construct: Callable[..., None] = made.__init__

        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            named = dict(zip(names, args, strict=False))  # pydantic would tell the places of these, not the names
            try:
                construct(self, *args[len(names) :], **named, **kwargs)
            except pydantic.ValidationError as error:
                raise ConfigError(in_words(error, cls, section)) from None

        setattr(made, "__init__", __init__)  # noqa: B010 (pyright knows the constructor of a dataclass)
        return made

    return decorate


def in_words(error: pydantic.ValidationError, cls: type, section: str = "") -> str:
    """The first thing that is wrong with a `cls`: the full path of the key, its value, and what is legal there."""
    first = error.errors(include_url=False)[0]
    loc, kind = first["loc"], first["type"]
    place = ".".join(str(part) for part in (section, *loc) if part != "")
    if kind == "unexpected_keyword_argument":
        return f"unknown key {place!r}; {nearest(loc[-1], sorted(typing.get_type_hints(_annotation(cls, loc[:-1]))))}"
    if kind == "missing":
        return f"{place} is missing"
    context = first.get("ctx", {})
    if kind == "value_error":
        message = str(context["error"])
        return message if message.startswith(place) else f"{place}.{message}"
    annotation = _annotation(cls, loc)
    said = f"{place or 'configuration'} is {first['input']!r}; "
    if kind == "literal_error":
        return said + nearest(first["input"], typing.get_args(annotation))
    legal = _LEGAL.get(kind, first["msg"].removeprefix("Input should be ")).format(**context)
    return f"{said}legal: {legal}{', or null' if type(None) in typing.get_args(annotation) else ''}"


def _annotation(kind: Any, loc: Sequence[int | str]) -> Any:
    """Of what lies at `loc` below a dataclass, through lists and mappings of others."""
    for part in loc:
        if dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind)[str(part)]
        elif inner := [each for each in typing.get_args(kind) if each is not Ellipsis]:
            kind = inner[-1]
    return kind
