"""Who may make which call: asked before a request is read, and once more for each of a stream."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from eyespot.server.answering import abort
from eyespot.server.callers import ANYONE, Caller, Right, current_caller, enter
from eyespot.server.errors import (
    PermissionDeniedError,
    RequestError,
    TooManyRequestsError,
    UnauthenticatedError,
)
from eyespot.server.rate_limit import RateLimit
from eyespot.server.tokens import TokenFile
from eyespot.v1.services import EXPLAIN_SERVICE, INFERENCE_SERVICE

# Answered to anybody, as grpc.health.v1 is: a balancer has no token.
_OPEN = frozenset({f"/{INFERENCE_SERVICE}/{name}" for name in ("ServerLive", "ServerReady")})
# What is in neither of these is an admin call, so that a new one is not open by oversight. None is
# for everyone with a token, whatever it is good for.
_RIGHTS: dict[str, Right | None] = {
    f"/{INFERENCE_SERVICE}/ModelInfer": Right.INFER,
    f"/{INFERENCE_SERVICE}/ModelStreamInfer": Right.INFER,
    f"/{EXPLAIN_SERVICE}/Explain": Right.EXPLAIN,
    f"/{EXPLAIN_SERVICE}/ExplainStream": Right.EXPLAIN,
    f"/{EXPLAIN_SERVICE}/ListMethods": None,
    **{
        f"/{INFERENCE_SERVICE}/{name}": None
        for name in (
            "ServerMetadata",
            "ModelReady",
            "ModelMetadata",
            "ModelConfig",
            "ModelStatistics",
            "RepositoryIndex",
        )
    },
}
_SCHEME = "bearer "
# Callers by where they connect from, port included; beyond so many, some are made anew.
_REMEMBERED = 4096

Behaviour = Callable[[Any, Any], Any]


class Gate:
    """The rules of one port.

    Args:
        tokens: those that are known; None where callers need none.
        rate_limit: of each caller; None for no bound.
        takes_admin_calls: whether this port does.
        anyone: who a caller without a token is, and may do.
        knows_certificates: whether callers show one, by whose name they go then.
        sleep: slows a stream down.
    """

    def __init__(
        self,
        *,
        tokens: TokenFile | None = None,
        rate_limit: RateLimit | None = None,
        takes_admin_calls: bool = True,
        anyone: Caller = ANYONE,
        knows_certificates: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tokens = tokens
        self._rate_limit = rate_limit
        self._takes_admin_calls = takes_admin_calls
        self._anyone = anyone
        self._knows_certificates = knows_certificates
        self._sleep = sleep
        # What a certificate says is asked each time: a port may change hands.
        self._caller_at = functools.lru_cache(_REMEMBERED)(self._make_caller)

    def admit(self, call: Any) -> Caller:
        """Who makes a call, by what gRPC tells of it before its request is read.

        Raises:
            UnauthenticatedError: a token is needed, and there is none or an unknown one.
            PermissionDeniedError: the caller may not make this call, or not at this port.
        """
        right = _RIGHTS.get(call.method, Right.ADMIN)
        caller = self._anyone
        if self._tokens is not None:
            caller = self._tokens.caller(_token(call.invocation_metadata))
            if right is not None:
                caller.must_have(right)
        if right is Right.ADMIN and not self._takes_admin_calls:
            raise PermissionDeniedError("admin calls are not taken at this port")
        return caller

    def spend(self) -> None:
        """Counts a request of the current caller.

        Raises:
            TooManyRequestsError: it has to wait.
        """
        if self._rate_limit is not None:
            wait = self._rate_limit.wait_seconds(current_caller().identity)
            if wait:
                raise TooManyRequestsError(
                    f"more requests per second than one caller may send; wait {wait:.3f} s",
                    wait_seconds=wait,
                )

    def slowed(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The requests of a stream, no faster than the caller may send them."""
        return requests if self._rate_limit is None else self._slowed(requests, self._rate_limit)

    async def _slowed(
        self, requests: AsyncIterator[Any], rate_limit: RateLimit
    ) -> AsyncIterator[Any]:
        identity = current_caller().identity
        async for request in requests:
            while wait := rate_limit.wait_seconds(identity):
                await self._sleep(wait)
            yield request

    def recognise(self, context: Any) -> None:
        """Gives a caller without a token the identity that its connection tells."""
        if current_caller().identity:
            return
        if self._knows_certificates:
            names = context.auth_context().get("x509_common_name")
            if names:
                enter(Caller(names[0].decode(errors="replace"), self._anyone.rights))
                return
        enter(self._caller_at(context.peer()))

    def _make_caller(self, peer: str) -> Caller:
        # The port is new with each connection.
        return Caller(peer.rpartition(":")[0], self._anyone.rights)


class GuardedService(grpc.GenericRpcHandler):
    """A service behind a gate."""

    def __init__(self, service: grpc.GenericRpcHandler, gate: Gate) -> None:
        self._service = service
        self._gate = gate
        self._guarded: dict[str, Any] = {}

    def service(self, handler_call_details: Any) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Finds what answers a call; runs in the task of the call, before its request is read."""
        handler = self._service.service(handler_call_details)
        if handler is None or handler_call_details.method in _OPEN:
            return handler
        try:
            enter(self._gate.admit(handler_call_details))
        except RequestError as error:
            return _refusal(error)
        method = handler_call_details.method
        guarded = self._guarded.get(method)
        if guarded is None:
            guarded = self._guarded[method] = self._guard(handler)
        return guarded

    def _guard(self, handler: Any) -> "grpc.RpcMethodHandler[Any, Any]":
        codecs = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary is not None:
            answer = self._answering(handler.unary_unary)
            return grpc.unary_unary_rpc_method_handler(answer, *codecs)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                self._streaming(handler.unary_stream), *codecs
            )
        return grpc.stream_stream_rpc_method_handler(
            self._conversing(handler.stream_stream), *codecs
        )

    def _answering(self, behaviour: Behaviour) -> Behaviour:
        gate = self._gate

        async def answer(request: Any, context: Any) -> Any:
            gate.recognise(context)
            try:
                gate.spend()
            except RequestError as error:
                await abort(context, error)
            return await behaviour(request, context)

        return answer

    def _streaming(self, behaviour: Behaviour) -> Behaviour:
        gate = self._gate

        async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
            gate.recognise(context)
            try:
                gate.spend()
            except RequestError as error:
                await abort(context, error)
            async with contextlib.aclosing(behaviour(request, context)) as responses:
                async for response in responses:
                    yield response

        return answer

    def _conversing(self, behaviour: Behaviour) -> Behaviour:
        gate = self._gate

        async def answer(requests: Any, context: Any) -> None:
            gate.recognise(context)
            await behaviour(gate.slowed(requests), context)

        return answer


def _refusal(error: RequestError) -> "grpc.RpcMethodHandler[Any, Any]":
    """Answers with an error; as a stream, so that gRPC does not wait for the request."""

    async def refuse(requests: Any, context: Any) -> AsyncIterator[Any]:
        await abort(context, error)
        yield b""

    return grpc.stream_stream_rpc_method_handler(refuse)


def _token(metadata: Any) -> str:
    found = [value for key, value in metadata or () if key == "authorization"]
    if len(found) == 1 and isinstance(found[0], str) and found[0][:7].lower() == _SCHEME:
        return found[0][len(_SCHEME) :].strip()
    raise UnauthenticatedError(
        "a token is needed: send it as the metadata 'authorization: Bearer TOKEN'"
    )
