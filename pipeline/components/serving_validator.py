"""ServingValidator: a candidate is blessed when a model server, in a process of its own, answers as it does itself.

TFX's InfraValidator needs a container engine and, without one, never blesses; this one starts serving.server. What it
writes is what TFX's Pusher reads from an InfraValidator: the int properties `blessed` and `has_model`, and the stamped
copy of the model with its warm-up requests.
"""

import io
import json
import os
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import soundfile
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tfx.components.infra_validator.executor import _BLESSED_FILENAME, _NOT_BLESSED_FILENAME
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from models.directory import ModelDirectory
from pipeline.common.progress import line
from pipeline.config import config as config_module
from pipeline.data import tfrecords as examples_module
from serving import process
from serving.client import Client
from serving.client.separation import DEFAULT_SIGNATURE, SeparationError, placeholder
from serving.client.stream import STREAM_SIGNATURE, Stream
from serving.local import local_client
from serving.process import ServerError

MODEL_NAME = "stemline"
REPORT = "serving.json"
REQUESTS_PER_LENGTH = 5  # for the median latency of the signatures that the client asks
STREAM_HOPS = 16  # of a request, where a stream is compared with the whole mixture
WARM_UP_BATCHES = (1, 2)  # a mono and a stereo file of a model that separates channel by channel
SEED = 0
ODD_SAMPLES = 12347

Inputs = dict[str, np.ndarray]


class Refused(ValueError):
    """The candidate does not serve; one sentence why."""


def validate(
    model: Path, examples: Mapping[str, bytes], sample_rate_hz: int, chunk_samples: int, tolerance: float
) -> dict:
    """Serves the SavedModel `model` and compares every answer with the model in this process.

    Args:
      model: directory of saved_model.pb.
      examples: serialized tf.Examples for the signature `examples`, by a name for the report.
      sample_rate_hz: the rate the model is meant to work at.
      chunk_samples: the length clients will send.
      tolerance: largest absolute difference of a sample that passes.

    Returns:
      The report: per signature and request, the largest difference and the median latency.

    Raises:
      Refused: it does not load, does not answer, or answers something else than in this process.
    """
    try:
        line("loading the candidate, to ask it in this process")
        with local_client(model) as local:
            requests = dict(_requests(local, examples, sample_rate_hz, chunk_samples))
            count = sum(map(len, requests.values()))
            line(
                f"serving the candidate and comparing {len(requests)} signatures by {count} requests: {', '.join(requests)}"
            )
            with process.running_model(model, MODEL_NAME) as address, Client(address, model_name=MODEL_NAME) as client:
                report = {name: _compare(name, cases, local, client, tolerance) for name, cases in requests.items()}
                if STREAM_SIGNATURE in report:
                    report[STREAM_SIGNATURE]["as the whole mixture"] = _compare_stream(local, client, tolerance)
                return report
    except (SeparationError, ServerError) as error:
        raise Refused(str(error)) from error


def _requests(
    local: Client, examples: Mapping[str, bytes], sample_rate_hz: int, chunk_samples: int
) -> Iterator[tuple[str, dict[str, Inputs]]]:
    """For every signature of the model its requests by name."""
    lengths = sorted({1, ODD_SAMPLES, sample_rate_hz, 10 * sample_rate_hz, chunk_samples})
    if DEFAULT_SIGNATURE not in local.signatures:
        raise Refused(f"the model has no signature {DEFAULT_SIGNATURE}; it has {', '.join(sorted(local.signatures))}")
    channels = (*local.mixture_shape, 1)[2] or 1
    for name, signature in sorted(local.signatures.items()):
        if name.startswith("__"):  # TensorFlow's own, not callable
            continue
        if name == DEFAULT_SIGNATURE:
            alias = next(iter(signature.inputs))
            batches = {f"{samples} samples": {alias: _mixture(local, samples)} for samples in lengths}
            yield name, batches
        elif name == STREAM_SIGNATURE:
            yield name, _stream_requests(local)
        elif set(signature.inputs) == {"audio"}:
            clips = {samples: _wav(samples, channels, sample_rate_hz) for samples in lengths}
            yield name, {f"{samples} samples": {"audio": _strings(clip)} for samples, clip in clips.items()}
        elif set(signature.inputs) == {"examples"}:
            yield name, {case: {"examples": _strings(example)} for case, example in examples.items()}
        else:
            yield name, {"placeholder": {alias: placeholder(info) for alias, info in signature.inputs.items()}}


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(SEED).uniform(-0.5, 0.5, shape).astype(np.float32)


