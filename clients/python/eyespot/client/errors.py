"""What can go wrong between a call and its answer, and who has to act.

EyespotError
├── ClientError                 nothing was sent: the call itself must change
│   └── PictureError            a picture that cannot be read, prepared or drawn
├── AnswerError                 the server's answer breaks the protocol
├── ModelReplacedError          another version answered in the middle of a call: ask again
└── ServerError                 a call ended with a gRPC status: `code`, `details`
    ├── InvalidArgumentError    INVALID_ARGUMENT     the request does not fit the model
    ├── NotFoundError           NOT_FOUND            no such model or version
    ├── UnavailableError        UNAVAILABLE          not reached, or not now; was retried
    ├── DeadlineExceededError   DEADLINE_EXCEEDED    `timeout` has passed
    ├── ResourceExhaustedError  RESOURCE_EXHAUSTED   too many wait, or too large; was retried
    │                                                where the server said when
    ├── FailedPreconditionError FAILED_PRECONDITION  the model cannot do that
    ├── UnauthenticatedError    UNAUTHENTICATED      no token, or one that is not known
    ├── PermissionDeniedError   PERMISSION_DENIED    the token has not the right to it
    ├── UnimplementedError      UNIMPLEMENTED        the server cannot do that
    └── InternalError           INTERNAL             a fault of the server

Any other status is a plain ServerError.
"""

from __future__ import annotations

from typing import Any, ClassVar

import grpc


class EyespotError(Exception):
    """Everything that the client raises on purpose."""


class ClientError(EyespotError):
    """The call cannot be sent as it is; says what was expected and found."""


class PictureError(ClientError):
    """A picture cannot be read, prepared for the model, or drawn upon."""


class AnswerError(EyespotError):
    """The answer does not hold what the protocol promises."""


class ModelReplacedError(EyespotError):
    """A model was replaced in the middle of a call, whose answers would be of two versions."""


class ServerError(EyespotError):
    """A call ended with a status other than OK.

    Attributes:
        code: The gRPC status.
        details: What the server, or gRPC itself, said about it.
        may_pass: False where the server said that asking again is in vain.
        retry_seconds: When the server would be asked again; None where it did not say.
    """

    status: ClassVar[grpc.StatusCode | None] = None

    def __init__(
        self,
        code: grpc.StatusCode,
        details: str,
        *,
        may_pass: bool = True,
        retry_seconds: float | None = None,
    ) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details
        self.may_pass = may_pass
        self.retry_seconds = retry_seconds

    def __str__(self) -> str:
        hint = "" if self.retry_seconds is None else f" (try again in {self.retry_seconds:.3g} s)"
        return f"{self.code.name}: {self.details}{hint}"


class InvalidArgumentError(ServerError):
    """The request does not fit the model; the details name what was expected and found."""

    status = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(ServerError):
    """The server has no such model or version."""

    status = grpc.StatusCode.NOT_FOUND


class UnavailableError(ServerError):
    """The server was not reached, or cannot take the call now; every retry is used up."""

    status = grpc.StatusCode.UNAVAILABLE


class DeadlineExceededError(ServerError):
    """No answer came within the timeout."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED


class ResourceExhaustedError(ServerError):
    """A bound was reached: requests that wait, or the size of one."""

    status = grpc.StatusCode.RESOURCE_EXHAUSTED


class FailedPreconditionError(ServerError):
    """The model is not one that can do this, such as explain without an original."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class UnauthenticatedError(ServerError):
    """The server wants a token, and there was none or one that it does not know."""

    status = grpc.StatusCode.UNAUTHENTICATED


class PermissionDeniedError(ServerError):
    """The caller is known, or need not be, but may not do that here."""

    status = grpc.StatusCode.PERMISSION_DENIED


class UnimplementedError(ServerError):
    """The server does not offer this call."""

    status = grpc.StatusCode.UNIMPLEMENTED


class InternalError(ServerError):
    """A fault of the server, told in full in its log."""

    status = grpc.StatusCode.INTERNAL


def closed_error(client: str) -> ClientError:
    """Say that a client can make no more calls."""
    return ClientError(f"{client} is closed: make a new one")


_PUSHBACK = "grpc-retry-pushback-ms"
_BY_STATUS = {error.status: error for error in ServerError.__subclasses__()}


def server_error(error: Any) -> ServerError:
    """Translate what a blocking or an asyncio gRPC call raised; the only place for it."""
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "message larger than max" in details:
        details += " bytes; send fewer rows at once, or start the server with --max-request-mib"
    pushback = _pushback_ms(error)
    return _BY_STATUS.get(code, ServerError)(
        code,
        details,
        may_pass=pushback is None or pushback >= 0,
        retry_seconds=pushback / 1000 if pushback is not None and pushback >= 0 else None,
    )


def _pushback_ms(error: Any) -> int | None:
    """What the server says on asking again, as gRFC A6 writes it; -1 where that is in vain."""
    told = dict(error.trailing_metadata() or ()).get("grpc-retry-pushback-ms")
    if told is None:
        return None
    text = str(told)
    # What is no number means the same as a negative one.
    return int(text) if text.isascii() and text.isdecimal() else -1
