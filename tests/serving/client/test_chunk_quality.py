"""What chunks cost: the chunked separation against that of the whole signal."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import tensorflow as tf

from models.separator import Separator
from models.spec import ModelSpec
from serving.client import Client
from serving.client.separation import LEVELLED_SIGNATURE
from serving.client.signals import fold, unfold
from serving.local import Local, local_client

RATE_HZ = 1000
HOP = 32
LEGAL_DB = 40.0
# Networks that look both ways within groups of frames, small, and how many frames a group answers for.
BIDIRECTIONAL = {
    "blstm": ({"units": 12, "segment_frames": 6}, 6),
    "gru_skip_filtering": ({"units": 8, "sequence_frames": 8, "context_frames": 2}, 4),
}


def signal(seconds: float) -> np.ndarray:
    """Noise whose loudness changes by 12 dB every 4 s: [samples, 1]."""
    noise = np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ))
    loud = (np.arange(len(noise)) // (4 * RATE_HZ)) % 2
    return (0.05 * noise * 4.0**loud)[:, np.newaxis].astype(np.float32)


class Told(Local):
    """A model that is told its period, or None, whatever it says itself; and that is not told the level."""

    def __init__(self, directory: Path, period_samples: int | None) -> None:
        super().__init__(directory)
        self._facts = {} if period_samples is None else {"period_samples": np.array([period_samples])}

    @property
    def signatures(self):
        return {name: signature for name, signature in super().signatures.items() if name != LEVELLED_SIGNATURE}

    def run(self, inputs, signature_name):
        answer = super().run(inputs, signature_name)
        if signature_name != "describe":
            return answer
        return {name: value for name, value in answer.items() if name != "period_samples"} | self._facts


def agreement(client: Client, signal: np.ndarray, overlap_seconds: float = 1.0) -> dict[str, float]:
    """target -> 10 log10 of the energy of the whole separation of `signal` [samples, channels] over that of what differs
    in the chunked one."""
    chunked = client.separate(signal, client.model_rate_hz, overlap_seconds=overlap_seconds)
    found = {}
    for target, output in client.predict(fold(signal, client.mixture_shape)).items():
        whole = unfold(output, signal.shape[1]).astype(np.float64)
        with np.errstate(divide="ignore"):
            found[target] = float(10 * np.log10(np.square(whole).sum() / np.square(whole - chunked[target]).sum()))
    return found


def save(separator, directory: Path) -> None:
    """Only what the test asks for: `serving_default` and `describe`."""
    module = tf.Module()
    module.weights = separator.weights

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None], tf.float32, "mixture")])
    def serving_default(mixture):
        return separator(mixture)

    tf.saved_model.save(
        module, str(directory), signatures={"serving_default": serving_default, "describe": describing()}
    )


def describing():
    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, "query")])
    def describe(query):
        return {"sample_rate_hz": tf.fill(tf.shape(query), tf.constant(RATE_HZ, tf.int64))}

    return describe


@pytest.mark.parametrize("name", BIDIRECTIONAL)
def test_a_bidirectional_network_agrees_on_its_grid_and_not_off_it(name, tmp_path):
    sizes, period_frames = BIDIRECTIONAL[name]
    tf.random.set_seed(0)
    spec = ModelSpec(
        network=name, sizes=sizes, sample_rate_hz=RATE_HZ, frame_length=64, hop=HOP, targets=("vocals", "rest")
    )
    separator = Separator(spec)
    separator(tf.zeros([1, RATE_HZ]))
    separator.set_weights([4 * weight for weight in separator.get_weights()])  # untrained, masks hardly differ
    save(separator, tmp_path / "model")
    for period_samples, legal in ((HOP * period_frames, True), (HOP * period_frames + 5, False)):
        with Client(Told(tmp_path / "model", period_samples)) as client:
            result = agreement(client, signal(33))
        assert sorted(result) == ["rest", "vocals"]
        assert (min(result.values()) >= LEGAL_DB) is legal, (period_samples, result)


@pytest.fixture(scope="module")
def companders(tmp_path_factory) -> dict[bool, Path]:
    """A model that takes its mixture's level out, by whether it has the signature `levelled`."""
    module = tf.Module()
    mixture_spec = tf.TensorSpec([None, None], tf.float32, "mixture")

    def split(mixture, level):
        vocals = mixture * tf.tanh(tf.abs(mixture) / tf.maximum(level, 1e-9)[:, tf.newaxis])
        return {"vocals": vocals, "rest": mixture - vocals}

    @tf.function(input_signature=[mixture_spec])
    def serving_default(mixture):
        return split(mixture, tf.sqrt(tf.reduce_mean(tf.square(mixture), axis=1)))

    @tf.function(input_signature=[mixture_spec, tf.TensorSpec([None], tf.float32, "level")])
    def levelled(mixture, level):
        return split(mixture, level)

    module.functions = [serving_default, levelled]
    base, found = tmp_path_factory.mktemp("companders"), {}
    signatures = {"serving_default": serving_default, "describe": describing()}
    for told in (False, True):
        found[told] = base / str(told)
        more = {"levelled": levelled} if told else {}
        tf.saved_model.save(module, str(found[told]), signatures={**signatures, **more})
    return found


def test_a_model_that_takes_the_level_out_is_told_that_of_the_whole(companders):
    with local_client(companders[False]) as model:
        assert max(agreement(model, signal(33)).values()) < LEGAL_DB
    with local_client(companders[True]) as model:
        assert min(agreement(model, signal(33)).values()) >= LEGAL_DB
        loud = 0.5 * signal(33)
        both = model.separate(np.concatenate([signal(33), loud], axis=1), RATE_HZ)["vocals"]
        np.testing.assert_allclose(both[:, 1], 0.5 * both[:, 0], rtol=1e-4, atol=1e-7)  # each channel has its own
        for samples in (0, 1, 1500):
            assert model.separate(np.zeros(samples, np.float32), RATE_HZ)["vocals"].shape == (samples,)


def mono(patterns: str, sample_rate_hz: int) -> np.ndarray:
    """The files of some patterns joined, [samples, 1]: the mean of the channels, at another rate."""
    parts = []
    for path in sorted(path for pattern in patterns.split() for path in glob.glob(pattern)):
        audio, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        parts.append(soxr.resample(audio.mean(axis=1, keepdims=True), rate_hz, sample_rate_hz))
    return np.concatenate(parts)


@pytest.mark.slow
def test_a_row_of_the_table_in_the_docs(companders):
    """Prints it, for the model STEMLINE_MODEL and the files STEMLINE_AUDIO."""
    directory = Path(os.environ.get("STEMLINE_MODEL", companders[True]))
    ways = {
        "off the grid, 1 s": (Told(directory, 1), 1.0),
        "told nothing, 1 s": (Told(directory, None), 1.0),
        **{f"{overlap:g} s": (Local(directory), overlap) for overlap in (0.5, 1.0, 2.0, 3.0)},
    }
    print(f"\n| {directory} | " + " | ".join(ways) + " |")
    cells = []
    for transport, overlap_seconds in ways.values():
        with Client(transport) as client:
            patterns = os.environ.get("STEMLINE_AUDIO")
            sound = signal(33) if patterns is None else mono(patterns, client.model_rate_hz)
            found = agreement(client, sound, overlap_seconds)
        assert min(found.values()) > 10
        cells.append(", ".join(f"{target} {found[target]:.1f}" for target in sorted(found)))
    print("| |", " | ".join(cells), "|")
