"""Frozen dataclasses that pydantic checks, and what is wrong, or legal where something else was typed, in one sentence."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import Field

from models.directory import PLAIN_NAME, PLAIN_WORDS

_MOST = 10**9  # of what is counted or measured here; beyond it lie typing errors
Count = Annotated[int, Field(strict=True, ge=1, le=_MOST)]
Whole = Annotated[int, Field(strict=True, ge=0, le=_MOST)]
# Not strict: YAML 1.1 reads 1e-3 as text. But true is no number, whatever Python says.
_NUMBER = pydantic.BeforeValidator(lambda value: str(value) if isinstance(value, bool) else value)
Positive = Annotated[float, Field(gt=0, le=_MOST), _NUMBER]
Decibels = Annotated[float, Field(ge=-1000, le=1000), _NUMBER]
DecibelsUnder = Annotated[float, Field(ge=-1000, le=0), _NUMBER]
DecibelsOver = Annotated[float, Field(ge=0, le=1000), _NUMBER]
Share = Annotated[float, Field(ge=0, le=1), _NUMBER]
Name = Annotated[str, Field(min_length=1)]
PlainName = Annotated[str, Field(pattern=f"^{PLAIN_NAME.pattern}$", description=PLAIN_WORDS)]
Flag = pydantic.StrictBool

_T = TypeVar("_T")
_LEGAL = {  # where pydantic's own words are of Python, or no end of a sentence
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dataclass_type": "a mapping",
    "dict_type": "a mapping",
    "string_too_short": "text that is not empty",
    "string_type": "text",
    "tuple_type": "a list",
}
_STRICT = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
_SAID = 200  # characters of a value
_BOUNDS = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most", "multiple_of": "a multiple of"}


class ConfigError(ValueError):
    """A configuration, or a part of one, that cannot be used; the message is one sentence for the user."""


@typing.dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def checked(section: str) -> Callable[[type[_T]], type[_T]]:
    """Makes a frozen dataclass whose constructor raises ConfigError for a value that its annotations do not allow.

    section: where it is in a configuration, for messages. What `__post_init__` raises (ValueError, for what looks at
    several fields) begins with a key of the class, or with its full path.
    """

    def decorate(cls: type[_T]) -> type[_T]:
        made: Any = pydantic.dataclasses.dataclass(frozen=True, config=_STRICT)(cls)
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
    of_key = loc[-1:] == ("[key]",)  # of a mapping that takes any text
    place = ".".join(str(part) for part in (section, *loc[: -2 if of_key else None]) if part != "")
    if of_key:
        return f"a key of {place} is {_cut(first['input'])}; legal: text"
    if kind in ("unexpected_keyword_argument", "invalid_key"):
        kind_of = _annotation(cls, loc[:-1])
        [section_kind] = [each for each in (kind_of, *typing.get_args(kind_of)) if dataclasses.is_dataclass(each)]
        return f"unknown key {place!r}; {nearest(loc[-1], sorted(typing.get_type_hints(section_kind)))}"
    if kind == "missing":
        return f"{place} is missing"
    if kind == "value_error":
        message = str(first.get("ctx", {})["error"])
        return message if message.startswith(place) else f"{place}.{message}"
    annotation = _annotation(cls, loc)
    said = f"{place or 'configuration'} is {_cut(first['input'])}; "
    null = ", or null" if type(None) in typing.get_args(annotation) else ""
    if kind == "literal_error":
        kinds = annotation, *typing.get_args(annotation)
        values = next(typing.get_args(each) for each in kinds if typing.get_origin(each) is typing.Literal)
        return said + nearest(first["input"], values) + null
    legal = _LEGAL.get(kind) or _told(annotation) or first["msg"].removeprefix("Input should be ")
    return f"{said}legal: {legal}{null}"


def nearest(name: object, legal: Iterable[str], told: str = "") -> str:
    """`legal: a, b`, and before it `did you mean 'a'?` where one of them is close to `name`.

    told: the legal ones in words, where they are too many for a list.
    """
    legal = list(legal)
    close = difflib.get_close_matches(name, legal, n=1, cutoff=0.5) if isinstance(name, str) else []
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}legal: {told or ', '.join(each or repr(each) for each in legal) or 'none'}"


def _told(annotation: Any) -> str:
    """The description of a field, or a number's kind and all of its bounds; empty for what has neither."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        annotation = next(each for each in typing.get_args(annotation) if each is not type(None))
    kind, *fields = typing.get_args(annotation) or (annotation,)
    if described := [field.description for field in fields if getattr(field, "description", None)]:
        return described[0]
    if kind not in (int, float):
        return ""
    if not fields:
        return "a whole number" if kind is int else "a finite number"
    limits = [limit for field in fields for limit in getattr(field, "metadata", ())]
    bounds = [
        f"{words} {_number(getattr(each, name))}"
        for each in limits
        for name, words in _BOUNDS.items()
        if hasattr(each, name)
    ]
    return " ".join(["a whole number" if kind is int else "a number", " and ".join(bounds)]).strip()


def _cut(value: object) -> str:
    """A value as it is written, of a long one the beginning."""
    return written if len(written := repr(value)) <= _SAID else f"{written[:_SAID]}…"


def _number(value: float) -> str:
    return f"{value:g}" if abs(value) < 10**6 else f"{value:,.0f}"


def _annotation(kind: Any, loc: Sequence[int | str]) -> Any:
    """Of what lies at `loc` below a dataclass, through lists and mappings of others and what may be null."""
    for part in loc:
        if typing.get_origin(kind) is Annotated:
            kind = typing.get_args(kind)[0]
        if type(None) in typing.get_args(kind):
            kind = next(each for each in typing.get_args(kind) if each is not type(None))
        if dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind, include_extras=True)[str(part)]
        elif inner := [each for each in typing.get_args(kind) if each is not Ellipsis]:
            kind = inner[-1]
    return kind
