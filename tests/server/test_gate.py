"""Who may make which call, over real connections."""

import logging
import socket

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.server.tiny import infer_request, read_outputs, status_of

from eyespot.client import AsyncClient, PermissionDeniedError, UnauthenticatedError
from eyespot.server.app import Server
from eyespot.server.callers import Caller, current_caller, enter
from eyespot.server.config import ServerConfig
from eyespot.server.errors import StartError
from eyespot.server.gate import _OPEN, _RIGHTS, Gate
from eyespot.server.rate_limit import RateLimit
from eyespot.v1 import inference_pb2 as pb
from eyespot.v1.services import _DESCRIPTORS, EXPLAIN_SERVICE, INFERENCE_SERVICE, InferenceStub

ROW = np.float32([[1, 2, 3, 4]])
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
DENIED = grpc.StatusCode.PERMISSION_DENIED
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
FAILED = grpc.StatusCode.FAILED_PRECONDITION
TOKENS = {"infer": "i" * 20, "explain": "e" * 20, "admin": "a" * 20}

# Each call by the right that it needs: None for none, "" for any token.
CALLS = {
    "": ["ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"],
    "infer": ["ModelInfer", "ModelStreamInfer"],
    "explain": ["Explain", "ExplainStream"],
    "admin": [
        *("RepositoryModelLoad", "RepositoryModelUnload", "TraceSetting", "LogSettings"),
        *(
            f"{kind}SharedMemory{verb}"
            for kind in ("System", "Cuda")
            for verb in ("Register", "Unregister", "Status")
        ),
    ],
}
CALLS[""] += ["RepositoryIndex", "ListMethods"]


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "tokens.toml"
    path.write_text("".join(f'[{n}]\ntoken = "{t}"\nrights = ["{n}"]\n' for n, t in TOKENS.items()))
    path.chmod(0o600)
    return path


def _start(client, name, token=None, request=b""):
    """Makes a call with an empty request, or another one; all calls as streams."""
    service = INFERENCE_SERVICE if _methods(INFERENCE_SERVICE, name) else EXPLAIN_SERVICE
    call = client.channel.unary_stream(f"/{service}/{name}")
    metadata = None if token is None else [("authorization", f"Bearer {token}")]
    return call(request, metadata=metadata)


def _methods(service, name):
    return [method for method in _DESCRIPTORS[service].methods if method.name == name]


async def _status(call):
    while True:
        try:
            if await call.read() is grpc.aio.EOF:
                return await call.code()
        except grpc.aio.AioRpcError as error:
            return error.code()


async def test_each_call_needs_its_right_and_no_other(repository, serving, token_file):
    repository.add("affine")
    declared = {m.name for service in _DESCRIPTORS.values() for m in service.methods}
    assert declared == {name for names in CALLS.values() for name in names} | {
        "ServerLive",
        "ServerReady",
    }
    async with serving(token_file=token_file) as (_, client):
        for needed, names in CALLS.items():
            for name in names:
                assert await _status(_start(client, name)) is UNAUTHENTICATED, name
                for right, token in TOKENS.items():
                    status = await _status(_start(client, name, token))
                    assert (status is DENIED) == (needed not in ("", right)), (name, right)
                    assert status is not UNAUTHENTICATED


