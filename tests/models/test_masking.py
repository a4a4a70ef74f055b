"""Masks against their formulas, their bounds, and what they do in silence."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models import masking

magnitudes = hnp.arrays(np.float32, (5, 3), elements=st.floats(0, 1e4, width=32))


def test_joint_mask_is_equation_5():
    estimates = np.array([[-3.0, 1.0], [0.0, 2.0], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(masking.joint(estimates), [[0.75, 0.25], [0, 1], [0, 0]], atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(values=magnitudes, alpha=st.floats(0.5, 2))
def test_ratio_masks_are_shares(values, alpha):
    masks = masking.ratio(tf.constant(values), alpha).numpy()
    assert masks.min() >= 0
    assert masks.max() <= 1
    np.testing.assert_allclose(masks.sum(-1), 1, atol=1e-5)


def test_ratio_is_the_generalised_wiener_filter():
    values = np.random.default_rng(0).uniform(0.1, 2, [4, 2])
    expected = values**1.7 / (values**1.7).sum(-1, keepdims=True)
    np.testing.assert_allclose(masking.ratio(tf.constant(values), 1.7), expected, atol=1e-9)


@pytest.mark.parametrize("level", [1e-12, 1e-3, 1e9])
def test_ratio_depends_on_no_level(level):
    values = np.random.default_rng(0).uniform(0.1, 2, [4, 2]).astype(np.float32)
    expected = masking.ratio(tf.constant(values), 2.0)
    np.testing.assert_allclose(masking.ratio(tf.constant(values * np.float32(level)), 2.0), expected, atol=1e-5)


def test_alpha_wiener_is_equation_10_cut_at_one():
    masks = masking.alpha_wiener(tf.constant([1.0, 3.0, 0.0, 1.0]), tf.constant([2.0, 2.0, 2.0, 0.0]), 1.7)
    np.testing.assert_allclose(masks, [0.5**1.7, 1, 0, 0], atol=1e-6)


def test_skip_filter_is_equation_6():
    np.testing.assert_allclose(masking.skip_filter(tf.constant([2.0, 2.0]), tf.constant([-0.5, 0.25])), [1, 0.5])


def test_apply_keeps_the_phase_of_the_mixture():
    spectrogram = tf.constant([1 + 1j, -2j], tf.complex64)
    stems = masking.apply(spectrogram, tf.constant([[0.25, 0.75], [1.0, 0.0]])).numpy()
    np.testing.assert_allclose(stems, [[0.25 + 0.25j, 0.75 + 0.75j], [-2j, 0]])
    np.testing.assert_allclose(stems.sum(-1), spectrogram)


@pytest.mark.parametrize(
    "mask", [masking.joint, lambda x: masking.ratio(x, 1.7), lambda x: masking.alpha_wiener(x, x, 1.7)]
)
def test_gradients_are_finite_in_silence(mask):
    silence = tf.zeros([3, 2])
    with tf.GradientTape() as tape:
        tape.watch(silence)
        total = tf.reduce_sum(mask(silence)[:, 0])
    assert np.isfinite(tape.gradient(total, silence)).all()
