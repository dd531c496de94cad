"""Calls of many steps that are under way: those that ask for the same compute each step together.

A call joins the others before any step and leaves them after any: with its answer, or because
nobody waits for it any more. What it finds does not depend on who is beside it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from eyespot.saliency import Refinement, Scorer, ask_each, compute_together
from eyespot.server.errors import DeadlineExceededError, UnavailableError
from eyespot.server.explainer.call import Explained, Job


@dataclass(eq=False, slots=True)
class Member:
    """A call under way."""

    job: Job
    answer: "asyncio.Future[Explained]"
    refinement: Refinement | None = None  # none before the first step
    known: Explained | None = None  # by the last step, if it was the last or is listened to
    error: Exception | None = None

    @property
    def progress(self) -> float:
        """The share that is done, 0 to 1."""
        return 0.0 if self.refinement is None else self.refinement.progress


def take_step(members: Sequence[Member], computing: Scorer) -> None:
    """Compute some rows of each call, all at once; the error of one is its own.

    Args:
        members: Of one key, none of them done.
        computing: What computes for their method.
    """
    for member in members:
        _begin(member, computing)
    going = [member for member in members if member.error is None]
    if not going:
        return
    job = going[0].job
    most = computing.rows_at_once(job.inputs.shape[1:])
    asked = ask_each([member.refinement for member in going if member.refinement], most)
    found = compute_together(
        [rows for _, rows in asked], lambda rows: job.method.compute(computing, rows)
    )
    for (number, _), result in zip(asked, found, strict=True):
        _note(going[number], result, computing)


def _begin(member: Member, computing: Scorer) -> None:
    job = member.job
    if member.refinement is None and job.method.begin is not None:
        try:
            member.refinement = job.method.begin(
                computing, job.inputs, job.objective, job.parameters
            )
        except Exception as error:
            member.error = error


def _note(member: Member, found: Any, computing: Scorer) -> None:
    if isinstance(found, Exception):
        member.error = found
        return
    assert member.refinement is not None
    member.refinement.add(found)
    if member.job.listener is not None or not member.refinement.left:
        member.known = member.job.result(member.refinement.read(), slice(None), computing)


class Companies:
    """The calls under way, by what they ask for.

    Args:
        step: Has one step taken for some calls of one key.
        is_wanted: Whether anyone still waits for a call's answer.
    """

    def __init__(
        self,
        step: Callable[[Sequence[Member]], Awaitable[None]],
        is_wanted: Callable[[Job], bool],
    ) -> None:
        self._step = step
        self._is_wanted = is_wanted
        self._members: dict[Hashable, list[Member]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def join(self, job: Job) -> Explained:
        """Go along with the calls of the same key until there is an answer.

        Raises:
            DeadlineExceededError: Nobody waits for it any more.
            UnavailableError: The explainer was closed.
        """
        member = Member(job, asyncio.get_running_loop().create_future())
        company = self._members.setdefault(job.key, [])
        company.append(member)
        if len(company) == 1:
            task = asyncio.create_task(self._go(job.key, company))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await member.answer

    def close(self) -> None:
        """End every call with the step that it is in."""
        self._is_closed = True

    async def _go(self, key: Hashable, company: list[Member]) -> None:
        try:
            while company:
                await self._step(list(company))
                for member in list(company):
                    if self._has_ended(member):
                        company.remove(member)
        except BaseException as error:
            is_ours = isinstance(error, Exception) and not self._is_closed
            for member in company:
                _fail(member, error if is_ours else _taken_away())  # type: ignore[arg-type]
            if not isinstance(error, Exception):
                raise
        finally:
            del self._members[key]

    def _has_ended(self, member: Member) -> bool:
        """Tell what the last step found, and see whether there is to be another."""
        known, progress = member.known, member.progress
        if member.error is not None:
            return _fail(member, member.error)
        if known is not None and progress >= 1:
            if not member.answer.done():
                member.answer.set_result(known)
            return True
        if known is not None and member.job.listener is not None:
            member.job.listener(progress, known)
            member.known = None
        if self._is_closed:
            return _fail(member, _taken_away())
        if not self._is_wanted(member.job):
            return _fail(member, _unwanted(progress))
        return False


def _fail(member: Member, error: Exception) -> bool:
    if not member.answer.done():
        member.answer.set_exception(error)
    return True


def _taken_away() -> UnavailableError:
    return UnavailableError("the model was taken away before the request had its answer")


def _unwanted(progress: float) -> DeadlineExceededError:
    return DeadlineExceededError(
        f"nobody waits for the answer any more; {progress:.0%} of it was computed"
    )
