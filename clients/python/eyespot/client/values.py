"""What the client's methods return: frozen values, in NumPy's and Python's own types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from eyespot.v1 import model_config_pb2
from eyespot.v1.manifest import CLASSES_PARAMETER, INDEPENDENT
from eyespot.v1.preprocessing import IMAGE_ENDPOINT, IMAGE_FORMATS, PreprocessingRule
from eyespot.v1.tensors import Array

Parameter: TypeAlias = bool | int | float | str


@dataclass(frozen=True, eq=False)
class InferResult:
    """The answer to one inference.

    Attributes:
        outputs: By name, in the order of the answer; the arrays may be read-only.
        parameters: What the server told beside the tensors.
    """

    model_name: str
    model_version: str
    outputs: Mapping[str, Array]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def __repr__(self) -> str:
        outputs = ", ".join(
            f"{name}: {array.dtype} {array.shape}" for name, array in self.outputs.items()
        )
        return f"InferResult({self.model_name} version {self.model_version}, {outputs})"


def class_name(index: int, label: str) -> str:
    """Name a class by its label; where that is empty, by its index."""
    return label or f"class {index}"


@dataclass(frozen=True)
class Classification:
    """One class for one picture; `label` is empty when the model has no labels."""

    index: int
    label: str
    probability: float
    logit: float

    @property
    def name(self) -> str:
        """What to call the class: its label, or "class 3" where there is none."""
        return class_name(self.index, self.label)


@dataclass(frozen=True)
class TensorMetadata:
    """An input or output; -1 in the shape is a size known only at run time."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ServerMetadata:
    """Who answers, and which extensions of the protocol it speaks."""

    name: str
    version: str
    extensions: tuple[str, ...]


@dataclass(frozen=True)
class ModelMetadata:
    """What goes in and what comes out; shapes with the batch dimension."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


@dataclass(frozen=True)
class ModelConfig:
    """The configuration in force.

    Attributes:
        max_batch_size: Rows in one request; 0 when the model takes no batches.
        preprocessing: What happens to a picture before it is sent, if that is told.
        labels: Of the classes, by index; empty when there are none.
        message: All of it, as it came.
    """

    name: str
    max_batch_size: int
    preprocessing: PreprocessingRule | None
    labels: tuple[str, ...] = field(repr=False)
    message: model_config_pb2.ModelConfig = field(repr=False)

    @property
    def has_independent_classes(self) -> bool:
        """Whether a row may have any number of classes, each by its own logit."""
        return self._parameter(CLASSES_PARAMETER) == INDEPENDENT

    @property
    def image_endpoint(self) -> str:
        """The name by which the model takes encoded pictures; empty where it does not."""
        return self._parameter(IMAGE_ENDPOINT)

    @property
    def image_formats(self) -> frozenset[str]:
        """The formats that such pictures may have."""
        return frozenset(self._parameter(IMAGE_FORMATS).split(","))

    def _parameter(self, name: str) -> str:
        told = self.message.parameters.get(name)
        return "" if told is None else told.string_value


@dataclass(frozen=True)
class ModelStatus:
    """One model version of the repository; `reason` says why it is not ready."""

    name: str
    version: str
    state: str
    reason: str
    derivation: str = ""  # such as "quantised from digits version 1"; empty for most
    explainer_is_loading: bool = False  # it takes requests, but those for explanations not yet

    @property
    def is_ready(self) -> bool:
        """Whether it takes requests."""
        return self.state == "READY"

    @property
    def is_loading(self) -> bool:
        """Whether it will be ready, or known to be unavailable, without anyone's doing."""
        return self.state == "LOADING"

    def is_awaited(self, *, for_explaining: bool) -> bool:
        """The same, of requests for explanations too where those are meant."""
        return self.is_loading or (for_explaining and self.explainer_is_loading)


@dataclass(frozen=True)
class Duration:
    """How often something happened and how long it took in total."""

    count: int = 0
    total_ns: int = 0

    @property
    def mean_ms(self) -> float:
        """Milliseconds on average; 0 when it never happened."""
        return self.total_ns / self.count / 1e6 if self.count else 0.0


@dataclass(frozen=True)
class Histogram:
    """How often a value fell below each bound and above the one before.

    Attributes:
        bounds: Ascending.
        counts: One for each bound, and one for what is beyond the last.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    def since(self, earlier: Histogram) -> Histogram:
        """What was counted after an earlier look."""
        counts = zip(self.counts, earlier.counts, strict=True)
        return Histogram(self.bounds, tuple(now - before for now, before in counts))

    def quantile(self, share: float) -> float | None:
        """The value that so large a share stays below; None when nothing was counted.

        Between two bounds values are taken to lie evenly, the first from 0 on; beyond the last
        bound nothing is known but that bound.
        """
        rank, below, start = share * sum(self.counts), 0, 0.0
        if not any(self.counts):
            return None
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if count and below + count >= rank:
                return start + (bound - start) * (rank - below) / count
            below, start = below + count, bound
        return self.bounds[-1]


@dataclass(frozen=True)
class ModelStatistics:
    """Counters of one model version since it was loaded.

    Attributes:
        inference_count: Rows.
        execution_count: Batches.
        batch_counts: How many batches had this many rows.
        histograms: By name, such as "request_seconds"; servers other than ours tell none.
        pending_request_count: Requests that wait now.
        explain_success: Calls for explanations that were answered, each of one row or more;
            servers other than ours tell of none.
        explain_fail: Those that were not, also because their caller left.
    """

    name: str
    version: str
    inference_count: int
    execution_count: int
    success: Duration
    fail: Duration
    queue: Duration
    compute_infer: Duration
    batch_counts: Mapping[int, int]
    histograms: Mapping[str, Histogram] = field(default_factory=dict, repr=False)
    pending_request_count: int = 0
    explain_success: Duration = Duration()
    explain_fail: Duration = Duration()

    @property
    def mean_batch_size(self) -> float:
        """Rows in a batch on average; 0 before the first."""
        return self.inference_count / self.execution_count if self.execution_count else 0.0


@dataclass(frozen=True, eq=False)
class ExplainTarget:
    """What is explained of a picture, where a class alone does not say it.

    Attributes:
        target: Class index or label; None is the picture's top class.
        against: Index or label of a class whose score is subtracted: why not this one?
        step: Of a model that answers a sequence; None is the mean of all steps.
        region: (H, W) of a model that answers a map: true where it is meant; None is
            where the class is predicted.
        embedding: A vector to which the answer's similarity is explained, in place of
            a class.
    """

    target: int | str | None = None
    against: int | str | None = None
    step: int | None = None
    region: NDArray[np.bool_] | None = None
    embedding: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class ParameterDescription:
    """One parameter of a method; None where there is no default or bound."""

    name: str
    type: str
    description: str
    default: Parameter | None
    minimum: Parameter | None
    maximum: Parameter | None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class MethodDescription:
    """A saliency method, and whether it works for the model.

    Attributes:
        paper: Authors and year.
        reason: Why it is not available.
        backend: What computes its gradients.
        forward_passes: What a picture costs with the defaults; 0 where it is not known.
        scales_with: The parameter that the cost is proportional to, if there is one.
    """

    name: str
    paper: str
    is_available: bool
    reason: str
    backend: str
    parameters: tuple[ParameterDescription, ...]
    forward_passes: float = 0.0
    scales_with: str = ""
