"""L-BFGS over TensorFlow variables (Huang et al. 2014 train with it): SciPy's L-BFGS-B, without bounds.

The vector of all variables and its history are float64 on the host: 16 bytes x parameters x history, 4.5 GB for the
5.6 million of the published DRNN and 50 pairs.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from scipy import optimize

# A loss and its gradients by the variables, at the values that the variables hold.
ValueAndGradients = Callable[[], tuple[float, list[np.ndarray]]]


def minimise(
    value_and_gradients: ValueAndGradients,
    variables: Sequence[tf.Variable],
    iterations: int,
    history: int,
    callback: Callable[[int, float], bool | None],
) -> None:
    """Minimises a loss that is the same function at every call, and leaves the last iterate in the variables.

    An iteration is a line search, which evaluates the loss once or a few times. `history`: pairs of steps and gradient
    changes that the curvature is estimated from. `callback` gets the number of every finished iteration, from 1, and its
    loss, while the variables hold that iterate; it may save them, and ends the search by answering True. A minimum as
    exact as the variables' precision allows ends it early. Nothing else is kept between calls: a later call with the same
    variables starts from where they are with an empty history, so its first step goes along the gradient.

    Raises:
      ValueError: less than one iteration or pair of history, or a loss or gradient that is not finite.
    """
    for name, value in (("iterations", iterations), ("history", history)):
        if value < 1:
            raise ValueError(f"{name} of L-BFGS is {value}; legal: at least 1.")
    finished, iterate = 0, _flat([variable.numpy() for variable in variables])

    def evaluate(point: np.ndarray) -> tuple[float, np.ndarray]:
        _assign(variables, point)
        value, gradients = value_and_gradients()
        gradient = _flat(gradients)
        if not math.isfinite(value):
            raise ValueError(f"the training loss became {value} in L-BFGS after {finished} iterations")
        if not np.isfinite(gradient).all():
            raise ValueError(f"a gradient of the training loss is not finite in L-BFGS after {finished} iterations")
        return value, gradient

    def after_iteration(intermediate_result: optimize.OptimizeResult) -> None:  # SciPy goes by this parameter's name
        nonlocal finished, iterate
        finished, iterate = finished + 1, intermediate_result.x.copy()
        _assign(variables, iterate)
        if callback(finished, float(intermediate_result.fun)):
            raise StopIteration

    options = {"maxiter": iterations, "maxfun": sys.maxsize, "maxcor": history, "ftol": 0.0, "gtol": 0.0}
    try:
        optimize.minimize(evaluate, iterate, jac=True, method="L-BFGS-B", callback=after_iteration, options=options)
    finally:  # not where a line search has tried
        _assign(variables, iterate)


def over_batches(
    value_and_gradients: Callable[[tf.Tensor], tuple[tf.Tensor, Sequence[tf.Tensor]]], batches: Sequence[tf.Tensor]
) -> ValueAndGradients:
    """The mean over batches of equal size of a loss and its gradients, which are added up batch by batch."""

    def of_all() -> tuple[float, list[np.ndarray]]:
        total, sums = 0.0, None
        for batch in batches:
            value, gradients = value_and_gradients(batch)
            total += float(value)
            sums = sums or [np.zeros_like(gradient.numpy(), np.float64) for gradient in gradients]
            for own, gradient in zip(sums, gradients, strict=True):
                own += gradient.numpy()
        return total / len(batches), [own / len(batches) for own in sums or []]

    return of_all


def _flat(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.asarray(array, np.float64).ravel() for array in arrays])


def _assign(variables: Sequence[tf.Variable], point: np.ndarray) -> None:
    offset = 0
    for variable in variables:
        size = variable.shape.num_elements()
        piece = tf.reshape(point[offset : offset + size], variable.shape)
        variable.assign(tf.cast(piece, variable.dtype))
        offset += size
