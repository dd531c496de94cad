"""Faults of sessions and threads: who hears of them, what is mended, and what is left in peace."""

import asyncio
import os
import threading
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from onnx import TensorProto, helper
from tests.server.batching import FakeClock
from tests.server.test_metrics import scrape
from tests.server.tiny import BATCHING, FLOAT, affine, graph, infer_request

from eyespot.server import version_loading
from eyespot.server.circuit_breaker import CircuitState
from eyespot.server.config import ServerConfig
from eyespot.server.errors import CircuitOpenError, ResourceExhaustedError, WorkerDiedError
from eyespot.server.model import InferCall, Model
from eyespot.server.repository import scan
from eyespot.server.version_loading import load_version
from eyespot.v1 import explain_pb2
from eyespot.v1 import inference_pb2 as pb

BAD = 666.0  # rows that break the runtime, through no fault of the session


class Faults:
    """Breaks the runtime's session of a model, and counts how often it is made anew."""

    def __init__(self, model):
        self.session = model._session._session
        self.opened = 0
        self.new_ones_last = -1  # how many runs a new one is good for; -1: for ever
        self._open = self.session._open_anew
        self.session._open_anew = self._open_again

    def break_session(self, error=None):
        error = error or RuntimeError("CUDA failure 700: an illegal memory access")

        def run(*_):
            raise error

        self.session._run = run

    def break_by_bad_rows(self):
        run = self.session._run

        def run_or_fail(names, inputs):
            if (inputs["x"] == BAD).any():
                raise RuntimeError("a secret of the runtime")
            return run(names, inputs)

        self.session._run = run_or_fail

    def _open_again(self):
        self.opened += 1
        real = self._open()
        if self.new_ones_last < 0:
            return real
        left = self.new_ones_last

        def run(names, inputs):
            nonlocal left
            left -= 1
            if left < 0:
                raise RuntimeError("broken again")
            return real.run(names, inputs)

        return SimpleNamespace(run=run)


class Served:
    """A model on a clock that is told the time."""

    def __init__(self, repository, *, name="net", **settings):
        config = ServerConfig(repository=repository.path, **settings)
        (folder,) = [each for each in scan(repository.path) if each.model_name == name]
        self.clock = FakeClock()
        self.states = []
        self.model = Model(
            load_version(folder, config),
            config,
            on_change=lambda model: self.states.append(model.circuit.value),
            clock=self.clock,
        )
        self.faults = Faults(self.model)

    async def ask(self, *rows):
        """What each of some requests of one row gets, sent at once: its answer or its error."""
        arrays = [np.full((1, 4), row, np.float32) for row in rows]
        calls = [self.model.infer(InferCall({"x": array}, rows=1)) for array in arrays]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        return [
            each if isinstance(each, BaseException) else float(each.result["y"][0, 0])
            for each in outcomes
        ]

    async def probe(self):
        """Let the time pass until the circuit is half open, and wait for what is found."""
        self.clock.advance(self.model._guard._breaker.wait_seconds)
        await self.model._guard._healing


@pytest.fixture(params=[True, False], ids=["on the event loop", "on a thread"])
def place(request, monkeypatch):
    monkeypatch.setattr(version_loading, "_EVENT_LOOP_SECONDS", 60 if request.param else 0)


@pytest.fixture
async def served(repository, place):
    repository.add("net", config=BATCHING.format(rows=4, options="preferred_batch_size: 4"))
    served = Served(repository)
    yield served
    await served.model.drain()
    served.model.close()


async def test_a_bad_request_fails_alone_and_however_often_it_comes_the_model_stays_ready(served):
    served.faults.break_by_bad_rows()
    for _ in range(4):
        first, bad, last = await served.ask(1, BAD, 2)
        assert (first, last) == (3, 5)
        assert str(bad) == "a secret of the runtime"  # so the caller gets an id alone
    assert served.model.circuit is CircuitState.CLOSED
    assert served.faults.opened == 0
    assert served.model.statistics.faults["run"] == 0


