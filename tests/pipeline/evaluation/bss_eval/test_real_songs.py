"""BSS Eval on real music against the libraries that define it, on every frame."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.datasets.layouts import mir1k as mir1k_dataset
from pipeline.data.datasets.layouts import musdb18 as musdb18_dataset
from pipeline.data.datasets.loading import load
from pipeline.evaluation import baselines
from pipeline.evaluation.bss_eval.score import score

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

TRACKS = ("Music Delta - 80s Rock", "The Easton Ellises - Falcon 69")
KINDS = ("oracle", "mixture", "scaled", "shifted", "noisy")
RATE_HZ = 44100
DETERMINED_DB = 65
"""A ratio above is one to rounding errors: the library's own last digits are then not its last digits twice."""


@cache
def signals(folder: Path, name: str, channels: int, targets: int) -> tuple[np.ndarray, np.ndarray]:
    """Mixture [samples, channels] and references [targets, samples, channels]; two targets are vocals and the rest."""
    [ref] = [ref for ref in musdb18_dataset.discover(str(folder), {}) if ref.name == name]
    track = load(ref)
    mixture, stems = (each.astype(float) for each in (track.mixture, np.stack(list(track.stems.values()))))
    if channels == 1:
        mixture, stems = mixture.mean(axis=-1, keepdims=True), stems.mean(axis=-1, keepdims=True)
    return mixture, stems if targets == 4 else np.stack([stems[3], stems[:3].sum(axis=0)])


def estimate(kind: str, mixture: np.ndarray, references: np.ndarray) -> np.ndarray:
    named = {str(place): reference for place, reference in enumerate(references)}
    oracle = np.stack(list(baselines.ratio_mask(mixture, named, baselines.Stft(2048, 512, "hann")).values()))
    noise = 0.01 * np.random.default_rng(0).standard_normal(references.shape)
    return {
        "oracle": oracle,
        "mixture": np.broadcast_to(mixture, references.shape),
        "scaled": 0.1 * oracle,
        "shifted": np.roll(oracle, 20, axis=1),
        "noisy": references + noise,
    }[kind]


def assert_equal(references: np.ndarray, estimates: np.ndarray, at_most_db: float = np.inf) -> None:
    versions = ("v3", "v4")
    ours = score(references, [estimates], versions, RATE_HZ)
    theirs = score(references, [estimates], versions, RATE_HZ, engine="reference")
    for version in versions:
        for metric, values in theirs[version].items():
            np.testing.assert_allclose(
                np.minimum(ours[version][metric], at_most_db), np.minimum(values, at_most_db), atol=1e-4, rtol=0
            )


@pytest.mark.parametrize("kind", KINDS)
def test_an_excerpt_is_the_libraries(musdb18: Path, kind: str) -> None:
    mixture, references = signals(musdb18, TRACKS[1], 1, 2)
    excerpt = slice(RATE_HZ, int(3.3 * RATE_HZ))
    estimates = estimate(kind, mixture, references)
    assert_equal(references[:, excerpt], estimates[:, excerpt])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("targets", [2, 4])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", TRACKS)
def test_whole_tracks_are_the_libraries(musdb18: Path, name: str, channels: int, targets: int, kind: str) -> None:
    mixture, references = signals(musdb18, name, channels, targets)
    assert_equal(references, estimate(kind, mixture, references))


@pytest.mark.parametrize(("shift", "at_most_db"), [(0, DETERMINED_DB), (20, np.inf)], ids=["scaled", "shifted"])
def test_references_themselves_are_the_libraries_where_these_are_determined(
    musdb18: Path, shift: int, at_most_db: float
) -> None:
    """A scaled reference has no interference and no artefacts but rounding; a shifted one has those of its ends."""
    _, references = signals(musdb18, TRACKS[0], 1, 2)
    references = references[:, : int(2.1 * RATE_HZ)]
    assert_equal(references, 0.5 * np.roll(references, shift, axis=1), at_most_db)


def test_silence_in_some_frames_is_nan_in_the_same_frames(musdb18: Path) -> None:
    mixture, references = signals(musdb18, TRACKS[1], 1, 2)
    references, estimates = references[:, : 4 * RATE_HZ].copy(), estimate("oracle", mixture, references)
    references[0, RATE_HZ : 2 * RATE_HZ] = 0
    estimates = estimates[:, : 4 * RATE_HZ].copy()
    estimates[1, 3 * RATE_HZ :] = 0
    assert_equal(references, estimates)
    [sir] = score(references, [estimates], ["v4"], RATE_HZ)["v4"]["SIR"]
    assert np.isnan(sir).tolist() == [[False, True, False, True]] * 2


@pytest.mark.parametrize(("kind", "at_most_db"), [("oracle", np.inf), ("mixture", DETERMINED_DB)])
def test_a_clip_of_mir_1k_is_the_libraries(mir1k: Path, kind: str, at_most_db: float) -> None:
    """The mixture is the sum of the references: its SAR of 151 dB is that of float32."""
    ref = mir1k_dataset.discover(str(mir1k), {})[0]
    track = load(ref)
    references = np.stack(list(track.stems.values())).astype(float)
    assert_equal(references, estimate(kind, track.mixture.astype(float), references), at_most_db)
