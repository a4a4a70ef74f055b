"""What a gate will be unable to decide on a test split, known before a model is trained for it. In sentences."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pipeline.common.progress import console
from pipeline.config.gate import GateConfig
from pipeline.evaluation.gate.checks import RIVALS
from pipeline.evaluation.gate.power import TARGET, Power
from pipeline.evaluation.gate.verdict import on_tracks

PAIRED = ("baseline", "anchor")
"""What a threshold is over whose test is a paired one."""


def tell(
    gate: GateConfig,
    tracks: Sequence[Mapping[str, str]],
    most: int | None = None,
    powers: Mapping[str, Power] | None = None,
) -> None:
    """Says on the console what `undecidable` finds, or refuses, as `gate.when_undecidable` asks. most: tracks that are judged.

    Raises:
        ValueError: something cannot be decided, and that is to be refused.
    """
    problems = undecidable(gate, tracks, most, powers)
    if problems and gate.when_undecidable == "refuse":
        raise ValueError(
            f"the gate will not be able to decide (gate.when_undecidable is 'refuse'): {'; '.join(problems)}"
        )
    for problem in problems:
        console.print(f"  the gate: {problem}", style="yellow", markup=False, soft_wrap=True)


def undecidable(
    gate: GateConfig,
    tracks: Sequence[Mapping[str, str]],
    most: int | None = None,
    powers: Mapping[str, Power] | None = None,
) -> list[str]:
    """Why checks of the gate cannot decide; empty where all can.

    Args:
        tracks: the metadata of every test track. most: how many of them are judged at most (`evaluate.max_tracks`).
        powers: what paired tests can decide on these tracks, by their names, as far as it is known.
    """
    problems = []
    count, few = min(len(tracks), most or len(tracks)), gate.paired.min_tracks
    if count < gate.min_tracks:
        problems.append(
            f"the test split has {on_tracks(count)}, and gate.min_tracks asks for {gate.min_tracks}: every model will be refused"
        )
    compared: dict[tuple[str, str], list[str]] = {}
    for threshold in gate.thresholds:
        if threshold.over in PAIRED and threshold.across != "worst":
            figure = f"{threshold.target} {threshold.metric}", threshold.across
            compared.setdefault(figure, []).append(f"the {RIVALS[threshold.over]}")
    for (name, key), rivals in compared.items():
        groups = Counter({"": count} if key == "all" else (of.get(key, "") for of in tracks))
        small = [group for group, size in sorted(groups.items()) if size < few and (group or key == "all")]
        if small:
            where = "the test split has" if key == "all" else f"of {key} {small[0]!r} the test split has"
            problems.append(
                f"{where} {on_tracks(groups[small[0]])}, too few to compare {name} with {' and '.join(dict.fromkeys(rivals))} "
                f"(gate.paired.min_tracks is {few}): every retraining will be refused"
            )
    for name, power in (powers or {}).items():
        if power.margin_db < 0 and power.tracks >= few and power.chances["equal"] < gate.paired.power:
            problems.append(_weak(name, power))
    return problems


def ungrouped(gate: GateConfig, tracks: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys that thresholds group by and that some of the ingested test tracks' metadata lack: these refuse every model."""
    keys = dict.fromkeys(each.across for each in gate.thresholds if each.across not in ("all", "worst"))
    lacking = {key: sum(key not in of for of in tracks) for key in keys}
    return [
        f"{count} of the {on_tracks(len(tracks))} of the test split have no {key}, by which a threshold asks: every model "
        f"will be refused"
        for key, count in lacking.items()
        if count
    ]


def _weak(name: str, power: Power) -> str:
    words = (
        f"on {on_tracks(power.tracks)} an equally good model passes the required {power.margin_db:.2f} dB of {name} in "
        f"{power.chances['equal']:.0%} only, by the differences of the last two models"
    )
    ways = [f"{power.tracks_needed} tracks"] if power.tracks_needed else []
    ways += [f"a margin of {power.margin_allowed_db:.2f} dB"] if power.margin_allowed_db is not None else []
    return f"{words}; {' or '.join(ways)} would give {TARGET:.0%}" if ways else words
