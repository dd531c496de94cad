"""Answers of the server into values; nothing here talks to anyone."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyespot.client.errors import AnswerError, ClientError
from eyespot.client.values import (
    Classification,
    Duration,
    Histogram,
    InferResult,
    MethodDescription,
    ModelConfig,
    ModelMetadata,
    ModelStatistics,
    ModelStatus,
    Parameter,
    ParameterDescription,
    ServerMetadata,
    TensorMetadata,
)
from eyespot.v1 import explain_pb2, inference_pb2, tensors
from eyespot.v1.preprocessing import PreprocessingError, PreprocessingRule
from eyespot.v1.tensors import Array

Floats = NDArray[np.float64]

# A server of Eyespot adds its labels to the configuration that it tells: a JSON list.
LABELS_PARAMETER = "labels"


def read_infer(response: inference_pb2.ModelInferResponse) -> InferResult:
    """Read the tensors, which other servers may send as typed contents."""
    return InferResult(
        model_name=response.model_name,
        model_version=response.model_version,
        outputs=_arrays(response.outputs, response.raw_output_contents),
        parameters=_parameters(response.parameters),
    )


def read_attributions(response: explain_pb2.ExplainResponse) -> Array:
    """Read the attributions of all rows, in the axis order of the input."""
    if response.rows and response.rows[0].png:
        return _maps_of_pngs(response)
    arrays = _arrays([response.attributions], response.raw_output_contents)
    attributions = arrays[response.attributions.name]
    if len(attributions) != len(response.rows):
        raise AnswerError(
            f"{len(response.rows)} rows are told, the attributions have {len(attributions)}"
        )
    return attributions


def join(results: Sequence[InferResult]) -> InferResult:
    """Put the answers to consecutive batches together, row after row."""
    first = results[0]
    if len(results) == 1:
        return first
    outputs = {}
    for name in first.outputs:
        arrays = [result.outputs[name] for result in results]
        shapes = sorted({array.shape[1:] for array in arrays})
        if len(shapes) > 1:
            raise ClientError(
                f"the answers in output {name!r} have the shapes {shapes} and cannot be joined: "
                "ask about pictures of one size, or about one at a time"
            )
        outputs[name] = np.concatenate(arrays)
    return InferResult(first.model_name, first.model_version, outputs)


def classify(
    logits: Array, labels: Sequence[str], *, top_k: int, independent: bool = False
) -> list[list[Classification]]:
    """Rank the classes of each row; `logits` is (B, classes).

    Independent classes, of which a row may have any number, have each its own probability.

    Raises:
        ClientError: `top_k` is not positive, or the output is none of a classifier.
    """
    if top_k < 1:
        raise ClientError(f"top_k must be at least 1, found {top_k}")
    if logits.ndim < 2 or logits.size != logits.shape[0] * logits.shape[1]:
        maps = "; `segment` reads maps of classes" if logits.ndim == 4 else ""
        raise ClientError(
            f"a classifier's output has shape (batch, classes), found {logits.shape}{maps}"
        )
    z = logits.reshape(logits.shape[:2]).astype(np.float64)  # -> (B, classes)
    probabilities = _logistic(z) if independent else _softmax(z)
    order = np.argsort(-z, axis=1, kind="stable")[:, :top_k]
    return [
        [
            Classification(
                index=index,
                label=label_of(labels, index),
                probability=float(probabilities[row, index]),
                logit=float(z[row, index]),
            )
            for index in indices
        ]
        for row, indices in enumerate(order.tolist())
    ]


def _softmax(z: Floats) -> Floats:
    # Without the largest logit of each row the exponential cannot overflow.
    exponentials: Floats = np.exp(z - z.max(axis=1, keepdims=True))
    exponentials /= exponentials.sum(axis=1, keepdims=True)
    return exponentials


def _logistic(z: Floats) -> Floats:
    shares: Floats = np.exp(-np.logaddexp(0, -z))
    return shares


def read_embeddings(vectors: Array) -> Array:
    """Give one vector for each row, (B, D).

    Raises:
        ClientError: The output is none of an embedding.
    """
    if vectors.ndim != 2:
        raise ClientError(f"an embedding has shape (batch, width), found {vectors.shape}")
    return vectors


# What models of other tasks give, which is not to be taken for what is asked for, and what reads
# it.
TASK_OUTPUTS = {
    "logits": "`eyespot infer` reads (in Python `classify`)",
    "segmentation": "`eyespot segment` reads (in Python `segment`)",
    "flow": "`infer` gives in Python",
    "embedding": "`eyespot embed` reads (in Python `embed`)",
}


def output_name(metadata: ModelMetadata, output: str | None, *, usual: str) -> str:
    """Find an output: the named, the only, or the one that is called as usual.

    Raises:
        ClientError: It cannot be told which one that is.
    """
    names = [tensor.name for tensor in metadata.outputs]
    if output is None:
        if len(names) == 1 and names[0] not in TASK_OUTPUTS.keys() - {usual}:
            return names[0]
        output = usual
    if output not in names:
        raise ClientError(
            f"model {metadata.name!r} has no output {output!r}, {_what_fits(names, usual)}"
        )
    return output


def _what_fits(names: Sequence[str], usual: str) -> str:
    """Say what to do about a model that has not the output that is asked for."""
    fitting = next((name for name in names if name in TASK_OUTPUTS.keys() - {usual}), None)
    if fitting is not None:
        return f"which is needed here; it has {fitting}, which {TASK_OUTPUTS[fitting]}"
    return f"but {', '.join(names)}: in Python, `output=` names the one that is meant"


def label_of(labels: Sequence[str], index: int) -> str:
    """The label of a class, empty where there is none."""
    return labels[index] if index < len(labels) else ""


def read_server_metadata(response: inference_pb2.ServerMetadataResponse) -> ServerMetadata:
    """Read who answers."""
    return ServerMetadata(response.name, response.version, tuple(response.extensions))


def read_model_metadata(response: inference_pb2.ModelMetadataResponse) -> ModelMetadata:
    """Read inputs and outputs."""
    return ModelMetadata(
        name=response.name,
        versions=tuple(response.versions),
        platform=response.platform,
        inputs=_tensors(response.inputs),
        outputs=_tensors(response.outputs),
    )


def read_model_config(response: inference_pb2.ModelConfigResponse) -> ModelConfig:
    """Read the configuration, the preprocessing rule and the labels in it.

    Raises:
        AnswerError: The rule or the labels cannot be read.
    """
    config = response.config
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    try:
        rule = PreprocessingRule.from_parameters(parameters)
        labels = json.loads(parameters.get(LABELS_PARAMETER, "[]"))
    except (PreprocessingError, ValueError, RecursionError) as error:
        raise AnswerError(f"parameters of model {config.name!r}: {error}") from error
    if not isinstance(labels, list):
        raise AnswerError(f"labels of model {config.name!r} are no JSON list")
    return ModelConfig(
        name=config.name,
        max_batch_size=config.max_batch_size,
        preprocessing=rule,
        labels=tuple(map(str, labels)),
        message=config,
    )


def read_statistics(response: inference_pb2.ModelStatisticsResponse) -> list[ModelStatistics]:
    """Read the counters of each model version."""
    return [
        ModelStatistics(
            name=model.name,
            version=model.version,
            inference_count=model.inference_count,
            execution_count=model.execution_count,
            success=_duration(model.inference_stats.success),
            fail=_duration(model.inference_stats.fail),
            queue=_duration(model.inference_stats.queue),
            compute_infer=_duration(model.inference_stats.compute_infer),
            batch_counts={
                batch.batch_size: batch.compute_infer.count for batch in model.batch_stats
            },
            histograms={
                each.name: Histogram(tuple(each.bounds), tuple(each.counts))
                for each in model.histograms
            },
            pending_request_count=model.pending_request_count,
            explain_success=_duration(model.explain_success),
            explain_fail=_duration(model.explain_fail),
        )
        for model in response.model_stats
    ]


def read_index(response: inference_pb2.RepositoryIndexResponse) -> list[ModelStatus]:
    """Read what lies in the repository, and not under which other names it takes pictures."""
    return [
        ModelStatus(
            name=model.name,
            version=model.version,
            state=model.state,
            reason=model.reason,
            derivation=model.derivation,
            explainer_is_loading=model.explainer_is_loading,
        )
        for model in response.models
        if not model.takes_pictures_for
    ]


def read_methods(response: explain_pb2.ListMethodsResponse) -> list[MethodDescription]:
    """Read the saliency methods and their parameters."""
    return [
        MethodDescription(
            name=method.name,
            paper=method.paper,
            is_available=method.available,
            reason=method.reason,
            backend=response.backend,
            parameters=tuple(_parameter_description(each) for each in method.parameters),
            forward_passes=method.forward_passes,
            scales_with=method.scales_with,
        )
        for method in response.methods
    ]


def _arrays(outputs: Iterable[Any], raw: Sequence[bytes]) -> dict[str, Array]:
    described = list(outputs)
    if raw and len(raw) != len(described):
        raise AnswerError(f"{len(described)} outputs are told, {len(raw)} are there")
    arrays: dict[str, Array] = {}
    try:
        for number, output in enumerate(described):
            form = {"datatype": output.datatype, "shape": output.shape}
            if raw:
                arrays[output.name] = tensors.decode(raw[number], **form)
            else:
                arrays[output.name] = tensors.decode_contents(output.contents, **form)
    except tensors.TensorError as error:
        raise AnswerError(f"output {output.name!r}: {error}") from error
    return arrays


def _maps_of_pngs(response: explain_pb2.ExplainResponse) -> Array:
    """Maps that travel as grey pictures, each with the numbers that black and white mean."""
    maps = []
    try:
        for row in response.rows:
            with Image.open(io.BytesIO(row.png), formats=["PNG"]) as image:
                levels = np.asarray(image, np.float64) / 255
            maps.append(row.minimum + levels * (row.maximum - row.minimum))
        stacked: Array = np.stack(maps).astype(np.float32).reshape(response.attributions.shape)
    except (OSError, SyntaxError, ValueError) as error:
        raise AnswerError(f"the attributions are no PNGs of maps: {error}") from error
    return stacked


def _tensors(messages: Iterable[Any]) -> tuple[TensorMetadata, ...]:
    return tuple(TensorMetadata(each.name, each.datatype, tuple(each.shape)) for each in messages)


def _duration(message: inference_pb2.StatisticDuration) -> Duration:
    return Duration(message.count, message.ns)


def _parameters(messages: Mapping[str, inference_pb2.InferParameter]) -> dict[str, Parameter]:
    values = {name: _parameter(message) for name, message in messages.items()}
    return {name: value for name, value in values.items() if value is not None}


def _parameter(message: inference_pb2.InferParameter) -> Parameter | None:
    chosen = message.WhichOneof("parameter_choice")
    value: Parameter | None = None if chosen is None else getattr(message, chosen)
    return value


def _parameter_description(message: explain_pb2.MethodParameter) -> ParameterDescription:
    return ParameterDescription(
        name=message.name,
        type=message.type,
        description=message.description,
        default=_parameter(message.default_value),
        minimum=_parameter(message.minimum),
        maximum=_parameter(message.maximum),
        choices=tuple(message.choices),
    )
