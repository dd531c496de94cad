"""What a captured program takes and gives, as a model repository describes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.export import ExportedProgram

from eyespot.exporter.capture import (
    find_gradient_node,
    input_nodes,
    output_nodes,
    read_shapes,
)
from eyespot.exporter.errors import CaptureError, LabelsError
from eyespot.exporter.labels import check_labels
from eyespot.exporter.model_config import build_config, default_batch_size
from eyespot.exporter.parity import Batch, random_batches
from eyespot.exporter.samples import Samples
from eyespot.v1.manifest import CLASSES_PARAMETER, INDEPENDENT, TensorSpec
from eyespot.v1.model_config_pb2 import ModelConfig
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.v1.tensors import datatype_of
from eyespot.zoo.entry import Task

OUTPUT_NAMES: dict[Task, str] = {
    "classification": "logits",
    "segmentation": "segmentation",
    "flow": "flow",
    "embedding": "embedding",
    "sequence": "logits",
    "image": "reconstruction",
}

# Where labels name the classes, and the shape that the task's output has.
_LABELLED = {"classification": "(batch, classes)", "segmentation": "(batch, classes, H, W)"}


@dataclass(frozen=True)
class Face:
    """Inputs, outputs and what is told of them.

    Attributes:
        task: What the first output means.
        samples: What the program was captured with.
        inputs: Rows first, dynamic sizes by name.
        outputs: The same.
        gradient_node: Where gradients begin; None where there is no one place.
        rule: Of the pixels that the program takes.
        labels: Of the first output's classes.
    """

    task: Task
    samples: Samples
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    gradient_node: str | None
    rule: PreprocessingRule | None
    labels: tuple[str, ...] | None

    @property
    def channel_axis(self) -> int | None:
        """Of the first input, where it is a picture."""
        if len(self.inputs[0].shape) != 4:
            return None
        return 1 if self.rule is None else 3

    @property
    def picture_shape(self) -> tuple[int, int] | None:
        """(height, width) that pixels must have, or None where any will do."""
        height, width = self.inputs[0].shape[1:3]
        is_fixed = isinstance(height, int) and isinstance(width, int)
        return (int(height), int(width)) if is_fixed else None

    def config(
        self, name: str, max_batch_size: int | None, *, independent_classes: bool = False
    ) -> ModelConfig:
        """Describe the model as Triton does."""
        parameters = {} if self.rule is None else self.rule.to_parameters()
        if independent_classes:
            parameters[CLASSES_PARAMETER] = INDEPENDENT
        formats = {None: "FORMAT_NONE", 1: "FORMAT_NCHW", 3: "FORMAT_NHWC"}
        elements = sum(sample[0].numel() for sample in self.samples.tensors)
        return build_config(
            name,
            inputs=self.inputs,
            outputs=self.outputs,
            max_batch_size=max_batch_size or default_batch_size(elements),
            image_format=formats[self.channel_axis],
            labelled_output=None if self.labels is None else self.outputs[0].name,
            parameters=parameters,
        )

    def random_batches(self, *, max_batch_size: int, seed: int) -> list[Batch]:
        """Draw what the artefacts are compared on."""
        return random_batches(
            self.inputs,
            max_batch_size=max_batch_size,
            seed=seed,
            dynamic_axes=self.samples.dynamic_axes,
            symbols=self.samples.symbols,
        )


def describe(
    program: ExportedProgram,
    samples: Samples,
    *,
    task: Task,
    output_names: Sequence[str] | None,
    rule: PreprocessingRule | None,
    labels: Sequence[str] | None,
) -> Face:
    """Read inputs and outputs off a program, and check them against the task.

    Raises:
        CaptureError: The program gives something else than the task needs, or two tensors have
            one name.
        LabelsError: The labels do not count the classes, or there are none.
    """
    nodes = [*input_nodes(program), *output_nodes(program)]
    names = [*samples.names, *(output_names or [OUTPUT_NAMES[task]])]
    if len(set(names)) != len(names):
        raise CaptureError(f"inputs and outputs are called {names}: each needs a name of its own")
    specs = [
        TensorSpec(name, _datatype(node.meta["val"]), shape)
        for name, node, shape in zip(names, nodes, read_shapes(program, samples.axes), strict=True)
    ]
    inputs, outputs = specs[: len(samples.names)], specs[len(samples.names) :]
    classes = _classes(task, outputs[0])
    if labels is not None:
        if classes is None:
            raise LabelsError(f"a network for {task} has no classes that labels could name")
        labels = check_labels(labels, classes=classes)
    return Face(
        task, samples, tuple(inputs), tuple(outputs), find_gradient_node(program), rule, labels
    )


def _classes(task: Task, output: TensorSpec) -> int | None:
    """Count the classes that labels name; None where the task has none."""
    if task not in _LABELLED:
        return None
    expected = _LABELLED[task]
    if len(output.shape) != expected.count(",") + 1 or not isinstance(output.shape[1], int):
        raise CaptureError(
            f"the module gives the shape {list(output.shape)}: {expected} is expected for {task}; "
            "tell the export what its task is"
        )
    return output.shape[1]


def _datatype(value: torch.Tensor) -> str:
    return datatype_of(np.dtype(str(value.dtype).removeprefix("torch.")))
