"""Saliency of one model version: the server's only door to the saliency room and to torch.

Calls wait in a bounded queue of their own, and run in batches on a thread of their own, so
that inference stays responsive. What can be known to be wrong is told before queueing.
"""

import asyncio
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency import (
    METHODS,
    TOP_CLASS,
    ArgumentError,
    Backend,
    Method,
    OriginalError,
    ParameterSpec,
    ParameterValue,
    check_reduction,
    check_score,
    check_targets,
    find_method,
    reduce_channels,
)
from eyespot.server.batcher import Batcher, Clock, Outcome
from eyespot.server.errors import (
    ExplainUnavailableError,
    InvalidArgumentError,
    NotExplainableError,
)
from eyespot.v1.manifest import Manifest, TensorSpec
from eyespot.v1.tensors import DATATYPES

Array = NDArray[np.generic]

_VERIFY_ROWS = 2
_VERIFY_SEED = 2014
# What an export allows; for a manifest without a parity report of its own.
_ATOL, _RTOL = 0.0, 1e-4


@dataclass(frozen=True, eq=False)
class ExplainCall:
    """One request for attributions that was found to fit the model's input.

    `targets` are classes, one per row or one for all rows; None means each row's top class.
    `deadline` is in seconds on the batcher's clock.
    """

    inputs: Array  # (B, ...)
    targets: NDArray[np.int64] | None = None
    method: str = "saliency"
    score: str = "logit"
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    channel_reduction: str = "none"
    deadline: float | None = None


@dataclass(frozen=True, eq=False)
class Explained:
    """What one call gets: per row the attributions, the target and its score.

    `parameters` are those that were used, defaults included.
    """

    method: str
    parameters: Mapping[str, ParameterValue]
    attributions: NDArray[np.float32]  # as the inputs; a reduced channel axis has size 1
    targets: NDArray[np.int64]  # (B,)
    scores: NDArray[np.float32]  # (B,)
    logits: NDArray[np.float32]  # (B, K)
    reports: tuple[Mapping[str, float], ...]  # one per row
    queue_ns: int
    compute_ns: int


@dataclass(frozen=True)
class MethodStatus:
    """A method, and whether it works for one model version."""

    name: str
    paper: str
    parameters: tuple[ParameterSpec, ...]
    available: bool
    reason: str = ""  # why not


@dataclass(frozen=True, eq=False)
class _Job:
    """A checked call: its targets are one per row, its parameters complete."""

    method: Method
    inputs: Array
    targets: NDArray[np.int64]
    score: str
    parameters: Mapping[str, ParameterValue]
    channel_reduction: str
    deadline: float | None

    @property
    def key(self) -> Hashable:
        """What calls of one batch have in common."""
        parameters = tuple(sorted(self.parameters.items()))
        return (self.method.name, self.score, parameters, self.inputs.shape[1:])

    def rows(self, start: int, stop: int) -> "_Job":
        return replace(self, inputs=self.inputs[start:stop], targets=self.targets[start:stop])


