"""What is explained: a number of a row's output, its value, and its derivative by the output.

An output is a vector (B, K), a sequence (B, T, K) or a map (B, K, H, W). Over the places of
a target (the one place of a vector, a step, a region) the outputs are averaged to logits
(N, K); a score is a number of these. All of it is arithmetic on arrays, so that each backend
needs to know no more of it than the derivative that it begins from.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.errors import TargetError, UnknownScoreError

TOP_CLASS = -1  # as a class: the one with the largest logit of that row; -2 the second, ...

# z are the logits, c the class.
SCORES = (
    "logit",  # z_c
    "probability",  # softmax(z)_c
    "binary_logit",  # z_c - logsumexp of the other z: the log odds of c against the rest
    "binary_probability",  # sigmoid of the binary logit
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Targets:
    """N targets for B rows, N a multiple of B: those of one row stand together.

    Attributes:
        classes: (N,); TOP_CLASS and below count from the row's own top class.
        against: (N,), classes whose score is subtracted; None subtracts nothing.
        steps: (N,), of a sequence; None takes the mean of all.
        regions: (N, H, W), of a map; None is where the class is predicted.
        embeddings: (N, K); not None means that not a class is explained, but the cosine
            similarity to these.
    """

    classes: Integers
    against: Integers | None = None
    steps: Integers | None = None
    regions: NDArray[np.bool_] | None = None
    embeddings: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.classes)

    def take(self, index: Any) -> "Targets":
        """Some of the targets, by a slice or by their indices."""
        return Targets(
            *(None if each is None else each[index] for each in self._parts),  # type: ignore[arg-type]
        )

    @property
    def kind(self) -> tuple[object, ...]:
        """What targets must have in common to be joined."""
        return tuple(None if each is None else each.shape[1:] for each in self._parts)

    @property
    def _parts(self) -> tuple[NDArray[Any] | None, ...]:
        return (self.classes, self.against, self.steps, self.regions, self.embeddings)


def join_targets(parts: "list[Targets]") -> Targets:
    """The targets of several callers, all of one kind."""
    if len(parts) == 1:
        return parts[0]
    columns = zip(*(part._parts for part in parts), strict=True)
    return Targets(
        *(None if each[0] is None else np.concatenate(each) for each in columns),  # type: ignore[arg-type]
    )


@dataclass(frozen=True, eq=False)
class Scored:
    """The numbers that are explained, and how they depend on the output."""

    classes: Integers  # (N,), each a class; -1 where none is explained
    values: NDArray[np.float32]  # (N,)
    derivatives: NDArray[np.float32]  # (N, ...) as the output


@dataclass(frozen=True, eq=False)
class Objective:
    """The targets of a batch, and which score of them."""

    targets: Targets
    score: str = "logit"

    def check(self, output_shape: tuple[int | None, ...], *, rows: int) -> None:
        """Check against an output's shape, without its rows; None is a size that varies.

        Raises:
            TargetError: the output has no such class, step, region or embedding.
            UnknownScoreError: there is no such score, or not for this output.
        """
        check_score(self.score, classes=class_count(output_shape))
        _check_targets(self.targets, output_shape, rows=rows)
        if self.targets.embeddings is not None and self.score != "logit":
            raise UnknownScoreError(
                f"a similarity is explained as it is, found {self.score!r}: ask for logit"
            )

    def per_row(self, rows: int) -> int:
        """How many targets each row has."""
        return len(self.targets) // rows

    def of_rows(self, index: Integers, *, rows: int) -> "Objective":
        """The objective of some of a batch's rows, which may repeat."""
        count = self.per_row(rows)
        targets = index[:, None] * count + np.arange(count)  # (R, N / B)
        return replace(self, targets=self.targets.take(targets.ravel()))

    def resolve(self, outputs: NDArray[Any]) -> "Objective":
        """The same, independent of the output: each class a class, each region a region."""
        targets = self.targets
        if targets.embeddings is not None:
            return self
        outputs = _repeat(outputs, len(targets))
        places = _by_place(outputs)  # (N, P, K)
        if outputs.ndim == 4 and targets.regions is None:
            predicted = places.argmax(2)  # (N, P)
            ranking = np.stack([np.bincount(row, minlength=places.shape[2]) for row in predicted])
            classes = _resolve_classes(targets.classes, ranking)
            regions = (predicted == classes[:, None]).reshape(-1, *outputs.shape[2:])
            return replace(self, targets=replace(targets, classes=classes, regions=regions))
        logits = _average(places, _weights(targets, outputs.shape))
        return replace(
            self, targets=replace(targets, classes=_resolve_classes(targets.classes, logits))
        )

    def __call__(self, outputs: NDArray[Any]) -> Scored:
        """Compute the scores of outputs (B, ...).

        Raises:
            TargetError: a region is not of the output's size.
        """
        if self.targets.embeddings is not None:
            return _similarity(_repeat(outputs, len(self.targets)), self.targets.embeddings)
        targets = self.resolve(outputs).targets
        outputs = _repeat(outputs, len(targets))
        weights = _weights(targets, outputs.shape)  # (N, P)
        logits = _average(_by_place(outputs), weights)  # (N, K)
        values, slopes = _SCORES[self.score](logits, targets.classes)
        if targets.against is not None:
            other_values, other_slopes = _SCORES[self.score](logits, targets.against)
            values, slopes = values - other_values, slopes - other_slopes
        derivatives = weights[:, :, None] * slopes[:, None, :]  # (N, P, K)
        if outputs.ndim == 4:
            derivatives = derivatives.transpose(0, 2, 1)  # -> (N, K, P)
        return Scored(
            targets.classes,
            values.astype(np.float32),
            derivatives.reshape(outputs.shape).astype(np.float32),
        )


