"""The graph as a model of Triton's Python backend; runs in Triton's stub process."""

from __future__ import annotations

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    """Serves the `model.onnx` beside it, of one input and one output."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the session, with one thread."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = f"{args['model_repository']}/{args['model_version']}/model.onnx"
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def execute(self, requests: list[object]) -> list[object]:
        """Run the session once for all requests of a batch."""
        rows = [
            triton.get_input_tensor_by_name(request, self._input).as_numpy() for request in requests
        ]
        batch = rows[0] if len(rows) == 1 else np.concatenate(rows)
        (logits,) = self._session.run([self._output], {self._input: batch})
        ends = np.cumsum([len(each) for each in rows])[:-1]
        return [
            triton.InferenceResponse([triton.Tensor(self._output, each)])
            for each in np.split(logits, ends)
        ]