class Explainer:
    """Explains one model version.

    Args:
        backend: computes the gradients.
        manifest: of the model version.
        max_queue_size: most calls that wait; more are refused.
        max_batch_size: most rows that are differentiated at once; larger calls go in parts.
        clock: the event loop's unless given.
    """

    def __init__(
        self,
        backend: Backend,
        manifest: Manifest,
        *,
        max_queue_size: int = 64,
        max_batch_size: int = 8,
        clock: Clock | None = None,
    ) -> None:
        self._backend = backend
        self._manifest = manifest
        self._max_batch_size = max_batch_size
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=f"explain-{manifest.model_name}")
        self._batcher: Batcher[_Job, Explained] = Batcher(
            self._execute,
            max_batch_size=max_batch_size,
            max_queue_size=max_queue_size,
            clock=clock,
        )

    @classmethod
    def load(
        cls,
        original_path: str | os.PathLike[str],
        manifest: Manifest,
        *,
        num_threads: int = 1,
        max_queue_size: int = 64,
        max_batch_size: int = 8,
        clock: Clock | None = None,
    ) -> "Explainer":
        """Read the original of a model version; blocks, and imports torch.

        Raises:
            ExplainUnavailableError: torch is not installed.
            NotExplainableError: the original cannot be read, or not be differentiated.
        """
        name = f"model {manifest.model_name!r} version {manifest.model_version}"
        if manifest.gradient_node is None:
            raise NotExplainableError(f"{name}: its manifest names no gradient_node")
        try:
            from eyespot.saliency.torch_backend import TorchBackend
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise ExplainUnavailableError(
                "saliency needs PyTorch, which is not installed: pip install 'eyespot[explain]'"
            ) from error
        try:
            backend = TorchBackend.load(
                original_path, gradient_node=manifest.gradient_node, num_threads=num_threads
            )
        except OriginalError as error:
            raise NotExplainableError(f"{name} cannot be explained: {error}") from error
        return cls(
            backend,
            manifest,
            max_queue_size=max_queue_size,
            max_batch_size=max_batch_size,
            clock=clock,
        )

    @property
    def queue_size(self) -> int:
        """How many calls wait now."""
        return self._batcher.queue_size

    @property
    def backend(self) -> str:
        """What computes the gradients, such as "torch"."""
        return self._backend.name

    def methods(self) -> tuple[MethodStatus, ...]:
        """Every method, and whether it works for this model version."""
        return tuple(
            MethodStatus(method.name, method.paper, method.parameters, available=True)
            for method in METHODS.values()
        )

    def verify(self, logits_of: Callable[[Array], Array]) -> None:
        """Check that the original is the network that is served; blocks.

        Args:
            logits_of: what the session answers for an input.

        Raises:
            NotExplainableError: their logits differ by more than the export allowed.
        """
        parity = self._manifest.parity
        atol, rtol = (parity.atol, parity.rtol) if parity else (_ATOL, _RTOL)
        x = _random_input(self._manifest.inputs[0])
        original, served = self._backend.scores(x), np.asarray(logits_of(x), np.float32)
        name = f"model {self._manifest.model_name!r} version {self._manifest.model_version}"
        if served.shape != original.shape:
            raise NotExplainableError(
                f"{name} cannot be explained: its session gives {list(served.shape)}, its original "
                f"{list(original.shape)}; export the model again"
            )
        scale = float(np.abs(original).max())
        difference = float(np.abs(served - original).max())
        allowed = atol + rtol * scale
        if not difference <= allowed:  # a NaN is a disagreement too
            raise NotExplainableError(
                f"{name} cannot be explained: its original and its session differ by "
                f"{difference:.3g}, where {allowed:.3g} is allowed (logits up to {scale:.3g}); "
                "the pair on disk is not of one export, so export the model again"
            )

    async def explain(self, call: ExplainCall) -> Explained:
        """Attribute each row's score of its target to the row's elements.

        Raises:
            InvalidArgumentError: method, parameter, score, target, reduction or values are
                impossible.
            QueueFullError, DeadlineExceededError, DrainingError: as the batcher.
        """
        job = self._check(call)
        rows = len(job.inputs)
        parts = [
            await self._submit(job.rows(start, min(start + self._max_batch_size, rows)))
            for start in range(0, rows, self._max_batch_size)
        ]
        return parts[0] if len(parts) == 1 else _join(parts)

    async def drain(self) -> None:
        """Admit nothing more, and return when all that was admitted has its answer."""
        await self._batcher.drain()

    def close(self) -> None:
        """Let go of the thread; what it is in the middle of is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check(self, call: ExplainCall) -> _Job:
        rows = len(call.inputs)
        if rows < 1:
            raise InvalidArgumentError("there is no row to explain: send one or more")
        if call.inputs.dtype.kind == "f" and not np.isfinite(call.inputs).all():
            raise InvalidArgumentError(
                "the input holds NaN or infinite values, where no gradient means anything"
            )
        try:
            method = find_method(call.method)
            parameters = method.complete(call.parameters)
            check_score(call.score, classes=self._backend.classes)
            check_reduction(call.channel_reduction, self._manifest.channel_axis)
            targets = self._check_targets(call.targets, rows)
        except ArgumentError as error:
            raise InvalidArgumentError(str(error)) from error
        return _Job(
            method=method,
            inputs=call.inputs,
            targets=targets,
            score=call.score,
            parameters=parameters,
            channel_reduction=call.channel_reduction,
            deadline=call.deadline,
        )

    def _check_targets(self, given: NDArray[np.int64] | None, rows: int) -> NDArray[np.int64]:
        if given is None:
            return np.full(rows, TOP_CLASS, np.int64)
        targets = np.atleast_1d(np.asarray(given, np.int64))
        if targets.shape == (1,):
            targets = np.repeat(targets, rows)
        check_targets(targets, rows=rows, classes=self._backend.classes)
        if (targets == TOP_CLASS).any():
            raise InvalidArgumentError(
                f"target {TOP_CLASS} is out of range: expected 0 to "
                f"{self._backend.classes - 1}, or no target for each row's top class"
            )
        return targets

    async def _submit(self, job: _Job) -> Explained:
        outcome: Outcome[Explained] = await self._batcher.submit(
            job, rows=len(job.inputs), key=job.key, deadline=job.deadline
        )
        return replace(outcome.result, queue_ns=outcome.queue_ns, compute_ns=outcome.compute_ns)

    async def _execute(self, jobs: Sequence[_Job]) -> Sequence[Explained]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._attribute, jobs)

    def _attribute(self, jobs: Sequence[_Job]) -> list[Explained]:
        """Explain a batch of jobs of one key; runs on the explainer's thread."""
        first = jobs[0]
        found = first.method.attribute(
            self._backend,
            np.concatenate([job.inputs for job in jobs]) if len(jobs) > 1 else first.inputs,
            np.concatenate([job.targets for job in jobs]),
            score=first.score,
            parameters=first.parameters,
        )
        results = []
        stop = 0
        for job in jobs:
            start, stop = stop, stop + len(job.inputs)
            results.append(
                Explained(
                    method=job.method.name,
                    parameters=job.parameters,
                    attributions=reduce_channels(
                        found.attributions[start:stop],
                        job.channel_reduction,
                        self._manifest.channel_axis,
                    ),
                    targets=found.targets[start:stop],
                    scores=found.scores[start:stop],
                    logits=found.logits[start:stop],
                    reports=tuple(found.reports[start:stop]),
                    queue_ns=0,
                    compute_ns=0,
                )
            )
        if not stop == len(found.attributions) == len(found.scores) == len(found.reports):
            raise RuntimeError(
                f"results must number inputs: {first.method.name} gave "
                f"{len(found.attributions)} attributions, {len(found.scores)} scores and "
                f"{len(found.reports)} reports for {stop} rows. This is a bug"
            )
        return results


