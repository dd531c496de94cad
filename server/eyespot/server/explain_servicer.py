"""`eyespot.v1.ExplainService`: the same checks as for inference, then the explainer."""

# ruff: noqa: N802, D102 -- the methods bear the names of the RPCs, which the .proto explains

import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyespot.server.answering import answering, streaming
from eyespot.server.entrances import Entrances
from eyespot.server.errors import InvalidArgumentError, RequestError
from eyespot.server.explain_decoding import DEFAULT_METHOD, read_call, read_encoding
from eyespot.server.model import Model
from eyespot.server.png import encode_png
from eyespot.server.servicer import deadline_of
from eyespot.server.tracing import NoTrace, Tracing
from eyespot.v1 import explain_pb2 as pb
from eyespot.v1 import inference_pb2
from eyespot.v1.services import EXPLAIN_SERVICE
from eyespot.v1.tensors import datatype_of, encode

if TYPE_CHECKING:
    from eyespot.server.explainer import ExplainCall, Explained, LayerStatus, MethodStatus
    from eyespot.server.spans import RequestTrace


class ExplainServicer:
    """Answers the RPCs of the explain service on the event loop of the server."""

    def __init__(self, entrances: Entrances, *, tracing: Tracing) -> None:
        self._entrances = entrances
        self._tracing = tracing

    @answering
    async def Explain(self, request: pb.ExplainRequest, context: Any) -> Any:
        with self._trace(context, "Explain", request) as trace:
            model, call, answer = await self._read(request, context, trace)
            with model.explaining(call.inputs):
                explained = await model.explainer.explain(call)
            trace.reach("explainer")
            return answer(explained)

    @streaming
    async def ExplainStream(
        self, request: pb.ExplainRequest, context: Any
    ) -> AsyncGenerator[pb.ExplainStreamResponse, None]:
        with self._trace(context, "ExplainStream", request) as trace:
            model, call, answer = await self._read(request, context, trace)
            # Closed with the call: a caller that goes away ends the computation too.
            async with contextlib.aclosing(model.explainer.explain_in_steps(call)) as steps:
                with model.explaining(call.inputs):
                    async for progress, explained in steps:
                        yield pb.ExplainStreamResponse(
                            progress=progress, explain_response=answer(explained)
                        )
            trace.reach("explainer")

    @answering
    async def ListMethods(self, request: pb.ListMethodsRequest, context: Any) -> Any:
        from eyespot.server.explainer import methods_without_explainer

        model, entrance = self._entrances.find(request.model_name, request.model_version)
        response = pb.ListMethodsResponse(
            model_name=entrance.config.name, model_version=model.version
        )
        try:
            explainer = model.explainer
        except RequestError as error:
            methods = methods_without_explainer(str(error))
        else:
            methods, response.backend = explainer.methods(), explainer.backend
            response.layers.extend(_describe_layer(layer) for layer in explainer.layers())
        response.methods.extend(_describe(method) for method in methods)
        return response

    def _trace(
        self, context: Any, method: str, request: pb.ExplainRequest
    ) -> "RequestTrace | NoTrace":
        return self._tracing.trace(context, method, request.model_name, service=EXPLAIN_SERVICE)

    async def _read(
        self, request: pb.ExplainRequest, context: Any, trace: "RequestTrace | NoTrace"
    ) -> "tuple[Model, ExplainCall, _Answer]":
        model, entrance = self._entrances.find(request.model_name, request.model_version)
        trace.note(model_name=model.name, model_version=model.version, request_id=request.id)
        trace.reach("dataplane")
        model.explainer.check_method(request.method or DEFAULT_METHOD)
        axis = model.explainer.channel_axis
        decoded = await entrance.read(request)
        (inputs,) = decoded.arrays.values()
        call = read_call(request, model, inputs, deadline_of(context))
        answer = _Answer(request, model, decoded.rows)
        if read_encoding(request) == "png":
            answer.map_axis = axis if axis is not None and inputs.ndim == 4 else 0
        trace.reach("servicer", rows=decoded.rows, method=call.method)
        return model, call, answer


