"""Models that come and go while the server answers."""

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
import weakref

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.full_disk import files_of_at_most
from tests.server.test_app import Gate
from tests.server.tiny import BATCHING, Client, affine, infer_request, status_of

from eyespot.server import version_swap
from eyespot.server.app import Server
from eyespot.server.config import ServerConfig
from eyespot.server.errors import StartError
from eyespot.server.loader import advice_on_unserved
from eyespot.v1 import explain_pb2
from eyespot.v1 import inference_pb2 as pb

ROW = np.float32([[1, 2, 3, 4]])
NOT_FOUND, PRECONDITION = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def load_request(name, **parameters):
    request = pb.RepositoryModelLoadRequest(model_name=name)
    for key, value in parameters.items():
        request.parameters[key].string_param = value
    return request


async def load(client, name, **parameters):
    await client.inference.RepositoryModelLoad(load_request(name, **parameters))


async def unload(client, name):
    request = pb.RepositoryModelUnloadRequest(model_name=name)
    await client.inference.RepositoryModelUnload(request)


async def first(client, name="net"):
    """The first element of the answer, by which the versions are told apart."""
    return float((await client.infer(name, x=ROW))["y"][0, 0])


async def states(client):
    response = await client.inference.RepositoryIndex(pb.RepositoryIndexRequest())
    return [(model.name, model.version, model.state, model.reason) for model in response.models]


async def test_nothing_is_loaded_before_it_is_asked_for(repository, serving):
    repository.add("net", affine(offset=1))
    repository.add("other", affine())
    unloaded = ("other", "", "", "")  # told by name alone, as Triton does
    async with serving(model_control_mode="explicit") as (server, client):
        assert await states(client) == [("net", "", "", ""), unloaded]
        assert (await status_of(client.infer("net", x=ROW)))[0] is NOT_FOUND
        health = health_pb2_grpc.HealthStub(client.channel)
        await load(client, "net")
        assert await first(client) == 3.0
        assert await states(client) == [("net", "1", "READY", ""), unloaded]
        ready = pb.RepositoryIndexRequest(ready=True)
        assert len((await client.inference.RepositoryIndex(ready)).models) == 1
        checked = await health.Check(health_pb2.HealthCheckRequest(service="net"))
        assert checked.status == health_pb2.HealthCheckResponse.SERVING

        await unload(client, "net")
        assert await states(client) == [("net", "1", "UNAVAILABLE", "unloaded"), unloaded]
        code, told = await status_of(client.infer("net", x=ROW))
        assert (code, told) == (
            grpc.StatusCode.UNAVAILABLE,
            "model 'net' is not ready: unloaded",
        )
        checked = await health.Check(health_pb2.HealthCheckRequest(service="net"))
        assert checked.status == health_pb2.HealthCheckResponse.NOT_SERVING
        await load(client, "net")
        assert await first(client) == 3.0
        assert server.dataplane.is_ready


@pytest.mark.parametrize(
    ("mode", "how"), [("none", "restart"), ("poll", "it will be"), ("explicit", "a load call")]
)
def test_a_model_that_nobody_has_loaded_is_told_from_one_that_is_not_there(repository, mode, how):
    repository.add("net")
    repository.add("deep", version="net/1")
    settings = ServerConfig(repository=repository.path, model_control_mode=mode)
    advice = advice_on_unserved(settings, "net")
    assert advice.startswith(f"the model repository has it, but it is not loaded: {how}")
    for name in ("nix", "deep", "deep/net", "../net", "", "n\0"):
        assert advice_on_unserved(settings, name) == ""


@pytest.mark.parametrize(
    ("named", "loaded"), [("*", ["a", "b", "c"]), ("a, c", ["a", "c"]), ("", [])]
)
async def test_what_is_named_is_loaded_at_the_start(repository, serving, named, loaded):
    for name in "abc":
        repository.add(name)
    async with serving(model_control_mode="explicit", load_model=named) as (_, client):
        assert [name for name, _, state, _ in await states(client) if state] == loaded


async def test_a_name_that_is_not_there_ends_the_start(repository):
    repository.add("a")
    server = Server(
        ServerConfig(
            repository=repository.path, port=0, model_control_mode="explicit", load_model="a,x"
        )
    )
    with pytest.raises(StartError, match="load_model names x, the repository has a"):
        await server.start()
    await server.stop()