@pytest.mark.parametrize("rows", [(1,), (1, 2, 3)], ids=["alone", "in a batch"])
async def test_a_broken_session_is_made_anew_and_no_caller_hears_of_it(served, rows):
    served.faults.break_session()
    assert await served.ask(*rows) == [2 * row + 1 for row in rows]
    assert (served.faults.opened, served.model.rebuilds) == (1, 1)
    assert served.model.statistics.faults["run"] == 1
    assert await served.ask(*rows) == [2 * row + 1 for row in rows]
    assert served.faults.opened == 1


async def test_batches_side_by_side_have_it_made_anew_once(repository, monkeypatch):
    monkeypatch.setattr(version_loading, "_EVENT_LOOP_SECONDS", 0)
    repository.add("net", config="max_batch_size: 4\ninstance_group { count: 2 }")
    served = Served(repository)
    both = threading.Barrier(2, timeout=60)

    def run(names, inputs):
        if inputs["x"].any():  # the probe's are zeros
            both.wait()
        raise RuntimeError("broken")

    served.faults.session._run = run
    assert await served.ask(1, 2) == [3, 5]
    assert served.faults.opened == 1
    served.model.close()


async def test_repeated_faults_open_the_circuit_and_a_probe_closes_it(served):
    model, faults = served.model, served.faults
    faults.break_session()
    faults.new_ones_last = 1  # the probe's
    (error,) = await served.ask(1)
    assert isinstance(error, Exception)
    while model.circuit is CircuitState.CLOSED:
        (error,) = await served.ask(1)
    assert model.statistics.faults["run"] == 3
    assert isinstance(error, CircuitOpenError)
    assert error.wait_seconds == 1
    opened = faults.opened
    (refused, also) = await served.ask(1, 2)
    assert "the session of model 'net' version 1: 3 faults within 60 s" in str(refused)
    assert "in 1.0 s" in str(also)
    assert faults.opened == opened  # refused without trying anything
    await served.probe()  # a new one passes the probe that follows its making
    assert served.states == ["open", "closed"]
    faults.new_ones_last = -1
    assert await served.ask(1, 2) == [3, 5]


async def test_a_circuit_that_stays_open_asks_ever_more_rarely(served):
    served.faults.break_session()
    served.faults.new_ones_last = 0
    (error,) = await served.ask(1)
    assert "it fails also when it is made anew" in str(error)
    assert "broken again" not in str(error)
    waits = [error.wait_seconds]
    for _ in range(3):
        await served.probe()
        waits.append(served.model._guard._breaker.wait_seconds)
    assert waits == [1, 2, 4, 8]
    served.faults.new_ones_last = -1
    await served.probe()
    assert served.model.circuit is CircuitState.CLOSED
    assert await served.ask(1) == [3]


async def test_what_passes_by_itself_is_not_made_anew(served):
    """As memory that was short for a while: the probe tries what there is first."""
    run = served.faults.session._run
    served.faults.break_session()
    served.faults.new_ones_last = 0
    await served.ask(1)
    served.faults.session._run = run
    opened = served.faults.opened
    await served.probe()
    assert await served.ask(1) == [3]
    assert served.faults.opened == opened


@pytest.mark.parametrize("place", [True], indirect=True)
async def test_only_the_very_files_it_was_loaded_from_are_taken(served, repository):
    path = repository.path / "net" / "1" / "model.onnx"
    content, times = path.read_bytes(), path.stat()
    path.write_bytes(affine(scale=3.0).SerializeToString())
    served.faults.break_session()
    (error,) = await served.ask(1)
    assert "cannot be made anew from its files: they have changed since it was loaded" in str(error)
    path.unlink()
    await served.probe()
    assert "model.onnx cannot be read" in served.model.unready_reason
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    await served.probe()
    assert await served.ask(1) == [3]


async def test_where_nothing_made_up_runs_the_first_good_request_is_the_probe(repository):
    three_or_nothing = graph(
        [helper.make_node("Reshape", ["x", "shape"], ["z"]), helper.make_node("Neg", ["z"], ["y"])],
        {"x": (FLOAT, ["batch", "width"])},
        {"y": (FLOAT, ["batch", 3])},
        {"shape": np.int64([-1, 3])},
    )
    repository.add("net", three_or_nothing, config="max_batch_size: 2")
    served = Served(repository)

    async def ask(width):
        call = InferCall({"x": np.ones((1, width), np.float32)}, rows=1)
        return await served.model.infer(call)

    with pytest.raises(Exception, match="Reshape"):
        await ask(4)  # nothing is known to be good yet
    assert (await ask(3)).result["y"].tolist() == [[-1, -1, -1]]
    for _ in range(4):
        with pytest.raises(Exception, match="Reshape"):
            await ask(4)
    assert served.model.circuit is CircuitState.CLOSED
    served.faults.break_session()
    assert (await ask(3)).result["y"].tolist() == [[-1, -1, -1]]
    assert served.faults.opened == 1
    served.model.close()


