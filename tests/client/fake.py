"""A server whose every answer is known by hand, and clients of both kinds in one form."""

import asyncio
import io
import json
import threading
from concurrent import futures
from contextlib import contextmanager
from dataclasses import replace

import grpc
import numpy as np
from PIL import Image

from eyespot.client import AsyncClient, Client
from eyespot.v1 import explain_pb2, model_config_pb2, services, tensors
from eyespot.v1 import inference_pb2 as pb
from eyespot.v1.preprocessing import PreprocessingRule

# Pictures become 2x2 pixels; "colors" answers the sum of each colour as its logit.
RULE = PreprocessingRule(
    resize_size=(2, 2),
    crop_size=None,
    interpolation="nearest",
    color_order="RGB",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)
LABELS = ["red", "green", "blue"]
INPUTS = {
    "colors": [("image", "UINT8", (-1, 2, 2, 3))],
    "colors_image": [("file", "BYTES", (-1, 1))],
    "pair": [("a", "FP32", (-1, 2)), ("b", "INT64", (-1, 1))],
    "planes": [("x", "FP32", (-1, 1, 2, 3))],
    "scene": [("image", "UINT8", (-1, -1, -1, 3))],
    "signal": [("x", "FP32", (-1, 2, 3))],
}
OUTPUTS = {
    "colors": [("logits", "FP32", (-1, 3))],
    "colors_image": [("logits", "FP32", (-1, 3))],
    "pair": [("sum", "FP32", (-1, 2)), ("b", "INT64", (-1, 1))],
    "planes": [("y", "FP32", (-1, 6))],
    "signal": [("y", "FP32", (-1, 6))],
    "scene": [("segmentation", "FP32", (-1, 3, -1, -1)), ("embedding", "FP32", (-1, 3))],
}
# "scene" takes pictures of any size: each pixel's class is its strongest colour, and the mean
# colour is the embedding.
ANY_SIZE = replace(RULE, resize_size=None)


