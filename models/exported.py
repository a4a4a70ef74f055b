"""SavedModels and their signatures: the contract with serving. Core TensorFlow ops only.

- `serving_default`: `mixture` float32 [batch, samples], or [batch, samples, channels] for a model of several channels
  -> one output of that shape per target, named by it. Any length.
- `levelled`, of a model that normalises the level: the same for parts of a signal, with `level` float32 [batch], the
  RMS of the whole signal; 0 for silence.
- `wav`: `audio` string [batch], WAV bytes (16-bit PCM at the model's rate) -> WAV bytes [batch] per target.
- `examples`: `examples` string [batch], serialized tf.Examples with `mixture` (interleaved little-endian int16),
  `channels` and `sample_rate_hz` -> float32 [batch, values] per target, interleaved as the mixture is and padded with
  zeros to the longest of the batch.
- `describe`: `query` string [batch], ignored -> `sample_rate_hz` and `period_samples` (see Separator) int64 [batch], and
  with `stream` also `hop` and `latency_samples`: what a client of a remote server cannot read from the model's directory.
- `stream`, of a separator that works block by block (see models.streaming): `mixture` as in serving_default, a multiple
  of `hop` samples, and `state_0`, `state_1`, ... float32 [batch, ...] -> as many samples per target, `latency_samples` -
  `hop` late, and the state after them under the same names. A stream begins with zeros in the signature's shapes.

`wav` and `examples` separate item by item: an answer does not depend on what else is in the batch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from models import code_identity, streaming
from models.directory import ModelDirectory
from models.separator import Separator
from models.spec import ModelSpec
from models.streaming import StreamingSeparator


def save(separator: Separator, directory: str | os.PathLike, recipe_name: str = "") -> None:
    """Writes the SavedModel with its signatures; `directory` appears, or is replaced, when all of it is written.

    Its `ModelDirectory.description_file` says what was exported, see `description`.
    Raises OSError or tf.errors.OpError when it cannot be written.
    """
    final = Path(directory)
    partial = final.with_name(f"{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    module = tf.Module()
    # The module holds variables and traced functions only: nothing of Keras, of an optimiser or of a loss is saved.
    module.separator_weights = separator.weights
    try:
        tf.saved_model.save(module, str(partial), signatures=signatures(separator))
        file = ModelDirectory(partial).description_file
        file.parent.mkdir()
        file.write_text(json.dumps(description(separator, recipe_name), indent=2) + "\n")
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def description(separator: Separator, recipe_name: str = "") -> dict:
    """What a client needs to know of a model, as stored in its `ModelDirectory.description_file`.

    `identity`: equal of two models that answer alike, see `identity`.
    `streams`: whether it has the signature `stream`; `latency_samples`, `latency_ms`: the algorithmic latency of that
    with blocks of one hop, None for a model that needs the whole mixture.
    """
    spec = separator.spec
    streams = not streaming.obstacle(separator)
    return {
        "targets": list(spec.targets),
        "sample_rate_hz": spec.sample_rate_hz,
        "channels": spec.channels,
        "network": spec.network,
        "parameters": separator.network.count_params(),
        "frame_length": spec.frame_length,
        "hop": spec.hop,
        "streams": streams,
        "latency_samples": streaming.latency_samples(spec) if streams else None,
        "latency_ms": streaming.latency_ms(spec) if streams else None,
        "recipe": recipe_name,
        "identity": identity(separator),
    }


def identity(separator: Separator) -> str:
    """SHA-256 of what decides a model's answers: its spec, its weights, and the code of its network and of what makes a SavedModel."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(separator.spec), sort_keys=True, default=dict).encode())
    for weight in separator.get_weights():
        digest.update(weight.tobytes())
    digest.update(code_identity.digest(__name__, type(separator.network).__module__).encode())
    return digest.hexdigest()


