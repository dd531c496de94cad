"""`inference.GRPCInferenceService`: messages to arrays on the way in, and back on the way out."""

# ruff: noqa: N802, D102 -- the methods bear the names of the RPCs, which the .proto explains

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from numpy.typing import NDArray

from eyespot.server.answering import answering, checked, request_error
from eyespot.server.callers import Right, current_caller
from eyespot.server.classification import classify
from eyespot.server.dataplane import Dataplane
from eyespot.server.decoding import SALIENCY_OUTPUT, RequestedOutput, write_part
from eyespot.server.entrances import Entrances
from eyespot.server.explain_decoding import read_output
from eyespot.server.model import InferCall, Model
from eyespot.server.model_config import TensorConfig
from eyespot.server.statistics import HISTOGRAMS, BatchDurations, Duration, Statistics
from eyespot.server.streaming import answer_in_order
from eyespot.server.tracing import NoTrace, Tracing
from eyespot.v1 import inference_pb2 as pb
from eyespot.v1.tensors import encode

if TYPE_CHECKING:
    from eyespot.server.spans import RequestTrace

# Only extensions of which every part works.
_EXTENSIONS = (
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
    "trace",
)
# Requests of one stream that are not answered yet; no more are read meanwhile.
_STREAM_IN_FLIGHT = 256
# Outputs that are no graph's, of a model that is explained.
_BESIDE_THE_GRAPHS = (SALIENCY_OUTPUT,)
_WANTS_FINAL, _IS_FINAL = "triton_enable_empty_final_response", "triton_final_response"
_PLATFORM = "onnxruntime_onnx"


