"""Answers of one call that come in several requests: all of one version of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from eyespot.client.errors import ModelReplacedError
from eyespot.client.steps import Result, Steps


class Answer(Protocol):
    """What tells who answered."""

    @property
    def model_name(self) -> str: ...  # noqa: D102

    @property
    def model_version(self) -> str: ...  # noqa: D102


def check_same_version(first: Answer, then: Answer, *, done: int, what: str) -> None:
    """Make sure that the version which has answered so far answers still.

    Args:
        first: Of the answers so far.
        then: The one after them.
        done: How many they are.
        what: They are.

    Raises:
        ModelReplacedError: It does not.
    """
    if first.model_version != then.model_version:
        raise ModelReplacedError(
            f"model {first.model_name!r} was replaced while it was asked: {done} {what} are of "
            f"version {first.model_version}, the next would be of version {then.model_version}; "
            "ask again, or name a model_version"
        )


def ask_again_if_replaced(ask: Callable[[], Steps[Result]]) -> Steps[Result]:
    """Ask once more, from the beginning, where the model was replaced amid the answers.

    What was asked of the version that is gone may have been prepared in another way.

    Raises:
        ModelReplacedError: It was replaced again meanwhile.
    """
    try:
        return (yield from ask())
    except ModelReplacedError:
        return (yield from ask())
