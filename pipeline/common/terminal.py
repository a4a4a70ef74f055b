"""What is written to people: on a terminal as wide as that is, and whole lines elsewhere; in ASCII where that is all there is."""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata

from rich.console import Console, ConsoleDimensions

from serving.wire.words import shown

_ENDLESS = 100_000  # columns
_ASCII = "stemline.ascii"
_UNFOLDED = {"×": "x", "→": "->", "←": "<-", "≥": ">=", "≤": "<=", "·": "*"}


class Terminal(Console):
    """Rich's console, which breaks no line where no person reads: a pipe or a file has all columns."""

    def say(self, words: str, style: str | None = None) -> None:
        """One line, however long, with nothing read into it: names of files may hold anything."""
        self.print(shown(words), style=style, markup=False, soft_wrap=True)

    @property
    def size(self) -> ConsoleDimensions:  # type: ignore[override]
        size = super().size
        return size if self.file.isatty() else ConsoleDimensions(_ENDLESS, size.height)


def plain_streams() -> None:
    """Lets standard output and error take any text: what their encoding lacks becomes ASCII, where it would raise.

    A terminal whose locale is C or POSIX is taken at its word; Python would send it UTF-8 (PEP 538).
    """
    locale = os.environ.get("LC_ALL") or os.environ.get("LANG")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii_only = locale in ("C", "POSIX") and sys.flags.utf8_mode and stream.isatty()
            errors = stream.errors if stream.errors == "surrogateescape" and not ascii_only else _ASCII
            stream.reconfigure(encoding="ascii" if ascii_only else None, errors=errors)


def folded(text: str) -> str:
    """The text in ASCII: frames and bars as `+-|`, letters without their accents, `?` for what has no likeness."""
    return "".join(map(_letter, text))


def _letter(letter: str) -> str:
    if letter in _UNFOLDED:
        return _UNFOLDED[letter]
    name = unicodedata.name(letter, "")
    if name.startswith("BOX DRAWINGS"):
        across, down = ("HORIZONTAL", "LEFT", "RIGHT"), ("VERTICAL", "UP", "DOWN")
        both = any(word in name for word in across) and any(word in name for word in down)
        return "+" if both else "-" if any(word in name for word in across) else "|"
    if name.endswith(("DASH", "MINUS SIGN")):
        return "-"
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or "?"


def _fold(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return folded(error.object[error.start : error.end]), error.end


codecs.register_error(_ASCII, _fold)
