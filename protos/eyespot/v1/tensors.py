"""NumPy arrays to tensors on the wire and back: the only table of datatypes.

The Open Inference Protocol v2 sends a tensor as its datatype, its shape and its elements:
little-endian and row-major in `raw_*_contents`, or element by element in the typed fields
of `InferTensorContents`. BYTES elements stand behind their length in four bytes. NumPy has
no bfloat16: BF16 is carried as its bit patterns in uint16.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.v1 import inference_pb2, model_config_pb2

Array = NDArray[np.generic]


class TensorError(ValueError):
    """The elements, the datatype and the shape of a tensor do not fit together."""


class Datatype(NamedTuple):
    """One element type, under each name that it has.

    Attributes:
        name: On the wire, such as "FP32".
        numpy: In memory; little-endian. BF16 is uint16, BYTES is object.
        config_type: In `ModelConfig`, a `model_config_pb2.DataType`.
        onnx: In ONNX Runtime, such as "tensor(float)".
        contents_field: The field of `InferTensorContents` with its elements, if it has one.
    """

    name: str
    numpy: np.dtype[np.generic]
    config_type: int
    onnx: str
    contents_field: str | None


def _datatype(name: str, numpy: str, config: str, onnx: str, contents: str | None) -> Datatype:
    number = model_config_pb2.DataType.Value(config)
    return Datatype(name, np.dtype(numpy), number, f"tensor({onnx})", contents)


DATATYPES: Mapping[str, Datatype] = {
    datatype.name: datatype
    for datatype in (
        _datatype("BOOL", "?", "TYPE_BOOL", "bool", "bool_contents"),
        _datatype("UINT8", "u1", "TYPE_UINT8", "uint8", "uint_contents"),
        _datatype("UINT16", "<u2", "TYPE_UINT16", "uint16", "uint_contents"),
        _datatype("UINT32", "<u4", "TYPE_UINT32", "uint32", "uint_contents"),
        _datatype("UINT64", "<u8", "TYPE_UINT64", "uint64", "uint64_contents"),
        _datatype("INT8", "i1", "TYPE_INT8", "int8", "int_contents"),
        _datatype("INT16", "<i2", "TYPE_INT16", "int16", "int_contents"),
        _datatype("INT32", "<i4", "TYPE_INT32", "int32", "int_contents"),
        _datatype("INT64", "<i8", "TYPE_INT64", "int64", "int64_contents"),
        _datatype("FP16", "<f2", "TYPE_FP16", "float16", None),
        _datatype("FP32", "<f4", "TYPE_FP32", "float", "fp32_contents"),
        _datatype("FP64", "<f8", "TYPE_FP64", "double", "fp64_contents"),
        _datatype("BF16", "<u2", "TYPE_BF16", "bfloat16", None),
        _datatype("BYTES", "O", "TYPE_STRING", "string", "bytes_contents"),
    )
}

_BY_NUMPY = {d.numpy: d.name for d in DATATYPES.values() if d.name != "BF16"}
_BY_CONFIG = {d.config_type: d for d in DATATYPES.values()}
_BY_ONNX = {d.onnx: d for d in DATATYPES.values()}


def datatype_of(dtype: np.dtype[np.generic]) -> str:
    """Name the datatype that carries a NumPy dtype without loss.

    Raises:
        TensorError: The protocol has no such datatype.
    """
    if dtype.kind in "SU":
        return "BYTES"
    name = _BY_NUMPY.get(dtype.newbyteorder("<"))
    if name is None:
        raise TensorError(f"dtype {dtype} has no datatype on the wire; use one of {_names()}")
    return name


def datatype_from_config(config_type: int) -> Datatype:
    """Look up a `ModelConfig` data type.

    Raises:
        TensorError: It is TYPE_INVALID or unknown.
    """
    try:
        return _BY_CONFIG[config_type]
    except KeyError:
        raise TensorError(f"data_type {config_type} is none of ModelConfig's types") from None


def datatype_from_onnx(onnx_type: str) -> Datatype | None:
    """Look up ONNX Runtime's name of a type; None for what the protocol cannot carry."""
    return _BY_ONNX.get(onnx_type)


