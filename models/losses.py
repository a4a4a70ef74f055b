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
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from models import masking, networks, spectral
from models.checked import nearest
from models.spec import ModelSpec

if TYPE_CHECKING:
    from models.separator import Separator

Loss = Callable[[tf.Tensor, tf.Tensor, Mapping[str, tf.Tensor]], tf.Tensor]

# N, how many feature maps the loss of Doire 2019 compares.
DEEP_FEATURES = 4

_TINY = 1e-10
_ROOT_FLOOR = 1e-8


def names() -> list[str]:
    """Names that `build` knows, sorted."""
    return sorted(_LOSSES)


def build(name: str, teacher: Separator | None = None, **options: Any) -> Loss:
    """The loss of that name with its options bound.

    teacher: the trained separator that `deep_features` looks through; it is frozen.
    Raises ValueError as `check` does, and for a teacher that gives fewer feature maps than the loss compares.
    """
    check(name, options, teacher is not None)
    loss = functools.partial(_LOSSES[name], **options)
    if teacher is None:
        return loss
    teacher.trainable = False
    maps = _feature_maps(teacher, tf.zeros([1, 1, teacher.spec.bins, teacher.spec.channels, 1]), tf.ones([1, 1, 1, 1]))
    levels = options.get("levels", DEEP_FEATURES)
    if levels > len(maps):
        raise ValueError(f"levels of loss {name!r} is {levels}; legal: at most the {len(maps)} of this teacher.")
    return functools.partial(loss, teacher=teacher)


def check(name: str, options: Mapping[str, Any], teacher: bool = False) -> None:
    """Raises ValueError for what `build` would refuse; `teacher` says whether there is one.

    An unknown name or option (naming the nearest legal one), an option that is no number >= 0 (`levels`: 1 to 4), and a
    teacher where none is used, or none where one is.
    """
    if name not in _LOSSES:
        raise ValueError(f"loss is {name!r}; {nearest(name, names())}")
    parameters = list(inspect.signature(_LOSSES[name]).parameters)[3:]
    if "teacher" in parameters and not teacher:
        raise ValueError(f"loss {name!r} has no teacher; legal: a trained model, whose recipe train.teacher names.")
    if teacher and "teacher" not in parameters:
        raise ValueError(f"loss {name!r} has a teacher; legal: none, since it looks through no network.")
    legal = [parameter for parameter in parameters if parameter != "teacher"]
    for option, value in options.items():
        if option not in legal:
            raise ValueError(f"{option!r} is no option of loss {name!r}; {nearest(option, legal)}")
        _check_value(name, option, value)


def check_teacher(teacher: ModelSpec, student: ModelSpec) -> None:
    """Raises ValueError where the spectrograms of `student` are not those that `teacher` was trained on.

    Or where the teacher's network offers no feature maps.
    """
    if not networks.network_class(teacher.network).FEATURE_MAPS:
        able = [name for name in networks.names() if networks.network_class(name).FEATURE_MAPS]
        raise ValueError(
            f"the teacher's network is {teacher.network!r}, which has no feature maps; legal: {', '.join(able)}."
        )
    for field in ("sample_rate_hz", "channels", "frame_length", "hop", "window"):
        theirs, ours = getattr(teacher, field), getattr(student, field)
        if theirs != ours:
            raise ValueError(f"model.{field} is {ours!r} and its teacher's is {theirs!r}; legal: the same in both.")


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


def deep_features(mixture, references, outputs, teacher: Separator, levels: int = DEEP_FEATURES) -> tf.Tensor:
    """w_0 L_R + sum_i w_i L_phi_i, i = 1 .. `levels`, as in Doire 2019, Eq. 3-5; the weights: `deep_weights`.

    L_R is `l1`. L_phi_i is the absolute error of the i-th feature maps of the teacher's network, which sees the masked
    magnitudes and the references, target by target, as it saw mixtures when it was trained: over the level of the
    mixture (where the teacher divides by one), to its power, standardised. The teacher's weights are not trained.
    """
    level = teacher.level(mixture)
    # Two passes: the references' is not differentiated.
    truths = _feature_maps(teacher, spectral.magnitude(references), level)[:levels]
    estimates = _feature_maps(teacher, _masked(mixture, outputs), level)[:levels]
    distances = [
        tf.reduce_mean(tf.abs(estimate - tf.stop_gradient(truth)))
        for estimate, truth in zip(estimates, truths, strict=True)
    ]
    terms = [l1(mixture, references, outputs), *distances]
    return tf.add_n([weight * term for weight, term in zip(deep_weights(levels), terms, strict=True)])


def deep_weights(levels: int) -> list[float]:
    """w_0 .. w_N = N + 1, N, .., 1 over their sum (Doire 2019: w_i = N - i + 1, normalised)."""
    weights = range(levels + 1, 0, -1)
    return [weight / sum(weights) for weight in weights]


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
    error = tf.gather(_float(outputs["masks"]), 0, axis=-1) - tf.math.divide_no_nan(
        tf.gather(truths, 0, axis=-1), total
    )
    return tf.reduce_mean(tf.where(total > 0, tf.square(error), tf.zeros_like(error)))


def _feature_maps(teacher: Separator, magnitudes: tf.Tensor, level: tf.Tensor) -> list[tf.Tensor]:
    """phi_1, phi_2, .. of magnitudes [batch, frames, bins, channels, targets], the targets one after the other in the
    batch: float32 [targets * batch, frames', bins', filters]. level: that of the mixture, [batch, 1, 1, 1].
    """
    folded = tf.concat(tf.unstack(magnitudes / tf.expand_dims(level, -1), axis=-1), axis=0)
    # The floor keeps the slope of a root, which the teacher's input may be, finite in silence.
    return teacher.network.feature_maps(teacher.scale(tf.maximum(folded, _ROOT_FLOOR)))


def _check_value(name: str, option: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if option == "levels":
        legal, words = number and value in range(1, DEEP_FEATURES + 1), f"a whole number from 1 to {DEEP_FEATURES}"
    else:
        legal, words = number and 0 <= value < math.inf, "a number of at least 0"
    if not legal:
        raise ValueError(f"{option} of loss {name!r} is {value!r}; legal: {words}.")


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


_LOSSES: dict[str, Callable[..., tf.Tensor]] = {
    "csdr": csdr,
    "deep_features": deep_features,
    "discriminative": discriminative,
    "generalised_kl": generalised_kl,
    "ideal_mask": ideal_mask,
    "l1": l1,
    "magnitudes": magnitudes,
    "mse": mse,
}
