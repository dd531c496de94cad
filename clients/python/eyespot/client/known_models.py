"""What is known of the models of a server: asked for once, and kept by name and version.

It is forgotten when the server refuses a request that was built on it, because the model may have
been replaced, and when it is seen that it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from eyespot.client import answers
from eyespot.client.errors import (
    InvalidArgumentError,
    ModelReplacedError,
    NotFoundError,
    UnimplementedError,
)
from eyespot.client.steps import Deadline, RetryPolicy, Steps, send
from eyespot.client.values import ModelConfig, ModelMetadata
from eyespot.v1 import inference_pb2, model_config_pb2

# Rows in one request to a server that names no bound.
_DEFAULT_BATCH_SIZE = 32


class KnownModels:
    """The metadata and the configurations of models.

    Args:
        policy: How an unavailable server is asked again.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._metadata: dict[tuple[str, str], ModelMetadata] = {}
        self._configs: dict[tuple[str, str], ModelConfig] = {}

    def metadata(
        self, model_name: str, model_version: str, deadline: Deadline
    ) -> Steps[ModelMetadata]:
        """What goes into a model and what comes out."""
        key = (model_name, model_version)
        if key not in self._metadata:
            request = inference_pb2.ModelMetadataRequest(name=model_name, version=model_version)
            response = yield from send(
                "ModelMetadata", request, deadline=deadline, policy=self._policy
            )
            # Not every server repeats the name.
            self._metadata[key] = replace(answers.read_model_metadata(response), name=model_name)
        return self._metadata[key]

    def config(self, model_name: str, model_version: str, deadline: Deadline) -> Steps[ModelConfig]:
        """How a model is configured; ModelConfig is an extension that a server may lack."""
        key = (model_name, model_version)
        if key not in self._configs:
            request = inference_pb2.ModelConfigRequest(name=model_name, version=model_version)
            try:
                response = yield from send(
                    "ModelConfig", request, deadline=deadline, policy=self._policy
                )
            except UnimplementedError:
                config = model_config_pb2.ModelConfig(
                    name=model_name, max_batch_size=_DEFAULT_BATCH_SIZE
                )
                response = inference_pb2.ModelConfigResponse(config=config)
            self._configs[key] = replace(answers.read_model_config(response), name=model_name)
        return self._configs[key]

    def keep_config(self, model_name: str, model_version: str, config: ModelConfig) -> None:
        """Take up what was asked for otherwise."""
        self._configs[model_name, model_version] = config

    def forget_metadata(self, model_name: str, model_version: str) -> None:
        """Have it asked for anew."""
        self._metadata.pop((model_name, model_version), None)

    def forget_config(self, model_name: str, model_version: str) -> None:
        """Have it asked for anew."""
        self._configs.pop((model_name, model_version), None)

    def send_built(self, method: str, request: Any, deadline: Deadline) -> Steps[Any]:
        """Send what was built on what is known of a model."""
        with self.forgetting_if_replaced(request.model_name, request.model_version):
            return (yield from send(method, request, deadline=deadline, policy=self._policy))

    @contextmanager
    def forgetting_if_replaced(self, model_name: str, model_version: str) -> Iterator[None]:
        """Forget what is known of a model if a request to it is refused, or it is another."""
        try:
            yield
        except (InvalidArgumentError, NotFoundError, ModelReplacedError):
            self.forget_metadata(model_name, model_version)
            self.forget_config(model_name, model_version)
            raise