async def test_a_request_whose_thread_dies_is_tried_once_more(repository, monkeypatch):
    monkeypatch.setattr(version_loading, "_EVENT_LOOP_SECONDS", 0)
    repository.add("net", config=BATCHING.format(rows=4, options=""))
    served = Served(repository)
    run = served.faults.session._run

    def die(names, inputs):
        served.faults.session._run = run
        raise SystemExit

    for rows in ((1,), (1, 2)):
        served.faults.session._run = die
        assert await served.ask(*rows) == [2 * row + 1 for row in rows]
    assert served.model.statistics.faults == {"run": 0, "thread": 2, "memory": 0}
    assert served.faults.opened == 0
    served.model.close()


async def test_nothing_is_tried_more_than_twice(repository, monkeypatch):
    monkeypatch.setattr(version_loading, "_EVENT_LOOP_SECONDS", 0)
    repository.add("net", config=BATCHING.format(rows=4, options=""))
    served = Served(repository)
    tries = []

    def die(names, inputs):
        tries.append(len(inputs["x"]))
        raise SystemExit

    served.faults.session._run = die
    (error,) = await served.ask(1)
    assert isinstance(error, WorkerDiedError)
    assert tries == [1, 1]
    served.model.close()


async def test_a_batch_too_large_for_memory_is_answered_in_parts(served):
    run, sizes = served.faults.session._run, []

    def run_few(names, inputs):
        sizes.append(len(inputs["x"]))
        if sizes[-1] > 2:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 411041792")
        return run(names, inputs)

    served.faults.session._run = run_few
    for _ in range(2):
        assert await served.ask(1, 2, 3, 4) == [3, 5, 7, 9]
    assert sizes == [4, 2, 2, 2, 2]
    assert served.model.statistics.faults == {"run": 0, "thread": 0, "memory": 1}
    assert served.model.circuit is CircuitState.CLOSED


async def test_what_no_memory_suffices_for_is_refused_and_that_is_all(repository):
    as_large_as_asked = graph(
        [helper.make_node("ConstantOfShape", ["x"], ["y"])],
        {"x": (TensorProto.INT64, [2])},
        {"y": (FLOAT, ["height", "width"])},
    )
    repository.add("net", as_large_as_asked)
    served = Served(repository)
    with pytest.raises(ResourceExhaustedError):
        await served.model.infer(InferCall({"x": np.int64([1 << 24, 1 << 24])}, rows=1))
    outcome = await served.model.infer(InferCall({"x": np.int64([2, 3])}, rows=1))
    assert outcome.result["y"].shape == (2, 3)
    assert served.faults.opened == 0
    served.model.close()


