"""The STFT reconstructs anything, and agrees with its definition."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models import spectral
from models.spec import WINDOWS


@st.composite
def framings(draw):
    frame_length = draw(st.integers(2, 96))
    hop = draw(st.integers(1, frame_length // 2))
    return frame_length, hop, draw(st.sampled_from(WINDOWS))


@settings(max_examples=60, deadline=None)
@given(
    framing=framings(), samples=st.integers(0, 300), shape=st.sampled_from([(), (2,), (2, 3)]), seed=st.integers(0, 99)
)
def test_reconstruction_is_exact(framing, samples, shape, seed):
    waveform = np.random.default_rng(seed).uniform(-1, 1, [*shape, samples]).astype(np.float32)
    spectrogram = spectral.stft(waveform, *framing)
    frames = spectral.frame_count(samples, *framing[:2])
    assert spectrogram.shape == (*shape, frames, framing[0] // 2 + 1)
    restored = spectral.inverse_stft(spectrogram, samples, *framing).numpy()
    assert restored.shape == waveform.shape
    np.testing.assert_allclose(restored, waveform, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "framing", [(1024, 512, "sine"), (2048, 256, "hamming"), (2048, 512, "hann"), (1000, 300, "hann")]
)
@pytest.mark.parametrize("samples", [0, 1, 511, 44101])
def test_reconstruction_at_the_sizes_of_the_papers(framing, samples):
    waveform = np.random.default_rng(0).uniform(-1, 1, samples).astype(np.float32)
    restored = spectral.inverse_stft(spectral.stft(waveform, *framing), samples, *framing)
    np.testing.assert_allclose(restored, waveform, rtol=0, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(framing=framings())
def test_windows_overlap_add_to_one(framing):
    frame_length, hop, window = framing
    product = spectral.window_values(window, frame_length) * spectral.dual_window(window, frame_length, hop)
    total = np.zeros(frame_length * 5)
    for start in range(0, frame_length * 4, hop):
        total[start : start + frame_length] += product
    np.testing.assert_allclose(total[frame_length : frame_length * 3], 1, atol=1e-12)


@pytest.mark.parametrize(("frame_length", "hop"), [(64, 32), (64, 16), (60, 13)])
def test_dual_window_is_the_one_of_tensorflow(frame_length, hop):
    window = spectral.window_values("hann", frame_length)
    theirs = tf.signal.inverse_stft_window_fn(hop, lambda length, dtype: tf.constant(window, dtype))(
        frame_length, tf.float32
    )
    np.testing.assert_allclose(spectral.dual_window("hann", frame_length, hop), theirs, atol=1e-6)


def test_a_frame_is_the_windowed_transform_of_its_samples():
    waveform = np.random.default_rng(1).uniform(-1, 1, 50).astype(np.float32)
    frame_length, hop = 16, 5
    padded = np.concatenate([np.zeros(frame_length - hop), waveform, np.zeros(frame_length)])
    spectrogram = spectral.stft(waveform, frame_length, hop, "sine").numpy()
    window = np.sin(np.pi * (np.arange(frame_length) + 0.5) / frame_length)
    for frame in (0, 3, len(spectrogram) - 1):
        expected = np.fft.rfft(window * padded[frame * hop : frame * hop + frame_length])
        np.testing.assert_allclose(spectrogram[frame], expected, atol=1e-5)


def test_lengths_unknown_to_the_graph():
    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None])])
    def round_trip(waveform):
        spectrogram = spectral.stft(waveform, 32, 12, "hann")
        return spectral.inverse_stft(spectrogram, tf.shape(waveform)[1], 32, 12, "hann")

    for samples in (0, 1, 100):
        waveform = np.random.default_rng(2).uniform(-1, 1, [2, samples]).astype(np.float32)
        np.testing.assert_allclose(round_trip(waveform), waveform, atol=1e-5)


@settings(max_examples=100, deadline=None)
@given(framing=framings(), frames=st.integers(1, 50))
def test_sample_count_is_the_longest_for_its_frames(framing, frames):
    frame_length, hop, _ = framing
    if frames < spectral.frame_count(0, frame_length, hop):
        with pytest.raises(ValueError, match="at least"):
            spectral.sample_count(frames, frame_length, hop)
        return
    samples = spectral.sample_count(frames, frame_length, hop)
    assert spectral.frame_count(samples, frame_length, hop) == frames
    assert spectral.frame_count(samples + 1, frame_length, hop) == frames + 1


def test_magnitude_has_a_finite_gradient_at_silence():
    spectrogram = tf.constant([0j, 3 + 4j], tf.complex64)
    with tf.GradientTape() as tape:
        tape.watch(spectrogram)
        total = tf.reduce_sum(spectral.magnitude(spectrogram))
    np.testing.assert_allclose(tape.gradient(total, spectrogram), [0, 0.6 + 0.8j], atol=1e-6)


@pytest.mark.parametrize(
    ("framing", "parts"),
    [
        ((16, 9, "hann"), ["hop is 9", "1 to 8"]),
        ((1, 1, "hann"), ["frame_length is 1"]),
        ((16, 8, "sin"), ["'sin'", "'sine'"]),
    ],
)
def test_illegal_framing_is_named(framing, parts):
    with pytest.raises(ValueError, match="legal") as error:
        spectral.stft(tf.zeros([4]), *framing)
    assert all(part in str(error.value) for part in parts), str(error.value)
