"""The protocol over real connections: what goes in, what comes out, what is refused."""

import asyncio
import json
import struct

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from onnx import TensorProto, helper
from tests.server.tiny import (
    FLOAT,
    affine,
    graph,
    identity,
    infer_request,
    read_outputs,
    status_of,
)

from eyespot.v1 import explain_pb2
from eyespot.v1 import inference_pb2 as pb

INVALID = grpc.StatusCode.INVALID_ARGUMENT

# Every datatype: ONNX's type, two elements, their little-endian bytes as the protocol has
# them (by hand), and the typed field that carries them.
DATATYPES = {
    "BOOL": (TensorProto.BOOL, [True, False], b"\x01\x00", "bool_contents"),
    "UINT8": (TensorProto.UINT8, [1, 255], b"\x01\xff", "uint_contents"),
    "UINT16": (TensorProto.UINT16, [1, 258], b"\x01\x00\x02\x01", "uint_contents"),
    "UINT32": (TensorProto.UINT32, [1, 258], b"\x01\0\0\0\x02\x01\0\0", "uint_contents"),
    "UINT64": (
        TensorProto.UINT64,
        [1, 2**63],
        b"\x01\0\0\0\0\0\0\0" + b"\0\0\0\0\0\0\0\x80",
        "uint64_contents",
    ),
    "INT8": (TensorProto.INT8, [-1, 2], b"\xff\x02", "int_contents"),
    "INT16": (TensorProto.INT16, [-2, 258], b"\xfe\xff\x02\x01", "int_contents"),
    "INT32": (TensorProto.INT32, [-2, 258], b"\xfe\xff\xff\xff\x02\x01\0\0", "int_contents"),
    "INT64": (
        TensorProto.INT64,
        [-2, 1],
        b"\xfe" + b"\xff" * 7 + b"\x01" + b"\0" * 7,
        "int64_contents",
    ),
    "FP16": (TensorProto.FLOAT16, None, b"\x00\x3c\x00\xc0", None),  # 1.0, -2.0
    "BF16": (TensorProto.BFLOAT16, None, b"\x80\x3f\x00\xc0", None),  # 1.0, -2.0
    "FP32": (FLOAT, [1.0, -2.0], b"\0\0\x80\x3f\0\0\0\xc0", "fp32_contents"),
    "FP64": (
        TensorProto.DOUBLE,
        [1.0, -2.0],
        b"\0\0\0\0\0\0\xf0\x3f" + b"\0\0\0\0\0\0\0\xc0",
        "fp64_contents",
    ),
    "BYTES": (
        TensorProto.STRING,
        [b"", "é".encode()],
        b"\0\0\0\0" + b"\x02\0\0\0\xc3\xa9",
        "bytes_contents",
    ),
}


async def test_every_datatype_goes_in_raw_and_typed_and_comes_out_raw(repository, serving):
    for name, (onnx_type, *_) in DATATYPES.items():
        repository.add(name.lower(), identity(onnx_type, ["batch", 2]))
    async with serving() as (_, client):
        for name, (_, elements, raw, field) in DATATYPES.items():
            request = pb.ModelInferRequest(model_name=name.lower(), raw_input_contents=[raw])
            request.inputs.add(name="x", datatype=name, shape=[1, 2])
            response = await client.inference.ModelInfer(request)
            assert response.raw_output_contents == [raw], name
            assert response.outputs[0].datatype == name
            assert response.outputs[0].shape == [1, 2]
            if field is None:
                continue
            del request.raw_input_contents[:]
            getattr(request.inputs[0].contents, field).extend(elements)
            response = await client.inference.ModelInfer(request)
            assert response.raw_output_contents == [raw], name


async def test_answer_names_model_version_and_request(repository, serving):
    repository.add("affine", affine(), version="7")
    async with serving() as (_, client):
        request = infer_request("affine", x=np.zeros((1, 4), np.float32))
        request.id = "call 1"
        response = await client.inference.ModelInfer(request)
    assert (response.model_name, response.model_version, response.id) == ("affine", "7", "call 1")
    assert read_outputs(response)["y"].tolist() == [[1.0, 1.0, 1.0, 1.0]]


