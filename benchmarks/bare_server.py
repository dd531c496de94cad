"""The least that a grpc.aio server can do: answer the same bytes without looking."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import grpc

from eyespot.v1.services import INFERENCE_SERVICE


async def serve(answer: bytes, port_file: Path) -> None:
    """Answer every ModelInfer with `answer` until the process is ended."""

    async def infer(request: bytes, context: object) -> bytes:
        return answer

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(infer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(INFERENCE_SERVICE, {"ModelInfer": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    written = port_file.with_suffix(".new")
    written.write_text(str(port))
    written.rename(port_file)
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("answer", type=Path)
    parser.add_argument("--port-file", type=Path, required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.answer.read_bytes(), arguments.port_file))
