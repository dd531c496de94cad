"""Calibration: whether 80 % sure is right 80 times in 100, and one number that mends it.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017,
arXiv:1706.04599: the expected calibration error (eq. 3) over 15 bins, the reliability diagram
(figure 1), and temperature scaling (section 4.2). The temperature divides all logits of a row
alike, so that the top class never changes.

Departures: with 1/T in place of T the loss is convex, and Newton's method finds its one minimum
where the paper's code takes L-BFGS; T is kept within 1/20 and 20, as the best T for
pictures that are all answered rightly is 0. Sigmoids of several labels, or of one
probability, are scaled by the same rule; the paper has softmax only.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from eyespot.transfer.errors import MetricsError

BINS = 15

_LARGEST = 20.0  # temperature, and 1 over the smallest
_STEPS = 100
_SMALLEST_STEP = 1e-10

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ReliabilityBin:
    """The answers whose confidence lies above `lower` and not above `upper`.

    Attributes:
        confidence: Their mean; None for an empty bin.
        accuracy: The share of them that is right; None for an empty bin.
    """

    lower: float
    upper: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Reliability:
    """How far confidence and accuracy are apart.

    Attributes:
        error: The expected calibration error: the mean distance, each bin by its count.
        bins: Of equal width.
    """

    error: float
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class Temperature:
    """A temperature that was fitted, and what it is good for.

    Attributes:
        value: Divides the logits.
        loss_before: Mean negative log likelihood, in nats.
        loss_after: The same at this temperature; never larger.
        error_before: Expected calibration error.
        error_after: The same at this temperature. The loss is what is minimised: where
            pictures are few, this may be larger.
    """

    value: float
    loss_before: float
    loss_after: float
    error_before: float
    error_after: float


class Tempered(nn.Module):
    """A network whose logits are divided by a temperature."""

    temperature: torch.Tensor

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("temperature", torch.tensor(temperature))  # ()

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Give the network's logits (B, K) over the temperature."""
        logits: torch.Tensor = self.network(*inputs)
        return logits / self.temperature


def bake_temperature(network: nn.Module, temperature: float, *, head: str = "") -> nn.Module:
    """Give a network whose logits are those of another over a temperature.

    Where the head ends in a linear layer its weights are divided in a copy: the graph stays
    as it was, so that CAM finds the head at its end. Otherwise a division follows the network.

    Args:
        network: Gives logits; left as it is.
        temperature: Positive.
        head: Name of the submodule whose output the logits are; empty if there is none.

    Raises:
        MetricsError: The temperature is no positive number.
    """
    if not 0 < temperature < math.inf:
        raise MetricsError(f"a temperature must be a positive number, found {temperature}")
    if not head or not isinstance(_last_layer(network.get_submodule(head)), nn.Linear):
        return Tempered(network, temperature)
    baked = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in _last_layer(baked.get_submodule(head)).parameters():
            parameter.div_(temperature)
    return baked


def reliability(
    confidence: Floats, is_right: NDArray[np.bool_], *, bins: int = BINS
) -> Reliability:
    """Compare how sure answers are with how often they are right.

    Args:
        confidence: (N,), probabilities of what was answered.
        is_right: (N,).
        bins: Of equal width between 0 and 1.
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    places = np.digitize(confidence, edges[1:-1], right=True)  # (N,)
    counts = np.bincount(places, minlength=bins)
    some = np.maximum(counts, 1)
    confidences = np.bincount(places, confidence, minlength=bins) / some
    accuracies = np.bincount(places, is_right, minlength=bins) / some
    distances = np.abs(accuracies - confidences)
    return Reliability(
        error=float((counts * distances).sum() / max(len(confidence), 1)),
        bins=tuple(
            ReliabilityBin(
                lower=float(edges[at]),
                upper=float(edges[at + 1]),
                count=int(count),
                confidence=float(confidences[at]) if count else None,
                accuracy=float(accuracies[at]) if count else None,
            )
            for at, count in enumerate(counts)
        ),
    )


def softmax(logits: NDArray[Any]) -> Floats:
    """Give the probabilities (N, K) of logits (N, K), in double precision."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


def sigmoid(logits: NDArray[Any]) -> Floats:
    """Give the probability of each logit, without overflow, in double precision."""
    shares: Floats = 0.5 * (1 + np.tanh(logits.astype(np.float64) / 2))
    return shares


def softmax_loss(logits: NDArray[Any], labels: Integers) -> float:
    """Give the mean negative log likelihood of labels (N,) under logits (N, K), in nats."""
    z = logits.astype(np.float64)
    largest = z.max(axis=1)
    total = largest + np.log(np.exp(z - largest[:, None]).sum(axis=1))
    return float((total - z[np.arange(len(z)), labels]).mean())


def sigmoid_loss(logits: NDArray[Any], labels: Integers) -> float:
    """Give the same of labels 0 or 1 under one logit each: both of any one shape."""
    z = logits.astype(np.float64)
    return float((np.logaddexp(0.0, z) - labels * z).mean())


