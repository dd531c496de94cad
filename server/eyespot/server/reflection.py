"""Reflection for generic clients: every service, under its own name, with each of its methods.

grpcio's reflection knows files by their messages and services, but not by a method's full
name, and answers as `v1alpha` only; clients such as grpcurl ask for methods, and for `v1`
first. The messages of both are the same on the wire.
"""

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection, reflection_pb2

from eyespot.v1.services import reflection_pool

_V1 = "grpc.reflection.v1.ServerReflection"


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
    """Answers as v1alpha and as v1."""
    pool: Any = _Pool(reflection_pool())
    names = (*services, reflection.SERVICE_NAME, _V1)
    reflection.enable_server_reflection(names, server, pool=pool)
    info = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(service_names=names, pool=pool).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_V1, {"ServerReflectionInfo": info}),)
    )
