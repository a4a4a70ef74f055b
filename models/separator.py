"""Separator: waveform -> STFT -> network -> masks -> inverse STFT -> stems, each step a method of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
import tf_keras as keras

from models import masking, networks, spectral
from models.checked import nearest
from models.spec import PRECISIONS, ModelSpec

# Power below the loudest frame's at which a frame no longer counts for the level: -60 dB.
SILENT = 1e-6
# Of a signal, full scale being 1: below it nothing is divided.
SILENT_RMS = 1e-9

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


class Separator(keras.Model):
    """Separates mixtures of any length.

    `separator(mixture)`: float32 [batch, samples] or [batch, samples, channels] -> {target: the same shape}.
    With spec.channels = 1 every audio channel is separated on its own; otherwise the mixture must have that many.

    spec: what to build. precision: in what the network computes, "float32" or "bfloat16"; its weights, the STFTs and
    the masks are float32 with both.
    Raises ValueError for an unknown network, size or precision, and for features that the network cannot use.
    """

    def __init__(self, spec: ModelSpec, precision: str = "float32"):
        super().__init__(name="separator", dtype="float32")
        self.spec = spec
        self.precision = precision
        _check_features(spec)
        with _policy(precision):
            self.network = networks.build(spec.network, spec.bins, spec.channels, len(spec.targets), **spec.sizes)
        if spec.standardise:
            self.feature_mean = self.add_weight("feature_mean", [spec.bins], initializer="zeros", trainable=False)
            self.feature_scale = self.add_weight("feature_scale", [spec.bins], initializer="ones", trainable=False)

    @property
    def period_samples(self) -> int:
        """Delayed by a multiple of it, a mixture is separated as it was: the hop, times the frames that a network groups."""
        return self.spec.hop * self.network.period_frames

    def call(self, mixture: tf.Tensor, rms: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """rms: float32 [batch], of the signals that the mixtures are parts of; None for mixtures that are the whole."""
        waveform = self.fold(mixture)
        spectrogram = self.encode(waveform)
        level = self.level(spectrogram) if rms is None else self.level_of(rms, tf.shape(waveform)[0])
        masks = self.mask(self.scale(spectral.magnitude(spectrogram) / level))["masks"]
        stems = self.decode(self.apply(spectrogram, masks), tf.shape(waveform)[1])
        return {target: self.unfold(stem, mixture) for target, stem in stems.items()}

    def encode(self, waveform: tf.Tensor) -> tf.Tensor:
        """float32 [batch, samples, channels] -> complex64 [batch, frames, bins, channels]."""
        spec = self.spec
        channels_first = tf.transpose(waveform, [0, 2, 1])
        spectrogram = spectral.stft(channels_first, spec.frame_length, spec.hop, spec.window)
        return tf.transpose(spectrogram, [0, 2, 3, 1])

    def level(self, spectrogram: tf.Tensor) -> tf.Tensor:
        """What the magnitudes are divided by: float32 [batch, 1, 1, 1], their RMS over frames, bins and channels.

        Frames 60 dB below the loudest do not count, so that a chunk padded with silence has the level of its signal.
        By Parseval it is the waveform's RMS times sqrt(sum window^2). 1 for silence, or without `normalise_level`.
        """
        power = tf.reduce_mean(tf.square(spectral.magnitude(spectrogram)), axis=[2, 3], keepdims=True)
        if not self.spec.normalise_level:
            return tf.ones_like(power[:, :1])
        sounding = tf.cast(power > SILENT * tf.reduce_max(power, axis=1, keepdims=True), tf.float32)
        mean = tf.reduce_sum(power * sounding, axis=1, keepdims=True)
        mean /= tf.maximum(tf.reduce_sum(sounding, axis=1, keepdims=True), 1.0)
        return tf.where(mean > 1e-16, tf.sqrt(tf.maximum(mean, 1e-16)), tf.ones_like(mean))

    def level_of(self, rms: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        """`level` of waveforms with these RMS, float32 [items]; `batch` is a multiple of it: an item's channels share one."""
        gain = float(np.sqrt(np.sum(spectral.window_values(self.spec.window, self.spec.frame_length) ** 2)))
        level = tf.where(rms > SILENT_RMS, rms * gain, tf.ones_like(rms))
        return tf.reshape(tf.repeat(level, batch // tf.shape(rms)[0]), [-1, 1, 1, 1])

    def features(self, spectrogram: tf.Tensor) -> tf.Tensor:
        """What the network sees: (|X| / level) ** input_power, standardised per bin where the spec says so.

        Complex (or magnitude) [batch, frames, bins, channels] -> float32 of that shape.
        """
        return self.scale(spectral.magnitude(spectrogram) / self.level(spectrogram))

    def scale(self, magnitudes: tf.Tensor) -> tf.Tensor:
        """Magnitudes over their level -> features, both float32 [batch, frames, bins, channels]."""
        features = self._power(magnitudes)
        if not self.spec.standardise:
            return features
        return (features - self.feature_mean[:, tf.newaxis]) / self.feature_scale[:, tf.newaxis]

    def mask(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        """The network's outputs in float32: `masks` [batch, frames, bins, channels, targets] and its auxiliary ones."""
        return {name: tf.cast(output, tf.float32) for name, output in self.network(features).items()}

    def network_outputs(self, spectrogram: tf.Tensor) -> dict[str, tf.Tensor]:
        """The outputs that a loss takes, from a mixture's spectrogram complex64 [batch, frames, bins, channels].

        Those of `mask`, and `level`: auxiliary magnitudes are in units of it, so that a loss that compares them with
        references divides those by `level`; the masks are ratios and need no such care.
        """
        return {**self.mask(self.features(spectrogram)), "level": self.level(spectrogram)}

    def apply(self, spectrogram: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
        """Masks times the mixture: complex64 [batch, frames, bins, channels, targets]."""
        return masking.apply(spectrogram, masks)

    def decode(self, estimates: tf.Tensor, samples) -> dict[str, tf.Tensor]:
        """complex64 [batch, frames, bins, channels, targets] -> {target: float32 [batch, samples, channels]}."""
        spec = self.spec
        waveforms = spectral.inverse_stft(
            tf.transpose(estimates, [4, 0, 3, 1, 2]), samples, spec.frame_length, spec.hop, spec.window
        )
        return dict(
            zip(spec.targets, tf.unstack(tf.transpose(waveforms, [0, 1, 3, 2]), len(spec.targets)), strict=True)
        )

    def fold(self, mixture: tf.Tensor) -> tf.Tensor:
        """[batch, samples(, channels)] -> [batch', samples, spec.channels], audio channels in the batch for a mono model.

        Raises ValueError for another rank or number of channels.
        """
        channels, rank = self.spec.channels, mixture.shape.rank
        if rank not in (2, 3) or (channels > 1 and (rank == 2 or mixture.shape[2] not in (None, channels))):
            legal = (
                f"[batch, samples, {channels}]" if channels > 1 else "[batch, samples] or [batch, samples, channels]"
            )
            raise ValueError(f"mixture has shape {list(mixture.shape)}; legal: {legal}.")
        if rank == 2 or channels > 1:
            return mixture if rank == 3 else tf.expand_dims(mixture, -1)
        batch, samples, audio_channels = tf.unstack(tf.shape(mixture))
        return tf.reshape(tf.transpose(mixture, [0, 2, 1]), [batch * audio_channels, samples, 1])

    def unfold(self, stem: tf.Tensor, mixture: tf.Tensor) -> tf.Tensor:
        """Reverses `fold` for a stem: [batch', samples, spec.channels] -> the shape of the mixture."""
        if mixture.shape.rank == 3 and self.spec.channels == 1:
            batch, samples, audio_channels = tf.unstack(tf.shape(mixture))
            stem = tf.transpose(tf.reshape(stem, [batch, audio_channels, samples]), [0, 2, 1])
        return tf.ensure_shape(tf.reshape(stem, tf.shape(mixture)), mixture.shape)

    def adapt(self, spectrograms: Iterable) -> None:
        """Measures `feature_mean` and `feature_scale` on mixtures' spectrograms or magnitudes.

        spectrograms: any iterable (a tf.data.Dataset too) of [batch, frames, bins, channels], complex or >= 0.
        A bin that hardly varies gets a thousandth of the largest deviation as its scale.
        Raises ValueError when the spec does not standardise or nothing was given.
        """
        if not self.spec.standardise:
            raise ValueError("model.standardise is False; legal for measuring features: True.")
        count, total, squares = 0, np.zeros(self.spec.bins), np.zeros(self.spec.bins)
        for spectrogram in spectrograms:
            mixture = tf.convert_to_tensor(spectrogram)
            features = np.asarray(self._power(spectral.magnitude(mixture) / self.level(mixture)), np.float64)
            count += features.size // self.spec.bins
            total += features.sum(axis=(0, 1, 3))
            squares += np.square(features).sum(axis=(0, 1, 3))
        if not count:
            raise ValueError("spectrograms has no frames; legal: at least one spectrogram with frames.")
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        self.feature_mean.assign(mean)
        self.feature_scale.assign(np.maximum(deviation, 1e-3 * deviation.max()) if deviation.any() else deviation + 1)

    def with_precision(self, precision: str) -> Separator:
        """A separator of the same spec and weights that computes in another precision."""
        other = Separator(self.spec, precision)
        other.set_weights(self.get_weights())
        return other

    def _power(self, magnitudes: tf.Tensor) -> tf.Tensor:
        return magnitudes if self.spec.input_power == 1 else tf.pow(magnitudes, self.spec.input_power)


def _check_features(spec: ModelSpec) -> None:
    if networks.network_class(spec.network).FILTERS_ITS_INPUT and (spec.standardise or spec.input_power != 1):
        raise ValueError(
            f"model.input_power is {spec.input_power} and model.standardise is {spec.standardise}; legal with network "
            f"{spec.network!r}, which filters its own input: 1.0 and False."
        )


@contextlib.contextmanager
def _policy(precision: str) -> Iterator[None]:
    """Layers built inside compute in `precision`; Keras takes it from a global, which is put back."""
    if precision not in _POLICIES:
        raise ValueError(f"precision is {precision!r}; {nearest(precision, PRECISIONS)}")
    previous = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(_POLICIES[precision])
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(previous)