def fit_temperature(logits: NDArray[Any], labels: NDArray[Any]) -> Temperature:
    """Find the temperature that makes the labels likeliest.

    Args:
        logits: (N, K) of pictures that nothing was trained on.
        labels: Class indices (N,); 0 or 1 for the single logit of (N, 1); or 0 and 1 (N, K)
            for several labels.

    Raises:
        MetricsError: Logits and labels do not fit each other, or are no numbers.
    """
    labels = checked_labels(logits, labels)
    is_exclusive = labels.ndim == 1 and logits.shape[1] > 1
    if not is_exclusive:
        labels = labels.reshape(logits.shape)  # (N,) -> (N, 1)
    loss = softmax_loss if is_exclusive else sigmoid_loss
    slopes = _softmax_slopes if is_exclusive else _sigmoid_slopes
    z = logits.astype(np.float64)
    value = 1 / _minimum(lambda inverse: slopes(z, labels, inverse))
    before = loss(z, labels)
    if loss(z / value, labels) > before:  # by rounding only: 1 was the minimum already
        value = 1.0
    return Temperature(
        value=value,
        loss_before=before,
        loss_after=loss(z / value, labels),
        error_before=reliability(*answers(z, labels)).error,
        error_after=reliability(*answers(z / value, labels)).error,
    )


def answers(logits: NDArray[Any], labels: Integers) -> tuple[Floats, NDArray[np.bool_]]:
    """Give how sure each answer is, and whether it is right.

    Args:
        logits: (N, K).
        labels: (N,) where one class of K is right; (N, K) of 0 and 1 where each logit
            answers by itself, and is one of N times K answers.
    """
    if labels.ndim == 1:
        confidence: Floats = softmax(logits).max(axis=1)
        return confidence, logits.argmax(axis=1) == labels
    probability = sigmoid(logits)
    is_right = (logits > 0) == (labels == 1)
    return np.maximum(probability, 1 - probability).ravel(), is_right.ravel()


def checked_labels(logits: NDArray[Any], labels: NDArray[Any]) -> Integers:
    """Give labels as whole numbers, once it is sure that logits could have meant them.

    Raises:
        MetricsError: They do not fit each other, or some logits are no numbers.
    """
    if logits.ndim != 2 or not logits.size:
        raise MetricsError(f"logits must be (N, K), N and K at least 1, found {logits.shape}")
    if labels.shape not in (logits.shape[:1], logits.shape):
        raise MetricsError(
            f"labels must be ({len(logits)},) or {logits.shape}, as the logits are "
            f"{logits.shape}; found {labels.shape}"
        )
    is_exclusive = labels.ndim == 1 and logits.shape[1] > 1
    most = logits.shape[1] - 1 if is_exclusive else 1
    whole = labels.astype(np.int64)
    if (whole != labels).any() or whole.min() < 0 or whole.max() > most:
        raise MetricsError(
            f"labels must be whole numbers from 0 to {most}, found {labels.min()} to {labels.max()}"
        )
    broken = ~np.isfinite(logits).all(axis=1)
    if broken.any():
        raise MetricsError(
            f"{broken.sum()} of {len(logits)} rows of logits hold NaN or infinity, the first is "
            f"row {broken.argmax()}: the network's weights or its input are broken"
        )
    return whole


def _last_layer(module: nn.Module) -> nn.Module:
    return module[-1] if isinstance(module, nn.Sequential) and len(module) else module


def _softmax_slopes(z: Floats, labels: Integers, inverse: float) -> tuple[float, float]:
    """First and second derivative of the loss by 1/T: a mean and a variance of the logits."""
    shares = softmax(z * inverse)
    means = (shares * z).sum(axis=1)
    variances = (shares * (z - means[:, None]) ** 2).sum(axis=1)
    return float((means - z[np.arange(len(z)), labels]).mean()), float(variances.mean())


def _sigmoid_slopes(z: Floats, labels: Integers, inverse: float) -> tuple[float, float]:
    shares = sigmoid(z * inverse)
    return float(((shares - labels) * z).mean()), float((shares * (1 - shares) * z**2).mean())


def _minimum(slopes: Callable[[float], tuple[float, float]]) -> float:
    """Find where the first derivative is 0, by Newton's method within a bracket that halves."""
    low, high = 1 / _LARGEST, _LARGEST
    if slopes(low)[0] >= 0:
        return low
    if slopes(high)[0] <= 0:
        return high
    at = 1.0
    for _ in range(_STEPS):
        first, second = slopes(at)
        low, high = (at, high) if first < 0 else (low, at)
        newton = at - first / second if second > 0 else low
        following = newton if low < newton < high else (low + high) / 2
        if abs(following - at) < _SMALLEST_STEP:
            return following
        at = following
    return at
