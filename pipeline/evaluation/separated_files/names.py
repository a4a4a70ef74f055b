"""What the names of separated files say: which stem a file holds, and which track the rest of its name may mean.

Names come through file systems and sanitisers, so a track is looked up by ever looser spellings: to the letter; in
another Unicode form or case; with other separators (`My Song!` as `my_song`); by its letters and digits alone, without
accents (`Don't`, `Café` as `dont`, `cafe`).
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from pipeline.data.datasets.track import ACCOMPANIMENT, printable

MIXTURE = "mixture"
MIXTURES = frozenset({MIXTURE, "mix"})
WHOLE_REST = ("instrumental", "no_vocals", "minus_vocals")
"""What systems call the accompaniment: UVR and MSST; Demucs and UVR of two stems; Demucs with `--other-method minus`."""
RESIDUAL = "residual"
"""Open-Unmix: the mixture less all that was estimated."""
STEMS = frozenset(
    {"vocals", "drums", "bass", "other", "guitar", "piano", ACCOMPANIMENT, RESIDUAL}
    | {"synthesizer", "strings", "woodwinds", "brass", "wind_inst"}
    | {*WHOLE_REST, "no_drums", "no_bass", "no_other", "minus_drums", "minus_bass", "minus_other"}
)

OPEN_UNMIX_MODELS = frozenset({"umx", "umxhq", "umxl", "umxse"})

_SEPARATORS = r"[\s_.\-]"
_SPELLINGS = ("", "in another case or Unicode form", "with other separators", "by letters and digits alone")
_NUMBER = re.compile(r"^(?:\d{9,}_)?\d+_(?=.)")
_SUFFIX = re.compile(r"\.(?:stem(?:\.mp4)?|wav|flac|ogg|opus|mp3|m4a|mp4|aac|wma|aiff?)$", re.IGNORECASE)


class Said(NamedTuple):
    """A stem, and the text beside it in the file's name; marked: in brackets, which leave no doubt."""

    stem: str
    text: str = ""
    marked: bool = False


class Track(NamedTuple):
    """A track by the name of its reference, and how the text had to be read to be that name."""

    name: str
    rule: str


class Catalogue:
    """The names of the references, by every spelling."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names: tuple[dict[str, list[str]], ...] = tuple(defaultdict(list) for _ in _SPELLINGS)
        for name in names:
            for by, spelling in zip(self._names, _spellings(name), strict=True):
                if spelling:
                    by[spelling].append(name)

    def find(self, text: str) -> list[Track]:
        """The tracks that a text names by the strictest spelling that names any; more than one are alike in it."""
        for place, spelling in enumerate(_SPELLINGS):
            for bare, without in _undressed(text):
                if found := self._names[place].get(_spellings(bare)[place]):
                    rule = ", ".join(each for each in (spelling, without) if each)
                    return [Track(name, rule or "same name") for name in found]
        return []

    def begun(self, text: str) -> tuple[str, str]:
        """The longest name that a text begins with, and what follows it; empty where there is none."""
        for bare, _ in _undressed(text):
            words = _spellings(bare)[2]
            if begun := [key for key in self._names[2] if words.startswith(f"{key} ")]:
                longest = max(begun, key=len)
                [name, *others] = self._names[2][longest]
                return ("", "") if others else (name, words[len(longest) + 1 :])
        return "", ""


def stem_word(text: str) -> str:
    """`No Vocals` as `no_vocals`."""
    return re.sub(rf"{_SEPARATORS}+", "_", unicodedata.normalize("NFC", text).casefold()).strip("_")


def said(base: str, stems: Collection[str]) -> Iterator[Said]:
    """Every reading of a file's name without its suffix.

    `vocals`; `song_(Vocals)_model` and `song [vocals]`, the last brackets counting; `song_vocals`, `song - vocals`,
    `song.vocals` and `vocals_song`.
    """
    base = unicodedata.normalize("NFC", base)
    if (word := stem_word(base)) in stems:
        yield Said(word)
        return
    brackets = [each for each in re.finditer(r"[(\[{]([^()\[\]{}]+)[)\]}]", base) if stem_word(each[1]) in stems]
    if brackets:
        yield Said(stem_word(brackets[-1][1]), base[: brackets[-1].start()].rstrip(" _.-"), marked=True)
        return
    for stem in sorted(stems):
        word = re.escape(stem).replace("_", rf"{_SEPARATORS}+")
        for pattern in (rf"(.*[^\s_.\-]){_SEPARATORS}+{word}", rf"{word}{_SEPARATORS}+(.+)"):
            if match := re.fullmatch(pattern, base, re.IGNORECASE | re.DOTALL):
                yield Said(stem, match[1])


def _spellings(name: str) -> tuple[str, ...]:
    name = printable(name)
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    plain = unicodedata.normalize("NFKD", folded)
    return (
        name,
        folded,
        re.sub(r"[\W_]+", " ", folded).strip(),
        "".join(letter for letter in plain if letter.isalnum()),
    )


def _undressed(text: str) -> Iterator[tuple[str, str]]:
    """A text; without a suffix (`song.stem` of `song.stem.mp4`); without UVR's number in front (`1_song`)."""
    yield text, ""
    bare = _SUFFIX.sub("", text)
    if bare != text:
        yield bare, "without a suffix"
    if _NUMBER.match(bare):
        yield _NUMBER.sub("", bare), "without the number in front"