async def test_calls_load_only_where_that_is_switched_on(repository, serving):
    repository.add("net")
    async with serving() as (_, client):
        for call, word in ((load, "load"), (unload, "unload")):
            code, told = await status_of(call(client, "net"))
            assert code is PRECONDITION
            assert told.startswith(f"failed to {word} 'net', explicit model load / unload is not")
        assert await first(client) == 3.0


async def test_a_model_that_is_not_there(repository, serving):
    async with serving(model_control_mode="explicit") as (_, client):
        for name in ("nix", "../elsewhere", ".", "a/b"):
            code, told = await status_of(load(client, name))
            assert code is NOT_FOUND
            assert told.startswith(f"failed to load '{name}'")
        assert (await status_of(unload(client, "nix")))[0] is NOT_FOUND


async def test_a_new_version_takes_the_place_of_the_old_one(repository, serving):
    repository.add("net", affine(offset=1), version="1")
    async with serving(model_control_mode="explicit", load_model="net") as (_, client):
        assert await first(client) == 3.0
        repository.add("net", affine(offset=5), version="2")
        await load(client, "net")
        assert await first(client) == 7.0
        assert await states(client) == [("net", "2", "READY", "")]
        # The files of a version that is served may have changed as well.
        folder = repository.path / "net" / "2"
        (folder / "model.onnx").write_bytes(affine(offset=9).SerializeToString())
        await load(client, "net")
        assert await first(client) == 11.0


async def test_what_cannot_be_loaded_leaves_what_is_served(repository, serving):
    repository.add("net", affine(offset=1), version="1")
    async with serving(model_control_mode="explicit", load_model="net") as (_, client):
        folder = repository.add("net", affine(offset=5), version="2")
        (folder / "model.onnx").write_bytes(b"torn")
        code, told = await status_of(load(client, "net"))
        assert code is PRECONDITION
        assert told.startswith("failed to load 'net', model.onnx is no ONNX graph")
        assert await first(client) == 3.0
        index = await states(client)
        assert [(version, state) for _, version, state, _ in index] == [
            ("1", "READY"),
            ("2", "UNAVAILABLE"),
        ]


async def test_a_config_may_be_sent_along(repository, serving):
    repository.add("net", affine(), config="max_batch_size: 2")
    async with serving(model_control_mode="explicit") as (_, client):
        config = {"max_batch_size": 16, "dynamic_batching": {"max_queue_delay_microseconds": 7}}
        await load(client, "net", config=json.dumps(config))
        response = await client.inference.ModelConfig(pb.ModelConfigRequest(name="net"))
        assert response.config.max_batch_size == 16
        assert response.config.dynamic_batching.max_queue_delay_microseconds == 7
        for wrong, why in (("{", "no ModelConfig"), ('{"nix": 1}', "no ModelConfig")):
            code, told = await status_of(load(client, "net", config=wrong))
            assert code is PRECONDITION
            assert why in told
            assert await states(client) == [("net", "1", "READY", "")]
        code, told = await status_of(load(client, "net", priority="1"))
        assert code is grpc.StatusCode.UNIMPLEMENTED
        assert "'priority' is not honoured" in told


def with_files(name, files, config="{}"):
    request = load_request(name, **({} if config is None else {"config": config}))
    for path, content in files.items():
        request.parameters[f"file:{path}"].bytes_param = content
    return request


async def test_a_load_may_bring_the_files_along(repository, serving):
    repository.add("net", affine(offset=1))
    sent = affine(offset=7).SerializeToString()
    async with serving(model_control_mode="explicit", load_files=True) as (_, client):
        for name in ("net", "new"):  # one that the repository has, and one that it has not
            await client.inference.RepositoryModelLoad(with_files(name, {"3/model.onnx": sent}))
            assert await first(client, name) == 9.0
        assert await states(client) == [("net", "3", "READY", ""), ("new", "3", "READY", "")]
        await load(client, "net")
        assert await first(client) == 3.0
        wrong = [
            (with_files("../out", {"1/model.onnx": sent}), PRECONDITION, "is no name of a model"),
            (
                with_files("net", {"1/model.onnx": b"x"}),
                PRECONDITION,
                "model.onnx is no ONNX graph",
            ),
            (with_files("net", {"1": b"x", "1/model.onnx": sent}), PRECONDITION, "cannot be"),
            (with_files("net", {"1/model.onnx": sent}, config=None), INVALID, "'config'"),
        ]
        for request, expected, why in wrong:
            code, told = await status_of(client.inference.RepositoryModelLoad(request))
            assert (code, why in told) == (expected, True), told
            assert "failed to load" in told
        assert await first(client) == 3.0