def signatures(separator: Separator) -> dict:
    """The traced functions by signature name."""
    facts = {"sample_rate_hz": separator.spec.sample_rate_hz, "period_samples": separator.period_samples}
    optional = {}
    if not streaming.obstacle(separator):
        facts |= {"hop": separator.spec.hop, "latency_samples": streaming.latency_samples(separator.spec)}
        optional["stream"] = _stream(StreamingSeparator(separator))

    @tf.function(autograph=False, input_signature=[_mixture_spec(separator.spec)])
    def serving_default(mixture):
        return separator(mixture)

    if separator.spec.normalise_level:
        level = tf.TensorSpec([None], tf.float32, "level")
        specs = [_mixture_spec(separator.spec), level]
        optional["levelled"] = tf.function(separator, autograph=False, input_signature=specs)

    # Batch-major as the others: a batching server refuses a signature without inputs.
    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, "query")])
    def describe(query):
        return {name: tf.fill(tf.shape(query), tf.constant(value, tf.int64)) for name, value in facts.items()}

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, "audio")])
    def wav(audio):
        outputs = dict.fromkeys(separator.spec.targets, tf.TensorSpec([], tf.string))
        return tf.map_fn(
            lambda contents: _separate_wav(separator.spec, serving_default, contents),
            audio,
            fn_output_signature=outputs,
        )

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def examples(examples):
        return _separate_examples(separator.spec, serving_default, examples)

    return {"serving_default": serving_default, "wav": wav, "examples": examples, "describe": describe, **optional}


def _mixture_spec(spec: ModelSpec) -> tf.TensorSpec:
    return tf.TensorSpec([None, None] if spec.channels == 1 else [None, None, spec.channels], tf.float32, "mixture")


def _stream(separator: StreamingSeparator):
    """The concrete function of the signature `stream`: the names of the state are those of its specs, in and out."""
    names = separator.state_names

    def stream(mixture, **state):
        stems, after = separator(mixture, [state[name] for name in names])
        return {**stems, **dict(zip(names, after, strict=True))}

    specs = dict(zip(names, separator.state_specs, strict=True))
    return tf.function(stream, autograph=False).get_concrete_function(mixture=_mixture_spec(separator.spec), **specs)


def _separate_wav(spec: ModelSpec, separate: Callable, contents: tf.Tensor) -> dict[str, tf.Tensor]:
    waveform, rate_hz = tf.audio.decode_wav(contents)
    _assert_legal("sample rate of audio", rate_hz, spec.sample_rate_hz, "Hz")
    stems = _separate_item(spec, separate, waveform)
    return {target: tf.audio.encode_wav(stem, rate_hz) for target, stem in stems.items()}


def _separate_examples(spec: ModelSpec, separate: Callable, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    schema = {"mixture": tf.string, "channels": tf.int64, "sample_rate_hz": tf.int64}
    parsed = tf.io.parse_example(serialized, {name: tf.io.FixedLenFeature([], dtype) for name, dtype in schema.items()})

    def separate_example(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        _assert_legal("sample_rate_hz of example", example["sample_rate_hz"], spec.sample_rate_hz, "Hz")
        values = tf.cast(tf.io.decode_raw(example["mixture"], tf.int16), tf.float32) / 32768
        waveform = tf.reshape(values, tf.stack([-1, tf.cast(example["channels"], tf.int32)]))
        return {target: tf.reshape(stem, [-1]) for target, stem in _separate_item(spec, separate, waveform).items()}

    outputs = dict.fromkeys(spec.targets, tf.RaggedTensorSpec([None], tf.float32))
    stems = tf.map_fn(separate_example, parsed, fn_output_signature=outputs)
    return {target: stem.to_tensor() for target, stem in stems.items()}


def _separate_item(spec: ModelSpec, separate: Callable, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
    """[samples, channels] -> {target: [samples, channels]}; a mono model takes the channels as a batch."""
    if spec.channels == 1:
        return {target: tf.transpose(stem) for target, stem in separate(tf.transpose(waveform)).items()}
    _assert_legal("number of channels", tf.shape(waveform)[1], spec.channels, "channels")
    waveform = tf.reshape(waveform, [1, -1, spec.channels])
    return {target: stem[0] for target, stem in separate(waveform).items()}


def _assert_legal(name: str, received: tf.Tensor, required: int, unit: str) -> None:
    message = tf.strings.format(f"{name} received: {{}} {unit}; required: {required} {unit}", received)
    tf.debugging.Assert(tf.equal(received, required), [message])
