"""Our messages beside those of the packages that TensorFlow and TensorFlow Serving generate."""

from __future__ import annotations

import subprocess
import sys

import pytest
from google.protobuf import descriptor, message
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from serving.wire import messages

REAL = {
    messages.TensorProto: tensor_pb2.TensorProto,
    messages.ModelSpec: model_pb2.ModelSpec,
    messages.GetModelMetadataRequest: get_model_metadata_pb2.GetModelMetadataRequest,
    messages.GetModelMetadataResponse: get_model_metadata_pb2.GetModelMetadataResponse,
    messages.SignatureDefMap: get_model_metadata_pb2.SignatureDefMap,
}


def below(*tops: descriptor.Descriptor) -> dict[str, descriptor.Descriptor]:
    """The messages themselves and those of their fields, by full name."""
    found: dict[str, descriptor.Descriptor] = {}
    waiting = list(tops)
    while waiting:
        one = waiting.pop()
        if one.full_name not in found:
            found[one.full_name] = one
            waiting += [field.message_type for field in one.fields if field.message_type]
    return found


OURS = below(*(ours.DESCRIPTOR for ours in REAL))
THEIRS = below(*(theirs.DESCRIPTOR for theirs in REAL.values()))


@pytest.mark.parametrize("name", OURS)
def test_every_field_is_that_of_the_real_message(name: str):
    ours, theirs = OURS[name], THEIRS[name]
    assert ours.GetOptions().map_entry == theirs.GetOptions().map_entry
    assert ours.fields
    for field in ours.fields:
        real = theirs.fields_by_name[field.name]
        for fact in ("number", "type", "label", "name", "full_name", "cpp_type", "default_value"):
            assert getattr(field, fact) == getattr(real, fact), (field.full_name, fact)
        for kind in ("message_type", "enum_type"):
            mine, other = getattr(field, kind), getattr(real, kind)
            assert (mine and mine.full_name) == (other and other.full_name), field.full_name


def test_every_message_that_is_declared_was_compared():
    names = {f"tensorflow.{name}" for name in messages.TENSORFLOW}
    assert names | {f"tensorflow.serving.{name}" for name in messages.SERVING} <= OURS.keys()


def test_the_data_types_are_tensorflows():
    assert {name: number for name, number in types_pb2.DataType.items() if number < 100} == messages.DATA_TYPES
    ours = messages.TensorProto.DESCRIPTOR.fields_by_name["dtype"].enum_type
    assert {value.name: value.number for value in ours.values} == messages.DATA_TYPES


def fill(real: message.Message) -> None:
    """Puts something into every field that ours has, twice into repeated ones."""
    for field in OURS[real.DESCRIPTOR.full_name].fields:
        target, repeated = getattr(real, field.name), field.label == field.LABEL_REPEATED
        if field.message_type is None:
            text = "x" if field.type == field.TYPE_STRING else b"\xff"
            value = text if field.cpp_type == field.CPPTYPE_STRING else 1
            if repeated:
                target.extend([value, value])
            else:
                setattr(real, field.name, value)
        elif field.message_type.GetOptions().map_entry:
            fill(target["a"])
            fill(target["b"])
        else:
            for part in (target.add(), target.add()) if repeated else (target,):
                fill(part)


@pytest.mark.parametrize("ours", REAL, ids=lambda ours: ours.DESCRIPTOR.name)
def test_the_bytes_are_the_same_both_ways(ours):
    """Packed or not, too: a list of two says it."""
    real = REAL[ours]()
    fill(real)
    sent = real.SerializeToString(deterministic=True)
    parsed = ours.FromString(sent)
    assert len(parsed.ListFields()) == len(ours.DESCRIPTOR.fields)
    parsed.DiscardUnknownFields()
    assert parsed.SerializeToString(deterministic=True) == sent


def test_what_is_not_declared_is_kept():
    real = tensor_pb2.TensorProto(dtype=1, float8_val=b"\x01")
    kept = messages.TensorProto.FromString(real.SerializeToString())
    assert tensor_pb2.TensorProto.FromString(kept.SerializeToString()) == real


def test_signatures_are_unpacked_by_their_full_name():
    signatures = get_model_metadata_pb2.SignatureDefMap()
    signatures.signature_def["s"].CopyFrom(meta_graph_pb2.SignatureDef(method_name="m"))
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.metadata["signature_def"].Pack(signatures)
    ours = messages.GetModelMetadataResponse.FromString(response.SerializeToString())
    found = messages.SignatureDefMap()
    assert ours.metadata["signature_def"].Unpack(found)
    assert found.signature_def["s"].method_name == "m"


@pytest.mark.parametrize("first", ["serving.wire.messages", "tensorflow_serving.apis.predict_pb2"])
def test_both_live_in_one_process_whichever_comes_first(first: str):
    second = {"serving.wire.messages", "tensorflow_serving.apis.predict_pb2"} - {first}
    code = (
        f"import {first}, {second.pop()}; from serving.wire.messages import ModelSpec; print(ModelSpec(name='m').name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "m\n", done.stderr
