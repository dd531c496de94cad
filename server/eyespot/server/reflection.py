"""Reflection for generic clients: every service, under its own name, with each of its methods.

grpcio's reflection knows files by their messages and services, but not by a method's full
name, and answers as `v1alpha` only; clients such as grpcurl ask for methods, and for `v1`
first. The messages of both are the same on the wire. What few ask for is made when the first
does: it would lengthen every start.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool

from eyespot.v1.services import reflection_pool

_V1, _V1_ALPHA = "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"


class Reflection(grpc.GenericRpcHandler):
    """Answers as v1alpha and as v1.

    Args:
        services: what is told, beside reflection itself.
    """

    def __init__(self, services: Sequence[str]) -> None:
        self._services = services

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method, if it is one of reflection."""
        name, _, method = handler_call_details.method.removeprefix("/").partition("/")
        if name not in (_V1, _V1_ALPHA) or method != "ServerReflectionInfo":
            return None
        return self._info

    @cached_property
    def _info(self) -> Any:
        from grpc_reflection.v1alpha import reflection, reflection_pb2

        servicer = reflection.aio.ReflectionServicer(
            service_names=(*self._services, _V1_ALPHA, _V1), pool=_Pool(reflection_pool())
        )
        return grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )


class _Pool:
    """A descriptor pool in which a method is found in the file of its service."""

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:  # noqa: N802 - protobuf's name
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            if method not in self._pool.FindServiceByName(service).methods_by_name:
                raise
            return self._pool.FindFileContainingSymbol(service)


def add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Lets a server answer as v1alpha and as v1."""
    server.add_generic_rpc_handlers((Reflection(services),))
