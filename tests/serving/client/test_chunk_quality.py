"""What chunks cost: the chunked separation against that of the whole signal, at the default chunk and overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from models.separator import Separator
from models.spec import ModelSpec
from serving import agreement
from serving.local import LocalModel

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


class Told(LocalModel):
    """A model that is told its period, whatever it says itself."""

    def __init__(self, directory: Path, period_samples: int | None) -> None:
        super().__init__(directory)
        self._period_samples = period_samples

    @property
    def period_samples(self) -> int | None:
        return self._period_samples


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
        with Told(tmp_path / "model", period_samples) as model:
            result = agreement.agreement(model, signal(33), 1.0)
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
    with LocalModel(companders[False]) as model:
        assert max(agreement.agreement(model, signal(33), 1.0).values()) < LEGAL_DB
    with LocalModel(companders[True]) as model:
        assert min(agreement.agreement(model, signal(33), 1.0).values()) >= LEGAL_DB
        loud = 0.5 * signal(33)
        both = model.separate(np.concatenate([signal(33), loud], axis=1), RATE_HZ)["vocals"]
        np.testing.assert_allclose(both[:, 1], 0.5 * both[:, 0], rtol=1e-4, atol=1e-7)  # each channel has its own
        for samples in (0, 1, 1500):
            assert model.separate(np.zeros(samples, np.float32), RATE_HZ)["vocals"].shape == (samples,)


def test_the_sdr_between_two_signals():
    whole = np.ones((1000, 1), np.float32)
    assert agreement.sdr_db(whole, whole) == np.inf
    assert agreement.sdr_db(whole, 0.9 * whole) == pytest.approx(20.0, abs=1e-4)
    with pytest.raises(ValueError, match=r"shapes are \(1000, 1\) and \(999, 1\)"):
        agreement.sdr_db(whole, whole[1:])


def test_the_command_prints_a_row_of_a_table(companders, tmp_path, capsys):
    options = ["--chunk-seconds", "3", "--overlap-seconds", "0.5", "1"]
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, np.repeat(signal(8), 2, axis=1), 2 * RATE_HZ)  # 4 s in stereo
    agreement.main([str(companders[True]), str(tmp_path / "a.wav"), str(tmp_path / "b.wav"), *options])
    header, row = capsys.readouterr().out.splitlines()
    assert header == "| model | 0.5 s | 1 s |"
    assert row.startswith(f"| {companders[True]} | rest ")
    assert row.count("vocals") == 2