class _Answer:
    """Makes the responses to one request."""

    def __init__(self, request: pb.ExplainRequest, model: Model, rows: int) -> None:
        self._request = request
        self._model = model
        self._rows = rows
        self.map_axis: int | None = None  # the axis of channels, where PNGs are wanted

    def __call__(self, explained: "Explained") -> pb.ExplainResponse:
        attributions = explained.attributions
        datatype = datatype_of(attributions.dtype)
        response = pb.ExplainResponse(
            model_name=self._request.model_name,
            model_version=self._model.version,
            id=self._request.id,
            method=explained.method,
            backend=explained.backend,
        )
        response.attributions.name = "attributions"
        response.attributions.datatype = datatype
        response.attributions.shape.extend(attributions.shape)
        for name, value in explained.parameters.items():
            response.parameters[name].CopyFrom(_write_parameter(value))
        self._add_rows(response, explained)
        if self._model.explainer.explains_original(explained.method):
            self._add_original(response)
        if self.map_axis is None:
            response.raw_output_contents.append(encode(attributions, datatype))
        else:
            _add_pngs(response, attributions, self.map_axis)
        return response

    def _add_original(self, response: pb.ExplainResponse) -> None:
        """Tell that the original is another network than the one that is served, if it is."""
        step = self._model.lossy_derivation
        if step is not None:
            response.explained_original.CopyFrom(
                pb.ExplainedOriginal(
                    model_name=step.model_name,
                    model_version=step.model_version,
                    derivation=step.kind,
                    top1_agreement=step.top1_agreement or 0.0,
                    pictures=step.pictures,
                )
            )

    def _add_rows(self, response: pb.ExplainResponse, explained: "Explained") -> None:
        labels = self._model.labels
        per_row = len(explained.targets) // self._rows
        told = zip(
            explained.targets.tolist(), explained.scores.tolist(), explained.reports, strict=True
        )
        for number, (target, score, reports) in enumerate(told):
            response.rows.add(
                target=target,
                label=labels[target] if 0 <= target < len(labels) else "",
                score=score,
                reports=reports,
                row=number // per_row,
            )


def _add_pngs(
    response: pb.ExplainResponse, attributions: NDArray[np.float32], channel_axis: int
) -> None:
    if channel_axis == 0 or attributions.shape[channel_axis] != 1:
        raise InvalidArgumentError(
            f"a PNG holds one map, and the attributions are {list(attributions.shape)}: ask for "
            "a channel reduction, or for raw numbers"
        )
    for row, values in zip(response.rows, attributions.squeeze(channel_axis), strict=True):
        row.png, row.minimum, row.maximum = encode_png(values)


def _write_parameter(value: bool | int | float | str) -> inference_pb2.InferParameter:
    match value:
        case bool():
            return inference_pb2.InferParameter(bool_param=value)
        case int():
            return inference_pb2.InferParameter(int64_param=value)
        case float():
            return inference_pb2.InferParameter(double_param=value)
        case _:
            return inference_pb2.InferParameter(string_param=value)


def _describe(method: "MethodStatus") -> pb.SaliencyMethod:
    described = pb.SaliencyMethod(
        name=method.name,
        paper=method.paper,
        available=method.available,
        reason=method.reason,
        forward_passes=method.forward_passes,
        scales_with=method.scales_with,
    )
    for spec in method.parameters:
        parameter = described.parameters.add(
            name=spec.name,
            type=spec.type,
            description=spec.description,
            default_value=_write_parameter(spec.default),
            choices=spec.choices,
        )
        if spec.minimum is not None:
            parameter.minimum.CopyFrom(_write_parameter(spec.minimum))
        if spec.maximum is not None:
            parameter.maximum.CopyFrom(_write_parameter(spec.maximum))
    return described


def _describe_layer(layer: "LayerStatus") -> pb.SpatialLayer:
    shape = [-1 if size is None else size for size in layer.shape]
    return pb.SpatialLayer(name=layer.name, shape=shape, is_default=layer.is_default)
