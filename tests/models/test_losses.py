"""Losses against NumPy, finite in silence, least at the truth."""

import numpy as np
import pytest
import tensorflow as tf

from models import losses

SHAPE = (2, 5, 4, 1, 2)


@pytest.fixture
def stems():
    """Reference spectrograms with the same phase in both targets, so that masks can be right exactly."""
    rng = np.random.default_rng(0)
    phase = np.exp(1j * rng.uniform(0, 6.28, SHAPE[:4]))[..., None]
    return (rng.uniform(0.1, 2, SHAPE) * phase).astype(np.complex64)


def outputs_for(masks, mixture, level=1.0):
    magnitudes = masks * np.abs(mixture)[..., None] / level
    levels = np.full([len(mixture), 1, 1, 1], level)
    values = {"masks": masks, "skip_filtered": magnitudes, "magnitudes": magnitudes, "level": levels}
    return {name: tf.constant(value, tf.float32) for name, value in values.items()}


def true_masks(stems):
    return np.abs(stems) / np.abs(stems).sum(-1, keepdims=True)


def masks_of(seed):
    first = np.random.default_rng(seed).uniform(0.05, 0.95, SHAPE[:4])
    return np.stack([first, 1 - first], -1)


def numpy_value(name, mixture, stems, masks):
    estimates, truths = masks * np.abs(mixture)[..., None], np.abs(stems)
    square = np.mean((estimates - truths) ** 2)
    if name == "mse":
        return square
    if name == "discriminative":
        return square - 0.05 * np.mean((estimates - truths[..., ::-1]) ** 2)
    if name == "l1":
        return np.mean(np.abs(estimates - truths))
    if name == "csdr":
        total = 0
        for excerpt in range(len(mixture)):
            noise = 1e-3 * np.sum(np.abs(mixture[excerpt]) ** 2)
            for target in range(2):
                stem = stems[excerpt, ..., target]
                error = np.sum(np.abs(masks[excerpt, ..., target] * mixture[excerpt] - stem) ** 2)
                total += 10 * np.log10((error + noise) / (np.sum(np.abs(stem) ** 2) + noise))
        return total / (2 * len(mixture))
    if name == "magnitudes":
        return square  # the estimates of `outputs_for` are masked mixtures
    if name == "ideal_mask":
        return np.mean((masks[..., 0] - true_masks(stems)[..., 0]) ** 2)
    truths = true_masks(stems) * np.abs(mixture)[..., None]
    divergence = np.mean(truths * np.log(truths / estimates) - truths + estimates)
    return 2 * divergence + 1e-4 * np.mean(estimates**2)


@pytest.mark.parametrize("name", losses.names())
def test_value_is_the_formula(name, stems):
    mixture, masks = stems.sum(-1), masks_of(1)
    value = losses.build(name)(tf.constant(mixture), tf.constant(stems), outputs_for(masks, mixture))
    np.testing.assert_allclose(value, numpy_value(name, mixture, stems, masks), rtol=1e-4)


@pytest.mark.parametrize("name", losses.names())
def test_least_at_the_truth(name, stems):
    mixture, truth = stems.sum(-1), true_masks(stems)
    options = {"discriminative": {"gamma": 0.0}, "generalised_kl": {"l2": 0.0}}.get(name, {})
    loss = losses.build(name, **options)
    least = float(loss(tf.constant(mixture), tf.constant(stems), outputs_for(truth, mixture)))
    for seed in range(5):
        nearby = np.clip(truth + 0.02 * (masks_of(seed) - 0.5) * [1, -1], 0, 1)
        assert float(loss(tf.constant(mixture), tf.constant(stems), outputs_for(nearby, mixture))) > least
    if name not in ("csdr",):
        assert abs(least) < 1e-6


@pytest.mark.parametrize("name", losses.names())
def test_silence_is_finite_in_value_and_gradient(name):
    silence = tf.zeros(SHAPE, tf.complex64)
    masks = tf.Variable(tf.fill(SHAPE, 0.5))
    with tf.GradientTape() as tape:
        magnitudes = masks * 0.0
        outputs = {
            "masks": masks,
            "skip_filtered": magnitudes,
            "magnitudes": magnitudes,
            "level": tf.ones([2, 1, 1, 1]),
        }
        value = losses.build(name)(silence[..., 0], silence, outputs)
    assert np.isfinite(value)
    assert np.isfinite(tape.gradient(value, masks)).all()


