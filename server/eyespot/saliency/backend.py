"""What saliency methods need from whatever computes."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.objective import Objective

# How a gradient passes a rectifier: by its derivative; only where both the gradient and the
# activation are positive; only where the gradient is.
Rectifier: TypeAlias = Literal["derivative", "guided", "deconvnet"]


@dataclass(frozen=True, eq=False)
class Gradients:
    """The scores of a batch and their derivatives with respect to one place in the network."""

    classes: NDArray[np.int64]  # (N,), as Scored has them
    scores: NDArray[np.float32]  # (N,)
    gradients: NDArray[np.float32]  # (N, ...): those of one row stand together
    values: NDArray[np.float32]  # (B, ...), what it is with respect to
    baseline_scores: NDArray[np.float32] | None = None  # (N,), where there are baselines


@dataclass(frozen=True)
class Layer:
    """A place in the network that holds spatial maps."""

    name: str
    shape: tuple[int | None, ...]  # (C, H, W); None is a size that varies
    modules: tuple[str, ...] = ()  # whose last map it is, the innermost first


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A global average pool that feeds one linear layer, which gives the logits."""

    layer: str  # what is pooled
    weights: NDArray[np.float32]  # (K, C)


class Scorer(Protocol):
    """The outputs of one network, on arrays; safe to call from any thread."""

    @property
    def name(self) -> str:
        """What computes, such as "torch"."""

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Of the output, without its rows: (K,), (T, K) or (K, H, W)."""

    @property
    def channel_axis(self) -> int | None:
        """Of the input, counted with the rows' axis; None when it has no channels."""

    def rows_at_once(self, row_shape: tuple[int, ...]) -> int:
        """How many rows one call should have: what is best, within the bound of memory.

        Raises:
            MemoryBoundError: not even one fits.
        """

    def scores(self, x: NDArray[np.generic]) -> NDArray[np.float32]:
        """The outputs (B, ...) of a batch."""


class Backend(Scorer, Protocol):
    """One network that can be differentiated as well.

    Inputs are what the network takes, or the same in floating point: then they need not be
    whole numbers where the network takes such.
    """

    def gradients(
        self,
        x: NDArray[np.generic],
        objective: Objective,
        *,
        rectifier: Rectifier = "derivative",
        layer: str | None = None,
    ) -> Gradients:
        """Differentiate each row's scores, for the whole batch at once.

        Args:
            x: (B, ...), what the network takes.
            objective: N targets and their score; targets of one row share the forward pass.
            rectifier: how gradients pass rectifiers.
            layer: with respect to what, by its name; None is the input.
        """

    def activations(
        self, x: NDArray[np.generic], layer: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The outputs (B, ...) and the maps (B, C, H, W) of a layer."""

    def multipliers(
        self, x: NDArray[np.generic], baselines: NDArray[np.generic], objective: Objective
    ) -> Gradients:
        """DeepLIFT's multipliers by the rescale rule, in place of gradients.

        Raises:
            UnavailableMethodError: an operator has no rule.
        """

    def relevance(
        self, x: NDArray[np.generic], objective: Objective, *, epsilon: float, gamma: float
    ) -> Gradients:
        """The relevance of each element of the input, in place of gradients.

        Raises:
            UnavailableMethodError: an operator has no rule.
        """

    def check_rectifiers(self) -> None:
        """Raise UnavailableMethodError if the network has no rectifier for another rule."""

    def check_multipliers(self) -> None:
        """Raise UnavailableMethodError if `multipliers` would."""

    def check_relevance(self) -> None:
        """Raise UnavailableMethodError if `relevance` would."""

    def layers(self) -> tuple[Layer, ...]:
        """Every place that holds spatial maps, in the order of the computation."""

    def find_layer(self, name: str) -> str:
        """The layer of a name, or that a module ends in; of none, the last before pooling.

        Raises:
            LayerError: there is none; names the nearest.
        """

    def linear_head(self) -> LinearHead:
        """The end of the network, where it is a pool and one linear layer.

        Raises:
            UnavailableMethodError: it is not; names the operator that is in the way.
        """


class RandomisableBackend(Backend, Protocol):
    """One network that can also be had with other weights."""

    def weight_layers(self) -> tuple[str, ...]:
        """Every layer that has weights, in the order of the computation."""

    def randomised(self, layers: Collection[str], *, seed: int) -> Self:
        """The same network with the weights of some layers in random order.

        This one stays as it is.

        Raises:
            LayerError: one of the names is no layer's.
        """


def to_float(x: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """An input as floating point, where it is none."""
    return x if x.dtype.kind == "f" else x.astype(np.float32)
