"""What a method is, what it takes and what it gives."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.backend import Backend
from eyespot.saliency.errors import ParameterError

ParameterValue = bool | int | float | str
ParameterType = Literal["bool", "int64", "double", "string"]

_INT64 = 2**63


@dataclass(frozen=True, eq=False)
class Attribution:
    """What a method found out about a batch."""

    attributions: NDArray[np.float32]  # as the inputs
    targets: NDArray[np.int64]  # (B,)
    scores: NDArray[np.float32]  # (B,), the value of the requested score
    logits: NDArray[np.float32]  # (B, K)
    reports: Sequence[Mapping[str, float]]  # one per row


# attribute(backend, x, targets, score, parameters); targets may be TOP_CLASS.
Attribute = Callable[
    [Backend, NDArray[np.generic], NDArray[np.int64], str, Mapping[str, ParameterValue]],
    Attribution,
]


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter of a method: enough to build a form, and to check a value."""

    name: str
    type: ParameterType
    default: ParameterValue
    description: str
    minimum: int | float | None = None
    maximum: int | float | None = None

    def check(self, value: ParameterValue) -> ParameterValue:
        """Give the value in the parameter's own type; an integer may stand for a double.

        Raises:
            ParameterError: it is of another type, or out of range.
        """
        if not self._is_of_type(value):
            raise ParameterError(
                f"parameter {self.name!r} expects {self.type}, found {value!r} "
                f"({type(value).__name__})"
            )
        if isinstance(value, bool | str):
            return value
        if self.type == "double":
            value = float(value)
        if (self.minimum is not None and value < self.minimum) or (
            self.maximum is not None and value > self.maximum
        ):
            raise ParameterError(f"parameter {self.name!r} is {value}, expected {self._range()}")
        return value

    def _is_of_type(self, value: object) -> bool:
        if isinstance(value, bool) or self.type == "bool":
            return isinstance(value, bool) and self.type == "bool"
        if self.type == "int64":
            return isinstance(value, int) and -_INT64 <= value < _INT64
        if self.type == "double":
            return isinstance(value, int | float) and math.isfinite(value)
        return isinstance(value, str)

    def _range(self) -> str:
        if self.minimum is None:
            return f"at most {self.maximum}"
        if self.maximum is None:
            return f"at least {self.minimum}"
        return f"{self.minimum} to {self.maximum}"


@dataclass(frozen=True)
class Method:
    """A way to attribute a score to the elements of the input."""

    name: str
    paper: str  # authors and year
    parameters: tuple[ParameterSpec, ...]
    function: Attribute

    def attribute(
        self,
        backend: Backend,
        x: NDArray[np.generic],
        targets: NDArray[np.int64],
        *,
        score: str,
        parameters: Mapping[str, ParameterValue],
    ) -> Attribution:
        """Attribute each row's score of its target to the row's elements.

        Args:
            backend: computes logits and gradients.
            x: (B, ...), what the network takes.
            targets: (B,) classes; TOP_CLASS for the row's own top class.
            score: one of SCORES.
            parameters: by name; what is left out has its default.

        Raises:
            ArgumentError: a target, the score or a parameter is impossible.
        """
        return self.function(backend, x, targets, score, self.complete(parameters))

    def complete(self, given: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
        """Check parameters, and add the defaults of those that are left out.

        Raises:
            ParameterError: one of them does not exist, or not with that value.
        """
        specs = {spec.name: spec for spec in self.parameters}
        for name in given:
            if name not in specs:
                raise ParameterError(self._unknown_parameter(name, list(specs)))
        return {
            name: spec.check(given[name]) if name in given else spec.default
            for name, spec in specs.items()
        }

    def _unknown_parameter(self, name: str, known: Sequence[str]) -> str:
        message = f"method {self.name!r} has no parameter {name!r}; "
        if not known:
            return message + "it takes none"
        return message + suggest(name, known)


def suggest(name: str, known: Sequence[str]) -> str:
    """The nearest of the known names, and all of them."""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    question = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"{question}expected one of {', '.join(known)}"