class InferenceServicer:
    """Answers the RPCs of the Open Inference Protocol on the event loop of the server."""

    def __init__(
        self, dataplane: Dataplane, entrances: Entrances, *, server_id: str, tracing: Tracing
    ) -> None:
        self._dataplane = dataplane
        self._entrances = entrances
        self._shared_memory = entrances.shared_memory
        self._server_id = server_id
        self._tracing = tracing

    @answering
    async def ServerLive(self, request: pb.ServerLiveRequest, context: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    @answering
    async def ServerReady(self, request: pb.ServerReadyRequest, context: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._dataplane.is_ready)

    @answering
    async def ModelReady(self, request: pb.ModelReadyRequest, context: Any) -> Any:
        ready = self._entrances.is_ready(request.name, request.version)
        return pb.ModelReadyResponse(ready=ready)

    @answering
    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Any) -> Any:
        from importlib import metadata  # not for every start

        extensions = [*_EXTENSIONS, *self._shared_memory.extensions]
        return pb.ServerMetadataResponse(
            name=self._server_id, version=metadata.version("eyespot"), extensions=extensions
        )

    @answering
    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Any) -> Any:
        model, entrance = self._entrances.find(request.name, request.version)
        return pb.ModelMetadataResponse(
            name=entrance.config.name,
            versions=[other.version for other in self._dataplane.models(model.name)],
            platform=_PLATFORM,
            inputs=[_tensor_metadata(spec) for spec in entrance.config.inputs],
            outputs=[_tensor_metadata(spec) for spec in model.config.outputs],
        )

    @answering
    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Any) -> Any:
        model, _ = self._entrances.find(request.name, request.version)
        config = self._entrances.told_config(request.name, request.version)
        if model.labels:  # a client cannot read the file that label_filename names
            config.parameters["labels"].string_value = json.dumps(model.labels, ensure_ascii=False)
        return pb.ModelConfigResponse(config=config)

    @answering
    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: Any) -> Any:
        found = self._entrances.find_all(request.name, request.version)
        return pb.ModelStatisticsResponse(
            model_stats=[_statistics(name, model) for name, model in found]
        )

    @answering
    async def ModelInfer(self, request: pb.ModelInferRequest, context: Any) -> Any:
        with self._tracing.trace(context, "ModelInfer", request.model_name) as trace:
            return await self._infer(request, context, trace)

    async def ModelStreamInfer(
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Any
    ) -> None:
        async def answer(request: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
            try:
                name = checked(request).model_name
                with self._tracing.trace(context, "ModelStreamInfer", name) as trace:
                    answered = await self._infer(request, context, trace)
            except Exception as error:
                told = request_error(error, "ModelStreamInfer")
                unanswered = pb.ModelInferResponse(id=getattr(request, "id", ""))
                return pb.ModelStreamInferResponse(
                    error_message=str(told), infer_response=unanswered
                )
            if _WANTS_FINAL in request.parameters and request.parameters[_WANTS_FINAL].bool_param:
                answered.parameters[_IS_FINAL].bool_param = True
            return pb.ModelStreamInferResponse(infer_response=answered)

        await answer_in_order(
            requests,
            answer,
            context.write,
            most_in_flight=_STREAM_IN_FLIGHT,
            end=self._dataplane.draining,
        )
        if self._dataplane.is_draining:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")

    async def _infer(
        self, request: pb.ModelInferRequest, context: Any, trace: "RequestTrace | NoTrace"
    ) -> pb.ModelInferResponse:
        model, entrance = self._entrances.find(request.model_name, request.model_version)
        trace.note(model_name=model.name, model_version=model.version, request_id=request.id)
        trace.reach("dataplane")
        signature = entrance.signature
        decoded = await entrance.read(request)
        wanted, saliency = signature.split_outputs(request.outputs)
        others = _BESIDE_THE_GRAPHS if model.is_explained else ()
        requested: Sequence[RequestedOutput] = ()
        if wanted or saliency is None:
            requested = signature.read_outputs(wanted, others=others)
        deadline = deadline_of(context)
        explain_call = None
        if saliency is not None:  # what is wrong with it is told before anything runs
            current_caller().must_have(Right.EXPLAIN)
            explainer = model.explainer
            (inputs,) = decoded.arrays.values()
            explain_call = read_output(saliency, model, inputs, deadline)
        trace.reach("servicer", rows=decoded.rows)
        response = pb.ModelInferResponse(
            model_name=entrance.config.name, model_version=model.version, id=request.id
        )
        if requested:
            call = InferCall(
                decoded.arrays,
                decoded.rows,
                decoded.key,
                deadline,
                decoded.priority,
                decoded.timeout,
            )
            outcome = await model.infer(call)
            trace.reach("batcher", after_ns=outcome.queue_ns)
            trace.reach(
                "session",
                after_ns=outcome.compute_ns,
                batch_rows=outcome.batch_rows,
                batch_requests=outcome.batch_requests,
            )
            for output in requested:
                datatype = signature.output_datatypes[output.name]
                self._add_output(response, model, output, outcome.result[output.name], datatype)
            trace.reach("batch")
        if explain_call is not None:
            with model.explaining(explain_call.inputs):
                explained = await explainer.explain(explain_call)
            trace.reach("explainer")
            output = RequestedOutput(SALIENCY_OUTPUT)
            self._add_output(response, model, output, explained.attributions, "FP32")
        return response

    def _add_output(
        self,
        response: pb.ModelInferResponse,
        model: Model,
        output: RequestedOutput,
        array: NDArray[np.generic],
        datatype: str,
    ) -> None:
        if output.classification:
            array, datatype = _classes(model, output, array), "BYTES"
        told = response.outputs.add(name=output.name, datatype=datatype, shape=array.shape)
        raw = encode(array, datatype)
        if output.part is not None:
            self._shared_memory.write(output.part, raw)
            write_part(told.parameters, output.part._replace(byte_size=len(raw)))
            raw = b""  # clients count the outputs by this list
        response.raw_output_contents.append(raw)


def deadline_of(context: Any) -> float | None:
    """When the caller stops waiting, in seconds on the event loop's clock."""
    remaining = context.time_remaining()
    return None if remaining is None else asyncio.get_running_loop().time() + remaining


def _classes(
    model: Model, output: RequestedOutput, array: NDArray[np.generic]
) -> NDArray[np.generic]:
    (spec,) = [spec for spec in model.config.outputs if spec.name == output.name]
    labels = model.labels if spec.label_filename else ()
    is_batched = model.config.max_batch_size > 0
    return classify(array, output.classification, labels, is_batched=is_batched)


def _tensor_metadata(spec: TensorConfig) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=spec.shape
    )


def _statistics(name: str, model: Model) -> pb.ModelStatistics:
    counted: Statistics = model.statistics
    return pb.ModelStatistics(
        name=name,
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
        histograms=[
            pb.StatisticHistogram(name=name, bounds=found.bounds, counts=found.counts)
            for name in HISTOGRAMS
            for found in (getattr(counted, name),)
        ],
        pending_request_count=model.queue_size,
        explain_success=_duration(counted.explain_success),
        explain_fail=_duration(counted.explain_fail),
    )


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)


def _batch_durations(durations: BatchDurations) -> dict[str, pb.StatisticDuration]:
    return {
        "compute_input": _duration(durations.compute_input),
        "compute_infer": _duration(durations.compute_infer),
        "compute_output": _duration(durations.compute_output),
    }
