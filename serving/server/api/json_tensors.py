"""JSON of the REST API to tensors and back, as tensorflow_serving/util/json_tensor.cc reads and writes it at 2.16.1.

Rows (`{"instances": [...]}` -> `{"predictions": [...]}`) and columns (`{"inputs": ...}` -> `{"outputs": ...}`); bytes are
`{"b64": "..."}`. Bodies are bytes on the wire and latin-1 text in here: the real server writes the bytes of a string
tensor as they are, whether they are UTF-8 or not.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorflow.python.framework import dtypes as tf

from serving.wire.status import Code, StatusError

BYTES_SUFFIX = "_bytes"  # of outputs that are written as base64

Arrays = dict[str, np.ndarray]
_INTEGERS = {
    tf.int8: (-(2**31), 2**31 - 1),  # the narrow ones wrap around, as in the real server
    tf.int16: (-(2**31), 2**31 - 1),
    tf.uint8: (-(2**31), 2**31 - 1),
    tf.int32: (-(2**31), 2**31 - 1),
    tf.int64: (-(2**63), 2**63 - 1),
    tf.uint32: (0, 2**32 - 1),
    tf.uint64: (0, 2**64 - 1),
}
_NAMES = {tf.float16: "half", tf.float32: "float", tf.float64: "double"}  # others are called the same in C++

_MAX_RANK = 31  # numpy 1 has 32 axes, one of which may be the batch; the runtime has 254
_ROWS_AT_ONCE = 1024
_MAX_TEXT = 1024  # of a value in an error's words

# what json says, and RapidJSON (error/en.h of 1.1.0)
_PARSE_ERRORS = {
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Extra data": "The document root must not be followed by other values.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid encoding in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}
_NUMBER_ERRORS = {".": "Miss fraction part in number."} | dict.fromkeys("eE", "Miss exponent in number.")
_TOO_BIG = "Number too big to be stored in double."

_CONSTANTS = {name: float(name) for name in ("NaN", "Infinity", "-Infinity")}
_INFINITIES = {
    id(_CONSTANTS[name]) for name in ("Infinity", "-Infinity")
}  # and no other object: that is a large number

_HALF_A_PAIR = re.compile(rb"(?<!\\)(?:\\\\)*\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")


def parse(body: bytes) -> dict[str, Any]:
    """The request's JSON object.

    Raises:
      StatusError: INVALID_ARGUMENT, it is none.
    """
    if not body:
        raise _parse_error("The document is empty")
    body = body.partition(b"\0")[0]  # where a C string ends, a document does
    if b"\\u" in body and (half := _HALF_A_PAIR.search(body)):
        raise _parse_error(f"The surrogate pair in string is invalid. at offset: {half.start()}")
    try:
        document = _decoded(body.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise _parse_error(f"{_fault(error)} at offset: {error.pos}") from error
    except UnicodeDecodeError as error:
        raise _parse_error(f"Invalid encoding in string. at offset: {error.start}") from None
    except ValueError as error:  # more digits than Python reads
        raise _parse_error(_TOO_BIG) from error
    except RecursionError as error:
        raise _parse_error("The document is nested too deeply") from error
    if not isinstance(document, dict):
        raise _invalid(f"JSON Value: {_text(document)} Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature a request asks for; empty for the default one."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise _invalid(
            f"JSON Value: {_text(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name.encode("utf-8", "replace").decode()  # a lone surrogate is legal in JSON, not in a proto


def inputs(document: Mapping[str, Any], dtypes: Mapping[str, tf.DType]) -> tuple[Arrays, bool]:
    """The input arrays by alias, and whether the request came in rows.

    Args:
      dtypes: of the signature's inputs.

    Raises:
      StatusError: INVALID_ARGUMENT in the real server's words.
    """
    if not dtypes:
        raise _invalid(f"Failed to get input map for signature: {signature_name(document) or 'DEFAULT'}")
    if "instances" in document and "inputs" in document:
        raise _invalid(
            f"JSON Value: {_text(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    if "instances" in document:
        rows = document["instances"]
        if not isinstance(rows, list):
            raise _invalid(f"JSON Value: {_text(document)} Expecting 'instances' to be an list/array")
        if not rows:
            raise _invalid(f"JSON Value: {_text(document)} No values in 'instances' array")
        return _from_rows(rows, dtypes), True
    if "inputs" in document:
        return _from_columns(document["inputs"], dtypes), False
    raise _invalid("Missing 'inputs' or 'instances' key")


def outputs(arrays: Mapping[str, np.ndarray], rows: bool) -> bytes:
    """The response's body.

    Raises:
      StatusError: INVALID_ARGUMENT, outputs without a common batch axis cannot be rows, or a dtype JSON has no form for.
    """
    if not arrays:
        raise _invalid("Cannot convert empty tensor map to JSON")
    if not rows:
        texts = {alias: _written(alias, array, 0)[0] for alias, array in arrays.items()}
        return _document("outputs", next(iter(texts.values())) if len(texts) == 1 else _object(texts))
    _check_batch(arrays)
    columns = {alias: _written(alias, array, 1) for alias, array in arrays.items()}
    if len(columns) == 1:
        items = next(iter(columns.values()))
    else:
        items = [_object(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    return _document("predictions", "[" + ",\n".join(items) + "]")


def error(message: str) -> bytes:
    """The body of every answer that is not 200."""
    return _document("error", json.dumps(message, ensure_ascii=False).encode("utf-8", "replace").decode("latin-1"))


def decimals(array: np.ndarray) -> list[str]:
    """6 significant digits, or all where those do not give the number back; whole ones with a trailing `.0`."""
    flat = array.ravel()
    texts = _formatted("%.9g" if flat.dtype == np.float32 else "%.17g", flat)
    few = np.flatnonzero(_may_be_short(flat))
    short = _formatted("%.6g", flat[few])
    with np.errstate(over="ignore"):
        inexact = (np.fromstring(" ".join(short), sep=" ").astype(flat.dtype) != flat[few]) & np.isfinite(flat[few])
    for index, text, long in zip(few.tolist(), short, inexact.tolist(), strict=True):
        texts[index] = _decimal(texts[index] if long else text)
    return texts


def _may_be_short(flat: np.ndarray) -> np.ndarray:
    """Where 6 digits may do, or the number is whole or none: an eighth of real numbers, and no other needs a second look.

    A float32 is half a unit of its last place from what reads as it, 6e-8 of it, or 0.06 where 6 digits stand before the point.
    """
    with np.errstate(all="ignore"):
        wide = np.abs(flat.astype(np.float64))
        scaled = wide * 10.0 ** (5 - np.floor(np.log10(wide)))
        far = np.abs(scaled - np.rint(scaled)) > 0.065
    return ~far | (wide == np.rint(wide)) | (wide < np.finfo(np.float32).tiny)


# ---- reading


def _decoded(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_first_of_each, parse_constant=_CONSTANTS.__getitem__)


def _fault(error: json.JSONDecodeError) -> str:
    """What RapidJSON says of it."""
    if not error.doc.strip():
        return "The document is empty."
    if error.msg != "Expecting ',' delimiter":
        return _PARSE_ERRORS.get(error.msg, error.msg)
    before, after = error.doc[error.pos - 1 : error.pos], error.doc[error.pos : error.pos + 1]
    if before.isdigit() and after in _NUMBER_ERRORS:
        return _NUMBER_ERRORS[after]
    try:
        _decoded(error.doc[: error.pos] + "]")
    except json.JSONDecodeError as other:
        if other.pos == error.pos:  # so what is open there is no array
            return "Missing a comma or '}' after an object member."
    return "Missing a comma or ']' after an array element."


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which a key was written twice has its first value, which is what RapidJSON finds."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else dict(reversed(pairs))


def _from_columns(value: Any, dtypes: Mapping[str, tf.DType]) -> Arrays:
    if not _is_named(value):
        if len(dtypes) > 1:
            raise _invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        return {alias: _array(value, dtype) for alias, dtype in dtypes.items()}
    for alias in dtypes:
        if alias not in value:
            raise _invalid(f"Missing named input: {alias} in 'inputs' object.")
    return {alias: _array(value[alias], dtype) for alias, dtype in dtypes.items()}


def _from_rows(rows: list, dtypes: Mapping[str, tf.DType]) -> Arrays:
    named = _is_named(rows[0])
    if not isinstance(rows[0], dict) and len(dtypes) > 1:
        raise _invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    blocks: list[Arrays] = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block, first = rows[start : start + _ROWS_AT_ONCE], blocks[0] if blocks else {}
        together = _together(block, dtypes, first, named)
        blocks.append(together or _one_by_one(block, dtypes, first, named, start))
    return {alias: np.concatenate([block[alias] for block in blocks]) for alias in blocks[0]}


def _together(rows: list, dtypes: Mapping[str, tf.DType], first: Arrays, named: bool) -> Arrays | None:
    """The rows at once; None where they are not alike, or not like the first, or are wrong in any way."""
    names = set(dtypes)
    if any(_is_named(row) != named or (named and set(row) != names) for row in rows):
        return None
    columns = {alias: [row[alias] for row in rows] for alias in dtypes} if named else {next(iter(dtypes)): rows}
    try:
        arrays = {alias: _array(column, dtypes[alias], _MAX_RANK + 1) for alias, column in columns.items()}
    except StatusError:
        return None
    return None if any(arrays[alias].shape[1:] != first[alias].shape[1:] for alias in first) else arrays


def _one_by_one(rows: list, dtypes: Mapping[str, tf.DType], first: Arrays, named: bool, start: int) -> Arrays:
    """The same row by row, with the real server's words for the first that is wrong; rows are counted from `start`."""
    columns: dict[str, list] = {alias: [first[alias][0, ...]] if alias in first else [] for alias in dtypes}
    for index, row in enumerate(rows, start):
        if _is_named(row) != named:
            raise _invalid(
                f"Expecting object but got list at item {index} of input list"
                if named
                else f"Expecting value/list but got object at item {index} of input list"
            )
        for alias, value in row.items() if named else [(next(iter(dtypes)), row)]:
            _add_row(columns, alias, value, dtypes, index, named)
        if named and set(row) != set(dtypes):
            raise _invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {_text(row)} "
                f"keys must be equal to: {','.join(sorted(dtypes))}"
            )
    return {alias: np.stack(column)[len(first) and 1 :] for alias, column in columns.items() if column}