def class_count(output_shape: tuple[int | None, ...]) -> int:
    """K, of an output's shape without its rows."""
    count = output_shape[1] if len(output_shape) == 2 else output_shape[0]
    assert count is not None
    return count


def check_score(score: str, *, classes: int) -> None:
    """Check that a score exists, and that a network of so many classes has it.

    Raises:
        UnknownScoreError: if not, with the scores that there are.
    """
    if score not in SCORES:
        raise UnknownScoreError(f"unknown score {score!r}; expected one of {', '.join(SCORES)}")
    if score.startswith("binary_") and classes < 2:
        raise UnknownScoreError(
            f"{score} sets a class against the others, and the network has one class: ask for logit"
        )


def _check_targets(targets: Targets, output_shape: tuple[int | None, ...], *, rows: int) -> None:
    if not len(targets) or len(targets) % rows:
        raise TargetError(f"expected one target for each of {rows} rows, found {len(targets)}")
    classes = class_count(output_shape)
    for found in (targets.classes, targets.against):
        if found is None:
            continue
        wrong = found[(found < -classes) | (found >= classes)]
        if len(wrong):
            raise TargetError(
                f"target {wrong[0]} is out of range: the network has the classes 0 to {classes - 1}"
            )
    for what, given, rank, taker in (
        ("a step", targets.steps, 2, "a sequence (T, K)"),
        ("a region", targets.regions, 3, "a map (K, H, W)"),
        ("an embedding", targets.embeddings, 1, "a vector (K)"),
    ):
        if given is not None and len(output_shape) != rank:
            raise TargetError(f"{what} belongs to {taker}; the network gives {list(output_shape)}")
    _check_sizes(targets, output_shape)


def _check_sizes(targets: Targets, output_shape: tuple[int | None, ...]) -> None:
    steps = targets.steps
    if steps is not None and output_shape[0] is not None:
        wrong = steps[(steps < 0) | (steps >= output_shape[0])]
        if len(wrong):
            raise TargetError(
                f"step {wrong[0]} is out of range: the sequence has 0 to {output_shape[0] - 1}"
            )
    for what, given, sizes in (
        ("region", targets.regions, output_shape[1:]),
        ("embedding", targets.embeddings, output_shape),
    ):
        if given is None:
            continue
        pairs = zip(given.shape[1:], sizes, strict=True)
        if any(expected not in (None, found) for found, expected in pairs):
            raise TargetError(
                f"a {what} is of shape {list(given.shape[1:])}, expected {list(sizes)}"
            )


