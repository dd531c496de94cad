"""What each model must answer, and which versions may have answered."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.soak.models import COMING, PICTURE, ROWS, TEXT, WIDE, weights

Array = NDArray[Any]


_EXPECTED: dict[str, Callable[[str, Array], Array]] = {
    ROWS: lambda version, x: 2 * x + np.float32(version),
    COMING: lambda _, x: 2 * x + 1,
    WIDE: lambda _, x: -x,
    TEXT: lambda _, x: x,
    PICTURE: lambda version, x: x.reshape(len(x), -1) @ weights(int(version)).T,
}


class WrongAnswerError(Exception):
    """An answer that is not that of its request."""


@dataclass
class _Span:
    """When calls may have found a version, in seconds of one clock."""

    version: int
    begin: float
    end: float = float("inf")


class LiveVersions:
    """Which versions calls may have found, and when; for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: dict[str, list[_Span]] = {}

    def begin(self, model: str, version: int, now: float) -> None:
        """From now on calls may find a version, as soon as it is loaded."""
        with self._lock:
            self._spans.setdefault(model, []).append(_Span(version, now))

    def end_others(self, model: str, version: int, now: float) -> None:
        """From now on calls find this version and no other: its load has been answered."""
        with self._lock:
            for span in self._spans[model]:
                if span.version != version and span.end > now:
                    span.end = now

    def check(self, model: str, version: str, *, sent: float, received: float) -> None:
        """Makes sure that a version may have answered a request.

        Raises:
            WrongAnswerError: It was not there between the sending and the answer.
        """
        with self._lock:
            spans = self._spans[model]
            if not any(
                str(span.version) == version and span.begin <= received and sent <= span.end
                for span in spans
            ):
                raise WrongAnswerError(
                    f"{model} answered with version {version}, which was not live"
                )


def check_output(model: str, version: str, x: Array, y: Array) -> None:
    """Compares an output with the one that is due.

    Raises:
        WrongAnswerError: They differ.
    """
    expected = _EXPECTED[model](version, x)
    if y.shape != expected.shape or not np.array_equal(y, expected):
        raise WrongAnswerError(
            f"{model} version {version} answered {_start(y)}, not {_start(expected)}"
        )


def check_attributions(version: str, targets: Sequence[int], attributions: Array) -> None:
    """Compares gradients of PICTURE with its weights, which they are.

    Raises:
        WrongAnswerError: They differ.
    """
    expected = weights(int(version))[list(targets)].reshape(-1, 3, 8, 8)
    if attributions.shape != expected.shape or not np.allclose(attributions, expected, atol=1e-4):
        raise WrongAnswerError(f"picture version {version} explained {targets} wrongly")


def _start(array: Array) -> str:
    return f"{array.ravel()[:4].tolist()}... of shape {array.shape}"
