"""`eyespot.v1.ExplainService`: the same checks as for inference, then the explainer."""

# ruff: noqa: N802, D102 -- the methods bear the names of the RPCs, which the .proto explains

import difflib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyespot.server.answering import answering
from eyespot.server.dataplane import Dataplane
from eyespot.server.errors import InvalidArgumentError, RequestError, UnimplementedError
from eyespot.server.model import Model
from eyespot.server.servicer import Signatures, deadline_of
from eyespot.v1 import explain_pb2 as pb
from eyespot.v1 import inference_pb2
from eyespot.v1.tensors import datatype_of, encode

if TYPE_CHECKING:
    from eyespot.server.explainer import Explained, MethodStatus

_DEFAULT_METHOD = "saliency"
_SHOWN_LABELS = 5
_SCORES = {
    pb.SCORE_UNSPECIFIED: "logit",
    pb.SCORE_LOGIT: "logit",
    pb.SCORE_PROBABILITY: "probability",
    pb.SCORE_BINARY_LOGIT: "binary_logit",
    pb.SCORE_BINARY_PROBABILITY: "binary_probability",
}
_CHANNEL_REDUCTIONS = {
    pb.CHANNEL_REDUCTION_UNSPECIFIED: "none",
    pb.CHANNEL_REDUCTION_NONE: "none",
    pb.CHANNEL_REDUCTION_MAX: "max",
    pb.CHANNEL_REDUCTION_MEAN: "mean",
}


class ExplainServicer:
    """Answers the RPCs of the explain service on the event loop of the server."""

    def __init__(self, dataplane: Dataplane, signatures: Signatures) -> None:
        self._dataplane = dataplane
        self._signatures = signatures

    @answering
    async def Explain(self, request: pb.ExplainRequest, context: Any) -> Any:
        model = self._dataplane.model(request.model_name, request.model_version)
        explainer = model.explainer
        # Its room is loaded only where it is used: here there is an explainer.
        from eyespot.server.explainer import ExplainCall

        decoded = self._signatures.of(model).read_inputs(request)
        (inputs,) = decoded.arrays.values()
        explained = await explainer.explain(
            ExplainCall(
                inputs=inputs,
                method=request.method or _DEFAULT_METHOD,
                targets=_read_targets(request.targets, decoded.rows, model),
                score=_read_choice(request.score, _SCORES, "score"),
                channel_reduction=_read_choice(
                    request.channel_reduction, _CHANNEL_REDUCTIONS, "channel_reduction"
                ),
                parameters=_read_parameters(request.parameters),
                deadline=deadline_of(context),
            )
        )
        return _response(request, model, explained)

    async def ExplainStream(
        self, request: pb.ExplainRequest, context: Any
    ) -> AsyncIterator[pb.ExplainStreamResponse]:
        await _refuse_stream(self, request, context)
        yield pb.ExplainStreamResponse()  # not reached; makes this an asynchronous generator

    @answering
    async def ListMethods(self, request: pb.ListMethodsRequest, context: Any) -> Any:
        from eyespot.server.explainer import methods_without_explainer

        model = self._dataplane.model(request.model_name, request.model_version)
        response = pb.ListMethodsResponse(model_name=model.name, model_version=model.version)
        try:
            explainer = model.explainer
        except RequestError as error:
            methods = methods_without_explainer(str(error))
        else:
            methods, response.backend = explainer.methods(), explainer.backend
        for method in methods:
            response.methods.append(_describe(method))
        return response


@answering
async def _refuse_stream(servicer: ExplainServicer, request: Any, context: Any) -> None:
    raise UnimplementedError(
        "ExplainStream comes with the methods that refine their answer; call Explain"
    )


