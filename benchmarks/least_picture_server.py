"""The least grpc.aio server that takes pictures: a thread for each core decodes and infers."""

from __future__ import annotations

import argparse
import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import onnxruntime

from benchmarks.bare_server import serve_until_ended
from eyespot.server.picture_decoding import decode_picture
from eyespot.v1 import inference_pb2
from eyespot.v1.manifest import MANIFEST_FILE, read_manifest
from eyespot.v1.preprocessing import IMAGENET
from eyespot.v1.services import INFERENCE_SERVICE
from eyespot.v1.tensors import decode


def picture_handler(model: Path) -> grpc.GenericRpcHandler:
    """Answer every ModelInfer with what the graph makes of its picture; nothing is checked.

    Args:
        model: The graph, with its manifest beside it.
    """
    rule = read_manifest(model.with_name(MANIFEST_FILE)).preprocessing or IMAGENET
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def answer(request: bytes) -> bytes:
        asked = inference_pb2.ModelInferRequest.FromString(request)
        (picture,) = decode(asked.raw_input_contents[0], datatype="BYTES", shape=(1,))
        pixels = decode_picture(picture, rule)[None]  # (1, H, W, C)
        (logits,) = session.run(None, {given.name: pixels})
        response = inference_pb2.ModelInferResponse(raw_output_contents=[logits.tobytes()])
        response.outputs.add(name="logits", datatype="FP32", shape=logits.shape)
        return response.SerializeToString()

    async def infer(request: bytes, context: object) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(threads, answer, request)

    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(infer)
    return grpc.method_handlers_generic_handler(INFERENCE_SERVICE, {"ModelInfer": method})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--port-file", type=Path, required=True)
    arguments = parser.parse_args()
    asyncio.run(serve_until_ended(picture_handler(arguments.model), arguments.port_file))
