"""Which requests leave a trace, and the spans that they leave."""

import asyncio
import itertools
import sys
import threading
from concurrent import futures

import grpc
import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from tests.server.tiny import BATCHING, affine, infer_request, status_of

from eyespot.client import AsyncClient
from eyespot.client import Client as BlockingClient
from eyespot.server import spans
from eyespot.server.app import Server
from eyespot.server.config import ServerConfig
from eyespot.server.errors import StartError
from eyespot.v1 import inference_pb2 as pb

ROW = np.float32([[1, 2, 3, 4]])
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def exported(monkeypatch):
    """The finished spans, with the SDK's own exporter in place of the wire."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(spans, "_processor", lambda endpoint: SimpleSpanProcessor(exporter))
    return exporter


def ask(model_name="", **values):
    request = pb.TraceSettingRequest(model_name=model_name)
    for name, value in values.items():
        request.settings[name].value.extend([] if value is None else [value])
    return request


def told(response):
    return {name: list(setting.value) for name, setting in response.settings.items()}


async def test_a_request_leaves_its_stops_in_order(repository, serving, exported):
    repository.add("net", affine(), config=BATCHING.format(rows=8, options=""))
    async with serving(trace_endpoint="http://nowhere:1", settings_calls=True) as (_, client):
        request = infer_request("net", x=ROW)
        request.id = "seven"
        caller = (("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01"),)
        await client.inference.ModelInfer(request, metadata=caller)
    *stops, whole = sorted(exported.get_finished_spans(), key=lambda span: span.end_time)
    assert whole.name == "inference.GRPCInferenceService/ModelInfer"
    assert whole.kind is SpanKind.SERVER
    assert format(whole.context.trace_id, "032x") == TRACE_ID
    assert format(whole.parent.span_id, "016x") == SPAN_ID
    assert whole.attributes["model_name"] == "net"
    assert whole.attributes["request_id"] == "seven"
    assert whole.resource.attributes["service.name"] == "eyespot"
    assert [s.name for s in stops] == ["dataplane", "servicer", "batcher", "session", "batch"]
    assert stops[3].attributes["batch_rows"] == 1
    assert stops[0].start_time == whole.start_time
    for before, after in itertools.pairwise(stops):
        assert before.end_time == after.start_time
        assert after.parent.span_id == whole.context.span_id
    assert stops[-1].end_time <= whole.end_time


async def test_an_error_is_told_and_ends_the_trace(repository, serving, exported):
    repository.add("net", affine())
    async with serving(trace_endpoint="http://nowhere:1", settings_calls=True) as (_, client):
        await status_of(client.infer("net", x=np.zeros((1, 5), np.float32)))
    stop, whole = exported.get_finished_spans()
    assert stop.name == "dataplane"
    assert whole.status.status_code is StatusCode.ERROR
    assert "Expected [-1,4], got [1,5]" in whole.status.description


async def test_each_message_of_a_stream_is_a_request(repository, serving, exported):
    repository.add("net", affine())
    async with serving(trace_endpoint="http://nowhere:1", settings_calls=True) as (_, client):

        async def two():
            for _ in range(2):
                yield infer_request("net", x=ROW)

        assert len([each async for each in client.inference.ModelStreamInfer(two())]) == 2
    names = [span.name.rpartition("/")[2] for span in exported.get_finished_spans()]
    assert names.count("ModelStreamInfer") == 2


async def test_every_so_many_until_the_count_is_used_up(repository, serving, exported):
    repository.add("net", affine())
    repository.add("other", affine())

    async def whole(client, name, calls, **metadata):
        exported.clear()
        for _ in range(calls):
            await client.inference.ModelInfer(infer_request(name, x=ROW), **metadata)
        return sum(span.kind is SpanKind.SERVER for span in exported.get_finished_spans())

    async with serving(settings_calls=True) as (_, client):
        setting = client.inference.TraceSetting
        off = {
            "trace_level": ["OFF"],
            "trace_rate": ["1"],
            "trace_count": ["-1"],
            "trace_mode": ["opentelemetry"],
        }
        assert told(await setting(ask())) == off
        assert await whole(client, "net", 3) == 0

        on = told(await setting(ask(trace_level="TIMESTAMPS", trace_rate="2", trace_count="2")))
        assert on == off | {
            "trace_level": ["TIMESTAMPS"],
            "trace_rate": ["2"],
            "trace_count": ["2"],
        }
        assert await whole(client, "net", 3) == 1
        assert told(await setting(ask(trace_rate="1")))["trace_count"] == ["1"]
        assert await whole(client, "net", 3) == 1
        assert told(await setting(ask()))["trace_count"] == ["0"]

        await setting(ask(trace_count=None, trace_rate="1000"))
        assert await whole(client, "net", 3) == 0
        caller = (("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01"),)
        assert await whole(client, "net", 3, metadata=caller) == 3

        # A model's own settings outweigh those of all, until they are taken back.
        only = told(await setting(ask("other", trace_rate="1")))
        assert only["trace_rate"] == ["1"]
        assert (await whole(client, "net", 2), await whole(client, "other", 2)) == (0, 2)
        await setting(ask("other", trace_rate=None))
        assert await whole(client, "other", 2) == 0
        assert told(await setting(ask(trace_level="OFF", trace_rate=None))) == off


@pytest.mark.parametrize(
    ("asked", "code", "why"),
    [
        ({"trace_level": "TENSORS"}, "INVALID_ARGUMENT", "one of OFF, TIMESTAMPS, not 'TENSORS'"),
        ({"trace_rate": "0"}, "INVALID_ARGUMENT", "whole number of at least 1, not '0'"),
        ({"trace_count": "many"}, "INVALID_ARGUMENT", "at least -1, not 'many'"),
        ({"trace_mode": "triton"}, "INVALID_ARGUMENT", "one of opentelemetry"),
        ({"trace_file": "/tmp/t"}, "UNIMPLEMENTED", "--trace-endpoint"),
        ({"log_frequency": "5"}, "UNIMPLEMENTED", "--trace-endpoint"),
        ({"trace_colour": "red"}, "INVALID_ARGUMENT", "no trace setting 'trace_colour'"),
        ({"model_name": "no"}, "NOT_FOUND", "unknown model: 'no'"),
    ],
)
async def test_what_is_not_done_here_is_refused(repository, serving, asked, code, why):
    repository.add("net", affine())
    async with serving(settings_calls=True) as (_, client):
        found, text = await status_of(client.inference.TraceSetting(ask(**asked)))
    assert (found.name, why in text) == (code, True), text


async def test_without_the_extra_nothing_is_traced_and_it_is_told(repository, serving, monkeypatch):
    monkeypatch.delattr("eyespot.server.spans")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "eyespot.server.spans")
    repository.add("net", affine())
    async with serving(settings_calls=True) as (_, client):
        code, text = await status_of(client.inference.TraceSetting(ask(trace_level="TIMESTAMPS")))
        assert code is grpc.StatusCode.UNIMPLEMENTED
        assert "pip install 'eyespot[tracing]'" in text
        await client.infer("net", x=ROW)
    server = Server(ServerConfig(repository=repository.path, port=0, trace_endpoint="http://c:1"))
    with pytest.raises(StartError, match=r"pip install 'eyespot\[tracing\]'"):
        await server.start()
    await server.stop()


async def test_a_client_that_traces_is_the_parent(repository, serving, exported, monkeypatch):
    repository.add("net", affine())
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)

    def blocking(address):
        with BlockingClient(address) as client:
            client.infer("net", ROW)

    async with serving(trace_endpoint="http://nowhere:1", trace_rate=1000) as (server, _):
        await asyncio.to_thread(blocking, server.address)
        async with AsyncClient(server.address) as client:
            await client.infer("net", ROW)
    spans_by_name = {}
    for span in exported.get_finished_spans():
        spans_by_name.setdefault(span.name, []).append(span)
    asked = spans_by_name["client/ModelInfer"]
    answered = spans_by_name["inference.GRPCInferenceService/ModelInfer"]
    assert len(asked) == len(answered) == 2
    for client_span, server_span in zip(asked, answered, strict=True):
        assert client_span.kind is SpanKind.CLIENT
        assert server_span.parent.span_id == client_span.context.span_id
        assert server_span.context.trace_id == client_span.context.trace_id


async def test_a_collector_that_is_gone_does_not_hold_up_the_end(monkeypatch):
    stuck = threading.Event()

    class Stuck(InMemorySpanExporter):
        def shutdown(self):
            stuck.wait(60)

    monkeypatch.setattr(spans, "_processor", lambda endpoint: SimpleSpanProcessor(Stuck()))
    monkeypatch.setattr(spans, "_CLOSE_SECONDS", 0.01)
    spans.SpanWriter("", "eyespot").close()
    stuck.set()


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP collector that keeps what it gets."""

    def __init__(self):
        self.spans = []

    def Export(self, request, context):  # noqa: N802 - the protocol's name
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()


async def test_a_collector_gets_the_spans(repository, serving, monkeypatch):
    collector = Collector()
    receiver = grpc.server(futures.ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, receiver)
    port = receiver.add_insecure_port("127.0.0.1:0")
    receiver.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    repository.add("net", affine())
    try:
        async with serving(settings_calls=True) as (_, client):
            await client.infer("net", x=ROW)
    finally:
        await asyncio.to_thread(receiver.stop(None).wait)
    assert {span.name for span in collector.spans} == {
        "inference.GRPCInferenceService/ModelInfer",
        "dataplane",
        "servicer",
        "batcher",
        "session",
        "batch",
    }