def _is_named(row: Any) -> bool:
    """Whether it holds values by the names of inputs."""
    return isinstance(row, dict) and not _is_base64(row)


def _add_row(columns: dict[str, list], alias: str, value: Any, dtypes: Mapping, index: int, named: bool) -> None:
    key = f" key: {alias}" if named else ""
    prefix = f"Failed to process element: {index}{key} of 'instances' list. Error: INVALID_ARGUMENT: "
    if alias not in dtypes:
        raise _invalid(f"{prefix}JSON object: does not have named input: {alias}")
    try:
        array = _array(value, dtypes[alias])
    except StatusError as failure:
        raise _invalid(prefix + failure.message) from failure
    first = columns[alias][0] if columns[alias] else array
    if array.size != first.size:
        raise _invalid(f"{prefix}Expecting tensor size: {first.size} but got: {array.size}")
    if array.shape != first.shape:
        raise _invalid(f"{prefix}Expecting shape {_shape(first)} but got: {_shape(array)}")
    columns[alias].append(array)


def _array(value: Any, dtype: tf.DType, max_rank: int = _MAX_RANK) -> np.ndarray:
    """Nested lists of one length per level; the shape follows from the first element of each."""
    shape, probe = [], value
    while isinstance(probe, list):
        shape.append(len(probe))
        probe = probe[0] if probe else None
    if len(shape) > max_rank:
        raise _invalid(f"JSON Value: {_text(value)} is nested {len(shape)} deep; legal is up to {max_rank}")
    flat = [value]
    for level, size in enumerate(shape):
        if set(map(type, flat)) - {list} or set(map(len, flat)) - {size}:
            raise _uneven(flat, size, level, len(shape))
        flat = list(itertools.chain.from_iterable(flat))
    if list in set(map(type, flat)):
        raise _invalid(f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}")
    return _leaves(flat, dtype).reshape(shape)


