"""What is asked of saliency, from the wire into arrays, checked against the model.

An ExplainRequest has fields for all of it. A ModelInferRequest may ask for the output
`saliency`, whose parameters say the same in short.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyespot.server.errors import InvalidArgumentError
from eyespot.server.model import Model
from eyespot.v1 import explain_pb2 as pb
from eyespot.v1 import inference_pb2

if TYPE_CHECKING:
    from eyespot.server.explainer import ExplainCall, Targets

Array = NDArray[np.generic]

DEFAULT_METHOD = "saliency"
_SHOWN_LABELS = 5
_MOST_CLASSES = 1 << 63  # an index is an int64
_LONGEST_COMPARED = 255  # comparing texts takes time by their length
_TOP_CLASS = -1  # as the saliency room has it
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
_ENCODINGS = {
    pb.ATTRIBUTION_ENCODING_UNSPECIFIED: "raw",
    pb.ATTRIBUTION_ENCODING_RAW: "raw",
    pb.ATTRIBUTION_ENCODING_PNG: "png",
}


def read_call(
    request: pb.ExplainRequest, model: Model, inputs: Array, deadline: float | None
) -> "ExplainCall":
    """Read an ExplainRequest whose inputs are decoded already.

    Raises:
        InvalidArgumentError: a target or a choice is impossible.
    """
    # Its room is loaded only where it is used.
    from eyespot.server.explainer import ExplainCall

    return ExplainCall(
        inputs=inputs,
        method=request.method or DEFAULT_METHOD,
        targets=_read_targets(request.targets, model),
        targets_per_row=request.targets_per_row or 1,
        score=_read_choice(request.score, _SCORES, "score"),
        channel_reduction=_read_choice(
            request.channel_reduction, _CHANNEL_REDUCTIONS, "channel_reduction"
        ),
        parameters=read_parameters(request.parameters),
        deadline=deadline,
    )


def read_encoding(request: pb.ExplainRequest) -> str:
    """How the attributions shall travel: "raw" or "png"."""
    return _read_choice(request.encoding, _ENCODINGS, "encoding")


def read_output(output: Any, model: Model, inputs: Array, deadline: float | None) -> "ExplainCall":
    """Read what a ModelInferRequest asks of the output `saliency`.

    Its parameters are `method`, `target` (an index or a label), `score`,
    `channel_reduction`, and those of the method.

    Raises:
        InvalidArgumentError: a target is impossible.
    """
    from eyespot.server.explainer import ExplainCall, Targets

    parameters = read_parameters(output.parameters)
    target = parameters.pop("target", None)
    targets = None
    if target is not None:
        index = _index_of_label(target, model) if isinstance(target, str) else target
        if isinstance(index, bool | float):
            raise InvalidArgumentError(f"target is an index or a label, found {index}")
        _check_index(index, model)
        targets = Targets(np.array([index], np.int64))
    return ExplainCall(
        inputs=inputs,
        targets=targets,
        method=str(parameters.pop("method", DEFAULT_METHOD)),
        score=str(parameters.pop("score", "logit")),
        channel_reduction=str(parameters.pop("channel_reduction", "none")),
        parameters=parameters,
        deadline=deadline,
    )


def read_parameters(
    parameters: Mapping[str, inference_pb2.InferParameter],
) -> dict[str, bool | int | float | str]:
    """Read parameters of any kind by their names."""
    read = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is None:
            raise InvalidArgumentError(f"parameter '{name}' has no value")
        read[name] = getattr(parameter, kind)
    return read


def _read_targets(targets: Sequence[pb.ExplainTarget], model: Model) -> "Targets | None":
    """What each target says; None asks for each row's top classes."""
    from eyespot.server.explainer import Targets

    if not targets:
        return None
    for target in targets:
        _check_contrast(target, model)
    return Targets(
        classes=np.array([_read_class(target, model) for target in targets], np.int64),
        against=_all_or_none([_read_against(target, model) for target in targets], "against"),
        steps=_all_or_none(
            [target.step if target.HasField("step") else None for target in targets], "step"
        ),
        regions=_stacked([_read_region(target) for target in targets], "region"),
        embeddings=_stacked(
            [np.array(t.embedding, np.float32) if t.embedding else None for t in targets],
            "embedding",
        ),
    )


def _read_class(target: pb.ExplainTarget, model: Model) -> int:
    kind = target.WhichOneof("target")
    if kind is not None and target.embedding:
        raise InvalidArgumentError("a target is a class or an embedding, found both")
    if kind == "label":
        return _index_of_label(target.label, model)
    if kind == "index":
        _check_index(target.index, model)
        return target.index
    if target == pb.ExplainTarget():
        raise InvalidArgumentError("a target is empty; give it an index or a label")
    return _TOP_CLASS


def _read_against(target: pb.ExplainTarget, model: Model) -> int | None:
    kind = target.WhichOneof("against")
    if kind == "against_label":
        return _index_of_label(target.against_label, model)
    if kind == "against_index":
        _check_index(target.against_index, model)
        return target.against_index
    return None


def _check_contrast(target: pb.ExplainTarget, model: Model) -> None:
    """A class against itself has no score, and nothing decides it."""
    against = _read_against(target, model)
    if against is not None and against == _read_class(target, model):
        raise InvalidArgumentError(f"class {against} is to be explained against itself")


def _read_region(target: pb.ExplainTarget) -> NDArray[np.bool_] | None:
    if not target.region:
        return None
    shape = tuple(target.region_shape)
    if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] != len(target.region):
        raise InvalidArgumentError(
            f"a region of {len(target.region)} bytes has region_shape {list(shape)}; expected "
            "height and width, a byte for each place"
        )
    places: NDArray[np.bool_] = np.frombuffer(target.region, np.uint8).reshape(shape) != 0
    if not places.any():
        raise InvalidArgumentError("a region has no place in it: mark where it is meant")
    return places


def _all_or_none(values: "list[int | None]", name: str) -> NDArray[np.int64] | None:
    present = _same_in_all(values, name)
    return np.array(values, np.int64) if present else None


def _stacked(values: "Sequence[NDArray[Any] | None]", name: str) -> NDArray[Any] | None:
    present = _same_in_all(values, name)
    if not present:
        return None
    shapes = {value.shape for value in values if value is not None}
    if len(shapes) > 1:
        raise InvalidArgumentError(
            f"the targets' {name} differ in size: {sorted(shapes)}; expected one for all"
        )
    return np.stack([value for value in values if value is not None])


def _same_in_all(values: Sequence[object], name: str) -> bool:
    """Whether there are values; some targets with and some without cannot be one batch."""
    count = sum(value is not None for value in values)
    if count not in (0, len(values)):
        raise InvalidArgumentError(
            f"{count} of {len(values)} targets have '{name}'; give it in all or in none"
        )
    return count > 0


def _check_index(index: int, model: Model) -> None:
    shape = model.config.outputs[0].shape
    # (B, K), (B, T, K) or (B, K, H, W)
    classes = shape[1] if len(shape) == 4 else shape[-1]
    # Where the graph leaves the number of classes open, the explainer knows it.
    if not 0 <= index < (classes if classes > 0 else _MOST_CLASSES):
        expected = f"from 0 to {classes - 1}" if classes > 0 else "0 or more"
        raise InvalidArgumentError(
            f"target index {index} is out of range for model '{model.name}'; expected {expected}"
        )


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
    import difflib  # not for every start

    nearest = difflib.get_close_matches(label[:_LONGEST_COMPARED], model.labels, n=1)
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
