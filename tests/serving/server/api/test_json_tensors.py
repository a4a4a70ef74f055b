"""JSON to tensors and back, row by row as tensorflow_serving/util/json_tensor_test.cc of TensorFlow Serving 2.16.1.

The ids of a table are the names of the tests there; rows with an id in words are neighbours of ours, from json_tensor.cc.
"""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from serving.server.api import json_tensors
from serving.wire.status import Code, StatusError

INT, REAL, DOUBLE, TEXT = tf.int32, tf.float32, tf.float64, tf.string
ONE_INT, ONE_REAL, ONE_DOUBLE, ONE_TEXT = ({"default": dtype} for dtype in (INT, REAL, DOUBLE, TEXT))
FOUR = {"int_tensor": INT, "str_tensor": TEXT, "float_tensor": REAL, "dbl_tensor": DOUBLE}
PAIRS = np.arange(1, 7, dtype=np.int32).reshape(3, 2)
LARGEST, SMALLEST = sys.float_info.max, sys.float_info.min
HELLO = '{"b64": "aGVsbG8="}'
WORLD = '{"b64": "d29ybGQ="}'


@pytest.fixture(params=[1024, 1, 2])
def rows_at_once(request, monkeypatch) -> None:
    """Rows are read in blocks; what is read and refused does not depend on their size."""
    monkeypatch.setattr(json_tensors, "_ROWS_AT_ONCE", request.param)


def read(body: str | bytes, dtypes) -> tuple[dict, bool]:
    document = json_tensors.parse(body.encode() if isinstance(body, str) else body)
    json_tensors.signature_name(document)
    return json_tensors.inputs(document, dtypes)


def floats(*values: float) -> dict:
    return {"default": np.array(values, np.float32)}


def texts(*shape: int, values=(b"hello", b"world")) -> dict:
    return {"default": np.array(values, object).reshape(shape)}


