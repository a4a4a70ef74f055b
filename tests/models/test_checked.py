"""What pydantic finds is said in one sentence with the full path of the key, the value and what is legal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
import pytest

from models.checked import ConfigError, Count, Name, Positive, Share, checked, in_words, nearest


@checked("outer.parts")
class Part:
    size: Count
    kind: Literal["left", "right"] = "left"
    limit: Positive | None = None


@checked("outer")
class Outer:
    name: Name
    part: Part = dataclasses.field(default_factory=lambda: Part(1))
    parts: tuple[Part, ...] = ()
    named: Mapping[str, Part] = dataclasses.field(default_factory=dict)
    loud: bool = False
    share: Share = 0.5
    path: Annotated[str, pydantic.Field(pattern="^/", description="a path that begins with /")] = "/"
    side: Literal["", "left"] = ""

    def __post_init__(self) -> None:
        if len(self.parts) > 2:
            raise ValueError(f"parts has {len(self.parts)}; legal: at most two")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"part": {"size": 0}}, "outer.part.size is 0; legal: a whole number of at least 1"),
        ({"part": {"size": True}}, "outer.part.size is True; legal: a whole number"),
        ({"part": {}}, "outer.part.size is missing"),
        ({"part": 3}, "outer.part is 3; legal: a mapping"),
        (
            {"parts": [{"size": 1, "limit": 0}]},
            "outer.parts.0.limit is 0; legal: a number above 0 and of at most 1,000,000,000, or null",
        ),
        ({"parts": {"size": 1}}, "outer.parts is {'size': 1}; legal: a list"),
        ({"named": {"a": {"size": 1, "kid": 1}}}, "unknown key 'outer.named.a.kid'; did you mean 'kind'? legal: kind"),
        (
            {"named": {"a": {"size": 1, "kind": "rigt"}}},
            "outer.named.a.kind is 'rigt'; did you mean 'right'? legal: left",
        ),
        ({"part": {"size": 1, 1: 2}}, "unknown key 'outer.part.1'; legal: kind, limit, size"),
        ({"part": {"size": 1, None: 2}}, "unknown key 'outer.part.None'; "),
        ({"named": {1: {"size": 1}}}, "a key of outer.named is 1; legal: text"),
        ({"part": {"size": 7.5}}, "outer.part.size is 7.5; legal: a whole number of at least 1"),
        ({"loud": 7}, "outer.loud is 7; legal: true or false"),
        ({"share": None}, "outer.share is None; legal: a number of at least 0 and of at most 1"),
        ({"path": "x"}, "outer.path is 'x'; legal: a path that begins with /"),
        ({"side": None}, "outer.side is None; legal: '', left"),
        ({"parts": 3 * [{"size": 1}]}, "outer.parts has 3; legal: at most two"),
        ({"name": ""}, "outer.name is ''; legal: text that is not empty"),
    ],
)
def test_a_sentence_has_the_path_of_the_key_its_value_and_what_is_legal(values: dict[str, Any], sentence: str) -> None:
    given = {"name": "x", **values}
    with pytest.raises(ConfigError) as constructed:
        Outer(**given)
    assert str(constructed.value).startswith(sentence)
    with pytest.raises(pydantic.ValidationError) as read:
        pydantic.TypeAdapter(Outer).validate_python(given)
    assert in_words(read.value, Outer, "outer") == str(constructed.value)


def test_an_argument_by_its_place_is_named() -> None:
    assert Part(2, "right") == Part(size=2, kind="right")
    with pytest.raises(ConfigError, match=r"outer\.parts\.kind is 'up'"):
        Part(1, "up")  # pyright: ignore[reportArgumentType]


def test_what_is_legal_is_listed_or_told() -> None:
    assert nearest("hamm", ["hann", "hamming"]) == "did you mean 'hamming'? legal: hann, hamming"
    assert nearest("x", ()) == "legal: none"
    assert nearest(3, ["one"], "any of many") == "legal: any of many"