async def test_health_is_open_and_unknown_tokens_are_told_from_none(
    repository, serving, token_file
):
    repository.add("affine")
    async with serving(token_file=token_file) as (_, client):
        assert (await client.inference.ServerLive(pb.ServerLiveRequest())).live
        assert (await client.inference.ServerReady(pb.ServerReadyRequest())).ready
        health = health_pb2_grpc.HealthStub(client.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == answer.SERVING
        request = infer_request("affine", x=ROW)
        code, details = await status_of(client.inference.ModelInfer(request))
        assert code is UNAUTHENTICATED
        assert "authorization: Bearer" in details
        for value in ("Bearer " + "x" * 20, "Bearer", "Basic " + TOKENS["infer"], TOKENS["infer"]):
            call = client.inference.ModelInfer(request, metadata=[("authorization", value)])
            assert (await status_of(call))[0] is UNAUTHENTICATED, value
        twice = [("authorization", "Bearer " + TOKENS["infer"])] * 2
        assert (await status_of(client.inference.ModelInfer(request, metadata=twice)))[0] is (
            UNAUTHENTICATED
        )
        good = [("authorization", "bearer " + TOKENS["infer"])]
        response = await client.inference.ModelInfer(request, metadata=good)
        assert read_outputs(response)["y"].tolist() == [[3, 5, 7, 9]]


async def test_attributions_beside_outputs_need_the_right_to_explain(
    repository, serving, token_file
):
    repository.add("affine")
    request = infer_request("affine", x=ROW)
    request.outputs.add(name="saliency")
    async with serving(token_file=token_file) as (_, client):
        metadata = [("authorization", "Bearer " + TOKENS["infer"])]
        code, details = await status_of(client.inference.ModelInfer(request, metadata=metadata))
        assert (code, details) == (DENIED, "infer has not the right 'explain'")
        stream = client.inference.ModelStreamInfer(iter([request]), metadata=metadata)
        (answer,) = [response async for response in stream]
        assert answer.error_message == "infer has not the right 'explain'"


async def test_a_token_is_neither_logged_nor_shown(repository, serving, token_file, caplog):
    repository.add("affine")
    caplog.set_level(logging.DEBUG)
    async with serving(token_file=token_file, log_level="debug") as (server, _):
        for token, error in ((TOKENS["explain"], PermissionDeniedError), ("x" * 20, None)):
            async with AsyncClient(server.address, token=token, retries=0) as client:
                assert token not in repr(client) + repr(vars(client))
                with pytest.raises(error or UnauthenticatedError) as caught:
                    await client.infer("affine", ROW)
            assert token not in caplog.text + repr(caught.value)
        async with AsyncClient(server.address, token=TOKENS["infer"], retries=0) as client:
            assert (await client.infer("affine", ROW)).outputs["y"].tolist() == [[3, 5, 7, 9]]
    assert not any(token in caplog.text for token in TOKENS.values())


async def test_settings_stay_as_they_are_unless_switched_on(repository, serving, token_file):
    repository.add("affine")
    asked = pb.LogSettingsRequest()
    asked.settings["log_verbose_level"].uint32_param = 0
    trace = pb.TraceSettingRequest()
    trace.settings["trace_rate"].value.append("7")
    async with serving() as (_, client):
        for call in (client.inference.LogSettings(asked), client.inference.TraceSetting(trace)):
            code, details = await status_of(call)
            assert code is DENIED
            assert "--settings-calls" in details
        assert (await client.inference.LogSettings(pb.LogSettingsRequest())).settings
    async with serving(settings_calls=True) as (_, client):
        await client.inference.LogSettings(asked)
        answer = await client.inference.TraceSetting(trace)
        assert list(answer.settings["trace_rate"].value) == ["7"]
    async with serving(token_file=token_file) as (_, client):
        metadata = [("authorization", "Bearer " + TOKENS["admin"])]
        await client.inference.LogSettings(asked, metadata=metadata)


async def test_a_second_port_takes_the_admin_calls_and_the_first_none(repository, serving):
    repository.add("affine")
    with socket.create_server(("127.0.0.1", 0)) as free:
        admin_port = free.getsockname()[1]
    settings = {"admin_port": admin_port, "model_control_mode": "explicit", "load_model": "*"}
    asked = pb.LogSettingsRequest()
    asked.settings["log_verbose_level"].uint32_param = 0
    async with serving(**settings) as (_, client):
        for name in CALLS["admin"]:
            assert await _status(_start(client, name)) is DENIED, name
        assert (await client.infer("affine", x=ROW))["y"].tolist() == [[3, 5, 7, 9]]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{admin_port}") as channel:
            admin = InferenceStub(channel)
            await admin.LogSettings(asked)
            await admin.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="affine"))
            await admin.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="affine"))
            answer = await admin.ModelInfer(infer_request("affine", x=ROW))
            assert read_outputs(answer)["y"].tolist() == [[3, 5, 7, 9]]
            health = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest())
            assert answer.status == answer.SERVING


async def test_who_sends_too_much_is_told_how_long_to_wait_and_others_are_not(
    repository, serving, token_file
):
    repository.add("affine")
    other = "o" * 20
    token_file.write_text(
        token_file.read_text() + f'[other]\ntoken = "{other}"\nrights = ["infer"]\n'
    )
    request = infer_request("affine", x=ROW)
    async with serving(token_file=token_file, max_requests_per_second=0.001) as (_, client):
        metadata = [("authorization", "Bearer " + TOKENS["infer"])]
        await client.inference.ModelInfer(request, metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.inference.ModelInfer(request, metadata=metadata)
        assert caught.value.code() is EXHAUSTED
        pushback = dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"]
        assert 900_000 < int(pushback) <= 1_000_000
        await client.inference.ModelInfer(request, metadata=[("authorization", f"Bearer {other}")])
        for _ in range(3):  # not counted
            await client.inference.ServerLive(pb.ServerLiveRequest())


async def test_without_tokens_callers_are_told_apart_by_address(repository, serving):
    repository.add("affine")
    request = infer_request("affine", x=ROW)
    own_connection = [("grpc.use_local_subchannel_pool", 1)]
    async with serving(max_requests_per_second=0.001) as (_, client):
        await client.infer("affine", x=ROW)
        for _ in range(2):
            async with grpc.aio.insecure_channel(client.address, options=own_connection) as again:
                code, details = await status_of(InferenceStub(again).ModelInfer(request))
                assert (code, "more requests per second" in details) == (EXHAUSTED, True)


async def test_a_stream_is_slowed_down_and_loses_nothing():
    now, slept = 0.0, []

    async def sleep(seconds):
        nonlocal now
        slept.append(seconds)
        now += seconds

    async def requests():
        for number in range(5):
            yield number

    enter(Caller("a"))
    gate = Gate(rate_limit=RateLimit(2, clock=lambda: now), sleep=sleep)
    assert [request async for request in gate.slowed(requests())] == [0, 1, 2, 3, 4]
    assert slept == [0.5, 0.5, 0.5]
    assert current_caller().identity == "a"


def test_no_call_is_in_two_lists():
    assert not _OPEN & _RIGHTS.keys()


async def test_an_admin_port_in_use_ends_the_start_and_leaves_nothing_open(repository):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = ServerConfig(repository=repository.path, port=0, admin_port=taken.getsockname()[1])
        server = Server(config)
        with pytest.raises(StartError, match="the port is in use"):
            await server.start()
    port = server.port
    await server.stop()
    with socket.create_server(("127.0.0.1", port)):  # free again
        pass


async def test_doors_that_are_open_too_far_are_warned_of(repository, token_file, caplog):
    for settings, warning in (
        ({}, "--token-file or --tls-client-ca"),
        ({"host": "127.0.0.1"}, ""),
        ({"token_file": token_file}, "tokens go over the network as they are"),
    ):
        caplog.clear()
        server = Server(
            ServerConfig(repository=repository.path, port=0, **{"host": "0.0.0.0", **settings})
        )
        await server.start()
        await server.stop()
        warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        assert (warning in "".join(warnings), bool(warnings)) == (True, bool(warning))
