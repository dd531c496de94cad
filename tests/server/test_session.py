"""One session on a tiny graph."""

import sys
import threading
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.server.tiny import FLOAT, affine, graph, identity

from eyespot.server import session as session_module
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


class Runtime:
    """Notes the options of each run of a session."""

    def __init__(self, session):
        self.options = []
        self._run = session._run
        session._run = self.run

    def run(self, names, inputs, options=None):
        self.options.append(options)
        return self._run(names, inputs, options)


def _pixels(tmp_path):
    return _open(tmp_path, identity(FLOAT, ["batch", 1, "height", "width"]))


def test_rows_much_larger_than_usual_give_their_memory_back(tmp_path):
    session = _pixels(tmp_path)
    runtime = Runtime(session)
    for rows, size in [(1, 8), (1, 12), (4, 8), (1, 20), (4, 20), (1, 8)]:
        x = np.zeros((rows, 1, size, size), np.float32)
        assert session.run({"x": x}, ["y"])["y"].shape == x.shape
    # 20 x 20 has 6 times the pixels of 8 x 8; four rows at once are no larger rows.
    key = "memory.enable_memory_arena_shrinkage"
    told = [options and options.get_run_config_entry(key) for options in runtime.options]
    assert told == [None, None, None, "cpu:0", "cpu:0", None]


def test_what_is_large_is_usual_in_the_end(tmp_path):
    session = _pixels(tmp_path)
    runtime = Runtime(session)
    session.run({"x": np.zeros((1, 1, 4, 4), np.float32)}, ["y"])
    for _ in range(40):
        session.run({"x": np.zeros((1, 1, 16, 16), np.float32)}, ["y"])
    assert runtime.options[1] is not None
    assert runtime.options[-1] is None


def test_plans_of_memory_are_kept_only_where_sizes_are_few(tmp_path):
    made = []

    def patterns(session):
        made.append(session._session.get_session_options().enable_mem_pattern)
        return made[-1]

    assert patterns(_open(tmp_path, affine()))  # rows vary, up to max_batch_size
    assert not patterns(_pixels(tmp_path))


def test_a_session_is_made_anew_and_the_old_one_stays_where_that_fails(tmp_path):
    session = _open(tmp_path, affine())
    onnx.save(affine(scale=3.0), tmp_path / "model.onnx")
    session.reopen()
    x = np.ones((1, 4), np.float32)
    assert session.run({"x": x}, ["y"])["y"][0, 0] == 4
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(RepositoryError, match=r"model\.onnx cannot be loaded"):
        session.reopen()
    assert session.run({"x": x}, ["y"])["y"][0, 0] == 4


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


def test_cuda_libraries_that_pip_installed_are_loaded_and_those_missing_are_told():
    """ONNX Runtime prints what it misses; the server's standard output is not the place."""

    class Runtime:
        severity = None

        def set_default_logger_severity(self, severity):
            self.severity = severity

        def preload_dlls(self):
            sys.stdout.write("Failed to load libcudnn.so.9:\n  no such file\n")

    runtime = Runtime()
    told = session_module._load_cuda_libraries(runtime)
    assert told == "Failed to load libcudnn.so.9: no such file"
    assert runtime.severity == 4  # fatal: its warnings speak of plugins
