import grpc
import pytest
from grpc_reflection.v1alpha import reflection

from eyespot.v1 import explain_pb2, inference_pb2, services


class Servicer:
    async def ServerLive(self, request, context):  # noqa: N802 - the protocol's name
        return inference_pb2.ServerLiveResponse(live=True)

    async def ExplainStream(self, request, context):  # noqa: N802
        for progress in (0.5, 1.0):
            yield explain_pb2.ExplainStreamResponse(progress=progress)


@pytest.fixture
async def channel():
    server = grpc.aio.server()
    for service in (services.INFERENCE_SERVICE, services.EXPLAIN_SERVICE):
        server.add_generic_rpc_handlers((services.generic_handler(service, Servicer()),))
    reflection.enable_server_reflection(
        [services.INFERENCE_SERVICE, services.EXPLAIN_SERVICE, reflection.SERVICE_NAME],
        server,
        pool=services.reflection_pool(),
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


async def test_the_service_answers_under_the_name_of_the_protocol(channel):
    raw = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
    assert await raw(b"") == b"\x08\x01"  # field 1, varint, true


async def test_a_call_and_a_stream_through_the_stubs(channel):
    answer = await services.InferenceStub(channel).ServerLive(inference_pb2.ServerLiveRequest())
    assert answer.live
    stream = services.ExplainStub(channel).ExplainStream(explain_pb2.ExplainRequest())
    assert [part.progress async for part in stream] == [0.5, 1.0]


async def test_a_method_that_the_servicer_lacks_is_unimplemented(channel):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await services.InferenceStub(channel).ModelReady(inference_pb2.ModelReadyRequest())
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_name_that_is_no_method(channel):
    with pytest.raises(AttributeError, match="no method 'ModelGuess'"):
        services.InferenceStub(channel).ModelGuess  # noqa: B018


def test_reflection_knows_each_service_by_its_wire_name():
    pool = services.reflection_pool()
    infer = pool.FindServiceByName("inference.GRPCInferenceService").methods_by_name["ModelInfer"]
    assert infer.input_type.full_name == "inference.ModelInferRequest"
    assert (
        infer.input_type.fields_by_name["inputs"].message_type.fields_by_name["shape"].number == 3
    )
    explain = pool.FindServiceByName("eyespot.v1.ExplainService").methods_by_name["Explain"]
    assert explain.input_type.full_name == "eyespot.v1.ExplainRequest"
    inputs = explain.input_type.fields_by_name["inputs"].message_type
    assert inputs.full_name == "inference.ModelInferRequest.InferInputTensor"
    assert pool.FindServiceByName("grpc.health.v1.Health")
    with pytest.raises(KeyError):
        pool.FindServiceByName("eyespot.v1.GRPCInferenceService")