ROWS = {
    "SingleUnnamedTensor": ('{"instances": [[1, 2], [3, 4], [5, 6]]}', ONE_INT, {"default": PAIRS}),
    "MixedInputForFloatTensor": (
        '{"instances": [1, 2.0, 3, 5.003, 0.007, 0.0]}',
        ONE_REAL,
        floats(1, 2, 3, 5.003, 0.007, 0),
    ),
    "MixedInputForDoubleTensor": ('{"instances": [1.0, 2, 0.662, 0]}', ONE_DOUBLE, {"default": np.array([1, 2, 0.662, 0])}),
    "FloatTensorWithPrecisionLoss": ('{"instances": [1435774380]}', ONE_REAL, floats(1435774380)),
    "FloatTensorWithPrecisionLoss, with a point": ('{"instances": [1435774380.0]}', ONE_REAL, floats(1435774380)),
    "the first whole number that a float cannot hold": ('{"instances": [16777217]}', ONE_REAL, floats(16777216)),
    "a whole number beyond 64 bits": (f'{{"instances": [{10**30}]}}', ONE_REAL, floats(1e30)),
    "FloatTensorThatExceedsMaxReturnsInf": (f'{{"instances": [{LARGEST}, {-LARGEST}]}}', ONE_REAL, floats(np.inf, -np.inf)),
    "1e39": ('{"instances": [1e39]}', ONE_REAL, floats(np.inf)),
    "FloatTensorThatExceedsMinReturnsZero": (f'{{"instances": [{SMALLEST}, {-SMALLEST}]}}', ONE_REAL, floats(0.0, -0.0)),
    "SingleUnnamedTensorWithSignature": (
        '{"signature_name": "predict_images", "instances": [[1, 2]]}',
        ONE_INT,
        {"default": PAIRS[:1]},
    ),
    "SingleUnnamedTensorBase64Scalars": (f'{{"instances": [{HELLO}, {WORLD}]}}', ONE_TEXT, texts(2)),
    "SingleUnnamedTensorBase64Lists": (f'{{"instances": [[{HELLO}], [{WORLD}]]}}', ONE_TEXT, texts(2, 1)),
    "SingleNamedTensorBase64": (f'{{"instances": [{{"default": [[{HELLO}], [{WORLD}]]}}]}}', ONE_TEXT, texts(1, 2, 1)),
    "base64 without padding and in lines": (
        '{"instances": [{"b64": "aGVs\\nbG8"}, "world"]}',
        ONE_TEXT,
        texts(2),
    ),
    "MultipleNamedTensor": (
        '{"instances": ['
        '{"int_tensor": [[1, 2]], "str_tensor": ["foo"], "float_tensor": [1.0, NaN], "dbl_tensor": NaN},'
        '{"dbl_tensor": 2.0, "float_tensor": [2.0, Infinity], "str_tensor": ["bar"], "int_tensor": [[3, 4]]}]}',
        FOUR,
        {
            "int_tensor": PAIRS[:2].reshape(2, 1, 2),
            "str_tensor": np.array([[b"foo"], [b"bar"]], object),
            "float_tensor": np.array([[1, np.nan], [2, np.inf]], np.float32),
            "dbl_tensor": np.array([np.nan, 2]),
        },
    ),
    "of a key that is written twice the first counts": (
        '{"instances": [1], "instances": [2], "instances": 3}',
        ONE_INT,
        {"default": np.array([1], np.int32)},
    ),
    "of an input that is written twice the first counts": (
        '{"instances": [{"default": 1, "default": 2}]}',
        ONE_INT,
        {"default": np.array([1], np.int32)},
    ),
    "rows nested as far as numpy goes": (
        '{"instances": [' + ("[" * 31 + "]" * 31 + ",") * 2 + "[" * 31 + "]" * 31 + "]}",
        ONE_REAL,
        {"default": np.zeros((3, *[1] * 30, 0), np.float32)},
    ),
    "bytes for the first of two inputs": (f'{{"instances": [{HELLO}, {WORLD}]}}', {"default": TEXT, "other": TEXT}, texts(2)),
    "several rows of bytes and text": (f'{{"instances": [{HELLO}, "b", {WORLD}]}}', ONE_TEXT, texts(3, values=[b"hello", b"b", b"world"])),
    "the end of a C string": ('{"instances": [1]}\0]', ONE_INT, {"default": np.array([1], np.int32)}),
    "infinity as such": ('{"instances": [Infinity, -Infinity]}', ONE_DOUBLE, {"default": np.array([np.inf, -np.inf])}),
    "a mark of the byte order": (b'\xef\xbb\xbf{"instances": ["\xc3\xbc"]}', ONE_TEXT, texts(1, values=["ü".encode()])),
}  # fmt: skip
COLUMNS = {
    "SingleUnnamedTensorColumnarFormat": (
        '{"inputs": {"int_tensor": [[[1, 2], [3, 4], [5, 6]]]}}',
        {"int_tensor": INT},
        {"int_tensor": PAIRS[None]},
    ),
    "SingleUnnamedTensorColumnarFormat, not named": (
        '{"inputs": [[[1, 2], [3, 4], [5, 6]]]}',
        {"int_tensor": INT},
        {"int_tensor": PAIRS[None]},
    ),
    "MultipleNamedTensorColumnarFormat": (
        f'{{"inputs": {{"int_tensor": [[1, 2]], "str_tensor": ["foo", "bar"], "bin_tensor": {HELLO}}}}}',
        {"int_tensor": INT, "str_tensor": TEXT, "bin_tensor": TEXT},
        {
            "int_tensor": PAIRS[:1],
            "str_tensor": np.array([b"foo", b"bar"], object),
            "bin_tensor": np.array(b"hello", object),
        },
    ),
}


@pytest.mark.usefixtures("rows_at_once")
@pytest.mark.parametrize(
    ("body", "dtypes", "expected", "rows"),
    [(*row, True) for row in ROWS.values()] + [(*row, False) for row in COLUMNS.values()],
    ids=[*ROWS, *COLUMNS],
)
def test_what_is_read(body, dtypes, expected, rows):
    arrays, in_rows = read(body, dtypes)
    assert in_rows is rows
    assert set(arrays) == set(expected)
    for alias, array in expected.items():
        assert arrays[alias].dtype == array.dtype
        np.testing.assert_array_equal(arrays[alias], array, strict=True)
        if array.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(arrays[alias]), np.signbit(array))


