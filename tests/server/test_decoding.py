"""What is prepared for the batcher from a request."""

from types import SimpleNamespace

import numpy as np
import pytest
from tests.server.tiny import infer_request

from eyespot.server.decoding import Signature
from eyespot.server.errors import InvalidArgumentError
from eyespot.server.model_config import ModelConfig, TensorConfig
from eyespot.server.servicer import deadline_of
from eyespot.server.shared_memory import SharedMemory


def _signature(shape, max_batch_size=4):
    tensors = (TensorConfig("x", "FP32", shape),)
    return Signature(
        ModelConfig(
            name="net",
            max_batch_size=max_batch_size,
            inputs=tensors,
            outputs=tensors,
            dynamic_batching=None,
            instance_count=0,
            parameters={},
            serialized=b"",
        ),
        SharedMemory(is_enabled=False),
    )


def _read(signature, *shape):
    return signature.read_inputs(infer_request("net", x=np.zeros(shape, np.float32)))


def test_only_equal_shapes_have_equal_keys():
    varying = _signature((-1, -1, 2))
    assert _read(varying, 1, 3, 2).key == _read(varying, 4, 3, 2).key
    assert _read(varying, 1, 3, 2).key != _read(varying, 1, 4, 2).key
    fixed = _signature((-1, 3))
    assert _read(fixed, 1, 3).key is None


def test_rows_are_counted_where_there_is_a_batch_dimension():
    assert _read(_signature((-1, 3)), 4, 3).rows == 4
    assert _read(_signature((-1, 3), max_batch_size=0), 9, 3).rows == 1


def test_raw_elements_are_not_copied():
    request = infer_request("net", x=np.float32([[1, 2, 3]]))
    array = _signature((-1, 3)).read_inputs(request).arrays["x"]
    assert not array.flags.owndata
    assert not array.flags.writeable


@pytest.mark.parametrize(("remaining", "seconds"), [(None, None), (2.5, 2.5)])
async def test_deadline_is_on_the_clock_of_the_event_loop(remaining, seconds, monkeypatch):
    import asyncio

    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 100.0)
    deadline = deadline_of(SimpleNamespace(time_remaining=lambda: remaining))
    assert deadline == (None if seconds is None else 100.0 + seconds)


def _of(spec):
    signature = _signature(spec.shape)
    signature._inputs = {"x": spec}
    return signature


def test_sizes_below_the_smallest_are_told():
    spec = TensorConfig("x", "FP32", (-1, 2, -1), smallest=(1, 1, 15), usual=(1, 1, 15))
    signature = _of(spec)
    signature._tails = {}
    assert _read(signature, 1, 2, 15).rows == 1
    with pytest.raises(InvalidArgumentError, match=r"\[1,2,14\] is too small.*is \[1,1,15\]"):
        _read(signature, 1, 2, 14)


@pytest.mark.parametrize("symbol", [-1, 256, 2**40])
def test_symbols_that_there_are_not_are_told(symbol):
    spec = TensorConfig("x", "INT64", (-1, 2), symbols=256)
    signature = _of(spec)
    signature.read_inputs(infer_request("net", x=np.int64([[0, 255]])))
    with pytest.raises(InvalidArgumentError, match=rf"symbols from 0 to 255, found {symbol}"):
        signature.read_inputs(infer_request("net", x=np.int64([[0, symbol]])))
