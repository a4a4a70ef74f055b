"""The names that a person may type, in messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: object, legal: Iterable[str], told: str = "") -> str:
    """`legal: a, b`, and before it `did you mean 'a'?` where one of them is close to `name`.

    told: the legal ones in words, where they are too many for a list.
    """
    legal = list(legal)
    close = difflib.get_close_matches(name, legal, n=1, cutoff=0.5) if isinstance(name, str) else []
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}legal: {told or ', '.join(each or repr(each) for each in legal) or 'none'}"