ELEMENT = "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
TWO = {"int_tensor": INT, "str_tensor": TEXT}
REFUSED = {
    "SingleUnnamedTensorErrors, nothing": ("", ONE_INT, "JSON Parse error: The document is empty"),
    "white space": (" \n", ONE_INT, "JSON Parse error: The document is empty. at offset: 2"),
    "SingleUnnamedTensorErrors, signature": (
        '{"signature_name": 5, "instances": [[1], [2]]}',
        ONE_INT,
        "not formatted correctly. 'signature_name' key must be a string value.",
    ),
    "SingleUnnamedTensorErrors, both": (
        '{"instances": [[1]], "inputs": [[1]]}',
        ONE_INT,
        "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
    ),
    "SingleUnnamedTensorErrors, size": ('{"instances": [[1], [2, 3]]}', ONE_INT, f"{ELEMENT}Expecting tensor size: 1 but got: 2"),
    "SingleUnnamedTensorErrors, shape": ('{"instances": [[1], [[2]]]}', ONE_INT, f"{ELEMENT}Expecting shape [1] but got: [1,1]"),
    "SingleUnnamedTensorErrors, scalar and list": ('{"instances": [1, [1]]}', ONE_INT, f"{ELEMENT}Expecting shape [] but got: [1]"),
    "SingleUnnamedTensorErrors, type": (
        '{"instances": [[1], ["a"]]}',
        ONE_INT,
        f'{ELEMENT}JSON Value: "a" Type: String is not of expected type: int32',
    ),
    "MultipleNamedTensorErrors, shape": (
        '{"instances": [{"int_tensor": [1], "str_tensor": "a"}, {"int_tensor": [[1]], "str_tensor": "a"}]}',
        TWO,
        "Failed to process element: 1 key: int_tensor of 'instances' list. Error: INVALID_ARGUMENT: "
        "Expecting shape [1] but got: [1,1]",
    ),
    "MultipleNamedTensorErrors, size": (
        '{"instances": [{"int_tensor": [1], "str_tensor": "a"}, {"int_tensor": [], "str_tensor": "a"}]}',
        TWO,
        "Expecting tensor size: 1 but got: 0",
    ),
    "MultipleNamedTensorErrors, list among objects": (
        '{"instances": [{"int_tensor": [1], "str_tensor": "a"}, [1, 20, 30]]}',
        TWO,
        "Expecting object but got list at item 1 of input list",
    ),
    "MultipleNamedTensorErrors, object among lists": (
        '{"instances": [["baz"], {"str_tensor": ["baz"]}]}',
        {"str_tensor": TEXT},
        "Expecting value/list but got object at item 1 of input list",
    ),
    "a key of no input": (
        '{"instances": [{"int_tensor": 1, "other": 2}]}',
        TWO,
        "Failed to process element: 0 key: other of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: other",
    ),
    "an input that is missing": ('{"instances": [{"int_tensor": 1}]}', TWO, "keys must be equal to: int_tensor,str_tensor"),
    "a value for several inputs": ('{"inputs": [1]}', TWO, "inputs is a plain value/list, but expecting an object"),
    "instances are no list": ('{"instances": 1}', ONE_INT, "Expecting 'instances' to be an list/array"),
    "no instances": ('{"instances": []}', ONE_INT, "No values in 'instances' array"),
    "a signature without inputs": ('{"instances": [1]}', {}, "Failed to get input map for signature: DEFAULT"),
    "no object": ("[1]", ONE_INT, "Is not object"),
    "true is no number": ('{"inputs": true}', ONE_REAL, "JSON Value: true Type: True is not of expected type: float"),
    "nothing is no text": ('{"inputs": null}', ONE_TEXT, "JSON Value: null Type: Null is not of expected type: string"),
    "too large for an int32": (f'{{"inputs": {2**31}}}', ONE_INT, "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
    "a fraction for a whole number": ('{"inputs": 1.0}', {"x": tf.int64}, "JSON Value: 1.0 Type: Number is not of expected type: int64"),
    "an object for a number": ('{"instances": [[{"x": 1}]]}', ONE_REAL, "Type: Object is not of expected type: float"),
    "an object that is no base64": ('{"inputs": [{"b": "aGk="}]}', ONE_TEXT, "not formatted correctly for base64 data"),
    "no base64": ('{"inputs": {"b64": "***"}}', ONE_TEXT, "Unable to base64 decode"),
    "a value where a list is": ('{"inputs": [[1.0], 2.0]}', ONE_REAL, "JSON Value: 2.0 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    "a list that is longer": ('{"inputs": [[1], [1, 2]]}', ONE_REAL, "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
    "a list where a value is": ('{"inputs": [1, [2]]}', ONE_REAL, "Encountered list at unexpected level: 1 expected < 1"),
    "nested more than numpy": ('{"inputs": ' + "[" * 32 + "]" * 32 + "}", ONE_REAL, "is nested 32 deep; legal is up to 31"),
    "nested 900 deep": ('{"inputs": ' + "[" * 900 + "]" * 900 + "}", ONE_REAL, "is nested 900 deep; legal is up to 31"),
    "objects nested 900 deep": ('{"inputs": {"default": ' + '{"a": ' * 900 + "1" + "}" * 902, ONE_REAL, "JSON Value: {"),
    "nested 100,000 deep": ("[" * 100_000, ONE_REAL, "JSON Parse error: The document is nested too deeply"),
    "the third row": ('{"instances": [1, 2, "a"]}', ONE_INT, "Failed to process element: 2 of 'instances' list. Error: "),
    "the shape of the third row": ('{"instances": [[1], [2], [[3]]]}', ONE_INT, "element: 2 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [1] but got: [1,1]"),
    "rows nested more than numpy": ('{"instances": [' + ("[" * 32 + "]" * 32 + ",") * 2 + "1]}", ONE_REAL, "is nested 32 deep; legal is up to 31"),
    "1e400": ('{"inputs": 1e400}', ONE_DOUBLE, "JSON Parse error: Number too big to be stored in double."),
    "1e400 among others": ('{"inputs": [NaN, Infinity, -1e400]}', ONE_REAL, "JSON Parse error: Number too big to be stored in double."),
    "a number of 400 digits": (f'{{"inputs": {10**400}}}', ONE_REAL, "JSON Parse error: Number too big to be stored in double."),
    "a number of 5,000 digits": ('{"inputs": 1' + "0" * 5000 + "}", ONE_REAL, "JSON Parse error: Number too big to be stored in double."),
    "half of a surrogate pair": ('{"inputs": "\\ud83d."}', ONE_TEXT, "JSON Parse error: The surrogate pair in string is invalid."),
    "no UTF-8": (b'{"inputs": "\xff"}', ONE_TEXT, "JSON Parse error: Invalid encoding in string."),
}  # fmt: skip


@pytest.mark.usefixtures("rows_at_once")
@pytest.mark.parametrize(("body", "dtypes", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(body, dtypes, words):
    with pytest.raises(StatusError) as caught:
        read(body, dtypes)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert words in caught.value.message
    assert len(caught.value.message) < 1500


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("instances = [1, 2]", "Invalid value."),
        ("{1: 2}", "Missing a name for object member."),
        ('{"a" 1}', "Missing a colon after a name of object member."),
        ('{"a": [1 2]}', "Missing a comma or ']' after an array element."),
        ('{"a": [{"b": []} "c"]}', "Missing a comma or ']' after an array element."),
        ('{"a": [1}', "Missing a comma or ']' after an array element."),
        ('{"a": {"b": 1] }', "Missing a comma or '}' after an object member."),
        ('{"a": {"b": [1]', "Missing a comma or '}' after an object member."),
        ('{"a": 1. }', "Miss fraction part in number."),
        ('{"a": 1.5e }', "Miss exponent in number."),
        (" ", "The document is empty."),
        ("{} {}", "The document root must not be followed by other values."),
        ('{"a": "b', "Missing a closing quotation mark in string."),
        ('{"a": "\n"}', "Invalid encoding in string."),
        ('{"a": "\\x"}', "Invalid escape character in string."),
        ('{"a": "\\u00g0"}', "Incorrect hex digit after \\u escape in string."),
    ],
)
def test_a_fault_in_the_json_is_named_as_rapidjson_names_it(body, words):
    with pytest.raises(StatusError) as caught:
        read(body, ONE_INT)
    assert caught.value.message.startswith(f"JSON Parse error: {words} at offset: ")


def test_an_escaped_pair_and_an_escaped_backslash_are_text():
    (text,) = read('{"instances": ["\\ud83d\\ude00 \\\\ud83d"]}', ONE_TEXT)[0]["default"]
    assert text == "\U0001f600 \\ud83d".encode()


class Watched(list):
    """Fails when it is read further than an error's words reach."""

    def __iter__(self):
        for count, item in enumerate(super().__iter__()):
            assert count < 1024
            yield item


def test_a_long_value_is_not_formatted_to_be_cut():
    with pytest.raises(StatusError) as caught:
        json_tensors.signature_name({"instances": Watched([1.5] * 5000), "signature_name": 1})
    assert len(caught.value.message) < 1200


# ---- writing

NAMED = {
    "double_scalar_tensor": np.array([8.0, 9.0]),
    "float_tensor": np.array([[1], [2]], np.float32),
    "int_tensor": PAIRS[:2],
    "str_tensor": np.array([[b"foo", b"bar"], [b"baz", b"bat"]], object),
    "str_tensor_bytes": np.array([b"hello", b"world"], object),
}
NAMED_COLUMNS = {
    "double_scalar_tensor": [8.0, 9.0],
    "float_tensor": [[1.0], [2.0]],
    "int_tensor": [[1, 2], [3, 4]],
    "str_tensor": [["foo", "bar"], ["baz", "bat"]],
    "str_tensor_bytes": [json.loads(HELLO), json.loads(WORLD)],
}
WRITTEN = {
    "FromJsonSingleTensor": ({"x": PAIRS}, PAIRS.tolist(), PAIRS.tolist()),
    "FromJsonSingleScalarTensor": ({"x": PAIRS[0]}, [1, 2], [1, 2]),
    "FromJsonSingleBytesTensor": (
        {"x_bytes": np.array([[b"hello"], [b"world"]], object)},
        [[json.loads(HELLO)], [json.loads(WORLD)]],
        [[json.loads(HELLO)], [json.loads(WORLD)]],
    ),
    "FromJsonMultipleNamedTensors": (
        NAMED,
        [dict(zip(NAMED, row, strict=True)) for row in zip(*NAMED_COLUMNS.values(), strict=True)],
        NAMED_COLUMNS,
    ),
    "FromJsonSingleZeroBatchTensor": ({"x": np.zeros((0, 2), np.int32)}, [], []),
    "rows of nothing": ({"x": np.zeros((2, 0, 3), np.int32)}, [[], []], [[], []]),
    "rows of rows of nothing": ({"x": np.zeros((1, 2, 0), object)}, [[[], []]], [[[], []]]),
    "FromJsonMultipleZeroBatchTensors": (
        {"a": np.zeros((0, 1, 2), object), "b": np.zeros((0, 3, 4), np.float32)},
        [],
        {"a": [], "b": []},
    ),
}


@pytest.mark.parametrize(("arrays", "rows", "columns"), WRITTEN.values(), ids=WRITTEN.keys())
def test_what_is_written(arrays, rows, columns):
    assert json.loads(json_tensors.outputs(arrays, rows=True)) == {"predictions": rows}
    assert json.loads(json_tensors.outputs(arrays, rows=False)) == {"outputs": columns}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"x": np.ones(2, np.complex64)}, "Failed to write JSON value for tensor type: complex64"),
        ({"x": np.ones(2, np.float16)}, "Failed to write JSON value for tensor type: half"),
        ({"x": np.ones(2, np.uint16)}, "Failed to write JSON value for tensor type: uint16"),
        ({"x": np.float32(1)}, "Tensor name: x has no shape information "),
        ({"a": PAIRS, "b": PAIRS[:1]}, "Tensor name: b has inconsistent batch size: 1 expecting: 3"),
        ({"a": PAIRS[:0], "b": PAIRS[:1]}, "Tensor name: b has inconsistent batch size: 1 expecting: 0"),
    ],
    ids=[
        "FromJsonSingleTensorErrors, none", "FromJsonSingleTensorErrors, dtype", "half", "uint16",
        "FromJsonSingleTensorErrors, no shape", "FromJsonMultipleNamedTensorsErrors", "FromJsonMultipleZeroBatchTensorsErrors",
    ],
)  # fmt: skip
def test_what_cannot_be_written(arrays, words):
    with pytest.raises(StatusError) as caught:
        json_tensors.outputs(arrays, rows=True)
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, words)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # FromJsonSingleFloatTensorSixDigitPrecision
        (9000000, "9e+06"), (999999, "999999.0"), (0.5, "0.5"), (0.0003, "0.0003"), (0.00003, "3e-05"), (555557.5, "555557.5"),
        # FromJsonSingleFloatTensorNonFinite
        (np.nan, "NaN"), (np.inf, "Infinity"), (3, "3.0"), (-np.inf, "-Infinity"),
        # and more
        (0.1, "0.1"), (1 / 3, "0.333333343"), (16777216.0, "16777216.0"), (-0.0, "-0.0"), (1e-45, "1.4013e-45"),
        (123456792.0, "123456792.0"),
    ],
)  # fmt: skip
def test_floats_have_the_digits_that_give_them_back(value, text):
    assert json_tensors.decimals(np.array([value], np.float32)) == [text]


def test_any_float_survives_json():
    random = np.random.default_rng(1)
    values = random.integers(0, 2**32, 20_000, np.uint64).astype(np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    body = json_tensors.outputs({"x": values}, rows=False)
    np.testing.assert_array_equal(np.array(json.loads(body)["outputs"]).astype(np.float32), values)


@pytest.mark.parametrize("words", ['Bad key: "key"', "Bad key: 'key'"], ids=["StatusError", "StatusError, single"])
def test_an_error_is_an_object_of_its_words(words):
    assert json.loads(json_tensors.error(words)) == {"error": words}
