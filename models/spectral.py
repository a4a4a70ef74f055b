"""Short-time Fourier transforms that reconstruct exactly at any length: pure functions on tensors."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from models import spec
from models.checked import nearest

_COSINE_WINDOWS = {"hann": 0.5, "hamming": 0.54}


def window_values(window: str, frame_length: int) -> np.ndarray:
    """Samples of a periodic `hann` or `hamming` window or of the `sine` window sin(pi (n + 1/2) / frame_length).

    Returns float64 [frame_length]. Raises ValueError for another name.
    """
    if window not in spec.WINDOWS:
        raise ValueError(f"window is {window!r}; {nearest(window, spec.WINDOWS)}")
    n = np.arange(frame_length)
    if window == "sine":
        return np.sin(math.pi * (n + 0.5) / frame_length)
    offset = _COSINE_WINDOWS[window]
    return offset - (1 - offset) * np.cos(2 * math.pi * n / frame_length)


def dual_window(window: str, frame_length: int, hop: int) -> np.ndarray:
    """Synthesis window: the analysis window over the sum of its squares at every multiple of `hop` (Griffin & Lim 1984).

    Overlap-adding window * dual window gives 1 for every hop, also one that does not divide frame_length.
    Returns float64 [frame_length].
    """
    analysis = window_values(window, frame_length)
    overlaps = -(-frame_length // hop)
    squares = np.zeros(overlaps * hop)
    squares[:frame_length] = analysis**2
    envelope = squares.reshape(overlaps, hop).sum(axis=0)
    return analysis / np.tile(envelope, overlaps)[:frame_length]


def frame_count(samples, frame_length: int, hop: int):
    """Frames that `stft` gives for `samples` samples (an int or an integer tensor); at least 1, also for 0 samples."""
    return -((-samples - (frame_length - hop)) // hop)


def sample_count(frames: int, frame_length: int, hop: int) -> int:
    """The most samples for which `stft` gives `frames` frames: the length of a training segment of that many frames.

    Raises ValueError when even an empty waveform has more frames (frames < frame_length / hop).
    """
    samples = frames * hop - (frame_length - hop)
    if samples < 0:
        least = frame_count(0, frame_length, hop)
        raise ValueError(f"frames is {frames}; legal: at least {least} with frame_length {frame_length} and hop {hop}.")
    return samples


def stft(waveform: tf.Tensor, frame_length: int, hop: int, window: str) -> tf.Tensor:
    """Spectrogram of a real waveform.

    The waveform is padded with frame_length - hop zeros on the left, and on the right to whole frames, so that every
    sample lies in as many frames as one in the middle does.

    waveform: float32 [..., samples], samples >= 0.
    Returns complex64 [..., frames, frame_length // 2 + 1].
    Raises ValueError for an unknown window or a hop outside 1 .. frame_length // 2.
    """
    _check_framing(frame_length, hop)
    waveform = tf.convert_to_tensor(waveform, tf.float32)
    values = tf.constant(window_values(window, frame_length), tf.float32)
    samples = tf.shape(waveform)[-1]
    left = frame_length - hop
    right = frame_count(samples, frame_length, hop) * hop - samples
    no_padding = tf.zeros([tf.rank(waveform) - 1, 2], tf.int32)
    padded = tf.pad(waveform, tf.concat([no_padding, [[left, right]]], axis=0))
    padded = tf.ensure_shape(padded, waveform.shape[:-1].concatenate([None]))
    return tf.signal.rfft(tf.signal.frame(padded, frame_length, hop) * values, [frame_length])


def inverse_stft(spectrogram: tf.Tensor, samples, frame_length: int, hop: int, window: str) -> tf.Tensor:
    """Waveform of a spectrogram that `stft` made with the same arguments; least squares for a changed one.

    spectrogram: complex64 [..., frames, bins]; samples: length to return, at most what its frames hold.
    Returns float32 [..., samples]. Raises ValueError as `stft` does.
    """
    _check_framing(frame_length, hop)
    values = tf.constant(dual_window(window, frame_length, hop), tf.float32)
    frames = tf.signal.irfft(spectrogram, [frame_length]) * values
    waveform = tf.signal.overlap_and_add(frames, hop)
    left = frame_length - hop
    return waveform[..., left : left + samples]


def magnitude(spectrogram: tf.Tensor) -> tf.Tensor:
    """Absolute value, float32, whose gradient at a silent bin is 0 and not NaN (as sqrt(re^2 + im^2) would give)."""
    return tf.abs(spectrogram)


def _check_framing(frame_length: int, hop: int) -> None:
    if frame_length < 2:
        raise ValueError(f"frame_length is {frame_length}; legal: at least 2 samples.")
    if not 1 <= hop <= frame_length // 2:
        raise ValueError(f"hop is {hop}; legal: 1 to {frame_length // 2} (half of frame_length {frame_length}).")
