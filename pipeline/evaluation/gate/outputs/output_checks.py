"""All checks of a model's outputs together. The facts are `pipeline.evaluation.outputs.output_facts`'."""

from collections.abc import Iterator, Mapping

from pipeline.config.gate import OutputLimits
from pipeline.evaluation.gate.outputs import artefacts, bands, false_voice, image, stretches, waveform
from pipeline.evaluation.gate.outputs.predicates import Facts, on_any
from pipeline.evaluation.gate.verdict import Check, on_tracks, some
from pipeline.evaluation.outputs.output_facts import OutputFacts

# Each has `kept(limits)`, what is true of outputs that pass, and `wrong(target, facts, limits)`.
_FAMILIES = (waveform, stretches, image, false_voice, bands, artefacts)


def check_outputs(outputs: Mapping[str, Mapping[str, OutputFacts]], limits: OutputLimits | None) -> list[Check]:
    """Judges a model's outputs: one check that passed, or one for everything that is wrong with a target.

    Args:
        outputs: track -> target -> facts; a track without any refuses.
        limits: None in a field switches its check off, None all of them; estimates must be there and finite in any case.
    """
    targets = dict.fromkeys(target for facts in outputs.values() for target in facts)
    wrong = [
        f"the model's estimates of {target} {words}"
        for target in targets
        for words in _wrong(target, {track: facts[target] for track, facts in outputs.items() if facts}, limits)
    ]
    if unknown := [f"{track!r}" for track, facts in outputs.items() if not facts]:
        wrong.append(
            f"the model's outputs were not measured on {len(unknown)} of {on_tracks(len(outputs))}: {some(unknown)}"
        )
    if not wrong:
        kept = [words for family in _FAMILIES for words in family.kept(limits)] if limits else []
        sound = ", ".join(["there", "finite", *kept])
        told = [
            Check(True, f"of {target} {words}", "output")
            for target in targets
            if limits and (words := bands.told({track: facts[target] for track, facts in outputs.items()}, limits))
        ]
        return [Check(True, f"the outputs are sound on {on_tracks(len(outputs))}: {sound}", "output"), *told]
    return [Check(False, words, "output") for words in wrong]


def _wrong(target: str, facts: Facts, limits: OutputLimits | None) -> Iterator[str]:
    """What is wrong with the estimates of one target: predicates of a sentence."""
    if any(each.missing for each in facts.values()):
        yield "are missing: it separates no such target"
        return
    yield from on_any(
        facts, lambda f: f.bad_samples > 0, "hold samples that are not finite", lambda f: f"{f.bad_samples} samples"
    )
    finite = {track: each for track, each in facts.items() if not each.bad_samples}
    for family in _FAMILIES if limits else ():
        yield from family.wrong(target, finite, limits)
