"""The one place where errors become statuses, and where a call leaves its line in the log."""

import functools
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from eyespot.server.errors import InternalError, RequestError

# The status message travels in a header, and headers are bounded.
_LONGEST_MESSAGE = 2000
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
            response = await handler(self, request, context)
        except RequestError as error:
            failure = error
        except Exception as error:
            failure = _internal(error, handler.__name__)
        else:
            if _access_logger.isEnabledFor(logging.DEBUG):
                _log_access(handler.__name__, request, "OK", start)
            return response
        if _access_logger.isEnabledFor(logging.DEBUG):
            _log_access(handler.__name__, request, failure.status.name, start)
        await context.abort(failure.status, str(failure)[:_LONGEST_MESSAGE])
        raise AssertionError("abort has raised")

    return answer


def streaming(handler: StreamHandler) -> StreamHandler:
    """Wraps an RPC's method that answers with a stream, in the same way."""

    @functools.wraps(handler)
    async def answer(self: Any, request: Any, context: Any) -> AsyncGenerator[Any, None]:
        start = time.perf_counter_ns()
        responses = handler(self, request, context)
        failure: RequestError | None = None
        try:
            async for response in responses:
                yield response
        except RequestError as error:
            failure = error
        except Exception as error:
            failure = _internal(error, handler.__name__)
        finally:
            await responses.aclose()
        if _access_logger.isEnabledFor(logging.DEBUG):
            status = "OK" if failure is None else failure.status.name
            _log_access(handler.__name__, request, status, start)
        if failure is not None:
            await context.abort(failure.status, str(failure)[:_LONGEST_MESSAGE])

    return answer


def _internal(error: Exception, method: str) -> InternalError:
    """Logs a fault of ours under a new id; the caller gets the id and nothing else."""
    identity = uuid.uuid4().hex[:12]
    _logger.error("internal error %s in %s", identity, method, exc_info=error)
    return InternalError(f"internal error {identity}")


def _log_access(method: str, request: Any, status: str, start: int) -> None:
    model_name = getattr(request, "model_name", "") or getattr(request, "name", "")
    _access_logger.debug(
        "%s",
        method,
        extra={
            "model_name": model_name,
            "status": status,
            "duration_us": (time.perf_counter_ns() - start) // 1000,
        },
    )
