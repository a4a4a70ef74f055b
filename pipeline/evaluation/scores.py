"""One track judged: every method's estimates against the references, in every version asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from pipeline.evaluation.bss_eval.score import METRICS, Engine, score
from pipeline.evaluation.gate import output_facts as outputs
from pipeline.evaluation.gate.output_facts import OutputFacts

METHODS = ("mixture", "rpca", "model", "baseline", "irm", "ibm")
VERSIONS = {"v3": ("SDR", "NSDR", "SIR", "SAR"), "v4": METRICS["v4"]}

Estimates = Mapping[str, np.ndarray]
"""Target -> audio [samples, channels]."""

Separate = Callable[[np.ndarray, int], Estimates]
"""(mixture [samples, channels], sample_rate_hz) -> estimates; `pipeline.evaluation.separators.load` returns one."""


class Track(Protocol):
    """A whole track in memory, as `pipeline.data.tfrecords.read_tracks` yields it.

    `metadata` are the groups that the gate can judge apart, such as {"singer": "Ani"}.
    """

    name: str
    sample_rate_hz: int
    mixture: np.ndarray
    stems: Mapping[str, np.ndarray]
    metadata: Mapping[str, str]


class Figure(NamedTuple):
    """What a number is the number of."""

    method: str
    target: str
    version: str
    metric: str


@dataclass(frozen=True)
class TrackScores:
    """One track's figures in dB, one value for each frame (a single one in v3).

    metadata: of the track, such as {"singer": "Ani"}. outputs: facts of the model's estimates by target.
    """

    track: str
    samples: int
    sample_rate_hz: int
    values: Mapping[Figure, tuple[float, ...]]
    metadata: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, OutputFacts] = field(default_factory=dict)


def judge(
    track: Track,
    methods: Mapping[str, Estimates],
    targets: Sequence[str],
    versions: Sequence[str],
    window_seconds: float,
    engine: Engine = "stemline",
) -> TrackScores:
    """Scores the estimates of all `methods` (which must include `mixture`, for NSDR) on one track.

    With a single target the rest of the mixture is the interference; it gets no scores of its own. The engine
    "reference" has the libraries mir_eval and museval compute.

    Raises:
        ValueError: the track lacks a target, an estimate has another shape than the mixture, or an unknown version.
    """
    references = _with_rest([_reference(track, target) for target in targets], track.mixture)
    signals = {
        method: _with_rest([_estimate(track, method, estimates, target) for target in targets], track.mixture)
        for method, estimates in methods.items()
    }
    window_samples = round(window_seconds * track.sample_rate_hz)
    values: dict[Figure, tuple[float, ...]] = {}
    for version, scores in _versions(references, signals, versions, window_samples, engine).items():
        for metric, rows in scores.items():
            for method, of_method in zip(methods, rows, strict=True):
                for target, row in zip(targets, of_method, strict=False):
                    values[Figure(method, target, version, metric)] = tuple(float(value) for value in np.ravel(row))
    return TrackScores(
        track.name,
        len(track.mixture),
        track.sample_rate_hz,
        values,
        {key: str(value) for key, value in track.metadata.items()},
        _outputs(track, methods["model"], targets) if "model" in methods else {},
    )


def _versions(
    references: Sequence[np.ndarray],
    methods: Mapping[str, Sequence[np.ndarray]],
    versions: Sequence[str],
    window_samples: int,
    engine: Engine,
) -> dict[str, dict[str, np.ndarray]]:
    """version -> metric -> [methods, targets(, frames)]; all methods share the references' factorisation."""
    scores = score(references, list(methods.values()), versions, window_samples, engine)
    if "v3" in scores:
        sdr = scores["v3"]["SDR"]
        with np.errstate(invalid="ignore"):  # -inf minus -inf: both silent, nothing gained that could be measured
            scores["v3"]["NSDR"] = sdr - sdr[list(methods).index("mixture")]
    return scores


def _reference(track: Track, target: str) -> np.ndarray:
    if target not in track.stems:
        raise ValueError(f"track {track.name!r} has no stem {target!r}; it has: {', '.join(track.stems)}")
    return track.stems[target]


def _estimate(track: Track, method: str, estimates: Estimates, target: str) -> np.ndarray:
    """The estimate, or NaN throughout for a target that the method does not separate."""
    estimate = estimates.get(target)
    if estimate is None:
        return np.broadcast_to(np.nan, track.mixture.shape)
    if estimate.shape != track.mixture.shape:
        raise ValueError(
            f"{method}'s estimate of {target!r} in track {track.name!r} has the shape {estimate.shape}; "
            f"legal: the mixture's, {track.mixture.shape}"
        )
    return estimate


def _with_rest(signals: list[np.ndarray], mixture: np.ndarray) -> list[np.ndarray]:
    return [signals[0], mixture - signals[0]] if len(signals) == 1 else signals


def _outputs(track: Track, estimates: Estimates, targets: Sequence[str]) -> dict[str, OutputFacts]:
    references = {target: track.stems[target] for target in targets}
    return outputs.facts(references, {target: estimates.get(target) for target in targets}, track.mixture)
