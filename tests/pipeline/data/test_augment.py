from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from pipeline.config.augment import Speed
from pipeline.data import augment


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("factor", [*Speed().factors, 1.0])
def test_speed_moves_pitch_and_length_by_the_factor(factor: float) -> None:
    rate, hz = 8000, 500.0
    tone = np.sin(2 * np.pi * hz * np.arange(rate) / rate).astype(np.float32)
    faster = augment.speed(tf.constant(tone[:, None, None]), factor).numpy()[:, 0, 0]
    assert len(faster) == round(rate / factor)
    peak_hz = np.argmax(np.abs(np.fft.rfft(faster))) * rate / len(faster)
    assert peak_hz == pytest.approx(hz * factor, abs=1.5)
    middle = faster[len(faster) // 4 : -len(faster) // 4]
    assert np.abs(middle).max() == pytest.approx(1.0, abs=0.02)


def test_remix_moves_whole_stems_between_excerpts_and_keeps_every_sample() -> None:
    batch = noise(32, 50, 1, 2)
    mixed = augment.remix(tf.constant(batch), 1.0, tf.constant([3, 4])).numpy()
    np.testing.assert_array_equal(mixed[..., 0], batch[..., 0])
    origin = [int(np.argmin(np.abs(batch[..., 1] - stem).sum((1, 2)))) for stem in mixed[..., 1]]
    np.testing.assert_array_equal(mixed[..., 1], batch[origin][..., 1])
    assert sorted(origin) == list(range(32))
    assert sum(index != place for place, index in enumerate(origin)) > 20
    np.testing.assert_array_equal(augment.remix(tf.constant(batch), 0.0, tf.constant([3, 4])).numpy(), batch)


def test_gain_has_the_stated_deviation_and_is_one_number_a_stem() -> None:
    ones = tf.ones([4000, 2, 1, 2])
    gains_db = 20 * np.log10(augment.gain(ones, 1.5, tf.constant([1, 2])).numpy())
    np.testing.assert_array_equal(gains_db[:, 0], gains_db[:, 1])
    assert gains_db[:, 0].std() == pytest.approx(1.5, abs=0.1)
    assert np.corrcoef(gains_db[:, 0, 0, 0], gains_db[:, 0, 0, 1])[0, 1] == pytest.approx(0, abs=0.1)


def test_balance_is_of_the_first_target_over_the_sum_of_the_others_and_leaves_silence() -> None:
    batch = noise(5, 4000, 2, 3) * np.float32([1.0, 0.1, 0.2])
    batch[1] *= [1e-3, 1.0, 1.0]  # 60 dB too quiet: raised by 20 dB
    batch[2, ..., 0] = 0
    batch[3, ..., 1:] = 0
    batch[4, ..., 2] = -batch[4, ..., 1]  # others that cancel each other
    balanced = augment.gain(tf.constant(batch), 0.0, tf.constant([1, 2]), -3.0).numpy()
    np.testing.assert_array_equal(balanced[..., 1:], batch[..., 1:])
    np.testing.assert_array_equal(balanced[2:], batch[2:])
    first, others = (np.sum(each**2) for each in (balanced[0, ..., 0], balanced[0, ..., 1:].sum(-1)))
    assert 10 * np.log10(first / others) == pytest.approx(-3, abs=1e-3)
    np.testing.assert_allclose(balanced[1, ..., 0], 10 * batch[1, ..., 0], rtol=1e-5)


def test_channel_swap_moves_all_stems_of_an_excerpt_together() -> None:
    batch = noise(64, 5, 2, 2)
    swapped = augment.channel_swap(tf.constant(batch), 0.5, tf.constant([5, 6])).numpy()
    kinds = [np.array_equal(after, before[:, ::-1]) for before, after in zip(batch, swapped, strict=True)]
    same = [np.array_equal(after, before) for before, after in zip(batch, swapped, strict=True)]
    assert all(a != b for a, b in zip(kinds, same, strict=True))
    assert 10 < sum(kinds) < 54


def test_polarity_turns_single_stems_and_keeps_every_square() -> None:
    batch = noise(64, 5, 2, 2)
    turned = augment.polarity(tf.constant(batch), 0.5, tf.constant([5, 6])).numpy()
    np.testing.assert_array_equal(turned**2, batch**2)
    signs = (turned / batch)[:, 0, 0]
    np.testing.assert_array_equal(turned, batch * signs[:, None, None])
    assert 10 < (signs < 0).sum(axis=0).min() < (signs < 0).sum(axis=0).max() < 54
    assert any(first != second for first, second in signs)
