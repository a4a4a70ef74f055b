"""The stereo image: balance, width, left and right, and channels of one sound."""

from collections.abc import Iterator

import numpy as np

from pipeline.config.gate import OutputLimits
from pipeline.evaluation.gate.outputs.predicates import Facts, strays
from pipeline.evaluation.gate.verdict import on_tracks
from pipeline.evaluation.outputs.output_facts import OutputFacts

_KEPT = {"balance_db": "in balance", "width_db": "as wide as their references", "tilt_db": "alike left and right"}
_COLLAPSED_DB = -20.0


def kept(limits: OutputLimits) -> list[str]:
    """What is true of outputs that pass."""
    return [words for name, words in _KEPT.items() if getattr(limits, name) is not None]


def wrong(target: str, facts: Facts, limits: OutputLimits) -> Iterator[str]:
    """What is wrong with the estimates of one target: predicates of a sentence."""
    del target
    share = limits.stray_share
    if limits.balance_db is not None:
        yield from _balance(facts, limits.balance_db, limits.track_balance_db or np.inf, share)
    facts = {track: each for track, each in facts.items() if not _crooked(each, limits)}
    if (least := limits.correlation) is not None:
        yield from strays(
            facts,
            share,
            lambda f: f.image.side_correlation < least,
            "have left and right swapped",
            lambda f: f"correlation of the sides {f.image.side_correlation:.2f}",
        )
    if limits.width_db is not None:
        yield from _width(facts, limits.width_db, share)
    if (tilt_db := limits.tilt_db) is not None:
        yield from strays(
            facts,
            share,
            lambda f: abs(f.image.tilt_db) > tilt_db,
            "sound unlike left and right",
            lambda f: f"an octave {f.image.tilt_db:+.1f} dB louder left than right",
            f"up to {tilt_db:g} dB",
        )


def _crooked(facts: OutputFacts, limits: OutputLimits) -> bool:
    """Whether a channel is lost or inverted: middle and side then say the same again."""
    balance_db, correlation = abs(facts.image.balance_db), facts.stretches.correlation.value
    return balance_db > (limits.track_balance_db or np.inf) or correlation < (limits.correlation or -np.inf)


def _balance(facts: Facts, limit: float, of_track: float, share: float) -> Iterator[str]:
    """Too loud on one side on the median track, or far too loud on tracks that stray."""
    balances = [each.image.balance_db for each in facts.values() if not np.isnan(each.image.balance_db)]
    balance = float(np.median(balances)) if balances else 0.0
    if np.isfinite(balance) and abs(balance) > limit:
        yield (
            f"are out of balance, left {balance:+.1f} dB against right on the median of {on_tracks(len(balances))}; "
            f"legal: up to {limit:g} dB"
        )
        return
    yield from strays(
        facts,
        share,
        lambda f: abs(f.image.balance_db) > of_track,
        "are out of balance",
        lambda f: f"left {f.image.balance_db:+.1f} dB against right",
        f"up to {of_track:g} dB",
    )


def _width(facts: Facts, limit: float, share: float) -> Iterator[str]:
    """Mono on tracks that are not, or too narrow or too wide on the median track."""
    widths = [each.image.width_db for each in facts.values() if not np.isnan(each.image.width_db)]
    width = float(np.median(widths)) if widths else 0.0
    if np.isfinite(width) and abs(width) > limit:
        side = "wide" if width > 0 else "narrow"
        yield f"are {abs(width):.1f} dB too {side} on the median of {on_tracks(len(widths))}; legal: up to {limit:g} dB"
        return
    yield from strays(
        facts,
        share,
        lambda f: f.image.width_db < _COLLAPSED_DB,
        "are mono where their references are stereo",
        lambda f: f"width {f.image.width_db:.1f} dB",
    )