async def test_a_broken_model_is_seen_from_everywhere_and_others_are_untouched(
    repository, serving, free_port
):
    repository.add("broken")
    repository.add("well")
    x = np.zeros((1, 4), np.float32)
    async with serving(metrics_port=free_port) as (server, client):
        model = server.dataplane.model("broken")
        clock = model._guard._breaker._clock = FakeClock()
        faults = Faults(model)
        faults.break_session()
        faults.new_ones_last = 0
        health = health_pb2_grpc.HealthStub(client.channel)

        async def seen():
            ready = await client.inference.ModelReady(pb.ModelReadyRequest(name="broken"))
            told = await health.Check(health_pb2.HealthCheckRequest(service="broken"))
            index = await client.inference.RepositoryIndex(pb.RepositoryIndexRequest())
            (entry,) = [each for each in index.models if each.name == "broken"]
            samples, _ = await scrape(free_port)
            state = next(
                state
                for state in ("closed", "half_open", "open")
                if samples[
                    f'eyespot_inference_circuit_state{{model="broken",state="{state}",version="1"}}'
                ]
            )
            return ready.ready, told.status == told.SERVING, entry.state, entry.reason, state

        assert await seen() == (True, True, "READY", "", "closed")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.inference.ModelInfer(infer_request("broken", x=x))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"
        assert "broken again" not in caught.value.details()
        ready, serving_, state, reason, circuit = await seen()
        assert (ready, serving_, state, circuit) == (False, False, "UNAVAILABLE", "open")
        assert reason.startswith("the session of model 'broken' version 1: it fails also when")
        assert (await client.infer("well", x=x))["y"].tolist() == [[1] * 4]
        ready = await client.inference.ServerReady(pb.ServerReadyRequest())
        assert ready.ready  # as with a model that could not be loaded

        faults.new_ones_last = -1
        clock.advance(1)
        await model._guard._healing
        assert await seen() == (True, True, "READY", "", "closed")
        assert (await client.infer("broken", x=x))["y"].tolist() == [[1] * 4]
        samples, _ = await scrape(free_port)
        of_broken = '{model="broken",version="1"}'
        assert samples[f"eyespot_inference_session_rebuild_count{of_broken}"] == 2
        kinds = {
            kind: samples[
                f'eyespot_inference_fault_count{{kind="{kind}",model="broken",version="1"}}'
            ]
            for kind in ("run", "thread", "memory")
        }
        assert kinds == {"run": 1, "thread": 0, "memory": 0}


_PICTURES = """
max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [1, 2, 2] }
"""


def add_flattened_pictures(repository):
    """A model that answers its four pixels: occluding one changes the answer of its own."""
    flatten = graph(
        [helper.make_node("Flatten", ["x"], ["y"])],
        {"x": (FLOAT, ["batch", 1, 2, 2])},
        {"y": (FLOAT, ["batch", 4])},
    )
    repository.add("net", flatten, config=_PICTURES)


def occlusion_request(method="occlusion"):
    request = explain_pb2.ExplainRequest(model_name="net", method=method)
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1, 2, 2])
    request.raw_input_contents.append(np.ones((1, 1, 2, 2), np.float32).tobytes())
    request.targets.add(index=2)
    request.parameters["window" if method == "occlusion" else "n_masks"].int64_param = 1
    return request


async def test_occlusion_is_refused_as_inference_is_while_the_circuit_is_open(repository, serving):
    add_flattened_pictures(repository)
    async with serving() as (server, client):
        model = server.dataplane.model("net")
        clock = model._guard._breaker._clock = FakeClock()
        faults = Faults(model)
        faults.break_session()
        faults.new_ones_last = 0
        for method in ("occlusion", "rise", "occlusion"):  # what opens it, and what finds it so
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.explain.Explain(occlusion_request(method))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"
            assert "the session of model 'net' version 1: it fails" in caught.value.details()
        listed = await client.explain.ListMethods(explain_pb2.ListMethodsRequest(model_name="net"))
        reasons = {each.name: each.reason for each in listed.methods}
        assert reasons["occlusion"] == reasons["rise"] == model.unready_reason
        assert "no original.pt2" in reasons["saliency"]

        faults.new_ones_last = -1
        clock.advance(1)
        await model._guard._healing
        answer = await client.explain.Explain(occlusion_request())
        found = np.frombuffer(answer.raw_output_contents[0], np.float32)
        assert found.tolist() == [0, 0, 1, 0]


async def test_a_session_that_breaks_under_occlusion_is_made_anew(repository, serving):
    add_flattened_pictures(repository)
    async with serving() as (server, client):
        model = server.dataplane.model("net")
        faults = Faults(model)
        faults.break_session()
        answer = await client.explain.Explain(occlusion_request())
        assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [0, 0, 1, 0]
        assert (faults.opened, model.rebuilds, model.statistics.faults["run"]) == (1, 1, 1)


async def test_a_thread_that_dies_under_occlusion_is_no_fault_of_the_session(repository, serving):
    add_flattened_pictures(repository)
    async with serving() as (server, client):
        model = server.dataplane.model("net")
        Faults(model).break_session(SystemExit())
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.explain.Explain(occlusion_request())
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert model.circuit is CircuitState.CLOSED
        assert model.statistics.faults == {"run": 0, "thread": 0, "memory": 0}
