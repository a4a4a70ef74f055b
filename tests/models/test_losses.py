"""Losses against NumPy, finite in silence, least at the truth."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models import exported, losses
from models.separator import Separator
from models.spec import ModelSpec

SHAPE = (2, 5, 4, 1, 2)
TEACHER = ModelSpec(
    "unet", {"filters": (4, 8, 8, 8)}, frame_length=6, hop=3, normalise_level=True, input_power=0.5, standardise=True
)


@functools.cache
def teacher():
    keras.utils.set_random_seed(0)
    separator = Separator(TEACHER)
    separator.feature_mean.assign([0.1, 0.2, 0.3, 0.4])
    separator.feature_scale.assign([0.5, 0.6, 0.7, 0.8])
    return separator


def built(name, **options):
    """The loss, with a teacher where it needs one."""
    return losses.build(name, **({"teacher": teacher()} if name == "deep_features" else {}), **options)


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
    if name == "deep_features":
        terms = [np.mean(np.abs(estimates - truths))]
        level = np.sqrt(np.mean(np.abs(mixture) ** 2, axis=(1, 2, 3)))
        for ours, theirs in zip(teacher_maps(estimates, level), teacher_maps(truths, level), strict=True):
            terms.append(np.mean(np.abs(ours - theirs)))
        return np.dot([5 / 15, 4 / 15, 3 / 15, 2 / 15, 1 / 15], terms)
    if name == "magnitudes":
        return square  # the estimates of `outputs_for` are masked mixtures
    if name == "ideal_mask":
        return np.mean((masks[..., 0] - true_masks(stems)[..., 0]) ** 2)
    truths = true_masks(stems) * np.abs(mixture)[..., None]
    divergence = np.mean(truths * np.log(truths / estimates) - truths + estimates)
    return 2 * divergence + 1e-4 * np.mean(estimates**2)


def teacher_maps(magnitudes, level):
    """phi_1 .. phi_4 of magnitudes, one target after the other; a level for each excerpt."""
    features = np.sqrt(magnitudes / level[:, None, None, None, None])
    features = (features - np.array([0.1, 0.2, 0.3, 0.4])[:, None, None]) / np.array([0.5, 0.6, 0.7, 0.8])[
        :, None, None
    ]
    maps = [teacher().network.feature_maps(tf.constant(features[..., j], tf.float32)) for j in range(2)]
    return [np.stack(level) for level in zip(*maps, strict=True)]


@pytest.mark.parametrize("name", losses.names())
def test_value_is_the_formula(name, stems):
    mixture, masks = stems.sum(-1), masks_of(1)
    value = built(name)(tf.constant(mixture), tf.constant(stems), outputs_for(masks, mixture))
    np.testing.assert_allclose(value, numpy_value(name, mixture, stems, masks), rtol=1e-4)


@pytest.mark.parametrize("name", losses.names())
def test_least_at_the_truth(name, stems):
    mixture, truth = stems.sum(-1), true_masks(stems)
    options = {"discriminative": {"gamma": 0.0}, "generalised_kl": {"l2": 0.0}}.get(name, {})
    loss = built(name, **options)
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
        value = built(name)(silence[..., 0], silence, outputs)
    assert np.isfinite(value)
    assert np.isfinite(tape.gradient(value, masks)).all()


@pytest.mark.parametrize("name", losses.names())
def test_float32_under_bfloat16_outputs(name, stems):
    mixture = stems.sum(-1)
    outputs = {key: tf.cast(value, tf.bfloat16) for key, value in outputs_for(masks_of(1), mixture).items()}
    value = built(name)(tf.constant(mixture), tf.constant(stems), outputs)
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
        ("mce", {}, ["'mce'", "did you mean 'mse'", "csdr, deep_features"]),
        ("discriminative", {"gama": 1}, ["'gama'", "'discriminative'", "did you mean 'gamma'"]),
        ("mse", {"gamma": 1}, ["'gamma'", "legal: none"]),
        ("csdr", {"noise": -1}, ["noise", "-1", "at least 0"]),
        ("csdr", {"noise": "low"}, ["noise", "'low'"]),
        ("deep_features", {}, ["'deep_features'", "no teacher", "train.teacher"]),
        ("mse", {"teacher": teacher}, ["'mse'", "has a teacher", "legal: none"]),
        ("deep_features", {"teacher": teacher, "levels": 5}, ["levels", "5", "whole number from 1 to 4"]),
        ("deep_features", {"teacher": teacher, "levels": 0}, ["levels", "0", "whole number from 1 to 4"]),
        ("deep_features", {"teacher": teacher, "levels": 2.5}, ["levels", "2.5", "whole number from 1 to 4"]),
        ("deep_features", {"teacher": teacher, "level": 2}, ["'level'", "did you mean 'levels'"]),
    ],
)
def test_unknown_names_and_options(name, options, parts):
    options = {key: value() if key == "teacher" else value for key, value in options.items()}
    with pytest.raises(ValueError, match="legal") as error:
        losses.build(name, **options)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_a_teacher_with_few_levels_is_refused_more():
    small = Separator(dataclasses.replace(TEACHER, sizes={"filters": (4, 8)}))
    losses.build("deep_features", teacher=small, levels=2)
    with pytest.raises(ValueError, match="levels of loss 'deep_features' is 4; legal: at most the 2"):
        losses.build("deep_features", teacher=small)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_deep_weights_fall_and_sum_to_one(levels):
    weights = losses.deep_weights(levels)
    assert sum(weights) == pytest.approx(1)
    np.testing.assert_allclose(np.diff(weights), -2 / ((levels + 1) * (levels + 2)))
    assert weights[0] / weights[-1] == pytest.approx(levels + 1)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_levels_choose_the_first_feature_maps(levels, stems):
    mixture, masks = stems.sum(-1), masks_of(4)
    estimates, level = masks * np.abs(mixture)[..., None], np.sqrt(np.mean(np.abs(mixture) ** 2, axis=(1, 2, 3)))
    pairs = zip(teacher_maps(estimates, level), teacher_maps(np.abs(stems), level), strict=True)
    terms = [np.mean(np.abs(estimates - np.abs(stems))), *(np.mean(np.abs(ours - theirs)) for ours, theirs in pairs)]
    expected = np.dot(losses.deep_weights(levels), terms[: levels + 1])
    value = built("deep_features", levels=levels)(tf.constant(mixture), tf.constant(stems), outputs_for(masks, mixture))
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_the_teacher_sees_what_it_was_trained_on(stems):
    """A mixture as the only target gives the maps that the teacher computes of that mixture itself."""
    mixture = tf.constant(stems.sum(-1))
    expected = teacher().network.feature_maps(teacher().features(mixture))
    seen = losses._feature_maps(teacher(), tf.abs(mixture)[..., tf.newaxis], teacher().level(mixture))
    for ours, theirs in zip(seen, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_teacher_is_frozen_and_guides_the_student(stems):
    keras.utils.set_random_seed(1)
    guide, student = Separator(TEACHER), Separator(dataclasses.replace(TEACHER, network="dnn", sizes={"units": 8}))
    loss, before = losses.build("deep_features", teacher=guide), guide.get_weights()
    assert guide.trainable_variables == []
    optimizer, mixture = keras.optimizers.Adam(1e-2), tf.constant(stems.sum(-1))
    values = []
    for _ in range(30):
        with tf.GradientTape() as tape:
            value = loss(mixture, tf.constant(stems), student.network_outputs(mixture))
        gradients = tape.gradient(value, student.trainable_variables)
        assert all(np.isfinite(gradient).all() and np.any(gradient) for gradient in gradients)
        optimizer.apply_gradients(zip(gradients, student.trainable_variables, strict=True))
        values.append(float(value))
    assert values[-1] < 0.8 * values[0]
    for ours, theirs in zip(guide.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_gradient_is_that_of_the_deep_terms_too(stems):
    mixture, masks = tf.constant(stems.sum(-1)), tf.Variable(tf.constant(masks_of(5), tf.float32))

    def gradient(loss):
        with tf.GradientTape() as tape:
            value = loss(mixture, tf.constant(stems), {"masks": masks})
        return tape.gradient(value, masks).numpy()

    direction = np.random.default_rng(6).normal(size=SHAPE).astype(np.float32)
    slope = float(np.sum(gradient(built("deep_features")) * direction))
    start, step = masks.numpy(), 1e-3
    values = []
    for sign in (1, -1):
        masks.assign(start + sign * step * direction)
        values.append(float(built("deep_features")(mixture, tf.constant(stems), {"masks": masks})))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=0.05)
    masks.assign(start)
    assert np.abs(gradient(built("deep_features")) - gradient(losses.build("l1")) / 3).max() > 1e-4


def test_the_teacher_never_reaches_the_saved_model(stems, tmp_path):
    student = Separator(dataclasses.replace(TEACHER, network="dnn", sizes={"units": 8}))
    exported.save(student, tmp_path / "before")
    mixture = tf.constant(stems.sum(-1))
    built("deep_features")(mixture, tf.constant(stems), student.network_outputs(mixture))
    exported.save(student, tmp_path / "after")
    before, after = (tf.train.list_variables(f"{tmp_path}/{name}/variables/variables") for name in ("before", "after"))
    assert after == before
    assert len([name for name, _ in after if name.startswith("separator_weights")]) == len(student.weights)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sample_rate_hz": 8000}, "model.sample_rate_hz is 8000 and its teacher's is 16000"),
        ({"channels": 2}, "model.channels is 2 and its teacher's is 1"),
        ({"frame_length": 8}, "model.frame_length is 8 and its teacher's is 6"),
        ({"hop": 2}, "model.hop is 2 and its teacher's is 3"),
        ({"window": "hann"}, "model.window is 'hann' and its teacher's is 'sine'"),
    ],
)
def test_a_teacher_of_another_front_end_is_refused(changes, words):
    losses.check_teacher(TEACHER, dataclasses.replace(TEACHER, network="or_unet", input_power=1.0, standardise=False))
    with pytest.raises(ValueError, match=f"{words}; legal: the same in both"):
        losses.check_teacher(TEACHER, dataclasses.replace(TEACHER, **changes))


def test_a_teacher_without_feature_maps_is_refused():
    with pytest.raises(ValueError, match=r"network is 'dnn', which has no feature maps; legal: unet\."):
        losses.check_teacher(dataclasses.replace(TEACHER, network="dnn"), TEACHER)