def methods_without_explainer(reason: str) -> tuple[MethodStatus, ...]:
    """Every method, as a model version has them that cannot be explained, and why."""
    return tuple(
        MethodStatus(method.name, method.paper, method.parameters, available=False, reason=reason)
        for method in METHODS.values()
    )


def _join(parts: Sequence[Explained]) -> Explained:
    """One answer out of those of a call's parts."""
    return replace(
        parts[0],
        attributions=np.concatenate([part.attributions for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        logits=np.concatenate([part.logits for part in parts]),
        reports=tuple(report for part in parts for report in part.reports),
        queue_ns=sum(part.queue_ns for part in parts),
        compute_ns=sum(part.compute_ns for part in parts),
    )


def _random_input(spec: TensorSpec) -> Array:
    """The same two rows of noise at every start."""
    sizes = spec.shape[1:]
    known = [size for size in sizes if isinstance(size, int) and size > 0]
    if len(known) != len(sizes):
        raise NotExplainableError(
            f"input {spec.name!r} of shape {list(spec.shape)} has sizes that are not known, so "
            "the original cannot be compared with what is served"
        )
    random = np.random.default_rng(_VERIFY_SEED)
    shape = (_VERIFY_ROWS, *known)
    dtype = DATATYPES[spec.datatype].numpy
    if dtype.kind in "iu":
        return random.integers(0, 256, shape).astype(dtype)
    return random.standard_normal(shape).astype(dtype)
