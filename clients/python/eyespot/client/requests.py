"""Arrays and names into requests; nothing here talks to anyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from eyespot.client.errors import ClientError
from eyespot.client.values import ExplainTarget, ModelMetadata, Parameter, TensorMetadata
from eyespot.v1 import explain_pb2, inference_pb2, tensors
from eyespot.v1.tensors import Array

Target: TypeAlias = int | str | ExplainTarget
SCORES = ("logit", "probability", "binary_logit", "binary_probability")
CHANNEL_REDUCTIONS = ("max", "mean", "none")
ENCODINGS = ("raw", "png")


def only_input(metadata: ModelMetadata) -> TensorMetadata:
    """The input of a model that has one.

    Raises:
        ClientError: It has several, so that an array alone does not say which it is.
    """
    if len(metadata.inputs) != 1:
        names = ", ".join(tensor.name for tensor in metadata.inputs)
        raise ClientError(
            f"model {metadata.name!r} has {len(metadata.inputs)} inputs ({names}): "
            "give a dict of arrays by these names"
        )
    return metadata.inputs[0]


def by_name(inputs: Array | Mapping[str, Array], metadata: ModelMetadata) -> dict[str, Array]:
    """Give each array the name of its input."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    return {only_input(metadata).name: inputs}


def infer_request(
    arrays: Mapping[str, Array],
    metadata: ModelMetadata,
    *,
    model_version: str,
    outputs: Sequence[str] | None,
) -> inference_pb2.ModelInferRequest:
    """Ask for outputs by name; None asks for all of them."""
    request = inference_pb2.ModelInferRequest(model_name=metadata.name, model_version=model_version)
    for name in outputs or ():
        request.outputs.add(name=name)
    _add_inputs(request, arrays, metadata)
    return request


def explain_request(
    arrays: Mapping[str, Array],
    metadata: ModelMetadata,
    *,
    model_version: str,
    method: str,
    targets: Sequence[Target],
    top_k: int,
    score: str,
    channel_reduction: str,
    parameters: Mapping[str, Parameter],
    encoding: str,
) -> explain_pb2.ExplainRequest:
    """Ask for an explanation of every row."""
    _check_choice("score", score, SCORES)
    _check_choice("encoding", encoding, ENCODINGS)
    _check_choice("channel_reduction", channel_reduction, CHANNEL_REDUCTIONS)
    request = explain_pb2.ExplainRequest(
        model_name=metadata.name,
        model_version=model_version,
        method=method,
        parameters={name: _parameter(name, value) for name, value in parameters.items()},
        targets=[_target(target) for target in targets],
        targets_per_row=top_k,
        channel_reduction=f"CHANNEL_REDUCTION_{channel_reduction.upper()}",
        score=f"SCORE_{score.upper()}",
        encoding=f"ATTRIBUTION_ENCODING_{encoding.upper()}",
    )
    _add_inputs(request, arrays, metadata)
    return request


def as_targets(target: Target | Sequence[Target] | None) -> list[Target]:
    """No target, one for all rows, or one per row."""
    if target is None:
        return []
    if isinstance(target, str | ExplainTarget) or not isinstance(target, Sequence | np.ndarray):
        return [target]
    return list(target)


def targets_of_rows(targets: list[Target], start: int, stop: int) -> list[Target]:
    """Those of the targets that belong to some of the rows."""
    return targets if len(targets) <= 1 else targets[start:stop]


def _add_inputs(request: Any, arrays: Mapping[str, Array], metadata: ModelMetadata) -> None:
    known = {tensor.name: tensor for tensor in metadata.inputs}
    if set(arrays) != set(known):
        raise ClientError(
            f"model {metadata.name!r} takes the inputs {_names(known)}, found {_names(arrays)}"
        )
    for name, tensor in known.items():
        array = _cast(arrays[name], tensor)
        request.inputs.add(name=name, datatype=tensor.datatype, shape=array.shape)
        request.raw_input_contents.append(tensors.encode(array, tensor.datatype))


def _cast(array: object, expected: TensorMetadata) -> Array:
    """Bring an array to the datatype of its input where nothing can be lost on the way."""
    if not isinstance(array, np.ndarray):
        raise ClientError(
            f"input {expected.name!r} takes a NumPy array, found {type(array).__name__}"
        )
    if expected.datatype not in tensors.DATATYPES:
        raise ClientError(f"input {expected.name!r} has unknown datatype {expected.datatype!r}")
    dtype = tensors.DATATYPES[expected.datatype].numpy
    if expected.datatype == "BYTES" and array.dtype.kind in "OSU":
        return array
    # BF16 travels as bit patterns: a number that fits into uint16 is not one of them.
    if array.dtype == dtype or (
        expected.datatype not in ("BF16", "BYTES") and np.can_cast(array.dtype, dtype, "safe")
    ):
        return array.astype(dtype, copy=False)
    raise ClientError(
        f"input {expected.name!r} takes {expected.datatype} ({dtype}), found {array.dtype}, "
        f"which does not convert without loss: convert the array yourself"
    )


def _check_choice(argument: str, found: str, choices: Sequence[str]) -> None:
    if found not in choices:
        raise ClientError(f"{argument} must be one of {', '.join(choices)}, found {found!r}")


def _target(target: Target) -> explain_pb2.ExplainTarget:
    if not isinstance(target, ExplainTarget):
        return explain_pb2.ExplainTarget(**_class("", target))
    message = explain_pb2.ExplainTarget(step=target.step)
    if target.target is not None:
        message.MergeFrom(explain_pb2.ExplainTarget(**_class("", target.target)))
    if target.against is not None:
        message.MergeFrom(explain_pb2.ExplainTarget(**_class("against_", target.against)))
    if target.region is not None:
        region = np.asarray(target.region)
        if region.ndim != 2 or region.dtype != np.bool_:
            raise ClientError(
                f"a region is a bool array (H, W), found {region.dtype} of shape {region.shape}"
            )
        message.region, message.region_shape[:] = region.tobytes(), region.shape
    if target.embedding is not None:
        message.embedding.extend(np.asarray(target.embedding, np.float32).ravel().tolist())
    return message


def _class(prefix: str, target: int | str) -> dict[str, Any]:
    """The field that a class goes into, by its index or its label."""
    if isinstance(target, str):
        return {f"{prefix}label": target}
    if isinstance(target, bool) or not isinstance(target, int | np.integer):
        raise ClientError(
            f"a target is a class index (int) or a label (str), found {type(target).__name__}"
        )
    return {f"{prefix}index": int(target)}


def _parameter(name: str, value: Parameter) -> inference_pb2.InferParameter:
    if isinstance(value, bool):  # before int, of which bool is a kind
        return inference_pb2.InferParameter(bool_param=value)
    if isinstance(value, int):
        return inference_pb2.InferParameter(int64_param=value)
    if isinstance(value, float):
        return inference_pb2.InferParameter(double_param=value)
    if isinstance(value, str):
        return inference_pb2.InferParameter(string_param=value)
    raise ClientError(
        f"parameter {name!r} must be a bool, int, float or str, found {type(value).__name__}"
    )


def _names(mapping: Mapping[str, object]) -> str:
    return ", ".join(sorted(map(repr, mapping))) or "none"