def _uneven(items: list, size: int, level: int, levels: int) -> StatusError:
    """Of the first of the items that is no list of this size."""
    for item in items:
        if not isinstance(item, list):
            where = f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {levels}"
            return _invalid(f"JSON Value: {_text(item)} {where}")
        if len(item) != size:
            break
    return _invalid(f"Encountered list at unexpected size: {len(item)} at level: {level} expected size: {size}")


def _leaves(values: list, dtype: tf.DType) -> np.ndarray:
    kinds = set(map(type, values))
    if dtype in (tf.float32, tf.float64):
        if not kinds <= {int, float}:
            raise _type_error(next(value for value in values if type(value) not in (int, float)), dtype)
        return _reals(values, dtype)
    if dtype in _INTEGERS:
        low, high = _INTEGERS[dtype]
        for value in values:
            if type(value) is not int or not low <= value <= high:
                raise _type_error(value, dtype)
        wide = np.uint64 if dtype == tf.uint64 else np.int64
        return np.array(values, wide).astype(dtype.as_numpy_dtype)
    if dtype == tf.bool:
        if not kinds <= {bool}:
            raise _type_error(next(value for value in values if type(value) is not bool), dtype)
        return np.array(values, bool)
    if dtype == tf.string:
        flat = np.empty(len(values), object)
        flat[:] = [_bytes(value) for value in values]
        return flat
    raise StatusError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {_text(values[:1])} to type: {_name(dtype)}")