async def test_requested_outputs_come_in_the_order_asked_for(repository, serving):
    nodes = [helper.make_node("Neg", ["x"], ["minus"]), helper.make_node("Abs", ["x"], ["size"])]
    spec = (FLOAT, ["batch", 1])
    repository.add("two", graph(nodes, {"x": spec}, {"minus": spec, "size": spec}))
    async with serving() as (_, client):
        request = infer_request("two", x=np.float32([[-3]]))
        answer = await client.infer("two", x=np.float32([[-3]]))
        assert answer == {"minus": [[3.0]], "size": [[3.0]]}
        request.outputs.add(name="size")
        request.outputs.add(name="minus")
        response = await client.inference.ModelInfer(request)
        assert [output.name for output in response.outputs] == ["size", "minus"]
        del request.outputs[1]
        response = await client.inference.ModelInfer(request)
        assert [output.name for output in response.outputs] == ["size"]


def _mutations():
    """What a request for `affine` (x: FP32 [-1, 4], at most 4 rows) can get wrong."""

    def of(**change):
        request = infer_request("affine", x=np.ones((2, 4), np.float32))
        for name, value in change.items():
            if name == "shape":
                request.inputs[0].shape[:] = value
            elif name == "raw":
                request.raw_input_contents[:] = value
            else:
                setattr(request.inputs[0], name, value)
        return request

    yield "name", of(name="y"), ["unexpected inference input 'y' for model 'affine'", "'x'"]
    yield "datatype", of(datatype="FP64"), ["data-type is 'FP64'", "expects 'FP32'"]
    yield "no datatype", of(datatype=""), ["data-type is ''", "expects 'FP32'"]
    shape = "unexpected shape for input 'x' for model 'affine'. Expected [-1,4], got "
    yield "width", of(shape=[2, 5]), [shape + "[2,5]"]
    yield "rank", of(shape=[8]), [shape + "[8]"]
    yield "rank 3", of(shape=[2, 4, 1]), [shape + "[2,4,1]"]
    yield "no shape", of(shape=[]), [shape + "[]"]
    yield "no rows", of(shape=[0, 4], raw=[b""]), ["from 1 to 4", "got 0"]
    yield "negative rows", of(shape=[-1, 4]), ["from 1 to 4", "got -1"]
    yield "both negative", of(shape=[-2, -4]), [shape + "[-2,-4]"]
    yield "rows", of(shape=[5, 4], raw=[bytes(80)]), ["from 1 to 4", "got 5"]
    yield "huge", of(shape=[2**62, 4]), ["from 1 to 4", f"got {2**62}"]
    yield "short", of(raw=[bytes(31)]), ["takes 32 bytes", "found 31"]
    yield "long", of(raw=[bytes(33)]), ["takes 32 bytes", "found 33"]
    yield "two raws", of(raw=[bytes(32)] * 2), ["expected 1 raw_input_contents", "got 2"]
    yield "no data", of(raw=[]), ["takes 8 elements", "found 0"]
    none = pb.ModelInferRequest(model_name="affine")
    yield "no input", none, ["expected 1 inputs but got 0 inputs for model 'affine'", "'x'"]
    both = of()
    both.inputs[0].contents.fp32_contents.extend([1.0] * 8)
    yield (
        "raw and typed",
        both,
        ["contents field must not be specified when using raw_input_contents"],
    )
    twice = of()
    twice.inputs.append(twice.inputs[0])
    yield "twice", twice, ["expected 1 inputs but got 2 inputs for model 'affine'"]
    wrong_field = of(raw=[])
    wrong_field.inputs[0].contents.int_contents.extend([1] * 8)
    yield "wrong field", wrong_field, ["fp32_contents", "int_contents"]
    output = of()
    output.outputs.add(name="z")
    yield "output", output, ["unexpected inference output 'z' for model 'affine'", "'y'"]
    outputs = of()
    outputs.outputs.add(name="y")
    outputs.outputs.add(name="y")
    yield "output twice", outputs, ["names an output twice"]


async def test_what_does_not_fit_is_invalid_and_the_next_request_works(repository, serving):
    repository.add("affine", affine())
    async with serving() as (server, client):
        for label, request, expected in _mutations():
            code, details = await status_of(client.inference.ModelInfer(request))
            assert code is INVALID, (label, details)
            for text in expected:
                assert text in details, (label, details)
        assert server.dataplane.model("affine").statistics.execution_count == 0
        answer = await client.infer("affine", x=np.zeros((1, 4), np.float32))
        assert answer["y"].tolist() == [[1.0] * 4]