@pytest.mark.parametrize("path", ["../x", "/x", "1//x", "", "1/./x", "A" * 256, "1/\0"])
async def test_files_stay_within_the_folder_of_the_model(repository, serving, path):
    repository.add("net")
    async with serving(model_control_mode="explicit", load_files=True) as (_, client):
        request = with_files("net", {path: b"x"})
        code, told = await status_of(client.inference.RepositoryModelLoad(request))
    assert code is INVALID
    assert "Invalid file path" in told


async def test_files_come_only_where_that_is_switched_on(repository, serving):
    repository.add("net")
    async with serving(model_control_mode="explicit") as (_, client):
        request = with_files("net", {"1/model.onnx": affine().SerializeToString()})
        code, told = await status_of(client.inference.RepositoryModelLoad(request))
    assert code is PRECONDITION
    assert "--load-files" in told


@pytest.mark.parametrize("swaps", [20, pytest.param(100, marks=pytest.mark.giant)])
async def test_swaps_under_load_fail_no_call_and_mix_up_none(repository, serving, swaps):
    folder = repository.add("net", affine(offset=0), config=BATCHING.format(rows=8, options=""))
    offsets = {0}
    is_over = False

    async def ask(client):
        asked = 0
        while not is_over:
            # 2 * 1 + offset: an answer of a version that was there.
            assert await first(client) - 2.0 in offsets
            asked += 1
        return asked

    async with serving(model_control_mode="explicit", load_model="net") as (server, client):
        asking = [asyncio.ensure_future(ask(client)) for _ in range(8)]
        models = []
        for offset in range(1, swaps + 1):
            models.append(weakref.ref(server.dataplane.model("net")))
            offsets.add(offset)
            (folder / "model.onnx").write_bytes(affine(offset=offset).SerializeToString())
            await load(client, "net")
            assert await first(client) == 2.0 + offset
        is_over = True
        assert sum(await asyncio.gather(*asking)) > swaps
        await server._loader.drain()
        gc.collect()
        assert [model() for model in models] == [None] * swaps


async def test_an_unload_answers_what_was_admitted(repository, serving):
    repository.add("net", affine(), config=BATCHING.format(rows=8, options=""))
    async with serving(model_control_mode="explicit", load_model="net") as (server, client):
        model = server.dataplane.model("net")
        calls = [asyncio.ensure_future(client.infer("net", x=ROW)) for _ in range(20)]
        while not model._batcher.queue_size:  # noqa: ASYNC110 - the state has no event
            await asyncio.sleep(0)
        unloading = asyncio.ensure_future(unload(client, "net"))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await unloading
    assert any(not isinstance(outcome, Exception) for outcome in outcomes)
    for outcome in outcomes:  # each was answered, or refused because it came too late
        if isinstance(outcome, grpc.aio.AioRpcError):
            assert outcome.details() == "model 'net' is not ready: unloaded"
        else:
            assert outcome["y"][0, 0] == 3.0


async def look(server, times):
    """As the server looks at its repository from time to time, without the time."""
    changing = server._looks = getattr(server, "_looks", {})
    for _ in range(times):
        await server._loader._following._follow_once(changing)