def _mixture(local: Client, samples: int, batch: int = 1) -> np.ndarray:
    return _noise(batch, samples, *(channels or 1 for channels in local.mixture_shape[2:]))


def _beginning(local: Client, batch: int = 1) -> Inputs:
    """The request that begins a stream: one hop, and zeros for the state."""
    signature = local.signature(STREAM_SIGNATURE)
    state = {alias: placeholder(info) for alias, info in signature.inputs.items() if alias in signature.outputs}
    (mixture,) = set(signature.inputs) - set(state)
    zeros = {alias: np.repeat(value, batch, axis=0) for alias, value in state.items()}
    return {mixture: _mixture(local, local.facts["hop"], batch), **zeros}


def _stream_requests(local: Client) -> dict[str, Inputs]:
    """The beginning of a stream, and three hops that go on from the state after it."""
    first = _beginning(local)
    answer = local.run(first, STREAM_SIGNATURE)
    mixture = _mixture(local, 3 * local.facts["hop"])
    return {"1 hop": first, "3 hops": {alias: answer.get(alias, mixture) for alias in first}}


def _wav(samples: int, channels: int, sample_rate_hz: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, _noise(samples, channels), sample_rate_hz, "PCM_16", format="WAV")
    return buffer.getvalue()


def _strings(value: bytes) -> np.ndarray:
    return np.array([value], object)


def _compare(
    signature: str, cases: Mapping[str, Inputs], local: Client, client: Client, tolerance: float
) -> dict[str, dict[str, float]]:
    report = {}
    for case, inputs in cases.items():
        expected = local.run(inputs, signature)
        seconds = []
        for _ in range(REQUESTS_PER_LENGTH if signature in (DEFAULT_SIGNATURE, STREAM_SIGNATURE) else 1):
            started = time.perf_counter()
            answer = client.run(inputs, signature)
            seconds.append(time.perf_counter() - started)
        difference = _difference(f"signature {signature}, {case}", expected, answer)
        if not difference <= tolerance:
            raise Refused(
                f"signature {signature}, {case}: the served answer differs from the model's own by {difference:.3g}; "
                f"legal is {tolerance:g}"
            )
        report[case] = {"max_difference": difference, "latency_p50_ms": 1000 * statistics.median(seconds)}
    return report


def _compare_stream(local: Client, client: Client, tolerance: float) -> dict[str, float]:
    """What a stream over the wire adds up to, against the whole mixture in this process."""
    mixture = _mixture(local, ODD_SAMPLES)
    stream = Stream(client, None if mixture.ndim == 2 else mixture.shape[2], STREAM_HOPS)
    parts = stream.push(mixture[0]), stream.finish()
    streamed = {target: np.concatenate([part[target] for part in parts])[np.newaxis] for target in stream.targets}
    difference = _difference("signature stream", local.predict(mixture), streamed)
    if not difference <= tolerance:
        raise Refused(
            f"signature stream: {ODD_SAMPLES} samples of a stream differ from those of the whole mixture by "
            f"{difference:.3g}; legal is {tolerance:g}"
        )
    return {"max_difference": difference}


def _difference(what: str, expected: Inputs, answer: Inputs) -> float:
    """Largest absolute difference over all outputs, 1.0 being full scale."""
    if sorted(expected) != sorted(answer):
        raise Refused(f"{what}: served outputs are {sorted(answer)}; the model's own are {sorted(expected)}")
    largest = 0.0
    for name, own in expected.items():
        for left, right in zip(_signals(own), _signals(answer[name]), strict=True):
            if left.shape != right.shape:
                raise Refused(f"{what}: served {name} has shape {right.shape}; the model's own {left.shape}")
            for whose, signal in (("the model's own", left), ("served", right)):
                if not np.isfinite(signal).all():
                    raise Refused(f"{what}: {whose} {name} holds NaN or infinity")
            largest = max(largest, float(np.abs(left - right).max(initial=0.0)))
    return largest


