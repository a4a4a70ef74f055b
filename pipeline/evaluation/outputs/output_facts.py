"""What can be wrong with an estimate whatever it scores: facts from a few dot products and one short correlation.

BSS Eval forgives a good deal: version 3 is blind to level, polarity and delays up to its 512 taps, and both versions
skip what they cannot define. `facts` measures what they do not see; `pipeline.evaluation.gate.outputs` holds it against limits.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.optimize

from pipeline.evaluation.outputs import alignment, artefacts, bands, false_voice, image, stretches
from pipeline.evaluation.outputs.artefacts import Artefacts
from pipeline.evaluation.outputs.bands import Band
from pipeline.evaluation.outputs.energies import energies
from pipeline.evaluation.outputs.false_voice import FalseVoice
from pipeline.evaluation.outputs.image import ImageFacts
from pipeline.evaluation.outputs.stretches import StretchFacts

_CEILING_FLOOR = 10 ** (-40 / 20)  # the ceiling of a quieter signal is nobody's limiter
_CEILING_WIDTH = 1e-4
_EXCERPT_SAMPLES = 2**19
_BLOCK_SAMPLES = 2**12
_DROPPED = 10 ** (-60 / 10)
_ASSIGNMENT_MARGIN = 0.5
_NOTHING_TO_SEPARATE_DB = 60.0
_NO_TARGETS = 10 ** (-20 / 10)
_TINY = 1e-12


@dataclass(frozen=True)
class OutputFacts:
    """One target's estimate of one track, all channels together except in `stretches` and `image`.

    bad_samples: how many are NaN or infinite; nothing else is measured then.
    level_db: energy over that of the reference; -inf for silence, NaN where the reference is silent.
    correlation: normalised inner product with the reference in -1..1, at `delay_samples`; NaN where either is silent.
    delay_samples: by how much the estimate lags its reference (negative: leads), 0 where that cannot be told.
    gain_db: SDR at the level and delay 0 that suit best (SI-SDR) above the mixture's; NaN where the mixture
        is the reference.
    taken_db: of the estimate's energy the share that is not the mixture's, at any level, over the same share of the
        reference: what was taken away over what there was to take; -inf for the mixture itself, NaN as `gain_db`.
    dropped_share: of the reference's energy, that in blocks of 4096 samples where the estimate is 60 dB below it.
    clipped_share: of samples at full scale or stuck at the estimate's ceiling, above that of mixture and reference.
    offset: of the mean sample beyond that of mixture and reference, the worst channel; full scale is 1.
    resembles: the target whose reference the estimate is most like, when all estimates are assigned to references.
    missing: the model has no such target.
    false_voice: what sounds where the reference is silent.
    bands: of third octaves in which the reference sounds.
    """

    bad_samples: int = 0
    level_db: float = np.nan
    correlation: float = np.nan
    delay_samples: int = 0
    gain_db: float = np.nan
    taken_db: float = np.nan
    dropped_share: float = 0.0
    clipped_share: float = 0.0
    offset: float = 0.0
    resembles: str = ""
    missing: bool = False
    stretches: StretchFacts = field(default_factory=StretchFacts)
    image: ImageFacts = field(default_factory=ImageFacts)
    artefacts: Artefacts = field(default_factory=Artefacts)
    false_voice: FalseVoice = field(default_factory=FalseVoice)
    bands: tuple[Band, ...] = ()

    @property
    def never_sounds(self) -> bool:
        """Whether the reference is silent, or nothing but dither."""
        return np.isnan(self.level_db) and not (self.missing or self.bad_samples)

    @property
    def level_error_db(self) -> float:
        """How much too loud (positive) or too quiet (negative): `alignment.level_error_db`, NaN of silence."""
        if not np.isfinite(self.level_db) or np.isnan(self.correlation):
            return np.nan
        own = 10 ** (self.level_db / 10)
        return alignment.level_error_db(1.0, own, self.correlation * own**0.5)


def facts(
    references: Mapping[str, np.ndarray],
    estimates: Mapping[str, np.ndarray | None],
    mixture: np.ndarray,
    sample_rate_hz: int,
) -> dict[str, OutputFacts]:
    """Facts of the estimates of one track, by target.

    Args:
        references: target -> [samples, channels]; a single one is set against the rest of the mixture.
        estimates: the same targets and shapes; None for a target that the model lacks.
        mixture: [samples, channels].
    """
    unclaimed = _unclaimed(references, estimates, mixture)
    found = {
        target: _alone(reference, estimates[target], mixture, unclaimed, sample_rate_hz)
        for target, reference in references.items()
    }
    usable = {target: e for target, e in estimates.items() if e is not None and not found[target].bad_samples}
    nearest = _assigned(references, usable, mixture)
    return {target: dataclasses.replace(each, resembles=nearest.get(target, target)) for target, each in found.items()}


def _unclaimed(
    references: Mapping[str, np.ndarray], estimates: Mapping[str, np.ndarray | None], mixture: np.ndarray
) -> np.ndarray:
    """What of the mixture no estimate holds; zeros where something of it is no target's or a target has no estimate."""
    given = [each for each in estimates.values() if each is not None]
    rest = mixture - sum(references.values())
    if len(given) < len(references) or _dot(rest, rest) > _NO_TARGETS * _dot(mixture, mixture):
        return np.zeros_like(mixture)
    return mixture - sum(given)


