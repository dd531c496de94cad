"""`inference.GRPCInferenceService`: messages to arrays on the way in, and back on the way out."""

# ruff: noqa: N802, D102 -- the methods bear the names of the RPCs, which the .proto explains

import asyncio
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.server.answering import answering
from eyespot.server.dataplane import Dataplane, ModelState
from eyespot.server.decoding import SALIENCY_OUTPUT, Signature
from eyespot.server.explain_decoding import read_output
from eyespot.server.model import InferCall, Model
from eyespot.server.model_config import TensorConfig
from eyespot.server.statistics import BatchDurations, Duration, Statistics
from eyespot.v1 import inference_pb2 as pb
from eyespot.v1 import model_config_pb2
from eyespot.v1.tensors import encode

# Only extensions of which every part works.
_EXTENSIONS = ("model_configuration", "statistics")
_PLATFORM = "onnxruntime_onnx"


class Signatures:
    """The prepared checks of each model, shared by the services."""

    def __init__(self) -> None:
        self._by_model: dict[Model, Signature] = {}

    def of(self, model: Model) -> Signature:
        """The checks of a model; made on first use."""
        signature = self._by_model.get(model)
        if signature is None:
            signature = self._by_model[model] = Signature(model.config)
        return signature


class InferenceServicer:
    """Answers the RPCs of the Open Inference Protocol on the event loop of the server."""

    def __init__(self, dataplane: Dataplane, signatures: Signatures) -> None:
        self._dataplane = dataplane
        self._signatures = signatures

    @answering
    async def ServerLive(self, request: pb.ServerLiveRequest, context: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    @answering
    async def ServerReady(self, request: pb.ServerReadyRequest, context: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._dataplane.is_ready)

    @answering
    async def ModelReady(self, request: pb.ModelReadyRequest, context: Any) -> Any:
        ready = self._dataplane.is_model_ready(request.name, request.version)
        return pb.ModelReadyResponse(ready=ready)

    @answering
    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Any) -> Any:
        return pb.ServerMetadataResponse(
            name="eyespot", version=metadata.version("eyespot"), extensions=_EXTENSIONS
        )

    @answering
    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Any) -> Any:
        model = self._dataplane.model(request.name, request.version)
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[other.version for other in self._dataplane.models(model.name)],
            platform=_PLATFORM,
            inputs=[_tensor_metadata(spec) for spec in model.config.inputs],
            outputs=[_tensor_metadata(spec) for spec in model.config.outputs],
        )

    @answering
    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Any) -> Any:
        model = self._dataplane.model(request.name, request.version)
        config = model_config_pb2.ModelConfig.FromString(model.config.serialized)
        if model.labels:  # a client cannot read the file that label_filename names
            config.parameters["labels"].string_value = json.dumps(model.labels, ensure_ascii=False)
        return pb.ModelConfigResponse(config=config)

    @answering
    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: Any) -> Any:
        models = self._dataplane.models(request.name, request.version)
        return pb.ModelStatisticsResponse(model_stats=[_statistics(model) for model in models])

    @answering
    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Any) -> Any:
        response = pb.RepositoryIndexResponse()
        for entry in self._dataplane.index():
            if entry.state is ModelState.READY or not request.ready:
                response.models.add(
                    name=entry.model_name,
                    version=entry.model_version,
                    state=entry.state.value,
                    reason=entry.reason,
                )
        return response

    @answering
    async def ModelInfer(self, request: pb.ModelInferRequest, context: Any) -> Any:
        model = self._dataplane.model(request.model_name, request.model_version)
        signature = self._signatures.of(model)
        decoded = signature.read_inputs(request)
        wanted, saliency = signature.split_outputs(request.outputs)
        output_names = signature.read_outputs(wanted) if wanted or saliency is None else ()
        deadline = deadline_of(context)
        explain_call = None
        if saliency is not None:
            explainer = model.explainer
            (inputs,) = decoded.arrays.values()
            explain_call = read_output(saliency, model, inputs, deadline)
        call = InferCall(decoded.arrays, decoded.rows, decoded.key, deadline)
        outputs = await model.infer(call) if output_names else {}
        response = pb.ModelInferResponse(
            model_name=model.name, model_version=model.version, id=request.id
        )
        _add_outputs(response, output_names, outputs, signature.output_datatypes)
        if explain_call is not None:
            explained = await explainer.explain(explain_call)
            found = {SALIENCY_OUTPUT: explained.attributions}
            _add_outputs(response, [SALIENCY_OUTPUT], found, {SALIENCY_OUTPUT: "FP32"})
        return response


def deadline_of(context: Any) -> float | None:
    """When the caller stops waiting, in seconds on the event loop's clock."""
    remaining = context.time_remaining()
    return None if remaining is None else asyncio.get_running_loop().time() + remaining


def _add_outputs(
    response: pb.ModelInferResponse,
    names: Sequence[str],
    outputs: Mapping[str, NDArray[np.generic]],
    datatypes: Mapping[str, str],
) -> None:
    for name in names:
        array, datatype = outputs[name], datatypes[name]
        response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        response.raw_output_contents.append(encode(array, datatype))


def _tensor_metadata(spec: TensorConfig) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=spec.shape
    )


def _statistics(model: Model) -> pb.ModelStatistics:
    counted: Statistics = model.statistics
    return pb.ModelStatistics(
        name=model.name,
        version=model.version,
        last_inference=counted.last_inference_ms,
        inference_count=counted.inference_count,
        execution_count=counted.execution_count,
        inference_stats=pb.InferStatistics(
            success=_duration(counted.success),
            fail=_duration(counted.fail),
            queue=_duration(counted.queue),
            **_batch_durations(counted.requests),
        ),
        batch_stats=[
            pb.InferBatchStatistics(batch_size=rows, **_batch_durations(durations))
            for rows, durations in sorted(counted.batches.items())
        ],
    )


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)


def _batch_durations(durations: BatchDurations) -> dict[str, pb.StatisticDuration]:
    return {
        "compute_input": _duration(durations.compute_input),
        "compute_infer": _duration(durations.compute_infer),
        "compute_output": _duration(durations.compute_output),
    }
