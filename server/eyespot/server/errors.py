"""What can go wrong in the server, and who has to act.

ServerError
├── RequestError                 answered to one call; `status_name` is its gRPC status
│   ├── InvalidArgumentError     INVALID_ARGUMENT     the request does not fit the model
│   ├── NotFoundError            NOT_FOUND
│   │   └── ModelNotFoundError       no such model or version
│   ├── AlreadyExistsError       ALREADY_EXISTS       the name is taken
│   ├── UnavailableError         UNAVAILABLE          not now, try again or elsewhere
│   │   ├── ModelUnavailableError    the model is loading
│   │   ├── ModelBrokenError         the model could not be loaded, or was unloaded
│   │   ├── FaultError               what ran the request failed: it is worth another try
│   │   │   └── WorkerDiedError          the thread that ran it died
│   │   ├── CircuitOpenError         the same again and again: nothing is tried for a while
│   │   └── DrainingError            the server is shutting down
│   ├── ResourceExhaustedError   RESOURCE_EXHAUSTED
│   │   ├── QueueFullError           more requests wait than max_queue_size
│   │   ├── WaitingBytesError        more bytes wait than max_waiting_mib
│   │   ├── WaitTooLongError         the answer would come after the caller's deadline
│   │   └── TooManyRequestsError     the caller sends more than it may
│   ├── UnauthenticatedError     UNAUTHENTICATED      no token, or one that is not known
│   ├── PermissionDeniedError    PERMISSION_DENIED    the caller has not the right to it
│   ├── DeadlineExceededError    DEADLINE_EXCEEDED    expired before the session was free
│   ├── FailedPreconditionError  FAILED_PRECONDITION
│   │   ├── NotExplainableError      the model has no original, or one that does not agree
│   │   └── LoadError                a model cannot be loaded or unloaded as asked
│   ├── UnimplementedError       UNIMPLEMENTED        declared in the protocol, not done here
│   │   └── ExplainUnavailableError  the explain extra is not installed
│   └── InternalError            INTERNAL             ours; the message carries an id only
├── RepositoryError              one model version cannot be loaded: the reason it shows
└── StartError                   the server cannot start: ends the process
    ├── ConfigError                  a flag, variable or file says something impossible
    └── DeviceUnavailableError       the execution provider asked for is not there

The servicer turns a RequestError into a status, in one place. Whatever is no
ServerError is a bug of ours: it is logged with its trace under an id, and the
caller hears the id alone.
"""

import os
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:  # models begin to load before gRPC is imported
    import grpc

# After a refusal, where nobody knows better.
ASK_AGAIN_SECONDS = 1.0
_LONGEST_REASON = 1000  # characters


class ServerError(Exception):
    """Everything that the server raises on purpose."""


class RequestError(ServerError):
    """One call cannot be answered; the message is for the caller.

    `may_pass` says whether the same call may be answered later without anybody's doing, and
    `wait_seconds` when, where that is known.
    """

    status_name: ClassVar[str] = "UNKNOWN"
    may_pass: ClassVar[bool] = True
    wait_seconds: float | None = None

    @property
    def status(self) -> "grpc.StatusCode":
        """What gRPC calls it."""
        import grpc

        return grpc.StatusCode[self.status_name]


class InvalidArgumentError(RequestError):
    """The request does not fit the model; names what was expected and found."""

    status_name = "INVALID_ARGUMENT"


class NotFoundError(RequestError):
    """There is nothing of that name."""

    status_name = "NOT_FOUND"


class ModelNotFoundError(NotFoundError):
    """The model repository has no such model or version."""


class AlreadyExistsError(RequestError):
    """A name is taken."""

    status_name = "ALREADY_EXISTS"


class UnavailableError(RequestError):
    """The call was not begun; it may be sent again."""

    status_name = "UNAVAILABLE"


class ModelUnavailableError(UnavailableError):
    """The model is known, but is still loading."""


class ModelBrokenError(UnavailableError):
    """The model could not be loaded, or was unloaded: asking again is in vain."""

    may_pass = False


class DrainingError(UnavailableError):
    """The server is shutting down and admits nothing more."""


class FaultError(UnavailableError):
    """What ran the request failed, through no fault of the request: it is worth another try."""


class WorkerDiedError(FaultError):
    """The thread that ran the request died, or none could be started."""


class CircuitOpenError(UnavailableError):
    """What runs the requests failed again and again: nothing is tried for a while.

    Args:
        message: for the caller.
        wait_seconds: until it is tried again.
    """

    def __init__(self, message: str, *, wait_seconds: float) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class ResourceExhaustedError(RequestError):
    """A bound of the server is reached.

    Args:
        message: for the caller.
        wait_seconds: when it is worth while to ask again; None where nobody knows.
    """

    status_name = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, *, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class QueueFullError(ResourceExhaustedError):
    """As many requests wait for the model as its max_queue_size allows."""


class WaitingBytesError(ResourceExhaustedError):
    """As many bytes wait for all models together as max_waiting_mib allows."""


class WaitTooLongError(ResourceExhaustedError):
    """So many wait for the model that the answer would come after the caller's deadline."""


class TooManyRequestsError(ResourceExhaustedError):
    """The caller sends more requests per second than it may."""


class UnauthenticatedError(RequestError):
    """The server does not know who calls."""

    status_name = "UNAUTHENTICATED"


class PermissionDeniedError(RequestError):
    """The caller may not do that, or not at this port."""

    status_name = "PERMISSION_DENIED"


class DeadlineExceededError(RequestError):
    """The caller's deadline passed before the request could be run."""

    status_name = "DEADLINE_EXCEEDED"


class FailedPreconditionError(RequestError):
    """The model is not in a state that allows the call."""

    status_name = "FAILED_PRECONDITION"


class NotExplainableError(FailedPreconditionError):
    """The model version has no original, or one that disagrees with its session."""


class LoadError(FailedPreconditionError):
    """The model cannot be loaded, or the server was not started so that calls may load."""


class UnimplementedError(RequestError):
    """The protocol has a word for it, this server does not do it."""

    status_name = "UNIMPLEMENTED"


class ExplainUnavailableError(UnimplementedError):
    """The library that computes gradients is not installed."""


class InternalError(RequestError):
    """A fault of ours, which the log tells in full under the id of the message."""

    status_name = "INTERNAL"


class RepositoryError(ServerError):
    """A model version cannot be loaded, and why; a file that it quotes may be long."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."
        )


class StartError(ServerError):
    """The server cannot start, and what to do about it."""


class ConfigError(StartError):
    """A setting is unknown or its value is impossible."""


class DeviceUnavailableError(StartError):
    """The device asked for cannot be used; there is no silent fall back."""


def new_identity() -> str:
    """A word by which a line of the log is found again, and which tells nothing else."""
    return os.urandom(6).hex()
