"""A server that answers what none should: one sentence that names it, without delay, memory or a traceback."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from google.protobuf import any_pb2
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2

from serving.client import Client
from serving.client.separation import SeparationError
from serving.client.stream import Stream
from serving.wire import tensors

FLOAT, STRING, INT64, BFLOAT16, RESOURCE = 1, 7, 9, 14, 20


class Answers(grpc.GenericRpcHandler):
    """By method, the bytes of its answer, or by signature those of Predict's."""

    def __init__(self, metadata: bytes, predict: Mapping[str, bytes]) -> None:
        self._metadata, self._predict = metadata, predict

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        if details.method.endswith("GetModelMetadata"):
            return grpc.unary_unary_rpc_method_handler(lambda *_: self._metadata)
        return grpc.unary_unary_rpc_method_handler(
            lambda request, _: self._predict[predict_pb2.PredictRequest.FromString(request).model_spec.signature_name]
        )


@contextmanager
def client(metadata: bytes, predict: Mapping[str, bytes] | None = None) -> Iterator[Client]:
    server = grpc.server(ThreadPoolExecutor(2), [Answers(metadata, predict or {})])
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        with Client(f"localhost:{port}", patience_seconds=0) as made:
            yield made
    finally:
        server.stop(0).wait()


def tensor(*dims: int, dtype: int = FLOAT) -> meta_graph_pb2.TensorInfo:
    info = meta_graph_pb2.TensorInfo(name="x:0", dtype=dtype)
    for size in dims:
        info.tensor_shape.dim.add(size=size)
    return info


def signature(inputs: Mapping, outputs: Mapping) -> meta_graph_pb2.SignatureDef:
    return meta_graph_pb2.SignatureDef(inputs=inputs, outputs=outputs)


DEFAULT = signature({"mixture": tensor(-1, -1)}, {"vocals": tensor(-1, -1)})
DESCRIBE = signature({"query": tensor(-1, dtype=STRING)}, {"sample_rate_hz": tensor(-1, dtype=INT64)})


def metadata(**signatures: meta_graph_pb2.SignatureDef) -> bytes:
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.version.value = 1
    response.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap(signature_def=signatures))
    return response.SerializeToString()


def packed(value: any_pb2.Any) -> bytes:
    response = get_model_metadata_pb2.GetModelMetadataResponse(metadata={"signature_def": value})
    return response.SerializeToString()


def predicted(version: int = 1, **outputs: np.ndarray) -> bytes:
    spec = model_pb2.ModelSpec()
    spec.version.value = version
    return tensors.predict_response(spec, outputs)


SIGNATURES = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
NO_METADATA = {
    "no message": b"\xff\xff\xff",
    "nothing": b"",
    "nothing in it": packed(any_pb2.Any()),
    "another message in it": packed(any_pb2.Any(type_url="type.googleapis.com/tensorflow.serving.ModelSpec")),
    "no message in it": packed(any_pb2.Any(type_url=SIGNATURES, value=b"\xff\xff\xff")),
    "no signatures": metadata(),
    "no default signature": metadata(describe=DESCRIBE),
    "no inputs": metadata(serving_default=signature({}, {"vocals": tensor(-1, -1)}), describe=DESCRIBE),
    "no outputs": metadata(serving_default=signature({"mixture": tensor(-1, -1)}, {}), describe=DESCRIBE),
    "no shape": metadata(serving_default=signature({"mixture": tensor()}, {"vocals": tensor()}), describe=DESCRIBE),
    "a query of 8 TB": metadata(
        serving_default=DEFAULT, describe=signature({"query": tensor(2**40, dtype=INT64)}, {"x": tensor(-1)})
    ),
    "a query beyond 64 bits": metadata(
        serving_default=DEFAULT, describe=signature({"query": tensor(2**62, 2**62)}, {"x": tensor(-1)})
    ),
    "a query of a resource": metadata(
        serving_default=DEFAULT, describe=signature({"query": tensor(-1, dtype=RESOURCE)}, {"x": tensor(-1)})
    ),
}


def refused(made: Client) -> str:
    """The sentence."""
    started = time.monotonic()
    with pytest.raises(SeparationError) as caught:
        made.separate(np.zeros(1000), 16000)
    assert time.monotonic() - started < 5
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("answer", NO_METADATA.values(), ids=NO_METADATA)
def test_metadata_that_is_none_is_one_sentence(answer):
    with client(answer, {"describe": predicted(sample_rate_hz=np.array([16000])), "": b""}) as made:
        assert "localhost" in refused(made)


