"""Training losses. Each one is built by name and called with

    mixture     complex64 [batch, frames, bins, channels]
    references  complex64 [batch, frames, bins, channels, targets]
    outputs     what `Separator.network_outputs` answers: `masks`, `level` and what else the network offers

and returns a float32 scalar, also when the network computes in bfloat16. Where a paper sums, the mean is taken.
Silence gives finite values and gradients.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from models import masking, spectral
from models.recipe import nearest

Loss = Callable[[tf.Tensor, tf.Tensor, Mapping[str, tf.Tensor]], tf.Tensor]

_TINY = 1e-10


def names() -> list[str]:
    """Names that `build` knows, sorted."""
    return sorted(_LOSSES)


def build(name: str, **options: Any) -> Loss:
    """The loss of that name with its options bound.

    Raises ValueError for an unknown name or option (naming the nearest legal one) or an option that is no number >= 0.
    """
    if name not in _LOSSES:
        raise ValueError(f"loss is {name!r}; legal: {', '.join(names())}{nearest(name, names())}")
    legal = list(inspect.signature(_LOSSES[name]).parameters)[3:]
    for option, value in options.items():
        if option not in legal:
            known = ", ".join(legal) or "none"
            raise ValueError(f"{option!r} is no option of loss {name!r}; legal: {known}{nearest(option, legal)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(f"{option} of loss {name!r} is {value!r}; legal: a number of at least 0.")
    return functools.partial(_LOSSES[name], **options)


def mse(mixture, references, outputs) -> tf.Tensor:
    """Squared error of the masked magnitudes of all targets (Huang et al. 2014, Eq. 6)."""
    return tf.reduce_mean(tf.square(_masked(mixture, outputs) - spectral.magnitude(references)))


def discriminative(mixture, references, outputs, gamma: float = 0.05) -> tf.Tensor:
    """Eq. 6 minus gamma times the squared error against every other target (Huang et al. 2014, Eq. 7)."""
    estimates, truths = _masked(mixture, outputs), spectral.magnitude(references)
    shifts = range(1, references.shape[-1])
    confusion = sum(tf.reduce_mean(tf.square(estimates - tf.roll(truths, shift, axis=-1))) for shift in shifts)
    return tf.reduce_mean(tf.square(estimates - truths)) - gamma * confusion


def l1(mixture, references, outputs) -> tf.Tensor:
    """Absolute error of the masked magnitudes of all targets."""
    return tf.reduce_mean(tf.abs(_masked(mixture, outputs) - spectral.magnitude(references)))


def csdr(mixture, references, outputs, noise: float = 1e-3) -> tf.Tensor:
    """Negative SDR in dB on the complex spectra, per excerpt, averaged over excerpts and targets.

    10 log10((e + n) / (s + n)) with e the energy of mask * mixture - reference, s that of the reference and n `noise`
    times that of the mixture, which bounds the gain from what is separated already.
    """
    axes = [1, 2, 3]
    masks = _float(outputs["masks"])
    real = masks * tf.math.real(mixture)[..., tf.newaxis] - tf.math.real(references)
    imaginary = masks * tf.math.imag(mixture)[..., tf.newaxis] - tf.math.imag(references)
    error = tf.reduce_sum(tf.square(real) + tf.square(imaginary), axes)
    floor = noise * tf.reduce_sum(_power(mixture), axes)[:, tf.newaxis] + _TINY
    return (
        10
        / math.log(10)
        * tf.reduce_mean(tf.math.log(error + floor) - tf.math.log(tf.reduce_sum(_power(references), axes) + floor))
    )


def generalised_kl(mixture, references, outputs, l2: float = 1e-4) -> tf.Tensor:
    """Generalised Kullback-Leibler divergence of `skip_filtered` and of `magnitudes` from the oracle-filtered source,
    plus l2 times the mean square of `magnitudes` (Mimilakis et al. 2017, section II.ii-iii).

    The source is the mixture under the oracle Wiener mask with alpha 1, in the unit of the features (the mixture over
    its `level`). Needs the auxiliary outputs of gru_skip_filtering; raises ValueError when the network has none.
    """
    _check_outputs("generalised_kl", ("skip_filtered", "magnitudes"), outputs)
    magnitudes = _float(outputs["magnitudes"])
    oracle = masking.ratio(spectral.magnitude(references))
    truth = oracle * tf.expand_dims(spectral.magnitude(mixture) / _float(outputs["level"]), -1)
    truth = _estimated(truth, magnitudes)  # GRU-S estimates the first target only
    divergence = _divergence(truth, _float(outputs["skip_filtered"])) + _divergence(truth, magnitudes)
    return divergence + l2 * tf.reduce_mean(tf.square(magnitudes))


def magnitudes(mixture, references, outputs) -> tf.Tensor:
    """Squared error of the network's own `magnitudes`, before they become masks (Grais & Plumbley, Eq. 2).

    In the unit of the features (over `level`), of the targets that the network estimates: the first one in ffn and fcn.
    Raises ValueError when the network has no such output.
    """
    _check_outputs("magnitudes", ("magnitudes",), outputs)
    estimates = _float(outputs["magnitudes"])
    truths = spectral.magnitude(references) / tf.expand_dims(_float(outputs["level"]), -1)
    return tf.reduce_mean(tf.square(estimates - _estimated(truths, estimates)))


def ideal_mask(mixture, references, outputs) -> tf.Tensor:
    """Squared error of the first target's mask against S_1 / sum_j S_j (Grais & Plumbley, Eq. 3-4).

    Bins in which all references are silent, where Eq. 4 has no value, count as right.
    """
    truths = spectral.magnitude(references)
    total = tf.reduce_sum(truths, axis=-1)
    error = _float(outputs["masks"])[..., 0] - tf.math.divide_no_nan(truths[..., 0], total)
    return tf.reduce_mean(tf.where(total > 0, tf.square(error), tf.zeros_like(error)))


def _check_outputs(loss: str, needed: Sequence[str], outputs: Mapping[str, tf.Tensor]) -> None:
    missing = [name for name in needed if name not in outputs]
    if missing:
        raise ValueError(
            f"loss {loss!r} needs the output {missing[0]!r}; this network gives: {', '.join(sorted(outputs))}."
        )


def _estimated(truths: tf.Tensor, estimates: tf.Tensor) -> tf.Tensor:
    """The first targets of [..., targets], as many as there are estimates."""
    return tf.gather(truths, tf.range(tf.shape(estimates)[-1]), axis=-1)


def _divergence(truth: tf.Tensor, estimate: tf.Tensor) -> tf.Tensor:
    """Mean of y log(y / x) - y + x, both raised by a small number; 0 only where they are equal, else positive."""
    y, x = truth + 1e-6, estimate + 1e-6
    return tf.reduce_mean(y * (tf.math.log(y) - tf.math.log(x)) - y + x)


def _masked(mixture: tf.Tensor, outputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
    return _float(outputs["masks"]) * tf.expand_dims(spectral.magnitude(mixture), -1)


def _power(spectrogram: tf.Tensor) -> tf.Tensor:
    return tf.square(tf.math.real(spectrogram)) + tf.square(tf.math.imag(spectrogram))


def _float(tensor: tf.Tensor) -> tf.Tensor:
    return tf.cast(tensor, tf.float32)


_LOSSES: dict[str, Loss] = {
    "csdr": csdr,
    "discriminative": discriminative,
    "generalised_kl": generalised_kl,
    "ideal_mask": ideal_mask,
    "l1": l1,
    "magnitudes": magnitudes,
    "mse": mse,
}
