"""L-BFGS on functions whose minimum is known."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from pipeline.training import lbfgs

RNG = np.random.default_rng(0)


def rosenbrock(variables):
    """Minimum 0 at x = y = 1, along a curved valley; the two coordinates are variables of their own."""
    x, y = variables

    def value_and_gradients():
        with tf.GradientTape() as tape:
            value = tf.reduce_sum((1 - x) ** 2) + 100 * tf.reduce_sum((y - x**2) ** 2)
        return float(value), [gradient.numpy() for gradient in tape.gradient(value, variables)]

    return value_and_gradients


def start(dtype="float64"):
    return [tf.Variable(np.full(shape, value), dtype=dtype) for shape, value in (((), -1.2), ((1, 1), 1.0))]


def never(iteration, loss):
    return False


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-8), ("float32", 1e-3)])
def test_it_finds_the_end_of_a_curved_valley(dtype, tolerance):
    variables, losses = start(dtype), []
    lbfgs.minimise(rosenbrock(variables), variables, 200, 10, lambda number, loss: losses.append(loss))
    np.testing.assert_allclose([float(variables[0]), float(variables[1][0, 0])], 1, atol=tolerance)
    assert [variable.dtype for variable in variables] == [dtype, dtype]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) < 100  # it ends at the minimum, not at the number of iterations


def test_a_history_makes_a_bent_quadratic_short():
    scales = np.logspace(0, 4, 50)
    truth = RNG.normal(size=50)

    def iterations(history):
        variable, seen = tf.Variable(np.zeros(50)), []

        def quadratic():
            difference = variable.numpy() - truth
            return float(scales @ difference**2), [2 * scales * difference]

        lbfgs.minimise(quadratic, [variable], 5000, history, lambda number, loss: seen.append(number) or loss < 1e-8)
        np.testing.assert_allclose(variable.numpy(), truth, atol=1e-4)
        return len(seen)

    assert iterations(50) < 0.5 * iterations(1)


def test_the_callback_sees_every_iterate_and_its_loss_and_can_stop():
    variables, seen = start(), []
    function = rosenbrock(variables)

    def callback(number, loss):
        seen.append((number, loss, [variable.numpy() for variable in variables]))
        assert function()[0] == loss
        return number == 4

    lbfgs.minimise(function, variables, 100, 10, callback)
    assert [number for number, _, _ in seen] == [1, 2, 3, 4]
    for variable, last in zip(variables, seen[-1][2], strict=True):
        np.testing.assert_array_equal(variable.numpy(), last)


def test_it_makes_no_more_iterations_than_it_may():
    variables, seen = start(), []
    lbfgs.minimise(rosenbrock(variables), variables, 3, 10, lambda number, loss: seen.append(number))
    assert seen == [1, 2, 3]


def test_a_search_that_was_ended_goes_on_from_its_last_iterate():
    variables, first, second = start(), [], []
    function = rosenbrock(variables)
    lbfgs.minimise(function, variables, 5, 10, lambda number, loss: first.append(loss))
    before = [variable.numpy() for variable in variables]
    assert function()[0] == first[-1]
    lbfgs.minimise(function, variables, 200, 10, lambda number, loss: second.append(loss))
    assert second[0] < first[-1]
    assert second[-1] < 1e-12
    assert any((variable.numpy() != kept).any() for variable, kept in zip(variables, before, strict=True))


def test_three_batches_are_one_batch_of_all():
    inputs, weights = RNG.normal(size=(12, 3)), [tf.Variable(RNG.normal(size=(3, 2))), tf.Variable(np.zeros(2))]

    @tf.function
    def of_one(batch):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(tf.square(tf.tanh(batch @ weights[0] + weights[1]) - 0.1))
        return value, tape.gradient(value, weights)

    whole, gradients = lbfgs.over_batches(of_one, [tf.constant(inputs)])()
    by_parts = lbfgs.over_batches(of_one, tf.split(tf.constant(inputs), 3))
    value, means = by_parts()
    assert value == pytest.approx(whole, rel=1e-12)
    for mean, gradient in zip(means, gradients, strict=True):
        assert np.abs(gradient).min() > 0
        np.testing.assert_allclose(mean, gradient, rtol=1e-9)
    np.testing.assert_array_equal(by_parts()[1][0], means[0])  # nothing is left over from the first time
    lbfgs.minimise(by_parts, weights, 50, 10, never)
    assert by_parts()[0] < 0.01 * whole


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_said_in_words(bad):
    variable = tf.Variable([1.0, 2.0])
    with pytest.raises(ValueError, match=rf"loss became {bad} in L-BFGS after 0 iterations"):
        lbfgs.minimise(lambda: (bad, [np.zeros(2)]), [variable], 5, 5, never)
    with pytest.raises(ValueError, match="gradient of the training loss is not finite"):
        lbfgs.minimise(lambda: (1.0, [np.array([0, bad])]), [variable], 5, 5, never)


@pytest.mark.parametrize(("iterations", "history", "name"), [(0, 5, "iterations"), (5, 0, "history")])
def test_an_illegal_number_is_named(iterations, history, name):
    with pytest.raises(ValueError, match=f"{name} of L-BFGS is 0; legal: at least 1"):
        lbfgs.minimise(lambda: (0.0, []), [], iterations, history, never)


def test_an_exception_of_the_callback_passes_through():
    variables = start()

    def interrupted(number, loss):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lbfgs.minimise(rosenbrock(variables), variables, 5, 5, interrupted)
    assert rosenbrock(variables)()[0] < 24.2  # the first iterate is in the variables; the start was worth 24.2
