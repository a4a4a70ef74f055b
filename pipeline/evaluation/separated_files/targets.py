"""Which stems are judged, and which of an estimate's files is which of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from models.checked import nearest
from pipeline.data.datasets.track import ACCOMPANIMENT, BadTrackError
from pipeline.evaluation.separated_files.finding import Files
from pipeline.evaluation.separated_files.names import MIXTURE, RESIDUAL, WHOLE_REST

VOCALS = "vocals"
_ORDER = (VOCALS, "drums", "bass", "other", ACCOMPANIMENT)


def choose(references: Iterable[Files], estimates: Iterable[Files]) -> tuple[str, ...]:
    """The stems that were separated: every name among the estimates, vocals first.

    The rest of a mixture (`instrumental`, `no_vocals`, Open-Unmix's `residual`) is the accompaniment where none of its
    parts was separated, and otherwise not judged; nor are rests of other stems (`no_drums`).

    Raises:
        ValueError: there is none, no reference has one of them, or `accompaniment` stands beside its own parts; or only
            `other` stands beside the vocals, where the references have more parts: that may be the accompaniment.
    """
    names = {name for files in estimates for name in files.names}
    legal = sorted({name for files in references for name in available(files)})
    targets = {name for name in names if name in legal or not _is_rest(name)}
    parts = targets - {VOCALS, ACCOMPANIMENT}
    if not parts and ACCOMPANIMENT in legal and (names.intersection(WHOLE_REST) or {VOCALS, RESIDUAL} <= names):
        targets.add(ACCOMPANIMENT)
    if parts == {"other"} and VOCALS in targets:
        if more := [name for name in legal if name not in (VOCALS, "other", ACCOMPANIMENT) and "other" in legal]:
            raise ValueError(
                f"the estimates have vocals and other, which may be the whole accompaniment or what is beside "
                f"{', '.join(more)} in it: choose by --targets vocals,accompaniment or --targets vocals,other"
            )
        if "other" not in legal and ACCOMPANIMENT in legal:
            targets = {VOCALS, ACCOMPANIMENT}
    chosen = in_order(targets)
    if not chosen:
        told = f"; they have {', '.join(sorted(names))}" if names else ""
        raise ValueError(f"the estimates hold no stem to judge: expected files such as vocals.wav{told}")
    for target in chosen:
        if target not in legal:
            raise ValueError(
                f"the estimates have {target!r}, which no reference has; choose by --targets ({nearest(target, legal)})"
            )
    check(chosen)
    return chosen


def in_order(targets: Iterable[str]) -> tuple[str, ...]:
    """Vocals first, then as MUSDB18 names its stems, then by the alphabet."""
    given = set(targets)
    return (*(name for name in _ORDER if name in given), *sorted(given.difference(_ORDER)))


def check(targets: Sequence[str]) -> None:
    """Raises ValueError if a target occurs twice, or stands beside the accompaniment, of which it is a part."""
    if len(set(targets)) != len(targets) or MIXTURE in targets:
        raise ValueError(f"targets are {', '.join(targets)}; legal: names of stems, none twice")
    parts = [target for target in targets if target not in (VOCALS, ACCOMPANIMENT)]
    if ACCOMPANIMENT in targets and parts:
        raise ValueError(
            f"{ACCOMPANIMENT} holds {', '.join(parts)}, and they cannot be judged in one go: choose by --targets"
        )


def available(references: Files) -> list[str]:
    """The targets that a reference can be the reference of."""
    names = references.names
    parts = [name for name in names if name not in (VOCALS, ACCOMPANIMENT)]
    return [*names, ACCOMPANIMENT] if parts and ACCOMPANIMENT not in names else names


def source(estimates: Files, target: str, what: str) -> str:
    """The stem among the estimates that is judged as a target: itself, or what stands for the accompaniment.

    Args:
        what: the estimates in words.

    Raises:
        BadTrackError: there is none, or more than one.
    """
    found = [target] if target in estimates.stems else []
    if target == ACCOMPANIMENT and not found:
        found = [name for name in WHOLE_REST if name in estimates.stems]
        parts = {*estimates.stems} & {"drums", "bass", "other"}
        if not found and parts <= {"other"}:  # two stems, of which the second has a name of many
            found = [*parts] or [name for name in (RESIDUAL,) if name in estimates.stems]
    files = [file for name in found for file in estimates.doubles.get(name, (str(estimates.stems[name].name),))]
    if len(files) > 1:
        raise BadTrackError(f"its {target} may be {' or '.join(files)}: keep one, or name the folder of one system")
    if not found:
        raise BadTrackError(f"its {what} have no {target} (they have {', '.join(estimates.names) or 'none'})")
    return found[0]


def _is_rest(name: str) -> bool:
    return name in (*WHOLE_REST, RESIDUAL) or name.startswith(("no_", "minus_"))
