"""Batches that do not fit into memory: halves, what is remembered, and when more is tried."""

import numpy as np
import pytest

from eyespot.server.errors import ResourceExhaustedError
from eyespot.server.memory_fit import MemoryFit, is_out_of_memory

# As the runtime and CUDA word it.
_ARENA = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running "
    "Conv node. Name:'conv1' Status Message: bfc_arena.cc:376 void* onnxruntime::BFCArena::"
    "AllocateRawInternal(size_t, bool, Stream*, bool) Failed to allocate memory for requested "
    "buffer of size 411041792"
)
_CUDA = "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc"


class Device:
    """Doubles its input, as long as it is not above `most_bytes`."""

    def __init__(self, most_bytes):
        self.most_bytes = most_bytes
        self.tried = []
        self.now = 0.0
        self.shortages = []
        self.fit = self.make()

    def make(self, **options):
        options = {"is_batched": True, **options}
        return MemoryFit(
            self.run, on_shortage=self.shortages.append, now=lambda: self.now, **options
        )

    def run(self, inputs):
        x = inputs["x"]
        self.tried.append(len(x))
        if x.nbytes > self.most_bytes:
            raise RuntimeError(_ARENA)
        return {"y": 2 * x, "rows": np.arange(len(x))}

    def try_rows(self, rows, width=4):
        """The sizes that were run, after the answer was checked."""
        self.tried.clear()
        x = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
        outputs = self.fit.run({"x": x})
        assert np.array_equal(outputs["y"], 2 * x)
        return list(self.tried)


def test_a_batch_is_halved_until_it_fits_and_that_is_remembered():
    device = Device(most_bytes=3 * 16)  # three rows of four floats
    assert device.try_rows(8) == [8, 4, 2, 2, 2, 2]
    assert device.shortages == [4, 2]
    assert device.try_rows(7) == [2, 2, 2, 1]  # without trying in vain again
    assert device.try_rows(2) == [2]


def test_what_fits_holds_for_rows_of_other_sizes():
    device = Device(most_bytes=4 * 16)
    device.try_rows(8)
    assert device.try_rows(4, width=8) == [2, 2]  # twice as large
    assert device.try_rows(8, width=2) == [8]  # half as large


def test_larger_batches_are_tried_again_after_five_minutes():
    device = Device(most_bytes=2 * 16)
    device.try_rows(8)
    device.most_bytes = 1000  # a neighbour on the device is gone
    device.now = 299.0
    assert device.try_rows(8) == [2, 2, 2, 2]
    device.now = 300.0
    assert device.try_rows(8) == [4, 4]
    assert device.try_rows(8) == [4, 4]
    device.now = 600.0
    assert device.try_rows(8) == [8]


def test_a_row_that_does_not_fit_alone_is_refused():
    device = Device(most_bytes=0)
    with pytest.raises(ResourceExhaustedError, match="one row needs more memory than there is"):
        device.try_rows(4)
    assert device.tried == [4, 2, 1]
    assert device.shortages == [2, 1, 0]


def test_a_model_without_rows_is_not_taken_apart():
    device = Device(most_bytes=0)
    device.fit = device.make(is_batched=False)
    with pytest.raises(ResourceExhaustedError):
        device.try_rows(4)
    assert device.tried == [4]


def test_other_errors_are_not_a_lack_of_memory():
    device = Device(most_bytes=0)

    def fail(inputs):
        raise RuntimeError("Non-zero status code returned while running Reshape node")

    device.fit = MemoryFit(fail, is_batched=True, on_shortage=device.shortages.append)
    with pytest.raises(RuntimeError, match="Reshape"):
        device.try_rows(4)
    assert device.shortages == []


@pytest.mark.parametrize(
    ("message", "is_it"),
    [
        (_ARENA, True),
        (_CUDA, True),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0", True),
        ("std::bad_alloc", True),
        ("CUDA failure 700: an illegal memory access was encountered", False),
    ],
)
def test_it_is_known_by_what_the_runtime_says(message, is_it):
    assert is_out_of_memory(RuntimeError(message)) is is_it
