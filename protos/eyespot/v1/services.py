"""The services under the names that the protocol gives them.

The messages live in our own package `eyespot.v1`, but the inference service answers on
`/inference.GRPCInferenceService/*`. Stubs and handlers are therefore made here from the
service descriptors instead of by protoc, and reflection gets a descriptor pool of its
own, in which the protocol's package is called `inference`, as every client expects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from eyespot.v1 import explain_pb2, inference_pb2, model_config_pb2

INFERENCE_SERVICE = "inference.GRPCInferenceService"
EXPLAIN_SERVICE = "eyespot.v1.ExplainService"

_DESCRIPTORS: dict[str, ServiceDescriptor] = {
    INFERENCE_SERVICE: inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"],
    EXPLAIN_SERVICE: explain_pb2.DESCRIPTOR.services_by_name["ExplainService"],
}


class _Stub:
    """One callable per RPC, on a blocking or an asyncio channel."""

    def __init__(self, channel: grpc.Channel | grpc.aio.Channel, service: str) -> None:
        for method in _DESCRIPTORS[service].methods:
            callable_ = getattr(channel, _kind(method))(
                f"/{service}/{method.name}",
                request_serializer=GetMessageClass(method.input_type).SerializeToString,
                response_deserializer=GetMessageClass(method.output_type).FromString,
            )
            setattr(self, method.name, callable_)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the service has no method {name!r}")


class InferenceStub(_Stub):
    """The calls of `inference.GRPCInferenceService`, ours or any other server's."""

    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None:
        super().__init__(channel, INFERENCE_SERVICE)


class ExplainStub(_Stub):
    """The calls of `eyespot.v1.ExplainService`."""

    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None:
        super().__init__(channel, EXPLAIN_SERVICE)


def generic_handler(service: str, servicer: object) -> grpc.GenericRpcHandler:
    """Route the calls of a service to the methods of `servicer` that bear their names.

    A method that `servicer` lacks is answered by gRPC itself with UNIMPLEMENTED. In place
    of a request that cannot be parsed comes the DecodeError.

    Args:
        service: `INFERENCE_SERVICE` or `EXPLAIN_SERVICE`.
        servicer: Coroutine functions (request, context) for grpc.aio, plain ones for grpc.
    """
    handlers = {
        method.name: _handler(method, getattr(servicer, method.name))
        for method in _DESCRIPTORS[service].methods
        if hasattr(servicer, method.name)
    }
    return grpc.method_handlers_generic_handler(service, handlers)


def _handler(method: MethodDescriptor, behaviour: Any) -> grpc.RpcMethodHandler[Any, Any]:
    make = getattr(grpc, f"{_kind(method)}_rpc_method_handler")
    handler: grpc.RpcMethodHandler[Any, Any] = make(
        behaviour,
        request_deserializer=_parser(method),
        response_serializer=GetMessageClass(method.output_type).SerializeToString,
    )
    return handler


def _parser(method: MethodDescriptor) -> Callable[[bytes], Message | DecodeError]:
    """What cannot be parsed goes to the servicer as the error: gRPC would answer UNKNOWN."""
    parse = GetMessageClass(method.input_type).FromString

    def parse_or_tell(raw: bytes) -> Message | DecodeError:
        try:
            return parse(raw)
        except DecodeError as error:
            return error

    return parse_or_tell


def _kind(method: MethodDescriptor) -> str:
    """How gRPC calls a method that sends and gets one message or many."""
    sent = "stream" if method.client_streaming else "unary"
    return f"{sent}_{'stream' if method.server_streaming else 'unary'}"


def reflection_pool() -> DescriptorPool:
    """Make a descriptor pool in which every service of the server has its name on the wire.

    The two protocol files are filed under the package `inference`; the explain service
    keeps `eyespot.v1` and refers to them there. Health and reflection are added when they
    are installed.
    """
    pool = DescriptorPool()
    for name, file in (
        ("model_config.proto", model_config_pb2.DESCRIPTOR),
        ("grpc_service.proto", inference_pb2.DESCRIPTOR),
        ("eyespot/v1/explain.proto", explain_pb2.DESCRIPTOR),
    ):
        pool.AddSerializedFile(_as_on_the_wire(file, name).SerializeToString())
    for serialized in _standard_files():
        pool.AddSerializedFile(serialized)
    return pool


_WIRE_FILES = {
    "eyespot/v1/model_config.proto": "model_config.proto",
    "eyespot/v1/inference.proto": "grpc_service.proto",
}


def _as_on_the_wire(file: Any, name: str) -> descriptor_pb2.FileDescriptorProto:
    """Copy a file, its types and its imports into the names that the wire uses."""
    copied = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(copied)
    protocol = {
        f".eyespot.v1.{message}"
        for module in (inference_pb2, model_config_pb2)
        for message in (
            *module.DESCRIPTOR.message_types_by_name,
            *module.DESCRIPTOR.enum_types_by_name,
        )
    }
    if copied.name in _WIRE_FILES:
        copied.package = "inference"
    copied.name = name
    copied.dependency[:] = [_WIRE_FILES.get(path, path) for path in copied.dependency]
    for message in copied.message_type:
        _rename(message, protocol)
    for service in copied.service:
        for method in service.method:
            method.input_type = _wire_name(method.input_type, protocol)
            method.output_type = _wire_name(method.output_type, protocol)
    return copied


def _rename(message: descriptor_pb2.DescriptorProto, protocol: set[str]) -> None:
    for field in message.field:
        if field.HasField("type_name"):
            field.type_name = _wire_name(field.type_name, protocol)
    for nested in message.nested_type:
        _rename(nested, protocol)


def _wire_name(type_name: str, protocol: set[str]) -> str:
    top_level = ".".join(type_name.split(".")[:4])  # ".eyespot.v1.Message"
    if top_level in protocol:
        return type_name.replace(".eyespot.v1.", ".inference.", 1)
    return type_name


def _standard_files() -> list[bytes]:
    """Health and reflection, if they are installed; reflection under both its versions."""
    try:
        from grpc_health.v1 import health_pb2
        from grpc_reflection.v1alpha import reflection_pb2
    except ModuleNotFoundError:
        return []
    alpha = reflection_pb2.DESCRIPTOR.serialized_pb
    final = descriptor_pb2.FileDescriptorProto.FromString(alpha)
    final.name, final.package = "grpc/reflection/v1/reflection.proto", "grpc.reflection.v1"
    for message in final.message_type:
        for field in message.field:
            if field.HasField("type_name"):
                field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for method in final.service[0].method:
        method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
        method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    return [health_pb2.DESCRIPTOR.serialized_pb, alpha, final.SerializeToString()]