def _reals(values: list, dtype: tf.DType) -> np.ndarray:
    """Through double, as RapidJSON reads numbers: what is beyond a float's range is infinite or zero, and none is refused."""
    try:
        doubles = np.array(values, np.float64)
    except OverflowError:  # a whole number of more than 308 digits
        raise _parse_error(_TOO_BIG) from None
    if any(id(values[index]) not in _INFINITIES for index in np.flatnonzero(np.isinf(doubles))):
        raise _parse_error(_TOO_BIG)
    with np.errstate(over="ignore", under="ignore"):
        return doubles.astype(dtype.as_numpy_dtype)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not isinstance(value, dict):
        raise _type_error(value, tf.string)
    if not _is_base64(value):
        raise _invalid(f"JSON Value: {_text(value)} not formatted correctly for base64 data")
    text = "".join(value["b64"].split()).rstrip("=")  # lines and padding may be there or not
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as failure:
        raise _invalid("Unable to base64 decode") from failure


def _is_base64(value: Any) -> bool:
    """Whether a JSON value is an object that stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


# ---- writing


def _check_batch(arrays: Mapping[str, np.ndarray]) -> None:
    batch = None
    for alias, array in arrays.items():
        if array.ndim == 0:
            raise _invalid(f"Tensor name: {alias} has no shape information ")
        if batch is not None and len(array) != batch:
            raise _invalid(f"Tensor name: {alias} has inconsistent batch size: {len(array)} expecting: {batch}")
        batch = len(array)


def _written(alias: str, value: Any, axes: int) -> list[str]:
    """One text for each place along the first `axes` axes."""
    array = np.asarray(value, object) if isinstance(value, bytes) else np.asarray(value)
    if array.dtype.kind == "f" and array.dtype.itemsize in (4, 8):
        texts = decimals(array)
    elif array.dtype.kind == "b":
        texts = ["true" if item else "false" for item in array.ravel().tolist()]
    elif array.dtype.kind in "iu" and array.dtype != np.uint16:
        texts = list(map(str, array.ravel().tolist()))
    elif array.dtype == object:
        as_bytes = alias.endswith(BYTES_SUFFIX)
        texts = [_base64(item) if as_bytes else _string(item) for item in array.ravel().tolist()]
    else:
        raise _invalid(f"Failed to write JSON value for tensor type: {_name(tf.as_dtype(array.dtype))}")
    for axis in reversed(range(axes, array.ndim)):
        size, places = array.shape[axis], math.prod(array.shape[:axis])
        lists = zip(*[iter(texts)] * size, strict=True) if size else [()] * places
        texts = [f"[{text}]" for text in map(", ".join, lists)]
    return texts


def _formatted(form: str, flat: np.ndarray) -> list[str]:
    """All numbers in one go: a second of audio has tens of thousands."""
    return (f"{form} " * len(flat) % tuple(flat.tolist())).split()


def _base64(data: bytes) -> str:
    return _object({"b64": json.dumps(base64.b64encode(data).decode())})


def _decimal(text: str) -> str:
    if text in ("nan", "inf", "-inf"):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[text]
    return text if "." in text or "e" in text else f"{text}.0"


def _string(data: bytes) -> str:
    """A JSON string of these very bytes, as latin-1 text."""
    return json.dumps(data.decode("latin-1"), ensure_ascii=False)


def _object(texts: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{_string(key.encode())}: {text}" for key, text in texts.items()) + "}"


def _document(key: str, text: str) -> bytes:
    return f'{{\n    "{key}": {text}\n}}'.encode("latin-1")


def _text(value: Any) -> str:
    """A value in an error's words; the rest of a long one is not even formatted."""
    text = ""
    for piece in json.JSONEncoder(indent=4, ensure_ascii=False).iterencode(value):
        text += piece
        if len(text) >= _MAX_TEXT:
            break
    return text[:_MAX_TEXT]


def _name(dtype: tf.DType) -> str:
    return _NAMES.get(dtype, dtype.name)


def _type_error(value: Any, dtype: tf.DType) -> StatusError:
    kinds = {type(None): "Null", bool: str(value), dict: "Object", list: "Array", str: "String"}
    kind = kinds.get(type(value), "Number")
    return _invalid(f"JSON Value: {_text(value)} Type: {kind} is not of expected type: {_name(dtype)}")


def _shape(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _parse_error(message: str) -> StatusError:
    return _invalid(f"JSON Parse error: {message}")


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