class Servicer:
    """Answers by hand; fails first with the statuses in `failures`; keeps each request.

    Explanations break with those in `breaks` before their last message, streams with those in
    `late_breaks` after it.
    """

    def __init__(self):
        self.failures = []
        self.breaks = []
        self.late_breaks = []
        self.versions = []  # that answer one call after another, and then "2"
        self.pushback = ""
        self.requests = []
        self.png = b""
        self.has_ended = threading.Event()
        self.whole = threading.Event()
        self.whole.set()
        self.hold = threading.Event()
        self.hold.set()
        self.has_typed_contents = False
        self.has_config = True
        self.image_formats = ""  # that "colors" tells it takes, as "colors_image"
        self.is_ready = False
        self.explained = (0, 0)  # how often, and how often not
        self.looks_until_ready = 0
        self.looks_until_explained = 0
        self.index = [("colors", "2", "READY", ""), ("torn", "1", "UNAVAILABLE", "torn file")]

    def _begin(self, request, context):
        self.requests.append(request)
        self.hold.wait()
        self._fail(self.failures, context)

    def _fail(self, failures, context):
        if failures:
            if self.pushback:
                context.set_trailing_metadata([("grpc-retry-pushback-ms", self.pushback)])
            context.abort(failures.pop(0), "on purpose")

    def _version(self):
        return self.versions.pop(0) if self.versions else "2"

    def of(self, kind):
        return [request for request in self.requests if isinstance(request, kind)]

    def ServerLive(self, request, context):  # noqa: N802 - the protocol's names
        self._begin(request, context)
        return pb.ServerLiveResponse(live=True)

    def ServerReady(self, request, context):  # noqa: N802
        self._begin(request, context)
        return pb.ServerReadyResponse(ready=self.is_ready)

    def ModelReady(self, request, context):  # noqa: N802
        self._begin(request, context)
        return pb.ModelReadyResponse(ready=request.version in ("", "2"))

    def ServerMetadata(self, request, context):  # noqa: N802
        self._begin(request, context)
        return pb.ServerMetadataResponse(name="fake", version="7", extensions=["statistics"])

    def ModelMetadata(self, request, context):  # noqa: N802
        self._begin(request, context)
        if request.name not in INPUTS:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name}")
        # Without the name, as some servers answer.
        response = pb.ModelMetadataResponse(versions=["1", "2"], platform="hand")
        for messages, told in (
            (response.inputs, INPUTS[request.name]),
            (response.outputs, OUTPUTS[request.name]),
        ):
            for name, datatype, shape in told:
                messages.add(name=name, datatype=datatype, shape=shape)
        return response

    def ModelConfig(self, request, context):  # noqa: N802
        self._begin(request, context)
        if not self.has_config:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no configurations here")
        config = model_config_pb2.ModelConfig(name=request.name, max_batch_size=2)
        if request.name in ("colors", "scene"):
            rule = RULE if request.name == "colors" else ANY_SIZE
            for name, value in rule.to_parameters().items():
                config.parameters[name].string_value = value
            config.parameters["labels"].string_value = json.dumps(LABELS)
        if request.name == "colors" and self.image_formats:
            config.parameters["image_endpoint"].string_value = "colors_image"
            config.parameters["image_formats"].string_value = self.image_formats
        return pb.ModelConfigResponse(config=config)

    def ModelInfer(self, request, context):  # noqa: N802
        self._begin(request, context)
        inputs = read_inputs(request)
        if request.model_name == "colors":
            outputs = {"logits": inputs["image"].sum(axis=(1, 2), dtype=np.float32)}
        elif request.model_name == "colors_image":
            outputs = {"logits": self._decode(inputs["file"], context)}
        elif request.model_name == "scene":
            image = inputs["image"].astype(np.float32)
            planes = np.moveaxis(image, 3, 1)
            outputs = {"segmentation": planes, "embedding": image.mean(axis=(1, 2))}
        elif request.model_name == "planes":
            outputs = {"y": inputs["x"].reshape(-1, 6)}
        else:
            outputs = {"sum": inputs["a"] + inputs["b"].astype(np.float32), "b": inputs["b"]}
        wanted = [output.name for output in request.outputs] or list(outputs)
        response = pb.ModelInferResponse(
            model_name=request.model_name, model_version=self._version()
        )
        response.parameters["queue_ms"].double_param = 0.5
        for name in wanted:
            array = outputs[name]
            datatype = tensors.datatype_of(array.dtype)
            output = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
            if self.has_typed_contents:
                field = tensors.DATATYPES[datatype].contents_field
                getattr(output.contents, field).extend(array.ravel().tolist())
            else:
                response.raw_output_contents.append(tensors.encode(array, datatype))
        return response

    def _decode(self, files, context):
        try:
            images = [RULE.apply(Image.open(io.BytesIO(file))) for file in files.ravel()]
        except OSError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return np.stack(images).sum(axis=(1, 2), dtype=np.float32)

    def ModelStatistics(self, request, context):  # noqa: N802
        self._begin(request, context)
        response = pb.ModelStatisticsResponse()
        counted = response.model_stats.add(
            name="colors", version="2", inference_count=12, execution_count=5
        )
        counted.inference_stats.success.count = 8
        counted.inference_stats.fail.count = 1
        counted.inference_stats.queue.count = 8
        counted.inference_stats.queue.ns = 16_000_000
        counted.explain_success.count, counted.explain_fail.count = self.explained
        counted.explain_success.ns = 30_000_000
        batch = counted.batch_stats.add(batch_size=3)
        batch.compute_infer.count = 4
        return response

    def RepositoryIndex(self, request, context):  # noqa: N802
        self._begin(request, context)
        response = pb.RepositoryIndexResponse()
        is_loading, self.looks_until_ready = self.looks_until_ready, self.looks_until_ready - 1
        is_explained = self.looks_until_explained <= 0
        self.looks_until_explained -= 1
        for name, version, state, reason in self.index:
            if state == "READY" and is_loading > 0:
                state = "LOADING"
            if state == "READY" or not request.ready:
                added = response.models.add(name=name, version=version, state=state, reason=reason)
                added.explainer_is_loading = state == "READY" and not is_explained
        return response

    def Explain(self, request, context):  # noqa: N802
        self._begin(request, context)
        self._fail(self.breaks, context)
        if request.targets_per_row > len(LABELS):
            told = f"targets_per_row is {request.targets_per_row}, expected 1 to {len(LABELS)}"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, told)
        return self._explained(request)

    def ExplainStream(self, request, context):  # noqa: N802
        """Halves, then all; waits at `whole` between the two."""
        context.add_callback(self.has_ended.set)
        self._begin(request, context)
        response = self._explained(request)
        half = explain_pb2.ExplainResponse()
        half.CopyFrom(response)
        [raw] = response.raw_output_contents
        half.raw_output_contents[0] = (np.frombuffer(raw, np.float32) / 2).tobytes()
        yield explain_pb2.ExplainStreamResponse(progress=0.5, explain_response=half)
        self.whole.wait()
        self._fail(self.breaks, context)
        yield explain_pb2.ExplainStreamResponse(progress=1.0, explain_response=response)
        self._fail(self.late_breaks, context)

    def _explained(self, request):
        [(_, array)] = read_inputs(request).items()
        is_reduced = request.channel_reduction != explain_pb2.CHANNEL_REDUCTION_NONE
        axis = 3 if request.model_name in ("colors", "scene") else 1
        attributions = array.astype(np.float32).repeat(request.targets_per_row, 0)
        if is_reduced:
            attributions = attributions.max(axis=axis, keepdims=True)
        version = self._version()
        response = explain_pb2.ExplainResponse(
            model_name=request.model_name, model_version=version, method=request.method
        )
        response.attributions.name = "attributions"
        response.attributions.datatype = "FP32"
        response.attributions.shape.extend(attributions.shape)
        is_png = request.encoding == explain_pb2.ATTRIBUTION_ENCODING_PNG
        if not is_png:
            response.raw_output_contents.append(tensors.encode(attributions, "FP32"))
        targets, per_row = request.targets, request.targets_per_row
        for row in range(len(array) * per_row):
            target = targets[row if len(targets) > 1 else 0].index if targets else 2 - row % per_row
            explained = response.rows.add(target=target, label=LABELS[target], score=1.5)
            explained.reports["steps"] = 3.0
            if is_png:  # black is -1 and white 1, whatever was asked about
                explained.png, explained.minimum, explained.maximum = self.png, -1.0, 1.0
        return response

    def ListMethods(self, request, context):  # noqa: N802
        self._begin(request, context)
        response = explain_pb2.ListMethodsResponse(backend="torch")
        method = response.methods.add(name="smooth", paper="S et al. 2017", available=True)
        parameter = method.parameters.add(name="n_steps", type="int64", description="steps")
        parameter.default_value.int64_param = 50
        parameter.minimum.int64_param = 1
        method.forward_passes, method.scales_with = 150, "n_steps"
        response.methods.add(name="cam", available=False, reason="no convolution")
        return response