async def test_changes_of_the_repository_are_followed(repository, serving):
    repository.add("net", affine(offset=1))
    async with serving(model_control_mode="poll", repository_poll_seconds=10**6) as (
        server,
        client,
    ):
        model = server.dataplane.model("net")
        await look(server, 2)
        assert server.dataplane.model("net") is model  # nothing changed, nothing is loaded
        repository.add("net", affine(offset=5), version="2")
        repository.add("new", affine(offset=2))
        await look(server, 1)
        assert await first(client) == 3.0  # it may still be written
        await look(server, 1)
        assert await first(client) == 7.0
        assert await first(client, "new") == 4.0
        for file in sorted((repository.path / "new").rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        (repository.path / "new").rmdir()
        await look(server, 1)
        assert [name for name, *_ in await states(client)] == ["net"]


async def test_a_file_that_is_still_written_is_waited_for(repository, serving):
    repository.add("net", affine(offset=1))
    async with serving(model_control_mode="poll", repository_poll_seconds=10**6) as (
        server,
        client,
    ):
        folder = repository.add("net", affine(offset=5), version="2")
        whole = (folder / "model.onnx").read_bytes()
        for size in (10, 20, len(whole)):
            (folder / "model.onnx").write_bytes(whole[:size])
            await look(server, 1)
            assert await first(client) == 3.0
        await look(server, 1)
        assert await first(client) == 7.0


async def test_the_repository_is_looked_at_from_time_to_time(repository, serving):
    repository.add("net", affine(offset=1))
    async with serving(model_control_mode="poll", repository_poll_seconds=0.01) as (_, client):
        path = repository.path / "net" / "1" / "model.onnx"
        path.write_bytes(affine(offset=5).SerializeToString())
        os.utime(path, ns=(1, 1))
        while await first(client) != 7.0:
            pass


async def test_a_repository_that_is_lost_takes_no_model_with_it(repository, serving, caplog):
    repository.add("net", affine(offset=1))
    poll = {"model_control_mode": "poll", "repository_poll_seconds": 10**6}
    away = repository.path.with_name("away")
    async with serving(**poll) as (server, client):
        repository.path.rename(away)
        for _ in range(2):
            with pytest.raises(StartError):
                await look(server, 1)
        [(*served, reason)] = await states(client)
        assert served == ["net", "1", "READY"]
        assert reason.endswith("cannot be read: No such file or directory")
        repository.path.mkdir()  # as below a file system that is not mounted any more
        with pytest.raises(StartError):
            await look(server, 1)
        [(*served, reason)] = await states(client)
        assert served == ["net", "1", "READY"]
        assert reason.endswith("is empty, and not the folder that it was: is it mounted?")
        assert await first(client) == 3.0
        repository.path.rmdir()
        away.rename(repository.path)
        await look(server, 1)
        assert await states(client) == [("net", "1", "READY", "")]
    told = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 2  # once for each reason


async def test_files_that_are_half_copied_are_told_in_the_index(repository, serving):
    path = repository.add("net", affine(offset=1)) / "model.onnx"
    async with serving(model_control_mode="poll", repository_poll_seconds=10**6) as (
        server,
        client,
    ):
        whole = path.read_bytes()
        path.write_bytes(whole[:20])
        await look(server, 2)
        [(*served, reason)] = await states(client)
        assert served == ["net", "1", "READY"]
        assert reason.startswith("served as it was loaded; failed to load 'net', model.onnx")
        assert await first(client) == 3.0
        path.write_bytes(whole)
        await look(server, 2)
        assert await states(client) == [("net", "1", "READY", "")]


async def test_refreshing_with_explicit_is_about_what_is_served(repository, serving):
    net = repository.add("net", affine(offset=1))
    repository.add("other")
    async with serving(model_control_mode="explicit", load_model="net") as (server, client):
        assert await server._loader.refresh() == []
        repository.add("net", affine(offset=5), version="2")
        assert await server._loader.refresh() == ["net"]
        assert await first(client) == 7.0
        net.parent.rename(repository.path / ".away")
        assert await server._loader.refresh() == ["net"]
        [(*served, reason), _] = await states(client)
        assert served == ["net", "2", "READY"]
        assert reason == "served as it was loaded; its folder is gone from the repository"
        assert await first(client) == 7.0


async def test_files_of_a_load_that_cannot_be_written(repository, serving, monkeypatch):
    sent = affine(offset=7).SerializeToString()
    async with serving(model_control_mode="explicit", load_files=True) as (_, client):

        async def refused():
            call = client.inference.RepositoryModelLoad(with_files("net", {"1/model.onnx": sent}))
            code, told = await status_of(call)
            assert code is PRECONDITION
            return told

        with files_of_at_most(10):
            assert "'1/model.onnx' cannot be written: File too large" in await refused()
        monkeypatch.setattr("tempfile.tempdir", str(repository.path / "full"))
        assert "its files cannot be written: No such file or directory; TMPDIR" in await refused()
        monkeypatch.undo()
        await client.inference.RepositoryModelLoad(with_files("net", {"1/model.onnx": sent}))
        assert await first(client) == 9.0


SCRIPT = """
import sys
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1])
client.load_model("net")
assert client.is_model_ready("net")
client.load_model("net", config='{"max_batch_size": 5}')
assert client.get_model_config("net").config.max_batch_size == 5
client.unload_model("net")
assert not client.is_model_ready("net")
try:
    client.load_model("wrong_model_name")
except InferenceServerException as error:
    assert "failed to load" in error.message(), error
else:
    raise AssertionError("it was loaded")
print("all calls did what they should")
"""


async def test_tritonclient_loads_and_unloads(repository, serving):
    repository.add("net")
    async with serving(model_control_mode="explicit") as (server, _):
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", SCRIPT, server.address],
            capture_output=True,
            text=True,
        )
    assert ended.stdout == "all calls did what they should\n", ended.stderr


