"""What is asked, what is answered, and what waits between the two."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency import (
    Attribution,
    Backend,
    Method,
    Objective,
    ParameterValue,
    Scorer,
    Targets,
    join_targets,
    reduce_channels,
)

Array = NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class ExplainCall:
    """One request for attributions that was found to fit the model's input.

    Attributes:
        inputs: (B, ...)
        targets: `targets_per_row` for each row or for all rows; None means each row's top
            classes.
        deadline: in seconds on the batcher's clock.
    """

    inputs: Array
    targets: Targets | None = None
    targets_per_row: int = 1
    method: str = "saliency"
    score: str = "logit"
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    channel_reduction: str = "none"
    deadline: float | None = None


@dataclass(frozen=True, eq=False)
class Explained:
    """What one call gets: per target the attributions, the class and its score.

    The targets of one row stand together. `parameters` are those that were used, defaults
    included.
    """

    method: str
    parameters: Mapping[str, ParameterValue]
    attributions: NDArray[np.float32]  # (N, ...) as the inputs; channels may have size 1
    targets: NDArray[np.int64]  # (N,)
    scores: NDArray[np.float32]  # (N,)
    reports: tuple[Mapping[str, float], ...]  # N
    backend: str = ""  # what computed it
    queue_ns: int = 0
    compute_ns: int = 0


Listener = Callable[[float, Explained], None]


class Caller:
    """Whoever waits for an answer; between two steps it is seen whether it still does."""

    is_gone = False


@dataclass(frozen=True, eq=False)
class Job:
    """A checked call: its parameters are complete, its targets those of each row."""

    method: Method
    inputs: Array
    objective: Objective
    parameters: Mapping[str, ParameterValue]
    channel_reduction: str
    deadline: float | None
    caller: Caller = field(default_factory=Caller)
    listener: Listener | None = None

    @property
    def key(self) -> Hashable:
        """What calls have in common that are computed together."""
        targets = self.objective.targets
        parameters = tuple(sorted(self.parameters.items()))
        per_row = self.objective.per_row(len(self.inputs))
        return (
            *(self.method.name, self.objective.score, parameters, per_row),
            *(targets.kind, self.inputs.shape[1:]),
        )

    def rows(self, start: int, stop: int) -> "Job":
        """The part of some of the rows."""
        index = np.arange(start, stop)
        objective = self.objective.of_rows(index, rows=len(self.inputs))
        return replace(self, inputs=self.inputs[start:stop], objective=objective)

    def result(self, found: Attribution, part: slice, computing: Scorer) -> Explained:
        """The answer out of what was found for a batch."""
        how = self.channel_reduction if self.method.has_channels else "none"
        return Explained(
            method=self.method.name,
            parameters=self.parameters,
            attributions=reduce_channels(found.attributions[part], how, computing.channel_axis),
            targets=found.targets[part],
            scores=found.scores[part],
            reports=tuple(found.reports[part]),
            backend=computing.name,
        )


@dataclass(frozen=True, eq=False)
class Batch:
    """Jobs of one key and of a method of one step, their rows together."""

    jobs: Sequence[Job]
    inputs: Array
    objective: Objective
    parts: Sequence[slice]  # which targets are each job's

    def explain(self, computing: Backend | Scorer) -> list[Explained]:
        """Compute, and give each job's answer."""
        first = self.jobs[0]
        found = first.method.explain(computing, self.inputs, self.objective, **first.parameters)
        self._check_count(found)
        return [
            job.result(found, part, computing)
            for job, part in zip(self.jobs, self.parts, strict=True)
        ]

    def _check_count(self, found: Attribution) -> None:
        counts = (len(found.attributions), len(found.scores), len(found.reports))
        expected = self.parts[-1].stop
        if counts != (expected,) * 3:
            raise RuntimeError(
                f"results must number inputs: {self.jobs[0].method.name} gave {counts[0]} "
                f"attributions, {counts[1]} scores and {counts[2]} reports for {expected} "
                "targets. This is a bug"
            )


def join_jobs(jobs: Sequence[Job]) -> Batch:
    """Put jobs of one key together."""
    first = jobs[0]
    stops = np.cumsum([len(job.objective.targets) for job in jobs]).tolist()
    parts = [slice(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]
    if len(jobs) == 1:
        return Batch(jobs, first.inputs, first.objective, parts)
    targets = join_targets([job.objective.targets for job in jobs])
    inputs = np.concatenate([job.inputs for job in jobs])
    return Batch(jobs, inputs, replace(first.objective, targets=targets), parts)


def join_answers(parts: Sequence[Explained]) -> Explained:
    """One answer out of those of a call's parts."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        attributions=np.concatenate([part.attributions for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        reports=tuple(report for part in parts for report in part.reports),
        queue_ns=sum(part.queue_ns for part in parts),
        compute_ns=sum(part.compute_ns for part in parts),
    )
