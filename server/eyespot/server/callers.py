"""Who makes the call that is being answered, and what that one may do."""

from contextvars import ContextVar
from enum import StrEnum
from typing import NamedTuple

from eyespot.server.errors import PermissionDeniedError


class Right(StrEnum):
    """What a token may be good for."""

    INFER = "infer"
    EXPLAIN = "explain"
    ADMIN = "admin"


class Caller(NamedTuple):
    """Who calls.

    Attributes:
        identity: Tells callers apart where they share something: the name of a token, the
            name in a certificate, or an address without its port.
        rights: What the caller may do.
    """

    identity: str = ""
    rights: frozenset[Right] = frozenset(Right)

    def must_have(self, right: Right) -> None:
        """Lets who has a right pass.

        Raises:
            PermissionDeniedError: to the others.
        """
        if right not in self.rights:
            raise PermissionDeniedError(
                f"{self.identity or 'this caller'} has not the right '{right}'"
            )


ANYONE = Caller()
# Set in the task of each call, and copied into those that it starts.
_current: ContextVar[Caller] = ContextVar("caller", default=ANYONE)


def current_caller() -> Caller:
    """Who makes the call that this task answers; outside of any, one who may do everything."""
    return _current.get()


def enter(caller: Caller) -> None:
    """Makes a caller the one whose call this task answers."""
    _current.set(caller)
