"""Recurrent encoder-decoder with skip-filtering connections (Mimilakis et al. 2017).

One network per estimated target; the strategies differ in how many and in how their magnitudes become masks:
- GRU-S: the first target only, against the mixture (alpha 1.7); the other target is what remains;
- GRU-D: every target, each against the sum of all (alpha 1.7);
- GRU-DWF: the same with alpha 2.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf
import tf_keras as keras

from models import masking
from models.checked import nearest
from models.layers.network import Network
from models.layers.sequences import fold_channels, join_sequences, slice_sequences, unfold_channels

STRATEGIES = {"GRU-S": 1.7, "GRU-D": 1.7, "GRU-DWF": 2.0}


class SkipFilteringNetwork(Network):
    """24,175,650 parameters per estimated target at 1025 bins and the published sizes.

    Its features must be the mixture's magnitudes, up to one level per item. Besides `masks` it answers, for the loss,
    `skip_filtered` (Eq. 6) and `magnitudes` (Eq. 8), both [batch, frames, bins, channels, estimated targets], in the
    unit of the features. Channels are separated on their own, with the same weights.

    units: width of a GRU, None for as many as bins (published). Fewer are reached by dense projections.
    sequence_frames: T. context_frames: L, dropped on each side of a sequence. alpha: exponent, None for the strategy's.
    """

    SMALL: ClassVar = {"units": 8, "sequence_frames": 8, "context_frames": 2}
    MASKS_SUM_TO_ONE = True
    FILTERS_ITS_INPUT = True

    def __init__(
        self,
        bins: int,
        channels: int,
        targets: int,
        units: int | None = None,
        sequence_frames: int = 18,
        context_frames: int = 3,
        strategy: str = "GRU-D",
        alpha: float | None = None,
    ) -> None:
        units = bins if units is None else units
        _check_sizes(units, sequence_frames, context_frames, targets, strategy, alpha)
        super().__init__("gru_skip_filtering", bins, channels, targets)
        self.sequence_frames, self.context_frames = sequence_frames, context_frames
        self.period_frames = sequence_frames - 2 * context_frames
        self.strategy, self.alpha = strategy, STRATEGIES[strategy] if alpha is None else alpha
        estimated = 1 if strategy == "GRU-S" else targets
        self.estimators = [TargetEstimator(bins, units, context_frames, f"target_{i}") for i in range(estimated)]

    def call(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        folded = fold_channels(features)
        batch, frames = tf.unstack(tf.shape(folded)[:2])
        sequences = slice_sequences(folded, self.sequence_frames, self.context_frames)
        estimates = [estimator(sequences) for estimator in self.estimators]

        def restore(parts: list[tf.Tensor]) -> tf.Tensor:
            return unfold_channels(join_sequences(tf.stack(parts, axis=-1), frames, batch), tf.shape(features)[3])

        magnitudes = restore([enhanced for _, enhanced in estimates])
        return {
            "masks": self.masks(magnitudes, features),
            "skip_filtered": restore([filtered for filtered, _ in estimates]),
            "magnitudes": magnitudes,
        }

    def masks(self, magnitudes: tf.Tensor, mixture: tf.Tensor) -> tf.Tensor:
        """Masks of the strategy (section III.ii of the paper)."""
        if self.strategy != "GRU-S":
            return masking.ratio(magnitudes, self.alpha)
        return masking.with_remainder(masking.alpha_wiener(magnitudes, tf.expand_dims(mixture, -1), self.alpha))


class TargetEstimator(keras.layers.Layer):
    """Encoder, decoder, skip filter and highway layer of one target (Eq. 3-8).

    Sequences [sequences, T, bins] -> (skip-filtered, enhanced), both float32 [sequences, T - 2 L, bins].
    """

    def __init__(self, bins: int, units: int, context_frames: int, name: str):
        super().__init__(name=name, dtype="float32")
        self.kept = slice(context_frames, -context_frames or None)
        self.reduce = None if units == bins else _dense(units, None, "reduce")
        self.forward = _gru(units, "encoder_forward")
        self.backward = _gru(units, "encoder_backward", go_backwards=True)
        self.decoder = _gru(units, "decoder")
        self.expand = None if units == bins else _dense(bins, "tanh", "expand")
        self.enhance = _dense(bins, "relu", "highway")
        # A negative bias starts the layer as a plain connection (Srivastava et al. 2015).
        self.gate = _dense(bins, "sigmoid", "highway_gate", bias_initializer=keras.initializers.Constant(-2))

    def call(self, sequences: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        activations = tf.cast(self.decode(self.encode(sequences))[:, self.kept], tf.float32)
        filtered = masking.skip_filter(sequences[:, self.kept], activations)
        gate = tf.cast(self.gate(filtered), tf.float32)
        # One gate on both branches, as in highway networks; Eq. 8 prints the other matrix in its second sigmoid.
        enhanced = gate * tf.cast(self.enhance(filtered), tf.float32) + (1.0 - gate) * filtered
        return filtered, enhanced

    def encode(self, sequences: tf.Tensor) -> tf.Tensor:
        """Bidirectional GRU with the input added to each direction at the same frame (Eq. 3)."""
        x = sequences if self.reduce is None else self.reduce(sequences)
        forward = self.forward(x)
        # Keras answers the backward states last frame first: the authors' code leaves them so, we put them in order.
        backward = tf.reverse(self.backward(x), [1])
        x = tf.cast(x, forward.dtype)
        return tf.concat([forward + x, backward + x], axis=-1)

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """Activations in -1 .. 1 whose absolute value is the skip filter."""
        decoded = self.decoder(encoded)
        return decoded if self.expand is None else self.expand(decoded)


def _gru(units: int, name: str, go_backwards: bool = False) -> keras.layers.GRU:
    return keras.layers.GRU(
        units,
        reset_after=False,
        return_sequences=True,
        go_backwards=go_backwards,
        kernel_initializer="glorot_normal",
        recurrent_initializer="glorot_normal",
        name=name,
    )


def _dense(units: int, activation: str | None, name: str, **options) -> keras.layers.Dense:
    return keras.layers.Dense(units, activation, kernel_initializer="glorot_normal", name=name, **options)


def _check_sizes(units, sequence_frames, context_frames, targets, strategy, alpha) -> None:
    if units < 1:
        raise ValueError(f"units is {units}; legal: at least 1, or none for as many as bins.")
    if context_frames < 0:
        raise ValueError(f"context_frames is {context_frames}; legal: at least 0.")
    if sequence_frames <= 2 * context_frames:
        raise ValueError(f"sequence_frames is {sequence_frames}; legal: more than 2 x context_frames {context_frames}.")
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy is {strategy!r}; {nearest(strategy, STRATEGIES)}")
    if (targets != 2 and strategy == "GRU-S") or targets < 2:
        legal = "2" if strategy == "GRU-S" else "at least 2"
        raise ValueError(f"targets is {targets}; legal: {legal} with strategy {strategy}.")
    if alpha is not None and not 0 < alpha <= 2:
        raise ValueError(f"alpha is {alpha}; legal: above 0 and at most 2.")
