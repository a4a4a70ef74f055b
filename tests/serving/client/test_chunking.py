"""Chunk plans and the overlap-add: exact at every length, in bounded memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.client import chunking
from serving.client.chunking import ChunkPlan, OverlapAdder

PLANS = st.integers(1, 40).flatmap(
    lambda chunk: st.builds(ChunkPlan, st.just(chunk), st.integers(0, chunk - 1)),
)


def _rejoin(signal: np.ndarray, plan: ChunkPlan, block: int) -> np.ndarray:
    blocks = (signal[start : start + block] for start in range(0, len(signal), block))
    adder = OverlapAdder(plan)
    out = [adder.push(chunk, last) for chunk, last in chunking.split(blocks, plan)]
    return np.concatenate([signal[:0], *out])


@given(PLANS, st.integers(0, 200), st.integers(1, 90), st.integers(1, 2))
def test_split_and_overlap_add_give_the_signal_back_to_the_last_bit(plan, samples, block, channels):
    signal = np.random.default_rng(samples).standard_normal((samples, channels)).astype(np.float32)
    rejoined = _rejoin(signal, plan, block)
    assert rejoined.shape == signal.shape
    assert np.array_equal(rejoined, signal)


def planned(plan: ChunkPlan, samples: int) -> list[range]:
    """The samples each chunk covers, by the definition: as many as it takes, each a hop after the one before."""
    count = 0 if samples == 0 else 1 + max(0, -(-(samples - plan.chunk_samples) // plan.hop_samples))
    starts = (index * plan.hop_samples for index in range(count))
    return [range(start, min(start + plan.chunk_samples, samples)) for start in starts]


@given(PLANS, st.integers(0, 200))
def test_the_streamed_chunks_are_the_planned_ranges(plan, samples):
    signal = np.arange(samples)
    streamed = [list(chunk) for chunk, _ in chunking.split([signal], plan)]
    assert streamed == [list(covered) for covered in planned(plan, samples)]
    assert set().union(*map(set, streamed)) == set(range(samples))
    assert all(len(chunk) == plan.chunk_samples for chunk in streamed[:-1])


@settings(deadline=None)
@given(PLANS, st.integers(1, 60))
def test_window_weights_of_all_chunks_sum_to_one_everywhere(plan, samples):
    ranges = planned(plan, samples)
    total = np.zeros(samples, np.float64)
    for index in range(len(ranges)):  # the weight of one chunk is the answer to a one in it and zeros elsewhere
        adder = OverlapAdder(plan)
        answers = [
            adder.push(np.full(len(covered), float(chunk == index), np.float32), covered is ranges[-1])
            for chunk, covered in enumerate(ranges)
        ]
        total += np.concatenate(answers)
    np.testing.assert_allclose(total, 1.0, rtol=0, atol=1e-6)


@given(st.integers(0, 5000))
def test_crossfade_windows_sum_to_exactly_one(overlap):
    fade = chunking.fade_in(overlap)
    assert fade.dtype == np.float32
    assert fade.shape == (overlap,)
    assert np.all(fade + (np.float32(1) - fade) == 1)
    assert np.all((fade >= 0) & (fade <= 1))
    assert np.all(np.diff(fade) >= 0)


def test_two_chunks_that_disagree_are_crossfaded_with_the_window():
    plan = ChunkPlan(8, 4)
    adder = OverlapAdder(plan)
    out = np.concatenate([adder.push(np.zeros(8, np.float32)), adder.push(np.ones(8, np.float32), last=True)])
    np.testing.assert_array_equal(out, np.concatenate([np.zeros(4), chunking.fade_in(4), np.ones(4)]))


def test_memory_does_not_grow_with_the_signal():
    plan = ChunkPlan(10_000, 1_000)

    def peak(blocks: int) -> int:
        adder = OverlapAdder(plan)
        stream = (np.zeros((4_096, 2), np.float32) for _ in range(blocks))
        tracemalloc.start()
        for chunk, last in chunking.split(stream, plan):
            adder.push(chunk, last)
        measured = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return measured

    assert peak(2_000) < 1.2 * peak(20)
    assert peak(2_000) < 10 * plan.chunk_samples * 2 * 4


@pytest.mark.parametrize(("chunk", "overlap"), [(0, 0), (-3, 0), (10, 10), (10, -1)])
def test_an_illegal_plan_names_value_and_limits(chunk, overlap):
    with pytest.raises(ValueError, match=r"samples is -?[0-9]+; "):
        ChunkPlan(chunk, overlap)


@pytest.mark.parametrize(("chunk", "overlap"), [(0, 0), (float("nan"), 0), (1, 1), (1, -0.5), (1, float("nan"))])
def test_an_illegal_plan_in_seconds_names_value_and_limits(chunk, overlap):
    with pytest.raises(ValueError, match=r"_seconds is .*; legal is"):
        chunking.plan_seconds(chunk, overlap, 16000)


def test_a_plan_in_seconds_starts_chunks_on_the_models_period():
    assert chunking.plan_seconds(10.0, 1.0, 16000, 1) == ChunkPlan(160_000, 16_000)
    assert chunking.plan_seconds(10.0, 1.0, 16000, 7680) == ChunkPlan(160_000, 160_000 - 18 * 7680)
    assert chunking.plan_seconds(1 / 8000, 1 / 9000, 8000) == ChunkPlan(1, 0)


@given(st.floats(0.001, 30), st.floats(0, 0.99), st.sampled_from([8000, 16000, 44100]), st.integers(1, 20_000))
def test_a_plan_in_seconds_overlaps_as_asked_or_more(chunk_seconds, share, rate_hz, period):
    asked = round(share * chunk_seconds * rate_hz)
    told = chunking.plan_seconds(chunk_seconds, share * chunk_seconds, rate_hz, period)
    untold = chunking.plan_seconds(chunk_seconds, share * chunk_seconds, rate_hz)
    longest = max(1, round(chunk_seconds * rate_hz) - asked)
    for plan in (told, untold):
        assert plan.chunk_samples == round(chunk_seconds * rate_hz)
        assert plan.hop_samples <= longest
    assert told.hop_samples % period == 0 or (period > longest and told.hop_samples == longest)
    assert untold.hop_samples > 7 / 8 * longest - 1
    assert longest < 8 * chunking.GRID_SAMPLES or untold.hop_samples % chunking.GRID_SAMPLES == 0


def test_an_illegal_period_is_named():
    with pytest.raises(ValueError, match="period_samples is 0; legal is 1 or more"):
        chunking.plan_seconds(10.0, 1.0, 16000, 0)


def test_the_crossfade_leaves_out_the_edges_of_a_chunk():
    fade = chunking.fade_in(1000)
    assert np.all(fade[:250] == 0)
    assert np.all(fade[750:] == 1)
    assert np.all((fade[250:750] > 0) & (fade[250:750] < 1))


def test_a_short_chunk_in_the_middle_is_refused():
    adder = OverlapAdder(ChunkPlan(8, 2))
    adder.push(np.zeros(8))
    with pytest.raises(ValueError, match="chunk has 5 samples; legal is 8, or 2 to 8 for the last one"):
        adder.push(np.zeros(5))
