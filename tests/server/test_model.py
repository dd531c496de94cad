"""Loading a version: what the warm-up finds out, and where batches run."""

import asyncio

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.server.tiny import BATCHING, FLOAT, graph, identity

from eyespot.server import batcher as batcher_module
from eyespot.server import version_loading
from eyespot.server.config import ServerConfig
from eyespot.server.errors import RepositoryError
from eyespot.server.model import InferCall, Model
from eyespot.server.repository import scan
from eyespot.server.session import Session
from eyespot.server.version_loading import load_version


def _load(repository, **settings):
    config = ServerConfig(repository=repository.path, **settings)
    (folder,) = scan(repository.path)
    return load_version(folder, config), config


def test_small_models_run_on_the_event_loop(repository, monkeypatch):
    repository.add("net", config="max_batch_size: 8")
    monkeypatch.setattr(version_loading, "_EVENT_LOOP_SECONDS", 60)
    assert _load(repository)[0].runs_on_event_loop
    monkeypatch.setattr(version_loading, "_EVENT_LOOP_SECONDS", 0)
    assert not _load(repository)[0].runs_on_event_loop


@pytest.mark.parametrize(
    "model",
    [identity(FLOAT, ["batch", "width"]), identity(TensorProto.STRING, ["batch", 1])],
    ids=["size", "text"],
)
def test_models_whose_cost_cannot_be_known_run_on_a_thread(repository, monkeypatch, model):
    repository.add("net", model, config="max_batch_size: 8")
    monkeypatch.setattr(version_loading, "_EVENT_LOOP_SECONDS", 60)
    assert not _load(repository)[0].runs_on_event_loop


def test_a_batch_that_takes_absurd_memory_is_not_tried(repository, monkeypatch):
    tried = []
    run = Session.run

    def watched(session, inputs, outputs):
        tried.append(len(inputs["x"]))
        return run(session, inputs, outputs)

    monkeypatch.setattr(Session, "run", watched)
    monkeypatch.setattr(version_loading, "_EVENT_LOOP_SECONDS", 60)
    monkeypatch.setattr(version_loading, "_MOST_WARM_UP_BYTES", 64)  # four rows
    repository.add("net", config="max_batch_size: 5")
    assert not _load(repository)[0].runs_on_event_loop
    assert set(tried) == {1}


def test_made_up_sizes_that_fail_do_not_condemn_a_model(repository):
    three_or_nothing = graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        {"x": (FLOAT, ["batch", "width"])},
        {"y": (FLOAT, ["batch", 3])},
        {"shape": np.int64([-1, 3])},
    )
    repository.add("net", three_or_nothing, config="max_batch_size: 2")
    assert not _load(repository)[0].runs_on_event_loop


@pytest.mark.parametrize("on_event_loop", [True, False])
async def test_batches_are_answered_and_counted_alike_wherever_they_run(
    repository, monkeypatch, on_event_loop
):
    monkeypatch.setattr(version_loading, "_EVENT_LOOP_SECONDS", 60 if on_event_loop else 0)
    repository.add("net", config=BATCHING.format(rows=4, options=""))
    loaded, config = _load(repository)
    model = Model(loaded, config)
    try:
        call = InferCall({"x": np.float32([[1, 2, 3, 4], [0, 0, 0, 0]])}, rows=2)
        outputs = (await model.infer(call)).result
    finally:
        await model.drain()
        model.close()
    assert outputs["y"].tolist() == [[3.0, 5.0, 7.0, 9.0], [1.0] * 4]
    assert (model.statistics.inference_count, model.statistics.execution_count) == (2, 1)
    assert model.statistics.success.count == 1


@pytest.mark.parametrize(("on_event_loop", "batches"), [(True, 17), (False, 18)])
async def test_small_models_gather_company(repository, monkeypatch, on_event_loop, batches):
    monkeypatch.setattr(version_loading, "_EVENT_LOOP_SECONDS", 60 if on_event_loop else 0)
    monkeypatch.setattr(batcher_module, "WINDOW_SECONDS", 60.0)
    repository.add("net", config=BATCHING.format(rows=2, options=""))
    model = Model(*_load(repository))
    call = InferCall({"x": np.float32([[1, 2, 3, 4]])}, rows=1)
    try:
        for _ in range(16):
            await model.infer(call)
        waiting = asyncio.create_task(model.infer(call))
        await asyncio.sleep(0)
        if not on_event_loop:
            await waiting  # on a thread it runs; on the loop it looks for company now
        await asyncio.gather(waiting, model.infer(call))
        assert model.statistics.execution_count == batches
    finally:
        model.close()


def test_queue_and_instances_come_from_the_configuration(repository):
    repository.add(
        "net",
        config=BATCHING.format(rows=4, options="default_queue_policy { max_queue_size: 5 }")
        + "instance_group { count: 3 }",
    )
    loaded, _ = _load(repository)
    assert loaded.config.instance_count == 3
    assert loaded.config.dynamic_batching.max_queue_size == 5


@pytest.mark.parametrize(
    ("shape", "is_right"),
    [
        (["batch", 2], True),
        (["batch", 2, 5, 7], True),  # maps: the classes are the second size
        (["batch", 2, "height", "width"], True),
        (["batch", 9, 2], True),  # steps: the classes are the last
        (["batch", 3, 5, 2], False),
    ],
)
def test_there_is_one_label_for_each_class_of_any_task(repository, shape, is_right):
    folder = repository.add(
        "net",
        identity(FLOAT, shape),
        config='max_batch_size: 2\noutput { name: "y" label_filename: "labels.txt" }',
    )
    (folder.parent / "labels.txt").write_text("road\nsky\n")
    if is_right:
        assert _load(repository)[0].labels == ("road", "sky")
    else:
        with pytest.raises(RepositoryError, match="2 labels for the 3 classes of 'y'"):
            _load(repository)


@pytest.mark.parametrize(
    ("options", "loop_seconds", "sizes"),
    [
        ("", 0, {1: 12, 3: 4}),  # one row, then up to three, which wins nothing
        ("preferred_batch_size: 8", 0, {8: 3}),
        ("max_queue_delay_microseconds: 1", 0, {8: 3}),
        ("", 60, {1: 16, 8: 1}),  # the 17th looks for company
    ],
    ids=["as it pays", "preferred", "delay", "event loop"],
)
async def test_batches_grow_while_they_pay_unless_told_otherwise(
    repository, monkeypatch, options, loop_seconds, sizes
):
    monkeypatch.setattr(version_loading, "_EVENT_LOOP_SECONDS", loop_seconds)
    repository.add("net", config=BATCHING.format(rows=8, options=options))
    loaded, config = _load(repository, sessions=1)
    model = Model(loaded, config)
    worked, run = 0, loaded.session.run

    def work(inputs, outputs):
        nonlocal worked
        worked += len(inputs["x"])  # a second for each row
        return run(inputs, outputs)

    monkeypatch.setattr(loaded.session, "run", work)
    monkeypatch.setattr(loaded.session, "busy_seconds", lambda: worked)
    try:
        call = InferCall({"x": np.zeros((1, 4), np.float32)}, rows=1)
        await asyncio.gather(*(model.infer(call) for _ in range(24)))
    finally:
        model.close()
    counted = {rows: times.compute_infer.count for rows, times in model.statistics.batches.items()}
    assert counted == sizes
