"""What the blocking and the asyncio client have in common: all but the await.

An operation is a generator that yields steps - send this, wait so long, do this work -
and is sent each step's outcome. It knows neither channels nor event loops. A client
performs the steps in its own way and returns what the operation returns.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from google.protobuf.message import Message

from eyespot.client.errors import (
    ClientError,
    ResourceExhaustedError,
    ServerError,
    UnavailableError,
)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Call:
    """Send a request.

    Attributes:
        method: Of the inference or the explain service; no name is in both.
        timeout: In seconds; None sets no deadline.
    """

    method: str
    request: Message
    timeout: float | None


@dataclass(frozen=True)
class Pause:
    """Wait before the next step."""

    seconds: float


@dataclass(frozen=True)
class Work:
    """Do something that takes processor time or reads files."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Open:
    """Send a request that is answered by many messages; its outcome is the stream of them."""

    call: Call


@dataclass(frozen=True)
class Receive:
    """Wait for the next message of a stream; its outcome is None at the end."""

    stream: Any


@dataclass(frozen=True)
class Give:
    """Hand something to the caller, who may want no more of it."""

    value: Any


Step: TypeAlias = Call | Pause | Work | Open | Receive | Give
Steps: TypeAlias = Generator[Step, Any, Result]


@dataclass(frozen=True)
class Outcome:
    """What came of a step; before the first, nothing."""

    value: Any = None
    error: Exception | None = None


def resume(steps: Steps[Any], outcome: Outcome) -> Step:
    """Tell an operation what came of its step and take the next.

    Raises:
        StopIteration: The operation is done; its `value` is the result.
    """
    if outcome.error is not None:
        return steps.throw(outcome.error)
    return steps.send(outcome.value)


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and after what pauses, a server is asked again that cannot answer now.

    The pauses double from the first to the longest; each is shortened at random to
    between its half and its whole, so that many clients do not return at once. All of them
    together outlast the restart of a server. One that says how long to wait is asked then,
    up to half as long again.

    It is not gRPC's own policy of the service config: that ends after five calls at most,
    and repeats none whose request is larger than its buffer, as those of pictures are.

    Attributes:
        retries: Calls after the first; 0 never asks again.
        random: Gives numbers in [0, 1).
    """

    retries: int = 10
    first_pause_seconds: float = 0.2
    longest_pause_seconds: float = 5.0
    random: Callable[[], float] = field(default=random.random, repr=False)

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ClientError(f"retries must be at least 0, found {self.retries}")

    def pause(self, attempt: int, *, wanted: float | None = None) -> float:
        """Seconds between call number `attempt` (from 0) and the next.

        Args:
            attempt: How many calls there were before.
            wanted: What the server asks for.
        """
        if wanted is not None:
            return wanted * (1 + self.random() / 2)
        whole = min(self.first_pause_seconds * 2.0**attempt, self.longest_pause_seconds)
        return whole * (1 + self.random()) / 2


class Deadline:
    """The moment at which an operation must have ended, however many calls it makes."""

    def __init__(self, timeout: float | None, clock: Callable[[], float]) -> None:
        if timeout is not None and not timeout > 0:
            raise ClientError(f"timeout must be a positive number of seconds, found {timeout}")
        self._clock = clock
        self._end = math.inf if timeout is None else clock() + timeout

    def remaining(self) -> float | None:
        """Seconds that are left; None when there is no end."""
        return None if math.isinf(self._end) else max(self._end - self._clock(), 0.0)

    def leaves(self, seconds: float) -> bool:
        """Whether there is time for a pause and a call after it."""
        remaining = self.remaining()
        return remaining is None or remaining > seconds


def send(method: str, request: Message, *, deadline: Deadline, policy: RetryPolicy) -> Steps[Any]:
    """Call once, and again while the server cannot answer now and there is time.

    Every call of the two services may be repeated: none of them changes anything.
    """

    def call(timeout: float | None) -> Steps[Any]:
        return (yield Call(method, request, timeout))

    return _repeat(call, deadline=deadline, policy=policy)


def follow(
    method: str,
    request: Message,
    take: Callable[[Any], Steps[bool]],
    *,
    deadline: Deadline,
    policy: RetryPolicy,
) -> Steps[None]:
    """Do the same for a call that is answered by many messages, also when it broke amid them.

    The stream is opened anew then, and tells everything from the beginning. All its tries are
    counted together, whatever came of each.

    Args:
        method: Of the explain service.
        request: Asks for the stream.
        take: Deals with one message, and passes over what it has had before. Its result is
            whether that was all: what becomes of the stream afterwards is no loss.
        deadline: Of all tries together.
        policy: How often there is another, and after what pause.
    """

    def call(timeout: float | None) -> Steps[None]:
        is_whole = False
        stream = yield Open(Call(method, request, timeout))
        try:
            while (message := (yield Receive(stream))) is not None:
                is_whole = yield from take(message)
        except ServerError:
            if not is_whole:
                raise
        finally:
            stream.cancel()  # the caller may have gone: the server need not go on

    return _repeat(call, deadline=deadline, policy=policy)


def _repeat(
    call: Callable[[float | None], Steps[Result]], *, deadline: Deadline, policy: RetryPolicy
) -> Steps[Result]:
    for attempt in itertools.count():
        try:
            return (yield from call(deadline.remaining()))
        except (UnavailableError, ResourceExhaustedError) as error:
            pause = policy.pause(attempt, wanted=error.retry_seconds)
            is_in_vain = not _may_pass(error) or attempt >= policy.retries
            if is_in_vain or not deadline.leaves(pause):
                raise
            yield Pause(pause)
    raise AssertionError("unreachable: itertools.count never ends")


def _may_pass(error: ServerError) -> bool:
    """Whether the same call may be answered later; a request that is too large stays so."""
    if isinstance(error, ResourceExhaustedError):
        return error.retry_seconds is not None
    return error.may_pass