def encode(array: Array, datatype: str) -> bytes:
    """Write the elements of an array as raw bytes, in the order of the wire.

    Strings are written as UTF-8.

    Raises:
        TensorError: The array's dtype is not that of `datatype`, or the name is unknown.
    """
    expected = _lookup(datatype).numpy
    if datatype == "BYTES":
        return b"".join(_length_prefixed(element) for element in array.ravel().tolist())
    if array.dtype != expected:
        if array.dtype.newbyteorder("<") != expected:
            raise TensorError(f"{datatype} needs an array of dtype {expected}, found {array.dtype}")
        array = array.astype(expected)
    return array.tobytes()


def decode(raw: bytes, *, datatype: str, shape: Sequence[int]) -> Array:
    """Read raw bytes as an array, without a copy (so it is read-only; BYTES is copied).

    Raises:
        TensorError: The bytes are too few or too many for the shape, or the datatype is
            unknown, or a BYTES element leaves the buffer.
    """
    dtype = _lookup(datatype).numpy
    count = _element_count(shape)
    if datatype == "BYTES":
        return _decode_bytes(raw, count).reshape(tuple(shape))
    if len(raw) != count * dtype.itemsize:
        raise TensorError(
            f"{datatype} of shape {list(shape)} takes {count * dtype.itemsize} bytes, "
            f"found {len(raw)}"
        )
    return np.ndarray(shape, dtype, raw)


def decode_contents(
    contents: inference_pb2.InferTensorContents, *, datatype: str, shape: Sequence[int]
) -> Array:
    """Read the typed fields of a tensor.

    Raises:
        TensorError: The elements are in the field of another datatype, are too few or too
            many, or do not fit into the datatype; FP16 and BF16 have no typed field.
    """
    entry = _lookup(datatype)
    if entry.contents_field is None:
        raise TensorError(f"{datatype} has no typed contents; send it as raw_input_contents")
    others = [
        field.name for field, _ in contents.ListFields() if field.name != entry.contents_field
    ]
    if others:
        raise TensorError(f"{datatype} belongs into {entry.contents_field}, found {others[0]}")
    elements = getattr(contents, entry.contents_field)
    count = _element_count(shape)
    if len(elements) != count:
        raise TensorError(
            f"{datatype} of shape {list(shape)} takes {count} elements, found {len(elements)}"
        )
    try:
        return _from_elements(elements, entry).reshape(tuple(shape))
    except OverflowError:
        raise TensorError(f"an element does not fit into {datatype}") from None


def _from_elements(elements: Sequence[object], entry: Datatype) -> Array:
    if entry.name == "BYTES":
        array = np.empty(len(elements), object)
        array[:] = elements
        return array
    return np.array(elements, entry.numpy)


def _lookup(datatype: str) -> Datatype:
    try:
        return DATATYPES[datatype]
    except KeyError:
        raise TensorError(f"unknown datatype {datatype!r}; use one of {_names()}") from None


def _names() -> str:
    return ", ".join(DATATYPES)


def _element_count(shape: Sequence[int]) -> int:
    if min(shape, default=0) < 0:
        raise TensorError(f"shape {list(shape)} has a negative size")
    return math.prod(shape)


def _length_prefixed(element: object) -> bytes:
    if isinstance(element, str):
        element = element.encode()
    if not isinstance(element, bytes):
        raise TensorError(f"BYTES takes bytes or str, found {type(element).__name__}")
    return struct.pack("<I", len(element)) + element


def _decode_bytes(raw: bytes, count: int) -> Array:
    elements: list[bytes] = []
    position = 0
    while position < len(raw) and len(elements) < count:
        if position + 4 > len(raw):
            raise TensorError(f"BYTES element {len(elements)} lacks its 4-byte length")
        (length,) = struct.unpack_from("<I", raw, position)
        position += 4
        if position + length > len(raw):
            raise TensorError(
                f"BYTES element {len(elements)} claims {length} bytes, "
                f"{len(raw) - position} are left"
            )
        elements.append(raw[position : position + length])
        position += length
    if len(elements) != count or position != len(raw):
        raise TensorError(
            f"BYTES holds {len(elements)} elements and {len(raw) - position} further bytes, "
            f"expected {count} elements"
        )
    return _from_elements(elements, DATATYPES["BYTES"])
