"""The least that a grpc.aio server can do: answer the same bytes without looking."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc

from eyespot.v1 import inference_pb2
from eyespot.v1.services import INFERENCE_SERVICE


def bare_handler(answer: bytes) -> grpc.GenericRpcHandler:
    """Answer every ModelInfer and each of a ModelStreamInfer.

    Args:
        answer: A ModelInferResponse.
    """
    streamed = _in_a_stream(answer)

    async def infer(request: bytes, context: object) -> bytes:
        return answer

    async def stream(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield streamed

    one: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(infer)
    many: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(stream)
    methods = {"ModelInfer": one, "ModelStreamInfer": many}
    return grpc.method_handlers_generic_handler(INFERENCE_SERVICE, methods)


async def serve_until_ended(handler: grpc.GenericRpcHandler, port_file: Path) -> None:
    """Answer calls until the process is ended.

    Args:
        handler: Answers them.
        port_file: Receives the port.
    """
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    written = port_file.with_suffix(".new")
    written.write_text(str(port))
    written.rename(port_file)
    await server.wait_for_termination()


def _in_a_stream(answer: bytes) -> bytes:
    response = inference_pb2.ModelInferResponse.FromString(answer)
    return inference_pb2.ModelStreamInferResponse(infer_response=response).SerializeToString()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("answer", type=Path)
    parser.add_argument("--port-file", type=Path, required=True)
    arguments = parser.parse_args()
    handler = bare_handler(arguments.answer.read_bytes())
    asyncio.run(serve_until_ended(handler, arguments.port_file))
