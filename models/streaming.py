"""The causal form of a separator: a mixture block by block, and all that it remembers in explicit tensors.

Frame t of `spectral.stft` ends with sample (t + 1) * hop, so a block of whole hops completes as many frames; and once
frame t is there, no later one touches the samples before (t + 1) * hop - (frame_length - hop). A stream thus gives, for
every block, as many samples of the stems: those of the whole mixture, `delay_samples` = frame_length - hop late. The
first sample of a hop has also waited for the hop to fill: `latency_samples` = frame_length, with blocks of one hop.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from models import spectral
from models.layers.online import OnlineNetwork
from models.separator import Separator
from models.spec import ModelSpec

STATE_PREFIX = "state_"


def obstacle(separator: Separator) -> str:
    """Why a separator cannot work block by block, as one sentence; empty when it can."""
    spec = separator.spec
    if not isinstance(separator.network, OnlineNetwork):
        return f"network is {spec.network!r}, which sees the whole mixture at once; legal for a stream: an online one."
    if spec.normalise_level:
        return "model.normalise_level is True, which takes the level of the whole mixture; legal for a stream: False."
    taken = [target for target in spec.targets if target.startswith(STATE_PREFIX)]
    if taken:
        return f"target is {taken[0]!r}; legal for a stream: a name that does not start with {STATE_PREFIX!r}."
    return ""


def delay_samples(spec: ModelSpec) -> int:
    """How much later than in the mixture a sample comes out of a stream, counted in the samples that came out."""
    return spec.frame_length - spec.hop


def latency_samples(spec: ModelSpec, hops: int = 1) -> int:
    """Algorithmic latency: the most samples that are taken before the stem of the first of them is answered.

    hops: how many a block has. The samples of a block are waited for, then `delay_samples` more.
    """
    return delay_samples(spec) + hops * spec.hop


def latency_ms(spec: ModelSpec, hops: int = 1) -> float:
    """`latency_samples` in milliseconds."""
    return 1000 * latency_samples(spec, hops) / spec.sample_rate_hz


class StreamingSeparator:
    """The stems of a separator, block by block.

    The state is a list of float32 tensors, described by `state_specs`; a stream begins with zeros. In order: the last
    frame_length - hop samples heard [batch, samples, channels], the state of the network, and what is not finished of
    the stems [batch, samples, channels, targets].

    Raises ValueError, with the words of `obstacle`, for a separator that cannot stream.
    """

    def __init__(self, separator: Separator):
        if reason := obstacle(separator):
            raise ValueError(reason)
        self.separator = separator
        self.spec = spec = separator.spec
        self._recurrent = separator.network.initial_state(1)
        recurrent = [tensor.shape[1:] for tensor in self._recurrent]
        late, targets = delay_samples(spec), len(spec.targets)
        shapes = [[late, spec.channels], *recurrent, [late, spec.channels, targets]]
        self.state_names = [f"{STATE_PREFIX}{index}" for index in range(len(shapes))]
        self.state_specs = [
            tf.TensorSpec([None, *shape], tf.float32, name)
            for name, shape in zip(self.state_names, shapes, strict=True)
        ]

    def initial_state(self, batch: int | tf.Tensor) -> list[tf.Tensor]:
        """The state before the first sample: zeros."""
        return [tf.zeros([batch, *spec.shape[1:]], spec.dtype) for spec in self.state_specs]

    def __call__(self, mixture: tf.Tensor, state: Sequence[tf.Tensor]) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        """The next block and the state before it -> {target: as many samples, delay_samples late} and the state after.

        mixture: float32 [batch, samples], or [batch, samples, channels] for a model of several channels; samples is a
        multiple of hop and not 0. After the last block, zeros for `spectral.frame_count` frames in all bring out the rest.
        Raises ValueError for another number of state tensors, tf.errors.InvalidArgumentError for other samples.
        """
        if len(state) != len(self.state_specs):
            raise ValueError(f"state has {len(state)} tensors; legal: the {len(self.state_specs)} of initial_state.")
        heard, *recurrent, unfinished = state
        waveform = tf.concat([heard, self._block(mixture)], axis=1)
        spectrogram = self._encode(waveform)
        masks, recurrent = self._masks(self.separator.features(spectrogram), recurrent)
        finished, unfinished = self._decode(self.separator.apply(spectrogram, masks), unfinished)
        stems = tf.unstack(finished, len(self.spec.targets), axis=-1)
        stems = [tf.ensure_shape(tf.reshape(stem, tf.shape(mixture)), mixture.shape) for stem in stems]
        after = [waveform[:, -delay_samples(self.spec) :], *recurrent, unfinished]
        return dict(zip(self.spec.targets, stems, strict=True)), after

    def _block(self, mixture: tf.Tensor) -> tf.Tensor:
        """[batch, samples, channels], of whole hops."""
        samples, hop = tf.shape(mixture)[1], self.spec.hop
        message = f"samples of mixture received: {{}}; required: a multiple of the hop, {hop}, and at least one"
        legal = tf.logical_and(samples > 0, tf.equal(tf.math.floormod(samples, hop), 0))
        with tf.control_dependencies([tf.debugging.Assert(legal, [tf.strings.format(message, samples)])]):
            return tf.identity(mixture) if self.spec.channels > 1 else tf.expand_dims(mixture, -1)

    def _encode(self, waveform: tf.Tensor) -> tf.Tensor:
        """float32 [batch, samples, channels] -> complex64 [batch, frames, bins, channels], whole frames only."""
        spec = self.spec
        window = tf.constant(spectral.window_values(spec.window, spec.frame_length), tf.float32)
        frames = tf.signal.frame(tf.transpose(waveform, [0, 2, 1]), spec.frame_length, spec.hop)
        spectrogram = tf.signal.rfft(frames * window, [spec.frame_length])
        return tf.ensure_shape(tf.transpose(spectrogram, [0, 2, 3, 1]), [None, None, spec.bins, spec.channels])

    def _masks(self, features: tf.Tensor, state: Sequence[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Features [batch, frames, bins, channels] -> masks [batch, frames, bins, channels, targets], state after."""
        carried = [tf.cast(tensor, own.dtype) for tensor, own in zip(state, self._recurrent, strict=True)]
        masks, carried = self.separator.network.advance(features, carried)
        return masks, [tf.cast(tensor, tf.float32) for tensor in carried]

    def _decode(self, estimates: tf.Tensor, unfinished: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """complex64 [batch, frames, bins, channels, targets] -> finished float32 [batch, samples, channels, targets], rest."""
        spec = self.spec
        window = tf.constant(spectral.dual_window(spec.window, spec.frame_length, spec.hop), tf.float32)
        frames = tf.signal.irfft(tf.transpose(estimates, [0, 3, 4, 1, 2]), [spec.frame_length]) * window
        waveforms = tf.transpose(tf.signal.overlap_and_add(frames, spec.hop), [0, 3, 1, 2])
        late = delay_samples(spec)
        waveforms = tf.concat([waveforms[:, :late] + unfinished, waveforms[:, late:]], axis=1)
        return waveforms[:, :-late], waveforms[:, -late:]
