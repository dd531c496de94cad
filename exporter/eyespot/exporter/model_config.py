"""`config.pbtxt`: Triton's ModelConfig in text format, built, read and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from google.protobuf import text_format

from eyespot.exporter.errors import RepositoryError
from eyespot.v1.bounded_text import MOST_CONFIG_BYTES, read_bounded
from eyespot.v1.manifest import LABELS_FILE, MODEL_FILE, TensorSpec
from eyespot.v1.model_config_pb2 import ModelConfig, ModelInput
from eyespot.v1.tensors import DATATYPES

_BACKEND = "onnxruntime"
_PLATFORM = "onnxruntime_onnx"

# On a CPU the best batch is 1 to 4 rows of 224x224 pictures, and 32 of 32x32 ones: beyond it
# the activations leave the cache.
_SMALL_INPUT = 3 * 64 * 64
_SMALL_BATCH = 32
_LARGE_INPUT = 3 * 320 * 320
_LARGE_BATCH = 8
# Beyond it the maps of one row fill gigabytes.
_HUGE_BATCH = 2


def default_batch_size(row_size: int) -> int:
    """Choose the largest batch worth waiting for, from the number of elements of one row."""
    if row_size <= _SMALL_INPUT:
        return _SMALL_BATCH
    return _LARGE_BATCH if row_size <= _LARGE_INPUT else _HUGE_BATCH


def build_config(
    name: str,
    *,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    max_batch_size: int,
    image_format: str = "FORMAT_NONE",
    labelled_output: str | None = None,
    parameters: Mapping[str, str] | None = None,
) -> ModelConfig:
    """Describe a model.

    Args:
        name: The model's.
        inputs: Rows first where max_batch_size is above 0: `dims` leaves the rows out.
        outputs: The same.
        max_batch_size: 0 for a model that takes what it takes.
        image_format: Of the first input, if it is a picture of three dimensions.
        labelled_output: The output whose classes the labels name.
        parameters: Free-form texts.
    """
    config = ModelConfig(
        name=name, backend=_BACKEND, platform=_PLATFORM, max_batch_size=max_batch_size
    )
    for spec in inputs:
        config.input.add(name=spec.name, data_type=_type(spec), dims=_dims(spec, max_batch_size))
    config.input[0].format = getattr(ModelInput, image_format)
    for spec in outputs:
        output = config.output.add(
            name=spec.name, data_type=_type(spec), dims=_dims(spec, max_batch_size)
        )
        if spec.name == labelled_output:
            output.label_filename = LABELS_FILE
    if max_batch_size:
        # Nothing is waited for: what piled up while the session was busy makes the next batch.
        config.dynamic_batching.SetInParent()
    for key, value in sorted((parameters or {}).items()):
        config.parameters[key].string_value = value
    return config


def write_config(config: ModelConfig, path: Path) -> None:
    """Write a configuration in text format."""
    path.write_text(text_format.MessageToString(config, as_utf8=True), encoding="utf-8")


def read_config(path: Path) -> ModelConfig:
    """Read a configuration in text format.

    Raises:
        RepositoryError: It cannot be read or parsed.
    """
    try:
        config = ModelConfig()
        text_format.Parse(read_bounded(path, most_bytes=MOST_CONFIG_BYTES), config)
    except (OSError, ValueError, RecursionError, text_format.ParseError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RepositoryError(
            f"{path.name} of {path.parent.name} cannot be read: {reason}"
        ) from error
    return config


def differences(there: ModelConfig, here: ModelConfig) -> list[str]:
    """Tell in what two configurations of one model describe other tensors or pictures."""
    found = []
    for what, old, new in (
        ("inputs", there.input, here.input),
        ("outputs", there.output, here.output),
    ):
        if (before := _describe(old)) != (after := _describe(new)):
            found.append(f"{what} {before} there, {after} here")
    if bool(there.max_batch_size) != bool(here.max_batch_size):
        found.append(f"max_batch_size {there.max_batch_size} there, {here.max_batch_size} here")
    old_rule, new_rule = _preprocessing(there), _preprocessing(here)
    for key in sorted({*old_rule, *new_rule}):
        if old_rule.get(key) != new_rule.get(key):
            found.append(f"{key} {old_rule.get(key)} there, {new_rule.get(key)} here")
    if there.default_model_filename not in ("", MODEL_FILE):
        found.append(f"model file {there.default_model_filename} there, {MODEL_FILE} here")
    return found


def _describe(tensors: Sequence[object]) -> str:
    parts = []
    for tensor in tensors:
        copy = type(tensor)()
        copy.CopyFrom(tensor)  # type: ignore[attr-defined]
        if hasattr(copy, "label_filename"):
            copy.label_filename = ""
        parts.append(text_format.MessageToString(copy, as_one_line=True))  # type: ignore[arg-type]
    return "; ".join(parts)


def _preprocessing(config: ModelConfig) -> dict[str, str]:
    return {
        key: value.string_value
        for key, value in config.parameters.items()
        if key.startswith("preprocessing.")
    }


def _type(spec: TensorSpec) -> int:
    return DATATYPES[spec.datatype].config_type


def _dims(spec: TensorSpec, max_batch_size: int) -> list[int]:
    sizes = spec.shape[1:] if max_batch_size else spec.shape
    return [size if isinstance(size, int) else -1 for size in sizes]
