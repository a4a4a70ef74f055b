"""Speed as ratios within one run: ours against what a caller would otherwise use. Run with `make test-slow`."""

from __future__ import annotations

import time
from collections.abc import Callable

import mir_eval
import museval
import numpy as np
import pytest
import scipy.signal
import tensorflow as tf
import tf_keras as keras

from models.layers.cells import CellRecurrence
from models.layers.recurrence import ReluRecurrence
from pipeline.data.datasets.layouts import synthetic
from pipeline.evaluation.bss_eval.score import score
from pipeline.evaluation.outputs import output_facts

pytestmark = pytest.mark.slow


def cpu_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The least of several measurements, after one to warm up."""
    work()
    measured = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        measured.append(time.process_time() - started)
    return min(measured)


def test_recurrence_against_keras_simple_rnn() -> None:
    """A training step of a layer of 1000 units on 32 sequences of 50 frames."""
    inputs = tf.random.normal([32, 50, 1000])

    def step(layer: keras.layers.Layer) -> Callable[[], object]:
        layer(inputs)

        @tf.function
        def gradients():
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(layer(inputs)))
            return tape.gradient(loss, layer.trainable_variables)

        return lambda: gradients()[0].numpy()

    keras_seconds = cpu_seconds(step(keras.layers.SimpleRNN(1000, activation="relu", return_sequences=True)))
    our_seconds = cpu_seconds(step(ReluRecurrence(1000)))
    print(f"recurrence: {keras_seconds / our_seconds:.2f} times as fast as keras.layers.SimpleRNN")
    assert keras_seconds > 1.2 * our_seconds


def test_recurrence_of_online_networks_against_keras_rnn() -> None:
    """Inference: an LSTM of 256 units on 10 s of 44.1 kHz, 865 frames of 2050 bins of two channels."""
    inputs, cell = tf.random.normal([1, 865, 2050]), keras.layers.LSTMCell(256)

    def run(layer: keras.layers.Layer) -> Callable[[], object]:
        layer(inputs)
        traced = tf.function(layer)
        return lambda: traced(inputs).numpy()

    keras_seconds = cpu_seconds(run(keras.layers.RNN(cell, return_sequences=True)))
    our_seconds = cpu_seconds(run(CellRecurrence(cell, return_sequences=True)))
    print(f"online recurrence: {keras_seconds / our_seconds:.2f} times as fast as keras.layers.RNN")
    assert keras_seconds > 1.5 * our_seconds


def test_rendering_against_the_stft_of_what_it_renders() -> None:
    """A song of four stems, 10 s at 16 kHz; scipy's STFT of them and back is what a caller does with it at the least."""
    options = {**synthetic.OPTIONS, "tracks": {"train": 1}, "seconds": 10}
    [ref] = synthetic.discover(None, options)
    stems = [stem[:, 0] for stem in synthetic.load(ref, options).stems.values()]

    def there_and_back() -> None:
        for stem in stems:
            scipy.signal.istft(scipy.signal.stft(stem, nperseg=1024)[2], nperseg=1024)

    ratio = cpu_seconds(lambda: synthetic.load(ref, options)) / cpu_seconds(there_and_back)
    print(f"rendering: {ratio:.1f} times the CPU time of an STFT and its inverse")
    assert ratio < 10


def test_v3_against_mir_eval() -> None:
    """Two sources of 8 s at 16 kHz, three sets of estimates: mixture, model and oracle."""
    rng = np.random.default_rng(0)
    references = rng.normal(size=(2, 128_000))
    estimates = np.stack([references + 0.3 * rng.normal(size=references.shape) for _ in range(3)])

    def theirs() -> None:
        for each in estimates:
            mir_eval.separation.bss_eval_sources(references, each, compute_permutation=False)

    their_seconds = cpu_seconds(theirs, repeats=1)
    our_seconds = cpu_seconds(lambda: score(references, estimates, ["v3"]))
    print(f"BSS Eval v3: {their_seconds / our_seconds:.1f} times as fast as mir_eval")
    assert their_seconds > 3 * our_seconds


def test_facts_of_outputs_against_museval() -> None:
    """What the gate listens for beside the scores, of two stereo sources of 8 s at 16 kHz."""
    rng = np.random.default_rng(0)
    references = rng.normal(size=(2, 128_000, 2))
    estimates = references + 0.3 * rng.normal(size=references.shape)
    stems, heard = (dict(zip("ab", signals, strict=True)) for signals in (references, estimates))
    their_seconds = cpu_seconds(
        lambda: museval.metrics.bss_eval(references, estimates, window=16000, hop=16000), repeats=1
    )
    our_seconds = cpu_seconds(lambda: output_facts.facts(stems, heard, references.sum(axis=0), 16000))
    print(f"facts of outputs: {our_seconds / their_seconds:.2f} times the CPU time of museval")
    assert our_seconds < their_seconds
