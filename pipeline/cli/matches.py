"""What `stemline evaluate` matched with what, for the terminal: a row for each track, and all that has none."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Column, Table
from rich.text import Text

from pipeline.common.process import shown
from pipeline.common.terminal import Terminal
from pipeline.evaluation.separated_files import reading
from pipeline.evaluation.separated_files.finding import short
from pipeline.evaluation.separated_files.matching import METHOD_WORDS, Matched, Pair
from pipeline.evaluation.separated_files.names import MIXTURE
from pipeline.evaluation.standalone import Found, Judged

_LISTED = 5
_IN_A_WORD = r"[^/\s_.()\[\]-]"


def print_found(console: Terminal, found: Found) -> None:
    """For each method a table of track, reference, files and rule; then what is not used, not judged, ignored."""
    for method, matched in found.matched.items():
        what = METHOD_WORDS[method]
        files = f"{what}: {', '.join(found.targets)}"
        columns = (Column(name, overflow="fold") for name in ("track", "reference", files, "matched"))
        table = Table(*columns, box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
        for each in found.pairs:
            where = each.references.where.relative_to(found.references).as_posix()
            row = each.name, where, _files(each, method, found.targets), each.estimates[method].rule
            table.add_row(*(Text(shown(cell)) for cell in row))
        console.print(table)
        for line in _left(matched, found, method):
            console.say(line)


def fitted(judged: Judged) -> list[str]:
    """What was done to estimates that were not of their references' format, a line for each thing."""
    fits = [fit for each in judged.fits.values() for fit in each]
    lines = []
    for rule in dict.fromkeys(rule for fit in fits for rule in fit.rules):
        files = [fit.file for fit in fits if rule in fit.rules]
        lines.append(f"{rule}: {_listed(files)}")
    if longer := [fit for fit in fits if fit.padded]:
        worst = max(longer, key=lambda fit: abs(fit.padded))
        how = f"{abs(worst.padded)} samples {'shorter' if worst.padded > 0 else 'longer'}"
        lines.append(
            f"padded or cut {len(longer)} file(s) to their references' length; the furthest, {worst.file}, was {how}"
        )
    return lines


def _left(matched: Matched, found: Found, method: str) -> list[str]:
    lines = []
    judged = {each.name: reading.chosen(each, method, found.targets).values() for each in found.pairs}
    spare = Counter(
        stem
        for name, chosen in judged.items()
        for stem, path in matched.files[name].stems.items()
        if stem != MIXTURE and path not in chosen
    )
    if spare:
        told = ", ".join(f"{stem} ({count})" for stem, count in sorted(spare.items()))
        lines.append(f"not judged, as none of the targets: {told}")
    if matched.unused:
        lines.append(
            f"not used, as no name of a stem and a track is in its path: {_listed(map(short, matched.unused))}"
        )
    for kind, files in sorted(matched.litter.items()):
        lines.append(f"ignored ({kind}): {_listed(map(short, files))}")
    return lines


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)} file(s), {', '.join(names[:_LISTED])}{more}"


def _files(each: Pair, method: str, targets: Sequence[str]) -> str:
    """`htdemucs/song/{vocals,no_vocals}.wav`"""
    root = each.estimates[method].where
    paths = [path.relative_to(root).as_posix() for path in reading.chosen(each, method, targets).values()]
    if len(paths) == 1:
        return paths[0]
    before = re.sub(rf"{_IN_A_WORD}*$", "", _begun_alike(paths))
    rests = [path[len(before) :] for path in paths]
    behind = re.sub(rf"^{_IN_A_WORD}*", "", _begun_alike([rest[::-1] for rest in rests])[::-1])
    return f"{before}{{{','.join(rest[: len(rest) - len(behind)] for rest in rests)}}}{behind}"


def _begun_alike(texts: Sequence[str]) -> str:
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in alike)
