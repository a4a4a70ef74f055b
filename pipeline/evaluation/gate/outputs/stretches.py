"""Polarity, time and level of every stretch and channel: what strays there on more tracks than chance explains."""

from collections.abc import Iterator

from pipeline.config.gate import OutputLimits
from pipeline.evaluation.gate.outputs.predicates import Facts, strays
from pipeline.evaluation.outputs.stretches import Extreme

_KEPT = {"correlation": "upright", "delay_samples": "in time", "stretch_level_db": "of an even level"}


def kept(limits: OutputLimits) -> list[str]:
    """What is true of outputs that pass."""
    return [words for name, words in _KEPT.items() if getattr(limits, name) is not None]


def wrong(target: str, facts: Facts, limits: OutputLimits) -> Iterator[str]:
    """What is wrong with the estimates of one target: predicates of a sentence."""
    del target
    share = limits.stray_share
    if (least := limits.correlation) is not None:
        yield from strays(
            facts,
            share,
            lambda f: f.stretches.correlation.value < least,
            "have the opposite polarity of their references",
            lambda f: _at(f.stretches.correlation, "correlation {:.2f}"),
        )
    if (most := limits.delay_samples) is not None:
        for sign, words in ((1, "lag behind"), (-1, "run ahead of")):
            yield from strays(
                facts,
                share,
                lambda f, sign=sign: sign * f.stretches.delay_samples.value > most,
                f"{words} their references",
                lambda f, sign=sign: _at(f.stretches.delay_samples, "{:.0f} samples", sign),
                f"up to {most} samples",
            )
    if (room := limits.stretch_level_db) is not None:
        yield from strays(
            facts,
            share,
            lambda f: f.stretches.loud_db.value > room,
            "are too loud in a stretch or a channel",
            lambda f: _at(f.stretches.loud_db, "{:+.1f} dB"),
            f"up to {room:g} dB",
        )
    if (least_db := limits.stretch_silence_db) is not None:
        yield from strays(
            facts,
            share,
            lambda f: f.stretches.quiet_db.value < least_db,
            "are lost in a stretch or a channel",
            lambda f: _at(f.stretches.quiet_db, "{:+.1f} dB"),
            f"down to {least_db:g} dB",
        )


def _at(extreme: Extreme, unit: str, sign: int = 1) -> str:
    return f"{unit.format(sign * extreme.value)} at {extreme.at_seconds:.0f} s"