async def test_an_answer_names_the_version_that_gave_it(repository, serving):
    repository.add("net", affine(), version="3")
    async with serving(model_control_mode="explicit") as (_, client):
        await load(client, "net")
        response = await client.inference.ModelInfer(infer_request("net", x=ROW))
    assert response.model_version == "3"


async def test_a_model_answers_before_it_can_be_explained(repository, monkeypatch):
    repository.add("net", affine())
    may_go_on = threading.Event()
    load = version_swap.load_explainer

    def held(loaded, settings):
        assert may_go_on.wait(60)
        return load(loaded, settings)

    monkeypatch.setattr(version_swap, "load_explainer", held)
    server = Server(ServerConfig(repository=repository.path, port=0))
    await server.start()
    loading = asyncio.ensure_future(server.load())
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            client = Client(channel, server.address)
            while not server.dataplane.is_model_ready("net"):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.001)
            assert await first(client) == 3.0
            code, told = await status_of(
                client.explain.Explain(explain_pb2.ExplainRequest(model_name="net"))
            )
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "is being loaded" in told
            ready = pb.ServerReadyRequest()
            assert not (await client.inference.ServerReady(ready)).ready
            index = pb.RepositoryIndexRequest()
            [entry] = (await client.inference.RepositoryIndex(index)).models
            assert (entry.state, entry.explainer_is_loading) == ("READY", True)
            may_go_on.set()
            await loading
            [entry] = (await client.inference.RepositoryIndex(index)).models
            assert not entry.explainer_is_loading
            assert (await client.inference.ServerReady(ready)).ready
            code, _ = await status_of(
                client.explain.Explain(explain_pb2.ExplainRequest(model_name="net"))
            )
            assert code is not grpc.StatusCode.UNAVAILABLE
    finally:
        may_go_on.set()
        await server.stop()


@pytest.mark.parametrize("how", ["swap", "unload"])
async def test_what_waits_for_the_old_version_is_answered_by_it(
    repository, serving, monkeypatch, how
):
    folder = repository.add("net", affine(offset=1), config="max_batch_size: 1")
    async with serving(model_control_mode="explicit", load_model="net", sessions=1) as (
        server,
        client,
    ):
        old = server.dataplane.model("net")
        gate = Gate(old, monkeypatch)
        waiting = [asyncio.ensure_future(first(client)) for _ in range(4)]
        await gate.wait_for_run()
        while old._batcher.queue_size < 3:  # noqa: ASYNC110 - the state has no event
            await asyncio.sleep(0)
        if how == "swap":
            (folder / "model.onnx").write_bytes(affine(offset=5).SerializeToString())
            await load(client, "net")
            assert await first(client) == 7.0
        else:
            await unload(client, "net")
        assert not any(call.done() for call in waiting)
        gate.open()
        assert await asyncio.gather(*waiting) == [3.0] * 4
