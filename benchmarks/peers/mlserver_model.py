"""The graph as a model of MLServer; runs in MLServer's own environment, from its model's folder."""

from __future__ import annotations

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):  # type: ignore[misc] # MLServer is not where this is checked
    """Its `uri` is an ONNX file of one input and one output."""

    async def load(self) -> bool:
        """Open the session, with one thread."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the session on the rows of a request, or of a batch of them."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        (logits,) = self._session.run([self._output], {self._input: rows})
        outputs = [NumpyCodec.encode_output(self._output, logits)]
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=outputs)