def _repeat(outputs: NDArray[Any], count: int) -> NDArray[Any]:
    """Each row as often as it has targets: (B, ...) -> (N, ...)."""
    return outputs if count == len(outputs) else np.repeat(outputs, count // len(outputs), axis=0)


def _by_place(outputs: NDArray[Any]) -> NDArray[Any]:
    if outputs.ndim == 2:
        return outputs[:, None]  # (N, K) -> (N, 1, K)
    if outputs.ndim == 3:
        return outputs
    return outputs.reshape(*outputs.shape[:2], -1).transpose(0, 2, 1)  # (N, K, H, W) -> (N, HW, K)


def _weights(targets: Targets, output_shape: tuple[int, ...]) -> Floats:
    """How much each place counts, (N, P): together 1, or 0 where a region is empty."""
    rows = len(targets)
    if len(output_shape) == 3:
        steps = output_shape[1]
        if targets.steps is None:
            return np.full((rows, steps), 1 / steps)
        if (targets.steps >= steps).any():
            raise TargetError(f"step {targets.steps.max()} is out of range: there are {steps}")
        return np.eye(steps)[targets.steps]
    if targets.regions is None:
        return np.ones((rows, 1))
    if targets.regions.shape[1:] != output_shape[2:]:
        raise TargetError(
            f"a region is of shape {list(targets.regions.shape[1:])}, the network's map of "
            f"{list(output_shape[2:])}"
        )
    regions = targets.regions.reshape(rows, -1).astype(np.float64)
    weights: Floats = regions / np.maximum(regions.sum(1, keepdims=True), 1)
    return weights


def _average(places: NDArray[Any], weights: Floats) -> Floats:
    """(N, P, K) -> (N, K)."""
    averaged: Floats = np.matmul(weights[:, None], places.astype(np.float64, copy=False))[:, 0]
    return averaged


def _resolve_classes(classes: Integers, ranking: NDArray[Any]) -> Integers:
    if (classes >= 0).all():
        return classes
    order = np.argsort(-ranking, axis=1, kind="stable")  # (N, K), the top class first
    ranked = order[np.arange(len(classes)), np.where(classes < 0, -classes - 1, 0)]
    return np.where(classes < 0, ranked, classes)


def _similarity(outputs: NDArray[Any], embeddings: NDArray[np.float32]) -> Scored:
    """The cosine of the angle between u and e, and its derivative (e/|e| - cos u/|u|) / |u|."""
    u, e = outputs.astype(np.float64), embeddings.astype(np.float64)
    length = np.maximum(np.linalg.norm(u, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    direction, other = u / length, e / np.linalg.norm(e, axis=1, keepdims=True)
    cosine = (direction * other).sum(1, keepdims=True)  # (N, 1)
    return Scored(
        np.full(len(u), -1),
        cosine[:, 0].astype(np.float32),
        ((other - cosine * direction) / length).astype(np.float32),
    )


def _one_hot(z: Floats, classes: Integers) -> Floats:
    hot = np.zeros_like(z)
    hot[np.arange(len(z)), classes] = 1
    return hot


def _softmax(z: Floats) -> Floats:
    e = np.exp(z - z.max(1, keepdims=True))  # without the largest, e cannot overflow
    shares: Floats = e / e.sum(1, keepdims=True)
    return shares


def _logit(z: Floats, classes: Integers) -> tuple[Floats, Floats]:
    return z[np.arange(len(z)), classes], _one_hot(z, classes)


def _probability(z: Floats, classes: Integers) -> tuple[Floats, Floats]:
    shares = _softmax(z)
    values, hot = _logit(shares, classes)
    return values, values[:, None] * (hot - shares)


def _binary_logit(z: Floats, classes: Integers) -> tuple[Floats, Floats]:
    values, hot = _logit(z, classes)
    others = np.where(hot == 1, -np.inf, z)
    largest = others.max(1)
    rest = largest + np.log(np.exp(others - largest[:, None]).sum(1))
    return values - rest, hot - _softmax(others)


def _binary_probability(z: Floats, classes: Integers) -> tuple[Floats, Floats]:
    values, slopes = _binary_logit(z, classes)
    values = 0.5 * (1 + np.tanh(values / 2))  # the sigmoid, without overflow
    return values, (values * (1 - values))[:, None] * slopes


_SCORES: dict[str, Callable[[Floats, Integers], tuple[Floats, Floats]]] = {
    "logit": _logit,
    "probability": _probability,
    "binary_logit": _binary_logit,
    "binary_probability": _binary_probability,
}
