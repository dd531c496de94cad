"""The explainer: bounded queues and a thread of its own, so that inference stays responsive.

What can be known to be wrong is told before queueing. Calls that ask for the same are computed
together. The thread takes one step at a time, and in turn for all that ask for other things:
who asks for much keeps nobody waiting for long. Between two steps it is seen whether anyone
still waits for the answer.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency import (
    TOP_CLASS,
    ArgumentError,
    Backend,
    MemoryBoundError,
    Method,
    Objective,
    Scorer,
    Targets,
    UnavailableMethodError,
    check_reduction,
    class_count,
    find_method,
)
from eyespot.server.batcher import Batcher, Clock, Outcome
from eyespot.server.callers import current_caller
from eyespot.server.errors import (
    InvalidArgumentError,
    NotExplainableError,
    RequestError,
    ResourceExhaustedError,
)
from eyespot.server.explainer.call import (
    ExplainCall,
    Explained,
    Job,
    join_answers,
    join_jobs,
)
from eyespot.server.explainer.company import Companies, Member, take_step
from eyespot.server.explainer.guarded_backend import GuardedBackend
from eyespot.server.explainer.methods import (
    LayerStatus,
    MethodStatus,
    list_layers,
    list_methods,
    names_without_gradients,
)
from eyespot.server.guard import Guard
from eyespot.server.workers import Workers

# Calls of many steps that are under way; more wait.
_STEPWISE_AT_ONCE = 16
_NICENESS = 15  # behind inference, which steps back by 10


class Explainer:
    """Explains one model version.

    Args:
        name: of the model, for its thread.
        backend: computes gradients; None where there is no original.
        scorer: computes scores for methods that need no gradients; the backend unless given.
        no_backend: why there is no backend.
        row_shape: of the input, where it is known: costs are told for it.
        max_queue_size: most calls that wait; more are refused.
        max_batch_size: most rows of calls of one step that are computed together; larger
            ones go in parts. A step has as many rows as the backend finds best.
        good_row: (1, ...), which the backend is known to take.
        reload: Loads the backend anew; blocks.
        clock: the event loop's unless given.
    """

    def __init__(
        self,
        name: str,
        *,
        backend: Backend | None = None,
        scorer: Scorer | None = None,
        no_backend: RequestError | None = None,
        row_shape: tuple[int, ...] | None = None,
        max_queue_size: int = 64,
        max_batch_size: int = 8,
        good_row: NDArray[np.generic] | None = None,
        reload: Callable[[], Backend] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._scorer = scorer
        self._no_backend = no_backend
        self._row_shape = row_shape
        self._max_batch_size = max_batch_size
        self._clock = clock
        self.faults: Counter[str] = Counter()
        self._workers = Workers(1, name=f"explain-{name}", niceness=_NICENESS)
        self._guarded = GuardedBackend(
            backend,
            what=f"the original of model {name!r}",
            good_row=good_row,
            reload=reload,
            workers=self._workers,
            count_fault=lambda kind: self.faults.update((kind,)),
            clock=clock,
        )
        self._companies = Companies(self._take_step, self._is_wanted)
        self._quick = Batcher[Job, Explained](
            self._execute,
            max_batch_size=max_batch_size,
            max_queue_size=max_queue_size,
            clock=clock,
        )
        self._stepwise = Batcher[Job, Explained](
            self._refine,
            max_batch_size=0,
            max_queue_size=max_queue_size,
            instances=_STEPWISE_AT_ONCE,
            clock=clock,
        )

    @property
    def queue_size(self) -> int:
        """How many calls wait now."""
        return self._quick.queue_size + self._stepwise.queue_size

    @property
    def backend(self) -> str:
        """What computes, such as "torch"."""
        computing = self._guarded.backend or self._scorer
        return "" if computing is None else computing.name

    @property
    def channel_axis(self) -> int | None:
        """Of the input, counted with the rows' axis."""
        computing = self._guarded.backend or self._scorer
        return None if computing is None else computing.channel_axis

    def methods(self) -> tuple[MethodStatus, ...]:
        """Every method, and whether it works for this model version."""
        return list_methods(
            self._guarded.backend,
            self._scorer,
            row_shape=self._row_shape,
            no_backend=str(self._no_backend),
            reason_against=self._guarded.reason_against,
        )

    def layers(self) -> Sequence[LayerStatus]:
        """The layers that a method may be asked about."""
        return list_layers(self._guarded.backend)

    def explains_original(self, name: str) -> bool:
        """Whether a method looks at the original, and not at the graph that is served."""
        return self._guarded.backend is not None and find_method(name).needs_gradients

    def check_method(self, name: str) -> None:
        """Check that a method works for this model version, whatever is asked of it.

        Raises:
            InvalidArgumentError: there is no such method.
            NotExplainableError, ExplainUnavailableError: it does not work, and why.
            CircuitOpenError: it does not now.
        """
        try:
            method = find_method(name)
            method.check_backend(self._computing(method))
        except ArgumentError as error:
            raise InvalidArgumentError(str(error)) from error
        except UnavailableMethodError as error:
            raise NotExplainableError(str(error)) from error

    async def explain(self, call: ExplainCall) -> Explained:
        """Attribute each row's scores of its targets to the row's elements.

        Raises:
            InvalidArgumentError: method, parameter, score, target, reduction or values are
                impossible.
            NotExplainableError: the network does not allow the method.
            ResourceExhaustedError: one row takes more memory than is allowed, or than there is.
            FaultError, CircuitOpenError: what computes has failed, and may be well again later.
            QueueFullError, DeadlineExceededError, DrainingError: as the batcher.
        """
        return await self._answer(self._check(call))

    async def explain_in_steps(
        self, call: ExplainCall
    ) -> AsyncGenerator[tuple[float, Explained], None]:
        """The same with every step of the method: its progress, and what is known by then.

        A step that was not taken before the next one came is passed over.
        """
        latest: asyncio.Queue[tuple[float, Explained]] = asyncio.Queue(1)

        def listen(progress: float, explained: Explained) -> None:
            if latest.full():
                latest.get_nowait()
            latest.put_nowait((progress, explained))

        job = replace(self._check(call), listener=listen)
        answer = asyncio.create_task(self._answer(job))
        step = None
        try:
            while not answer.done():
                step = asyncio.create_task(latest.get())
                await asyncio.wait((answer, step), return_when=asyncio.FIRST_COMPLETED)
                if step.done():
                    yield step.result()
            yield 1.0, await answer
        finally:  # the caller may have gone in the middle
            answer.cancel()
            if step is not None:
                step.cancel()

    def watch_session(self, guard: Guard) -> None:
        """Take note of what watches over the session, which methods without gradients ask."""
        self._guarded.session_guard = guard

    async def drain(self) -> None:
        """Admit nothing more, and return when all that was admitted has its answer."""
        await asyncio.gather(self._quick.drain(), self._stepwise.drain())

    def close(self) -> None:
        """Let go of the thread; what runs ends with the step that it is in."""
        self._companies.close()
        self._guarded.guard.close()
        self._workers.close()

    def _check(self, call: ExplainCall) -> Job:
        rows = len(call.inputs)
        if rows < 1:
            raise InvalidArgumentError("there is no row to explain: send one or more")
        if call.inputs.dtype.kind == "f" and not np.isfinite(call.inputs).all():
            raise InvalidArgumentError(
                "the input holds NaN or infinite values, where no gradient means anything"
            )
        try:
            method = find_method(call.method)
            computing = self._computing(method)
            parameters = method.complete(call.parameters)
            check_reduction(call.channel_reduction, computing.channel_axis)
            objective = Objective(_targets_of_rows(call, rows, computing), call.score)
            method.check(computing, objective, parameters, rows=rows)
            computing.rows_at_once(call.inputs.shape[1:])
        except ArgumentError as error:
            raise InvalidArgumentError(str(error)) from error
        except UnavailableMethodError as error:
            raise NotExplainableError(str(error)) from error
        except MemoryBoundError as error:
            raise ResourceExhaustedError(str(error)) from error
        return Job(
            method=method,
            inputs=call.inputs,
            objective=objective,
            parameters=parameters,
            channel_reduction=call.channel_reduction,
            deadline=call.deadline,
        )

    def _computing(self, method: Method) -> Backend | Scorer:
        """What computes for a method: the session where no gradients are needed."""
        backend = self._guarded.backend
        computing = backend if method.needs_gradients else self._scorer or backend
        if computing is None:
            assert self._no_backend is not None
            others = names_without_gradients(self._scorer)
            hint = f"; methods that work here: {', '.join(others)}" if others else ""
            # A new one each time: an exception that is raised again grows its trace.
            raise type(self._no_backend)(f"{self._no_backend}{hint}")
        self._guarded.check(computing)
        return computing

    async def _answer(self, job: Job) -> Explained:
        rows = len(job.inputs)
        size = rows if job.method.is_stepwise else self._max_batch_size
        parts = [
            await self._submit(job.rows(start, min(start + size, rows)))
            for start in range(0, rows, size)
        ]
        return join_answers(parts)

    async def _submit(self, job: Job) -> Explained:
        batcher = self._stepwise if job.method.is_stepwise else self._quick
        rows = 1 if job.method.is_stepwise else min(len(job.inputs), self._max_batch_size)
        try:
            outcome: Outcome[Explained] = await batcher.submit(
                job,
                rows=rows,
                key=job.key,
                deadline=job.deadline,
                caller=current_caller().identity,
            )
        except asyncio.CancelledError:
            job.caller.is_gone = True
            raise
        return replace(outcome.result, queue_ns=outcome.queue_ns, compute_ns=outcome.compute_ns)

    async def _execute(self, jobs: Sequence[Job]) -> Sequence[Explained]:
        """Explain calls of one key at one go."""
        batch = join_jobs(jobs)
        explained = await self._guarded.run(batch.explain, self._computing(jobs[0].method))
        self._guarded.note_good(batch.inputs)
        return explained

    async def _refine(self, jobs: Sequence[Job]) -> Sequence[Explained]:
        """Explain a call in steps, which it shares with those of its key."""
        [job] = jobs
        return [await self._companies.join(job)]

    async def _take_step(self, members: Sequence[Member]) -> None:
        computing = self._computing(members[0].job.method)
        ticket = self._guarded.ticket(computing)
        await self._guarded.run(partial(take_step, members), computing)
        for member in members:
            if member.error is not None:
                member.error = await self._guarded.judge(member.error, ticket)

    def _is_wanted(self, job: Job) -> bool:
        if job.caller.is_gone or job.deadline is None:
            return not job.caller.is_gone
        clock = self._clock or asyncio.get_running_loop()
        return clock.time() < job.deadline


def _targets_of_rows(call: ExplainCall, rows: int, computing: Scorer) -> Targets:
    """The targets of each row, where those of all rows or none were given."""
    count = call.targets_per_row
    classes = class_count(computing.output_shape)
    if not 1 <= count <= classes:
        raise InvalidArgumentError(
            f"targets_per_row is {count}, expected 1 to {classes}, the number of classes"
        )
    targets = call.targets
    if targets is None:
        return Targets(np.tile(TOP_CLASS - np.arange(count), rows))
    is_class_named = targets.embeddings is None
    if is_class_named and (targets.classes < TOP_CLASS).any():
        raise InvalidArgumentError(
            f"target {targets.classes.min()} is out of range: expected 0 to {classes - 1}"
        )
    if len(targets) == count and rows > 1:
        return targets.take(np.tile(np.arange(count), rows))
    if len(targets) != count * rows:
        many = "one target" if count == 1 else f"{count} targets"
        raise InvalidArgumentError(f"expected {many} for each of {rows} rows, found {len(targets)}")
    return targets