def read_inputs(request):
    return {
        tensor.name: tensors.decode(raw, datatype=tensor.datatype, shape=tensor.shape)
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    }


@contextmanager
def serving(servicer):
    server = grpc.server(futures.ThreadPoolExecutor(4))
    for service in (services.INFERENCE_SERVICE, services.EXPLAIN_SERVICE):
        server.add_generic_rpc_handlers((services.generic_handler(service, servicer),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        servicer.hold.set()
        servicer.whole.set()
        server.stop(None).wait()


class Time:
    """A clock that moves when someone sleeps, and only then."""

    def __init__(self):
        self.now = 100.0
        self.pauses = []

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds

    async def sleep_asynchronously(self, seconds):
        self.sleep(seconds)


class _Awaiting:
    """An AsyncClient whose methods are called like a Client's."""

    def __init__(self, address, **settings):
        self._runner = asyncio.Runner()
        try:
            self._client = self._runner.run(self._make(address, settings))
        except BaseException:
            self._runner.close()
            raise

    async def _make(self, address, settings):
        return AsyncClient(address, **settings)

    def explain_stream(self, *args, **kwargs):
        stream = self._client.explain_stream(*args, **kwargs)
        try:
            while True:
                yield self._runner.run(anext(stream))
        except StopAsyncIteration:
            pass
        finally:
            self._runner.run(stream.aclose())

    def __getattr__(self, name):
        method = getattr(self._client, name)
        return lambda *args, **kwargs: self._runner.run(method(*args, **kwargs))

    def __repr__(self):
        return repr(self._client)

    def shut(self):
        self.close()
        self._runner.close()


@contextmanager
def connecting(kind, address, *, time=None, **settings):
    """A client of either kind, on a made-up time if one is given."""
    if kind == "blocking":
        if time is not None:
            settings |= {"clock": time.clock, "sleep": time.sleep}
        with Client(address, **settings) as client:
            yield client
        return
    if time is not None:
        settings |= {"clock": time.clock, "sleep": time.sleep_asynchronously}
    client = _Awaiting(address, **settings)
    try:
        yield client
    finally:
        client.shut()