async def test_rows_of_several_inputs_agree_and_no_input_comes_twice(repository, serving):
    spec = (FLOAT, ["batch", 2])
    add = helper.make_node("Add", ["a", "b"], ["sum"])
    repository.add("sum", graph([add], {"a": spec, "b": spec}, {"sum": spec}))
    ones = np.ones((2, 2), np.float32)
    async with serving() as (_, client):
        assert (await client.infer("sum", b=ones, a=ones))["sum"].tolist() == [[2, 2], [2, 2]]
        code, details = await status_of(client.infer("sum", a=ones, b=ones[:1]))
        assert code is INVALID
        assert "'b'" in details
        assert "1 rows" in details
        request = infer_request("sum", a=ones, b=ones)
        request.inputs[1].name = "a"
        code, details = await status_of(client.inference.ModelInfer(request))
        assert code is INVALID
        assert "'a' appears twice" in details


async def test_text_that_is_not_utf8_is_invalid(repository, serving):
    repository.add("text", identity(TensorProto.STRING, ["batch"]))
    request = pb.ModelInferRequest(
        model_name="text", raw_input_contents=[struct.pack("<I", 1) + b"\xff"]
    )
    request.inputs.add(name="x", datatype="BYTES", shape=[1])
    async with serving() as (_, client):
        code, details = await status_of(client.inference.ModelInfer(request))
    assert code is INVALID
    assert "element 0 of input 'x' is not UTF-8" in details


async def test_extensions_that_are_not_here_are_refused_not_ignored(repository, serving):
    repository.add("affine", affine())
    async with serving() as (_, client):
        for name in ("sequence_id", "sequence_start", "sequence_end"):
            request = infer_request("affine", x=np.ones((1, 4), np.float32))
            request.parameters[name].int64_param = 1
            code, details = await status_of(client.inference.ModelInfer(request))
            assert code is grpc.StatusCode.UNIMPLEMENTED
            assert f"'{name}'" in details