def _alone(
    reference: np.ndarray,
    estimate: np.ndarray | None,
    mixture: np.ndarray,
    unclaimed: np.ndarray,
    sample_rate_hz: int,
) -> OutputFacts:
    if estimate is None:
        return OutputFacts(missing=True)
    if bad := int(np.size(estimate) - np.isfinite(estimate).sum()):
        return OutputFacts(bad_samples=bad)
    facts = OutputFacts(
        clipped_share=max(0.0, _clipped(estimate) - max(_clipped(mixture), _clipped(reference))),
        offset=max(0.0, float(np.max(_means(estimate) - np.maximum(_means(mixture), _means(reference))))),
        false_voice=false_voice.measure(reference, estimate, mixture, sample_rate_hz),
    )
    energy, own = _dot(reference, reference), _dot(estimate, estimate)
    if energy < alignment.SOUNDING**2 * reference.size:
        return facts
    if own == 0:
        return dataclasses.replace(facts, level_db=-np.inf, dropped_share=1.0)
    delay, correlation = _delay(reference, estimate)
    still, of_mixture = _correlation(reference, estimate), _correlation(reference, mixture)
    return dataclasses.replace(
        facts,
        level_db=10 * float(np.log10(own / energy)),
        dropped_share=_dropped(reference, estimate),
        correlation=correlation if delay else still,
        delay_samples=delay,
        gain_db=_scale_free_gain_db(still, of_mixture),
        taken_db=_taken_db(_correlation(estimate, mixture), of_mixture),
        stretches=stretches.measure(reference, estimate, sample_rate_hz, delay),
        image=image.measure(reference, estimate, sample_rate_hz),
        artefacts=artefacts.measure(reference, estimate, mixture, unclaimed, sample_rate_hz),
        bands=bands.measure(reference, estimate, mixture, sample_rate_hz, delay),
    )


def _assigned(
    references: Mapping[str, np.ndarray], estimates: Mapping[str, np.ndarray], mixture: np.ndarray
) -> dict[str, str]:
    """Target -> the target whose reference its estimate gets when the sum of |correlations| is made the largest.

    Everything stays in place unless another assignment is better by a clear margin.
    """
    if len(references) == 1:
        references = {**references, "": mixture - next(iter(references.values()))}
        estimates = {**estimates, "": mixture - next(iter(estimates.values()))} if estimates else {}
    names = [name for name in references if name in estimates]
    if len(names) < 2:
        return {}
    likeness = np.array([[abs(_correlation(references[r], estimates[e])) for r in names] for e in names])
    rows, columns = scipy.optimize.linear_sum_assignment(likeness, maximize=True)
    if likeness[rows, columns].sum() < np.trace(likeness) + _ASSIGNMENT_MARGIN:
        return {}
    return {names[row]: names[column] for row, column in zip(rows, columns, strict=True)}


def _delay(reference: np.ndarray, estimate: np.ndarray) -> tuple[int, float]:
    """Lag of the estimate and the correlation there, from the loudest excerpt; (0, ...) where no lag stands out."""
    start = int(np.argmax(energies(reference, _EXCERPT_SAMPLES))) * _EXCERPT_SAMPLES
    loudest = slice(start, start + _EXCERPT_SAMPLES)
    return alignment.delay(reference[loudest], estimate[loudest])


def _dropped(reference: np.ndarray, estimate: np.ndarray) -> float:
    of_blocks = energies(reference, _BLOCK_SAMPLES)
    return float(of_blocks[energies(estimate, _BLOCK_SAMPLES) < _DROPPED * of_blocks].sum() / of_blocks.sum())


def _clipped(signal: np.ndarray) -> float:
    """The share of samples that lie beyond full scale or at the signal's own ceiling."""
    ceiling = min(1.0, float(max(signal.max(initial=0.0), -signal.min(initial=0.0))))
    if ceiling <= _CEILING_FLOOR:
        return 0.0
    limit = ceiling * (1 - _CEILING_WIDTH)
    return float(np.count_nonzero(signal >= limit) + np.count_nonzero(signal <= -limit)) / signal.size


def _means(signal: np.ndarray) -> np.ndarray:
    return np.abs(signal.mean(axis=0, dtype=float))


def _dot(left: np.ndarray, right: np.ndarray) -> float:
    """Inner product in float64, piece by piece: a long track is not copied."""
    pieces = (slice(start, start + _EXCERPT_SAMPLES) for start in range(0, len(left), _EXCERPT_SAMPLES))
    return float(sum(np.vdot(left[piece].astype(float), right[piece].astype(float)) for piece in pieces))


def _correlation(left: np.ndarray, right: np.ndarray) -> float:
    norm = (_dot(left, left) * _dot(right, right)) ** 0.5
    return _dot(left, right) / norm if norm else 0.0


def _scale_free_gain_db(correlation: float, of_mixture: float) -> float:
    """How much 10 log10(c^2 / (1 - c^2)), the SDR at the level that suits best (Le Roux et al. 2019), is above the mixture's.

    NaN where the mixture is the reference.
    """
    own, other = (
        10 * float(np.log10(max(square, _TINY) / max(1 - square, _TINY))) for square in (correlation**2, of_mixture**2)
    )
    return own - other if other < _NOTHING_TO_SEPARATE_DB else np.nan


def _taken_db(to_mixture: float, of_mixture: float) -> float:
    """1 - c^2 of the estimate's correlation with the mixture over that of the reference's; NaN where the mixture is the reference."""
    to_take = 1 - of_mixture**2
    if to_take <= 10 ** (-_NOTHING_TO_SEPARATE_DB / 10):
        return np.nan
    taken = 1 - to_mixture**2
    return 10 * float(np.log10(taken / to_take)) if taken > _TINY else -np.inf