DESCRIBED = {
    "no message": b"\xff\xff\xff",
    "nothing": predicted(),
    "another fact": predicted(other=np.array([1])),
    "no item": predicted(sample_rate_hz=np.zeros(0, np.int64)),
    "zero": predicted(sample_rate_hz=np.array([0])),
    "less than zero": predicted(sample_rate_hz=np.array([-(2**63)])),
    "half a number": predicted(sample_rate_hz=np.array([0.5])),
    "NaN": predicted(sample_rate_hz=np.array([np.nan])),
    "text": predicted(sample_rate_hz=np.array([b"16000 Hz"], object)),
    "a period of zero": predicted(sample_rate_hz=np.array([16000]), period_samples=np.array([0])),
}


@pytest.mark.parametrize("answer", DESCRIBED.values(), ids=DESCRIBED)
def test_a_description_that_is_none_is_one_sentence(answer):
    with client(metadata(serving_default=DEFAULT, describe=DESCRIBE), {"describe": answer}) as made:
        assert "localhost" in refused(made)


def declared(**fields) -> bytes:
    """A TensorProto as it comes, whatever it declares."""
    response = predict_pb2.PredictResponse(outputs={"vocals": tensor_pb2.TensorProto(**fields)})
    response.model_spec.version.value = 1
    return response.SerializeToString()


SEPARATED = {
    "no message": b"\xff\xff\xff",
    "nothing": b"",
    "another version": predicted(2, vocals=np.zeros((1, 160000), np.float32)),
    "another target": predicted(drums=np.zeros((1, 160000), np.float32)),
    "another length": predicted(vocals=np.zeros((1, 3), np.float32)),
    "another type": predicted(vocals=np.zeros((1, 160000), np.int32)),
    "NaN": predicted(vocals=np.full((1, 160000), np.nan, np.float32)),
    "half a gigabyte that is not sent": declared(dtype=FLOAT, tensor_shape={"dim": [{"size": 2**27}]}, float_val=[1]),
    "an unknown type": declared(dtype=99),
    "a resource": declared(dtype=RESOURCE),
    "half a number": declared(dtype=FLOAT, tensor_shape={"dim": [{"size": 1}]}, tensor_content=b"123"),
    "a name that is no text": b"\x0a\x06\x0a\x02\xff\xff\x12\x00",
    "bfloat16": declared(dtype=BFLOAT16, tensor_shape={"dim": [{"size": 1}]}, half_val=[1]),
}


@pytest.mark.parametrize("answer", SEPARATED.values(), ids=SEPARATED)
def test_stems_that_are_none_are_one_sentence(answer):
    described = predicted(sample_rate_hz=np.array([16000]))
    with client(
        metadata(serving_default=DEFAULT, describe=DESCRIBE), {"describe": described, "serving_default": answer}
    ) as made:
        assert "localhost" in refused(made)


STREAMS = {
    "two mixtures": signature({"a": tensor(-1, -1), "b": tensor(-1, -1)}, {"vocals": tensor(-1, -1)}),
    "no mixture": signature({"state_0": tensor(-1, 4)}, {"vocals": tensor(-1, -1), "state_0": tensor(-1, 4)}),
    "no stem": signature({"mixture": tensor(-1, -1), "s": tensor(-1, 4)}, {"s": tensor(-1, 4)}),
    "a state of 8 TB": signature(
        {"mixture": tensor(-1, -1), "s": tensor(-1, 2**41)}, {"vocals": tensor(-1, -1), "s": tensor(-1, 2**41)}
    ),
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_a_stream_that_is_none_is_one_sentence(stream):
    facts = {name: np.array([512]) for name in ("sample_rate_hz", "hop", "latency_samples")}
    with (
        client(
            metadata(serving_default=DEFAULT, describe=DESCRIBE, stream=stream), {"describe": predicted(**facts)}
        ) as made,
        pytest.raises(SeparationError, match="localhost") as caught,
    ):
        Stream(made)
    assert "\n" not in str(caught.value)


def test_an_array_that_is_no_tensor_is_one_sentence():
    with (
        client(metadata(serving_default=DEFAULT)) as made,
        pytest.raises(SeparationError, match="cannot be asked: an array of datetime64"),
    ):
        made.run({"mixture": np.zeros(1, "datetime64[s]")})
