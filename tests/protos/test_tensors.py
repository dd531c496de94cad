import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyespot.v1 import inference_pb2, model_config_pb2, tensors
from eyespot.v1.tensors import TensorError

# (datatype, elements, the same as raw bytes): little-endian, by hand.
BY_HAND = [
    ("BOOL", [True, False], b"\x01\x00"),
    ("UINT8", [1, 255], b"\x01\xff"),
    ("UINT16", [1, 0x1234], b"\x01\x00\x34\x12"),
    ("UINT32", [1], b"\x01\x00\x00\x00"),
    ("UINT64", [2**63], b"\x00\x00\x00\x00\x00\x00\x00\x80"),
    ("INT8", [-1], b"\xff"),
    ("INT16", [-2], b"\xfe\xff"),
    ("INT32", [-2], b"\xfe\xff\xff\xff"),
    ("INT64", [-2], b"\xfe" + b"\xff" * 7),
    ("FP16", [1.0, -2.0], b"\x00\x3c\x00\xc0"),
    ("FP32", [1.0], b"\x00\x00\x80\x3f"),
    ("FP64", [1.0], b"\x00\x00\x00\x00\x00\x00\xf0\x3f"),
    ("BF16", [0x3F80], b"\x80\x3f"),  # the bit pattern of 1.0
    ("BYTES", [b"ab", b""], b"\x02\x00\x00\x00ab\x00\x00\x00\x00"),
]


def array_of(datatype, elements):
    return np.array(elements, tensors.DATATYPES[datatype].numpy)


@pytest.mark.parametrize(("datatype", "elements", "raw"), BY_HAND)
def test_raw_bytes_are_little_endian_and_row_major(datatype, elements, raw):
    array = array_of(datatype, elements)
    assert tensors.encode(array, datatype) == raw
    decoded = tensors.decode(raw, datatype=datatype, shape=[1, len(elements)])
    assert decoded.shape == (1, len(elements))
    assert decoded.dtype == tensors.DATATYPES[datatype].numpy
    assert decoded[0].tolist() == array.tolist()


def test_the_table_has_every_datatype_of_the_protocol():
    assert {name for name, _, _ in BY_HAND} == set(tensors.DATATYPES)
    configured = {d.config_type for d in tensors.DATATYPES.values()}
    assert configured == set(model_config_pb2.DataType.values()) - {model_config_pb2.TYPE_INVALID}


def test_bfloat16_is_its_bit_pattern():
    pattern = np.array([1.5, -3.0], ml_dtypes.bfloat16).view(np.uint16)
    decoded = tensors.decode(tensors.encode(pattern, "BF16"), datatype="BF16", shape=[2])
    assert decoded.view(ml_dtypes.bfloat16).astype(np.float32).tolist() == [1.5, -3.0]


def test_big_endian_and_strided_arrays_are_written_in_wire_order():
    big = np.array([[1, 2], [3, 4]], ">i2").T
    assert tensors.encode(big, "INT16") == b"\x01\x00\x03\x00\x02\x00\x04\x00"
    assert tensors.datatype_of(big.dtype) == "INT16"


def test_decoding_does_not_copy():
    raw = bytes(8)
    decoded = tensors.decode(raw, datatype="UINT8", shape=[8])
    assert not decoded.flags.writeable
    assert (
        decoded.__array_interface__["data"][0]
        == np.frombuffer(raw, "u1").__array_interface__["data"][0]
    )


@pytest.mark.parametrize(
    ("raw", "datatype", "shape", "message"),
    [
        (b"\x00" * 3, "FP32", [1], "takes 4 bytes, found 3"),
        (b"\x00" * 8, "FP32", [1], "takes 4 bytes, found 8"),
        (b"", "FP32", [-1], "negative size"),
        (b"", "FP8", [0], "unknown datatype 'FP8'; use one of BOOL"),
        (b"\x05\x00\x00\x00ab", "BYTES", [1], "claims 5 bytes, 2 are left"),
        (b"\x05\x00", "BYTES", [1], "lacks its 4-byte length"),
        (b"\x00\x00\x00\x00", "BYTES", [2], "holds 1 elements"),
        (b"\x00\x00\x00\x00" * 2, "BYTES", [1], "4 further bytes"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(raw, datatype, shape, message):
    with pytest.raises(TensorError, match=message):
        tensors.decode(raw, datatype=datatype, shape=shape)


def test_encoding_another_dtype_is_refused():
    with pytest.raises(TensorError, match="FP32 needs an array of dtype float32, found float64"):
        tensors.encode(np.zeros(1), "FP32")
    with pytest.raises(TensorError, match="found int"):
        tensors.encode(np.array([1], object), "BYTES")
    with pytest.raises(TensorError, match="complex64 has no datatype"):
        tensors.datatype_of(np.dtype("complex64"))


@pytest.mark.parametrize(
    ("datatype", "field", "elements"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("INT8", "int_contents", [-128, 127]),
        ("UINT16", "uint_contents", [0, 65535]),
        ("INT64", "int64_contents", [-(2**63), 1]),
        ("UINT64", "uint64_contents", [2**64 - 1, 0]),
        ("FP32", "fp32_contents", [0.5, -1.5]),
        ("FP64", "fp64_contents", [0.1, 0.2]),
        ("BYTES", "bytes_contents", [b"x", b""]),
    ],
)
def test_typed_contents(datatype, field, elements):
    contents = inference_pb2.InferTensorContents(**{field: elements})
    decoded = tensors.decode_contents(contents, datatype=datatype, shape=[2, 1])
    assert decoded.dtype == tensors.DATATYPES[datatype].numpy
    assert decoded.ravel().tolist() == elements


@pytest.mark.parametrize(
    ("contents", "datatype", "message"),
    [
        ({"int_contents": [300]}, "INT8", "does not fit into INT8"),
        ({"int_contents": [1, 2]}, "INT32", "takes 1 elements, found 2"),
        ({"fp32_contents": [1.0]}, "INT32", "belongs into int_contents, found fp32_contents"),
        ({"uint_contents": [1]}, "FP16", "send it as raw_input_contents"),
        ({"uint_contents": [1]}, "BF16", "send it as raw_input_contents"),
    ],
)
def test_typed_contents_that_do_not_fit_are_refused(contents, datatype, message):
    with pytest.raises(TensorError, match=message):
        tensors.decode_contents(
            inference_pb2.InferTensorContents(**contents), datatype=datatype, shape=[1]
        )


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_strings_survive_the_wire(strings):
    array = np.empty(len(strings), object)
    array[:] = strings
    raw = tensors.encode(array, "BYTES")
    assert tensors.decode(raw, datatype="BYTES", shape=[len(strings)]).tolist() == strings


@given(st.binary(max_size=64), st.integers(0, 6))
def test_any_bytes_are_strings_or_a_typed_error(raw, count):
    try:
        decoded = tensors.decode(raw, datatype="BYTES", shape=[count])
    except TensorError:
        return
    assert tensors.encode(decoded, "BYTES") == raw
