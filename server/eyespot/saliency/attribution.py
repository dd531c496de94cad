"""What a method is, what it takes and what it gives."""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.backend import Backend, Gradients, Scorer
from eyespot.saliency.errors import ParameterError, UnknownScoreError
from eyespot.saliency.objective import SCORES, Objective
from eyespot.saliency.refinement import Found, Refinement, Rows, ask_each

ParameterValue: TypeAlias = bool | int | float | str
ParameterType = Literal["bool", "int64", "double", "string"]

_INT64 = 2**63
_LONGEST_COMPARED = 255  # comparing texts takes time by their length


@dataclass(frozen=True, eq=False)
class Attribution:
    """What a method found out about the N targets of a batch."""

    attributions: NDArray[np.float32]  # (N, ...) as the inputs; a channel axis may have size 1
    targets: NDArray[np.int64]  # (N,), the class; -1 where none is explained
    scores: NDArray[np.float32]  # (N,), the value of the requested score
    reports: Sequence[Mapping[str, float]]  # N


@dataclass(frozen=True, eq=False)
class Step:
    """How far a method has come, and what it can say by then."""

    progress: float  # 0 to 1
    read: Callable[[], Attribution]


# function(backend, x, objective, parameters)
Attribute: TypeAlias = Callable[
    [Any, NDArray[np.generic], Objective, Mapping[str, ParameterValue]], Attribution
]
# The same for a method of many steps; one that needs no gradients takes a Scorer as well.
Begin: TypeAlias = Callable[
    [Any, NDArray[np.generic], Objective, Mapping[str, ParameterValue]], Refinement
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
    choices: tuple[str, ...] = ()  # of a string; empty allows any

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
        if isinstance(value, str) and self.choices and value not in self.choices:
            raise ParameterError(f"parameter {self.name!r}: {suggest(value, self.choices)}")
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
    """A way to attribute a score to the elements of the input: at one go, or in many steps.

    Attributes:
        paper: authors and year.
        cost: forward passes that one row takes, of these parameters, the shape of the row
            and the axis of the row's channels; a backward pass counts as two.
        scales_with: the parameter that the cost is proportional to, if there is one.
        needs_gradients: whether it takes a Backend; else a Scorer will do.
        function: finds out at one go; None for a method of many steps.
        begin: begins to refine an answer; None for a method of one step.
        has_channels: whether attributions have the input's channels; else they are maps, of
            which there is nothing to reduce.
        scores: those that it can explain.
        check_backend: raises UnavailableMethodError if the network does not allow it.
    """

    name: str
    paper: str
    parameters: tuple[ParameterSpec, ...]
    cost: Callable[[Mapping[str, Any], tuple[int, ...], int | None], float]
    function: Attribute | None = None
    begin: Begin | None = None
    scales_with: str = ""
    needs_gradients: bool = True
    has_channels: bool = True
    scores: tuple[str, ...] = SCORES
    check_backend: Callable[[Any], object] = lambda backend: None

    @property
    def is_stepwise(self) -> bool:
        """Whether it refines its answer in many steps."""
        return self.begin is not None

    def attribute(
        self,
        backend: Backend | Scorer,
        x: NDArray[np.generic],
        objective: Objective,
        *,
        parameters: Mapping[str, ParameterValue],
    ) -> Iterator[Step]:
        """Attribute each row's scores of its targets to the row's elements, step by step.

        Args:
            backend: a Scorer is enough for a method that needs no gradients.
            x: (B, ...), what the network takes.
            objective: one target or more for each row.
            parameters: by name; what is left out has its default.

        Raises:
            ArgumentError: a target, the score or a parameter is impossible.
            UnavailableMethodError: the network does not allow the method.
        """
        parameters = self.complete(parameters)
        self.check(backend, objective, parameters, rows=len(x))
        if self.begin is not None:
            return self._refine(self.begin, backend, x, objective, parameters)
        assert self.function is not None
        return _at_once(self.function, backend, x, objective, parameters)

    def compute(self, backend: Backend | Scorer, rows: Rows) -> Found:
        """Compute what a refinement asks for: gradients, or the scores where they will do."""
        if self.needs_gradients:
            return backend.gradients(rows.x, rows.objective).gradients  # type: ignore[union-attr]
        return rows.objective(backend.scores(rows.x)).values

    def explain(
        self,
        backend: Backend | Scorer,
        x: NDArray[np.generic],
        objective: Objective,
        **parameters: ParameterValue,
    ) -> Attribution:
        """Do the same at one go."""
        *_, last = self.attribute(backend, x, objective, parameters=parameters)
        return last.read()

    def check(
        self,
        backend: Backend | Scorer,
        objective: Objective,
        parameters: Mapping[str, ParameterValue],
        *,
        rows: int,
    ) -> None:
        """Check all that can be known before anything is computed.

        Raises:
            ArgumentError, UnavailableMethodError: as `attribute`.
        """
        self.check_backend(backend)
        objective.check(backend.output_shape, rows=rows)
        if objective.score not in self.scores:
            raise UnknownScoreError(
                f"{self.name} explains {', '.join(self.scores)}, found {objective.score!r}"
            )
        layer = parameters.get("layer")
        if isinstance(layer, str):
            backend.find_layer(layer)  # type: ignore[union-attr]

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

    def _refine(
        self,
        begin: Begin,
        backend: Backend | Scorer,
        x: NDArray[np.generic],
        objective: Objective,
        parameters: Mapping[str, ParameterValue],
    ) -> Iterator[Step]:
        refinement = begin(backend, x, objective, parameters)
        while refinement.left:
            [(_, rows)] = ask_each([refinement], backend.rows_at_once(x.shape[1:]))
            refinement.add(self.compute(backend, rows))
            yield Step(refinement.progress, refinement.read)

    def _unknown_parameter(self, name: str, known: Sequence[str]) -> str:
        message = f"method {self.name!r} has no parameter {name!r}; "
        if not known:
            return message + "it takes none"
        return message + suggest(name, known)


def suggest(name: str, known: Sequence[str]) -> str:
    """The nearest of the known names, and all of them."""
    nearest = difflib.get_close_matches(name[:_LONGEST_COMPARED], known, n=1, cutoff=0.5)
    question = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"{question}expected one of {', '.join(known)}"


def _at_once(
    function: Attribute,
    backend: Any,
    x: NDArray[np.generic],
    objective: Objective,
    parameters: Mapping[str, ParameterValue],
) -> Iterator[Step]:
    found = function(backend, x, objective, parameters)
    yield Step(1.0, lambda: found)


def constant_cost(
    passes: float,
) -> Callable[[Mapping[str, Any], tuple[int, ...], int | None], float]:
    """The cost of a method that always takes so many forward passes."""
    return lambda parameters, row_shape, channel_axis: passes


def without_reports(found: Gradients, attributions: NDArray[np.float32]) -> Attribution:
    """Attributions that have nothing to be said beside them."""
    return Attribution(attributions, found.classes, found.scores, [{}] * len(attributions))
