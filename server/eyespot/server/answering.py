"""The one place where errors become statuses, and where a call leaves its line in the log."""

import asyncio
import functools
import logging
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from eyespot.server.errors import (
    InternalError,
    InvalidArgumentError,
    RequestError,
    new_identity,
)

# The status message travels in a header, and headers are bounded.
_LONGEST_MESSAGE = 2000
_PUSHBACK = "grpc-retry-pushback-ms"
_logger = logging.getLogger(__name__)
_access_logger = logging.getLogger("eyespot.server.access")

Handler = Callable[[Any, Any, Any], Awaitable[Any]]
StreamHandler = Callable[[Any, Any, Any], AsyncGenerator[Any, None]]


def answering(handler: Handler) -> Handler:
    """Wraps an RPC's method: errors are answered, every call is logged at debug."""

    @functools.wraps(handler)
    async def answer(self: Any, request: Any, context: Any) -> Any:
        start = time.perf_counter_ns()
        try:
            response = await handler(self, checked(request), context)
        except Exception as error:
            failure = request_error(error, handler.__name__)
        else:
            if _access_logger.isEnabledFor(logging.DEBUG):
                _log_access(handler.__name__, request, "OK", start)
            return response
        if _access_logger.isEnabledFor(logging.DEBUG):
            _log_access(handler.__name__, request, failure.status.name, start)
        await abort(context, failure)
        raise AssertionError("abort has raised")

    return answer


def checked(request: Any) -> Any:
    """Gives a request that could be parsed.

    Raises:
        InvalidArgumentError: it could not.
    """
    if isinstance(request, DecodeError):
        raise InvalidArgumentError("the request is no message of this call: it cannot be parsed")
    return request


def streaming(handler: StreamHandler) -> StreamHandler:
    """Wraps an RPC's method that answers with a stream, in the same way."""

    @functools.wraps(handler)
    async def answer(self: Any, request: Any, context: Any) -> AsyncGenerator[Any, None]:
        start = time.perf_counter_ns()
        failure: RequestError | None = None
        responses = None
        try:
            responses = handler(self, checked(request), context)
            async for response in responses:
                yield response
        except Exception as error:
            failure = request_error(error, handler.__name__)
        finally:
            if responses is not None:
                await responses.aclose()
        if _access_logger.isEnabledFor(logging.DEBUG):
            status = "OK" if failure is None else failure.status.name
            _log_access(handler.__name__, request, status, start)
        if failure is not None:
            await abort(context, failure)

    return answer


async def abort(context: Any, failure: RequestError) -> None:
    """Ends a call with the status of an error, and with a word on asking again."""
    told = str(failure)[:_LONGEST_MESSAGE]
    try:
        await context.abort(failure.status, told, _pushback(failure))
    except grpc.aio.InternalError:  # the caller has gone: nobody hears it, and nothing is wrong
        raise asyncio.CancelledError from None


def _pushback(failure: RequestError) -> tuple[tuple[str, str], ...]:
    """When the call may be sent again, as gRFC A6 writes it: milliseconds, or negative."""
    if failure.wait_seconds is not None:
        return ((_PUSHBACK, str(math.ceil(failure.wait_seconds * 1000))),)
    return () if failure.may_pass else ((_PUSHBACK, "-1"),)


def request_error(error: Exception, method: str) -> RequestError:
    """What the caller is told of an error.

    A fault of ours is logged under a new id; the caller gets the id and nothing else.
    """
    if isinstance(error, RequestError):
        return error
    identity = new_identity()
    _logger.error("internal error %s in %s", identity, method, exc_info=error)
    return InternalError(f"internal error {identity}")


def _log_access(method: str, request: Any, status: str, start: int) -> None:
    model_name = getattr(request, "model_name", "") or getattr(request, "name", "")
    told = {"model_name": model_name} if model_name else {}
    duration_us = (time.perf_counter_ns() - start) // 1000
    _access_logger.debug("%s", method, extra={**told, "status": status, "duration_us": duration_us})
