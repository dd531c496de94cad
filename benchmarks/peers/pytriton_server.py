"""The graph bound to pytriton; runs in pytriton's own environment."""

from __future__ import annotations

import argparse

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("model")
    parser.add_argument("--folder")
    parser.add_argument("--ports", type=int, nargs=2, help="of gRPC, and of HTTP")
    parser.add_argument("--rows", type=int, help="max_batch_size")
    parser.add_argument("--delay", type=int, help="of the batcher, in microseconds")
    options = parser.parse_args()
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        options.model, session_options, providers=["CPUExecutionProvider"]
    )
    (given,), (wanted,) = session.get_inputs(), session.get_outputs()

    @batch  # type: ignore[untyped-decorator] # pytriton is not where this is checked
    def infer(**rows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        (logits,) = session.run([wanted.name], rows)
        return [logits]

    grpc_port, http_port = options.ports
    config = TritonConfig(
        grpc_port=grpc_port, http_port=http_port, grpc_address="127.0.0.1",
        http_address="127.0.0.1", allow_metrics=False, log_verbose=0,
    )  # fmt: skip
    with Triton(config=config, workspace=f"{options.folder}/workspace") as triton:
        triton.bind(
            model_name=options.name,
            infer_func=infer,
            inputs=[Tensor(name=given.name, dtype=np.float32, shape=given.shape[1:])],
            outputs=[Tensor(name=wanted.name, dtype=np.float32, shape=wanted.shape[1:])],
            config=ModelConfig(
                max_batch_size=options.rows,
                batcher=DynamicBatcher(max_queue_delay_microseconds=options.delay),
            ),
        )
        triton.serve()


if __name__ == "__main__":
    main()