def _read_targets(
    targets: Sequence[pb.ExplainTarget], rows: int, model: Model
) -> NDArray[np.int64] | None:
    """Class indices, one for all rows or one per row; None asks for each row's top class."""
    if not targets:
        return None
    if len(targets) not in (1, rows):
        raise InvalidArgumentError(
            f"expected no target, one for all rows or one for each of the {rows} rows, "
            f"got {len(targets)}"
        )
    return np.array([_read_target(target, model) for target in targets], np.int64)


def _read_target(target: pb.ExplainTarget, model: Model) -> int:
    kind = target.WhichOneof("target")
    if kind is None:
        raise InvalidArgumentError("a target is empty; give it an index or a label")
    if kind == "label":
        return _index_of_label(target.label, model)
    classes = model.config.outputs[0].shape[-1]
    # Where the graph leaves the number of classes open, the explainer knows it.
    if target.index < 0 or 0 < classes <= target.index:
        expected = f"from 0 to {classes - 1}" if classes > 0 else "0 or more"
        raise InvalidArgumentError(
            f"target index {target.index} is out of range for model '{model.name}'; "
            f"expected {expected}"
        )
    return target.index


def _index_of_label(label: str, model: Model) -> int:
    if not model.labels:
        raise InvalidArgumentError(
            f"model '{model.name}' has no labels; give the target by its index"
        )
    count = model.labels.count(label)
    if count == 1:
        return model.labels.index(label)
    if count > 1:
        raise InvalidArgumentError(
            f"{count} classes of model '{model.name}' bear the label '{label}'; "
            "give the target by its index"
        )
    nearest = difflib.get_close_matches(label, model.labels, n=1)
    if nearest:
        hint = f"the nearest is '{nearest[0]}'"
    else:
        shown = ", ".join(f"'{known}'" for known in model.labels[:_SHOWN_LABELS])
        more = ", ..." if len(model.labels) > _SHOWN_LABELS else ""
        hint = f"its {len(model.labels)} labels are {shown}{more}"
    raise InvalidArgumentError(f"model '{model.name}' has no label '{label}'; {hint}")


def _read_choice(value: int, choices: Mapping[Any, str], name: str) -> str:
    try:
        return choices[value]
    except KeyError:
        raise InvalidArgumentError(
            f"{name} {value} is unknown; expected {', '.join(dict.fromkeys(choices.values()))}"
        ) from None


def _read_parameters(
    parameters: Mapping[str, inference_pb2.InferParameter],
) -> dict[str, bool | int | float | str]:
    read = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is None:
            raise InvalidArgumentError(f"parameter '{name}' has no value")
        read[name] = getattr(parameter, kind)
    return read


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
        name=method.name, paper=method.paper, available=method.available, reason=method.reason
    )
    for spec in method.parameters:
        parameter = described.parameters.add(
            name=spec.name,
            type=spec.type,
            description=spec.description,
            default_value=_write_parameter(spec.default),
        )
        if spec.minimum is not None:
            parameter.minimum.CopyFrom(_write_parameter(spec.minimum))
        if spec.maximum is not None:
            parameter.maximum.CopyFrom(_write_parameter(spec.maximum))
    return described


def _response(
    request: pb.ExplainRequest, model: Model, explained: "Explained"
) -> pb.ExplainResponse:
    attributions = explained.attributions
    datatype = datatype_of(attributions.dtype)
    response = pb.ExplainResponse(
        model_name=model.name,
        model_version=model.version,
        id=request.id,
        method=explained.method,
        raw_output_contents=[encode(attributions, datatype)],
    )
    response.attributions.name = "attributions"
    response.attributions.datatype = datatype
    response.attributions.shape.extend(attributions.shape)
    for name, value in explained.parameters.items():
        response.parameters[name].CopyFrom(_write_parameter(value))
    for target, score, reports in zip(
        explained.targets.tolist(), explained.scores.tolist(), explained.reports, strict=True
    ):
        label = model.labels[target] if target < len(model.labels) else ""
        response.rows.add(target=target, label=label, score=score, reports=reports)
    return response