@pytest.mark.parametrize("how", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_messages_may_be_compressed(repository, serving, how):
    repository.add("affine", affine(width=4096))
    rows = np.ones((2, 4096), np.float32)
    async with serving() as (_, client):
        call = client.inference.ModelInfer(infer_request("affine", x=rows), compression=how)
        np.testing.assert_array_equal(read_outputs(await call)["y"], 2 * rows + 1)


async def test_values_that_the_graph_rejects_are_invalid(repository, serving):
    model = graph(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        {"x": (TensorProto.INT64, ["batch"])},
        {"y": (FLOAT, ["batch"])},
        {"table": np.float32([10, 20, 30])},
    )
    repository.add("gather", model)
    async with serving() as (_, client):
        code, details = await status_of(client.infer("gather", x=np.int64([3])))
        assert code is INVALID
        assert "idx=3" in details
        assert (await client.infer("gather", x=np.int64([2])))["y"].tolist() == [30.0]


async def test_shapes_that_vary_are_never_joined_wrongly(repository, serving):
    repository.add("any", identity(FLOAT, ["batch", "width"]), config="max_batch_size: 8\n"
                   "dynamic_batching {}")  # fmt: skip
    async with serving() as (_, client):
        arrays = [np.full((1, 1 + i % 3), i, np.float32) for i in range(12)]
        answers = await asyncio.gather(*(client.infer("any", x=array) for array in arrays))
        for array, answer in zip(arrays, answers, strict=True):
            assert answer["y"].tolist() == array.tolist()
        code, details = await status_of(client.infer("any", x=np.zeros((1, 0), np.float32)))
        assert code is INVALID
        assert "Expected [-1,-1], got [1,0]" in details


async def test_model_without_batch_dimension_is_served_as_it_is(repository, serving):
    repository.add("plain", identity(FLOAT, [2, 3]))
    async with serving() as (_, client):
        answer = await client.infer("plain", x=np.zeros((2, 3), np.float32))
        assert answer["y"].shape == (2, 3)
        code, details = await status_of(client.infer("plain", x=np.zeros((1, 3), np.float32)))
        assert code is INVALID
        assert "Expected [2,3], got [1,3]" in details
        metadata = await client.inference.ModelMetadata(pb.ModelMetadataRequest(name="plain"))
        assert metadata.inputs[0].shape == [2, 3]


async def test_unknown_models_and_versions_are_not_found(repository, serving):
    repository.add("affine", affine())
    async with serving() as (_, client):
        code, details = await status_of(client.infer("affin", x=np.zeros((1, 4), np.float32)))
        assert code is grpc.StatusCode.NOT_FOUND
        assert "Request for unknown model: 'affin' is not found" in details
        request = infer_request("affine", x=np.zeros((1, 4), np.float32))
        request.model_version = "3"
        code, details = await status_of(client.inference.ModelInfer(request))
        assert code is grpc.StatusCode.NOT_FOUND
        assert "'affine' version 3 is not found; it has the versions 1" in details
        request.model_version = "newest"
        code, details = await status_of(client.inference.ModelInfer(request))
        assert code is INVALID
        assert "failed to get model version from specified version string 'newest'" in details
        for call in (
            client.inference.ModelMetadata(pb.ModelMetadataRequest(name="no")),
            client.inference.ModelConfig(pb.ModelConfigRequest(name="no")),
            client.inference.ModelStatistics(pb.ModelStatisticsRequest(name="no")),
            client.explain.Explain(explain_pb2.ExplainRequest(model_name="no")),
            client.explain.ListMethods(explain_pb2.ListMethodsRequest(model_name="no")),
        ):
            assert (await status_of(call))[0] is grpc.StatusCode.NOT_FOUND


async def test_metadata_config_and_health(repository, serving):
    labels = ["null", "eins", "zwei", "drei"]
    folder = repository.add(
        "affine",
        affine(),
        config='max_batch_size: 3\noutput { name: "y" label_filename: "names.txt" }\n'
        'parameters { key: "k" value { string_value: "v" } }',
    )
    (folder.parent / "names.txt").write_text("\n".join(labels) + "\n")
    async with serving() as (_, client):
        call = client.inference
        assert (await call.ServerLive(pb.ServerLiveRequest())).live
        assert (await call.ServerReady(pb.ServerReadyRequest())).ready
        assert (await call.ModelReady(pb.ModelReadyRequest(name="affine"))).ready
        assert (await call.ModelReady(pb.ModelReadyRequest(name="affine", version="1"))).ready
        assert not (await call.ModelReady(pb.ModelReadyRequest(name="affine", version="2"))).ready
        server = await call.ServerMetadata(pb.ServerMetadataRequest())
        assert server.name == "eyespot"
        assert server.version
        model = await call.ModelMetadata(pb.ModelMetadataRequest(name="affine"))
        assert (model.name, model.versions, model.platform) == ("affine", ["1"], "onnxruntime_onnx")
        assert [(t.name, t.datatype, list(t.shape)) for t in model.inputs] == [
            ("x", "FP32", [-1, 4])
        ]
        assert [(t.name, t.datatype, list(t.shape)) for t in model.outputs] == [
            ("y", "FP32", [-1, 4])
        ]
        config = (await call.ModelConfig(pb.ModelConfigRequest(name="affine"))).config
        assert (config.name, config.max_batch_size) == ("affine", 3)
        assert [(entry.name, list(entry.dims)) for entry in config.input] == [("x", [4])]
        assert config.parameters["k"].string_value == "v"
        assert json.loads(config.parameters["labels"].string_value) == labels
        index = await call.RepositoryIndex(pb.RepositoryIndexRequest())
        assert [(m.name, m.version, m.state, m.reason) for m in index.models] == [
            ("affine", "1", "READY", "")
        ]
        health = health_pb2_grpc.HealthStub(client.channel)
        for service in (
            "",
            "affine",
            "inference.GRPCInferenceService",
            "eyespot.v1.ExplainService",
        ):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_and_describes_every_service(repository, serving):
    async with serving() as (server, _):
        services = await asyncio.to_thread(_describe, server.address)
    assert set(services) == {
        "inference.GRPCInferenceService",
        "eyespot.v1.ExplainService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    infer = services["inference.GRPCInferenceService"].methods_by_name["ModelInfer"]
    assert infer.input_type.full_name == "inference.ModelInferRequest"
    assert infer.input_type.fields_by_name["raw_input_contents"].number == 7


def _describe(address):
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        from google.protobuf.descriptor_pool import DescriptorPool

        pool = DescriptorPool(database)
        return {name: pool.FindServiceByName(name) for name in database.get_services()}


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_knows_methods_and_answers_as_either_version(serving, version):
    def ask(symbol):
        return reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)

    async def requests():
        for service, method in (
            ("inference.GRPCInferenceService", "ModelInfer"),
            ("eyespot.v1.ExplainService", "Explain"),
            ("grpc.health.v1.Health", "Check"),
            ("grpc.health.v1.Health", "Nix"),
        ):
            yield ask(f"{service}.{method}")

    async with serving() as (_, client):
        call = client.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        kinds = [answer.WhichOneof("message_response") async for answer in call(requests())]
    assert kinds == ["file_descriptor_response"] * 3 + ["error_response"]


async def test_what_cannot_be_parsed_is_the_fault_of_its_caller(repository, serving):
    repository.add("affine", affine())
    async with serving() as (_, client):
        for service, method in (
            ("inference.GRPCInferenceService", "ModelInfer"),
            ("eyespot.v1.ExplainService", "Explain"),
        ):
            call = client.channel.unary_unary(f"/{service}/{method}")
            code, details = await status_of(call(b"\xff\xff\xff"))
            assert code is INVALID
            assert "cannot be parsed" in details
        stream = client.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")

        async def torn():
            yield b"\xff\xff\xff"

        (answer,) = [answer async for answer in stream(torn())]
        told = pb.ModelStreamInferResponse.FromString(answer)
        assert "cannot be parsed" in told.error_message
        assert (await client.infer("affine", x=np.zeros((1, 4), np.float32)))["y"][0, 0] == 1.0


async def test_timeout_and_priority_reach_the_batcher(repository, serving, monkeypatch):
    repository.add("affine", affine())
    async with serving() as (server, client):
        batcher = server.dataplane.model("affine")._batcher
        submit, seen = batcher.submit, []

        async def watched(call, **arguments):
            seen.append((arguments["timeout"], arguments["priority"]))
            return await submit(call, **arguments)

        monkeypatch.setattr(batcher, "submit", watched)
        request = infer_request("affine", x=np.zeros((1, 4), np.float32))
        await client.inference.ModelInfer(request)
        request.parameters["timeout"].int64_param = 60_000_000
        request.parameters["priority"].uint64_param = 2
        await client.inference.ModelInfer(request)
        request.parameters["priority"].int64_param = 3
        await client.inference.ModelInfer(request)
    assert seen == [(None, 0), (60.0, 2), (60.0, 3)]


async def test_a_broken_model_says_that_asking_again_is_in_vain(repository, serving):
    folder = repository.add("torn", affine())
    (folder / "model.onnx").write_bytes(b"torn")
    async with serving() as (_, client):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.infer("torn", x=np.zeros((1, 4), np.float32))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"] == "-1"
        checked = await health_pb2_grpc.HealthStub(client.channel).Check(
            health_pb2.HealthCheckRequest(service="torn")
        )
        assert checked.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_stream_and_models_without_original_say_why(repository, serving):
    repository.add("affine", affine())
    request = explain_pb2.ExplainRequest(model_name="affine")
    async with serving() as (_, client):
        code, details = await status_of(client.explain.Explain(request))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "no original.pt2" in details
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in client.explain.ExplainStream(request):
                pass
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "no original.pt2" in caught.value.details()


async def test_our_own_faults_reach_the_log_whole_and_the_caller_as_an_id(
    repository, serving, monkeypatch, caplog
):
    repository.add("affine", affine())
    async with serving() as (server, client):

        def break_down(*_):
            raise RuntimeError("a secret path")

        monkeypatch.setattr(server.dataplane.model("affine")._session, "run", break_down)
        code, details = await status_of(client.infer("affine", x=np.zeros((1, 4), np.float32)))
    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in details
    identity = details.removeprefix("internal error ")
    record = next(r for r in caplog.records if identity in r.getMessage())
    assert "a secret path" in str(record.exc_info[1])