@pytest.mark.parametrize("name", losses.names())
def test_float32_under_bfloat16_outputs(name, stems):
    mixture = stems.sum(-1)
    outputs = {key: tf.cast(value, tf.bfloat16) for key, value in outputs_for(masks_of(1), mixture).items()}
    value = losses.build(name)(tf.constant(mixture), tf.constant(stems), outputs)
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, numpy_value(name, mixture, stems, masks_of(1)), rtol=0.05)


def test_discriminative_pushes_away_from_the_other_target(stems):
    mixture, masks = stems.sum(-1), masks_of(3)
    arguments = tf.constant(mixture), tf.constant(stems), outputs_for(masks, mixture)
    values = [float(losses.build("discriminative", gamma=gamma)(*arguments)) for gamma in (0.0, 0.05, 0.2)]
    assert values[0] > values[1] > values[2]
    np.testing.assert_allclose(values[0], losses.build("mse")(*arguments), rtol=1e-6)


@pytest.mark.parametrize("level", [0.01, 7.0])
def test_generalised_kl_compares_in_the_unit_of_the_features(level, stems):
    mixture, masks = stems.sum(-1), masks_of(2)
    loss = losses.build("generalised_kl", l2=0)
    scaled = loss(tf.constant(mixture), tf.constant(stems), outputs_for(masks, mixture, level))
    plain = loss(tf.constant(mixture), tf.constant(stems), outputs_for(masks, mixture))
    np.testing.assert_allclose(scaled * level, plain, rtol=1e-3)


def test_generalised_kl_of_one_network_reads_the_first_target(stems):
    mixture, masks = stems.sum(-1), true_masks(stems)
    outputs = outputs_for(masks, mixture)
    single = {**outputs, **{name: outputs[name][..., :1] for name in ("skip_filtered", "magnitudes")}}
    loss = losses.build("generalised_kl", l2=0)
    assert float(loss(tf.constant(mixture), tf.constant(stems), single)) < 1e-6
    single["magnitudes"] = outputs["magnitudes"][..., 1:]
    assert float(loss(tf.constant(mixture), tf.constant(stems), single)) > 1e-2


@pytest.mark.parametrize(("name", "output"), [("generalised_kl", "skip_filtered"), ("magnitudes", "magnitudes")])
def test_the_missing_output_is_named(name, output, stems):
    outputs = {"masks": tf.constant(masks_of(1), tf.float32), "level": tf.ones([2, 1, 1, 1])}
    with pytest.raises(ValueError, match=rf"'{name}'.*'{output}'.*gives: level, masks"):
        losses.build(name)(tf.constant(stems.sum(-1)), tf.constant(stems), outputs)


@pytest.mark.parametrize("level", [0.01, 7.0])
def test_magnitudes_of_one_target_are_compared_in_the_unit_of_the_features(level, stems):
    mixture, masks = stems.sum(-1), masks_of(2)
    outputs = {"magnitudes": tf.constant(masks[..., :1], tf.float32), "level": tf.fill([2, 1, 1, 1], level)}
    value = losses.build("magnitudes")(tf.constant(mixture), tf.constant(stems), outputs)
    np.testing.assert_allclose(value, np.mean((masks[..., 0] - np.abs(stems[..., 0]) / level) ** 2), rtol=1e-5)


def test_ideal_mask_looks_at_the_first_target_and_leaves_silent_bins_out(stems):
    mixture, masks = stems.sum(-1), masks_of(2)
    other = np.stack([masks[..., 0], np.ones_like(masks[..., 1])], -1)
    loss = losses.build("ideal_mask")
    value = loss(tf.constant(mixture), tf.constant(stems), outputs_for(masks, mixture))
    np.testing.assert_array_equal(loss(tf.constant(mixture), tf.constant(stems), outputs_for(other, mixture)), value)
    silent = stems.copy()
    silent[:, 2:] = 0
    partly = loss(tf.constant(silent.sum(-1)), tf.constant(silent), outputs_for(masks, mixture))
    sounding = np.mean((masks - true_masks(stems))[:, :2, ..., 0] ** 2)
    np.testing.assert_allclose(partly, sounding * 2 / 5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("mce", {}, ["'mce'", "did you mean 'mse'", "csdr, discriminative"]),
        ("discriminative", {"gama": 1}, ["'gama'", "'discriminative'", "did you mean 'gamma'"]),
        ("mse", {"gamma": 1}, ["'gamma'", "legal: none"]),
        ("csdr", {"noise": -1}, ["noise", "-1", "at least 0"]),
        ("csdr", {"noise": "low"}, ["noise", "'low'"]),
    ],
)
def test_unknown_names_and_options(name, options, parts):
    with pytest.raises(ValueError, match="legal") as error:
        losses.build(name, **options)
    assert all(part in str(error.value) for part in parts), str(error.value)