def _signals(output: np.ndarray) -> list[np.ndarray]:
    """An output as arrays of numbers: WAV bytes are decoded, other strings become their bytes."""
    if output.dtype != object:
        return [output.astype(np.float64)]
    return [
        soundfile.read(io.BytesIO(value))[0]
        if value[:4] == b"RIFF"
        else np.frombuffer(value, np.uint8).astype(np.float64)
        for value in output.ravel()
    ]


# ---- the artifact


def _stamp(model: Path, stamped: Path, chunk_samples: int) -> None:
    """A copy of the model with warm-up requests: serving_default at the chunk length, stream with one hop."""
    partial = stamped.with_name(f".{stamped.name}.partial")
    shutil.copytree(model, partial, dirs_exist_ok=True)
    warm_up = ModelDirectory(partial).warm_up_file
    warm_up.parent.mkdir(exist_ok=True)
    with local_client(model) as local, tf.io.TFRecordWriter(str(warm_up)) as writer:
        alias = next(iter(local.signatures[DEFAULT_SIGNATURE].inputs))
        for batch in WARM_UP_BATCHES:
            writer.write(_warm_up(DEFAULT_SIGNATURE, {alias: _mixture(local, chunk_samples, batch)}))
            if STREAM_SIGNATURE in local.signatures:
                writer.write(_warm_up(STREAM_SIGNATURE, _beginning(local, batch)))
    os.replace(partial, stamped)


def _warm_up(signature: str, inputs: Inputs) -> bytes:
    """One record of the warm-up file: a serialized PredictionLog."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = signature
    for alias, array in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(array))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    return log.SerializeToString()


def _first_examples(examples: standard_artifacts.Examples, number: int = 2) -> dict[str, bytes]:
    """The first serialized tf.Examples of the first split that has any, by a name for the report."""
    for split in sorted(examples.splits):
        files = examples_module.shards(examples.path(split=split))
        records = tf.data.TFRecordDataset(files, compression_type="GZIP").take(number)
        found = {f"{split} {index}": bytes(record) for index, record in enumerate(records.as_numpy_iterator())}
        if found:
            return found
    raise ValueError(f"examples artifact {examples.uri} holds no example in any of its splits {examples.splits}")


def bless(
    model: standard_artifacts.Model,
    examples: standard_artifacts.Examples,
    blessing: standard_artifacts.InfraBlessing,
    config: config_module.Config,
) -> None:
    """Validates and fills the blessing artifact; a candidate that does not serve is marked, not raised.

    `blessing` gets the int properties `blessed` and (when blessed) `has_model`, the string property `reason` when not,
    INFRA_BLESSED or INFRA_NOT_BLESSED, serving.json, and the stamped model.
    """
    candidate = Path(path_utils.serving_model_path(model.uri))
    uri = Path(blessing.uri)
    uri.mkdir(parents=True, exist_ok=True)
    rate_hz = config.model.sample_rate_hz
    chunk_samples = round(config.serve.chunk_seconds * rate_hz)
    requests = _first_examples(examples)
    signatures, reason = {}, ""
    try:
        signatures = validate(candidate, requests, rate_hz, chunk_samples, config.serve.tolerance)
        line("copying the candidate with its warm-up requests")
        _stamp(candidate, Path(path_utils.stamped_model_path(str(uri))), chunk_samples)
        blessing.set_int_custom_property("has_model", 1)
    except Refused as error:
        reason = str(error)
        blessing.set_string_custom_property("reason", reason)
    blessing.set_int_custom_property("blessed", int(not reason))
    (uri / (_NOT_BLESSED_FILENAME if reason else _BLESSED_FILENAME)).write_text("")
    report = {"blessed": not reason, "reason": reason, "tolerance": config.serve.tolerance, "signatures": signatures}
    (uri / REPORT).write_text(json.dumps(report, indent=2) + "\n")


@component
def ServingValidator(
    model: InputArtifact[standard_artifacts.Model],
    examples: InputArtifact[standard_artifacts.Examples],
    blessing: OutputArtifact[standard_artifacts.InfraBlessing],
    config: Parameter[str],
):
    """Serves the candidate in a process of its own and blesses it if it answers as it does in this one.

    `config` is JSON of the sections model (sample_rate_hz) and serve (chunk_seconds, tolerance).
    """
    bless(model, examples, blessing, config_module.from_json(config))
