"""One session on a tiny graph."""

import threading
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.server.tiny import FLOAT, affine, graph, identity

from eyespot.server.errors import InvalidArgumentError, RepositoryError
from eyespot.server.session import GraphTensor, Session, SessionSettings


def _open(tmp_path, model):
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    return Session.open(path)


def test_graph_is_described_with_dynamic_dimensions(tmp_path):
    session = _open(tmp_path, identity(TensorProto.INT8, ["batch", 3, "width"]))
    expected = GraphTensor("x", "tensor(int8)", (-1, 3, -1))
    assert session.inputs == (expected,)
    assert session.inputs[0].datatype == "INT8"
    assert [tensor.name for tensor in session.outputs] == ["y"]


def test_read_only_arrays_go_in_without_a_copy_of_ours(tmp_path):
    session = _open(tmp_path, affine())
    x = np.frombuffer(np.float32([1, 2, 3, 4]).tobytes(), np.float32).reshape(1, 4)
    assert session.run({"x": x}, ["y"])["y"].tolist() == [[3.0, 5.0, 7.0, 9.0]]


def test_bf16_travels_as_bit_patterns_beside_other_types(tmp_path):
    bf16 = TensorProto.BFLOAT16
    model = graph(
        [
            helper.make_node("Cast", ["x"], ["wide"], to=FLOAT),
            helper.make_node("Add", ["wide", "f"], ["sum"]),
            helper.make_node("Cast", ["sum"], ["y"], to=bf16),
        ],
        {"x": (bf16, ["batch"]), "f": (FLOAT, ["batch"])},
        {"y": (bf16, ["batch"]), "sum": (FLOAT, ["batch"])},
    )
    session = _open(tmp_path, model)
    x = np.uint16([0x3F80, 0xC000])  # 1.0, -2.0
    outputs = session.run({"x": x, "f": np.float32([1, 1])}, ["y", "sum"])
    assert outputs["sum"].tolist() == [2.0, -1.0]
    assert outputs["y"].tolist() == [0x4000, 0xBF80]
    assert outputs["y"].dtype == np.uint16
    # What came out is a copy: the runtime's memory is gone by now.
    again = session.run({"x": x[:0], "f": np.float32([])}, ["y"])
    assert again["y"].shape == (0,)


def test_types_beyond_the_protocol_are_told(tmp_path):
    model = graph(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E4M3FN)],
        {"x": (FLOAT, ["batch"])},
        {"y": (TensorProto.FLOAT8E4M3FN, ["batch"])},
    )
    session = _open(tmp_path, model)
    with pytest.raises(RepositoryError, match=r"'y' is of ONNX type .*leave it out"):
        _ = session.outputs[0].datatype


def test_damaged_and_missing_files(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x08\x09garbage")
    with pytest.raises(RepositoryError, match=r"model\.onnx cannot be loaded"):
        Session.open(tmp_path / "model.onnx")
    with pytest.raises(RepositoryError, match=r"none\.onnx cannot be loaded"):
        Session.open(tmp_path / "none.onnx")


def test_runs_side_by_side_do_not_mix(tmp_path):
    session = _open(tmp_path, affine(width=1))
    wrong = []

    def work(number):
        for _ in range(200):
            y = session.run({"x": np.full((3, 1), number, np.float32)}, ["y"])["y"]
            if y.tolist() != [[2.0 * number + 1]] * 3:
                wrong.append((number, y))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_values_that_the_graph_rejects(tmp_path):
    model = graph(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        {"x": (TensorProto.INT64, ["batch"])},
        {"y": (FLOAT, ["batch"])},
        {"table": np.float32([10, 20])},
    )
    session = _open(tmp_path, model)
    with pytest.raises(InvalidArgumentError, match="idx=2"):
        session.run({"x": np.int64([2])}, ["y"])


@pytest.mark.parametrize(
    ("settings", "clock"),
    [
        (SessionSettings(), time.thread_time),
        (SessionSettings(intra_op_num_threads=2), time.perf_counter),
        (SessionSettings(is_parallel=True), time.perf_counter),
    ],
)
def test_work_is_told_by_the_processor_where_one_thread_does_it(repository, settings, clock):
    folder = repository.add("net")
    assert Session.open(folder / "model.onnx", settings).busy_seconds is clock
