"""Running a model: arrays in one request as they are, rows in as many as its batches need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from eyespot.client import answers, requests
from eyespot.client.errors import InvalidArgumentError, NotFoundError
from eyespot.client.known_models import KnownModels
from eyespot.client.one_version import check_same_version
from eyespot.client.pictures import Images, Picture, as_rows, read_encoded
from eyespot.client.row_batches import row_batches
from eyespot.client.segmentation import Segmentation, read_segmentations
from eyespot.client.steps import Deadline, Steps, Work
from eyespot.client.values import InferResult, ModelConfig, ModelMetadata
from eyespot.v1.tensors import Array


class Inferring:
    """Runs the models of one server."""

    def __init__(self, known: KnownModels) -> None:
        self._known = known

    def rows(
        self,
        images: Images,
        metadata: ModelMetadata,
        *,
        model_version: str,
        outputs: Sequence[str] | None,
        deadline: Deadline,
    ) -> Steps[InferResult]:
        """Run pictures and rows, in as many requests as they need, and join the answers.

        Raises:
            ModelReplacedError: They would be of two versions of the model.
        """
        config = yield from self._known.config(metadata.name, model_version, deadline)
        rows = as_rows(images, len(requests.only_input(metadata).shape))
        results: list[InferResult] = []
        with self._known.forgetting_if_replaced(metadata.name, model_version):
            for batch in row_batches(rows, config):
                part = rows[batch.start : batch.stop]
                result = yield from self._encoded(
                    part, config, model_version=model_version, outputs=outputs, deadline=deadline
                )
                if result is None:
                    array = yield Work(batch.load)
                    arrays = requests.by_name(array, metadata)
                    result = yield from self.once(
                        arrays,
                        metadata,
                        model_version=model_version,
                        outputs=outputs,
                        deadline=deadline,
                    )
                results.append(result)
                check_same_version(results[0], result, done=batch.start, what="answers")
        return answers.join(results)

    def segmentations(
        self,
        images: Images,
        metadata: ModelMetadata,
        output: str,
        *,
        model_version: str,
        deadline: Deadline,
    ) -> Steps[list[Segmentation]]:
        """Run pictures, and keep of each answer the likeliest class of each pixel alone.

        Raises:
            ModelReplacedError: They would be of two versions of the model.
        """
        config = yield from self._known.config(metadata.name, model_version, deadline)
        rows = as_rows(images, len(requests.only_input(metadata).shape))
        found: list[Segmentation] = []
        with self._known.forgetting_if_replaced(metadata.name, model_version):
            for batch in row_batches(rows, config):
                array = yield Work(batch.load)
                result = yield from self.once(
                    requests.by_name(array, metadata),
                    metadata,
                    model_version=model_version,
                    outputs=[output],
                    deadline=deadline,
                )
                found += read_segmentations(result, output, array, config)
                check_same_version(found[0], found[-1], done=batch.start, what="answers")
        return found

    def once(
        self,
        arrays: Mapping[str, Array],
        metadata: ModelMetadata,
        *,
        model_version: str,
        outputs: Sequence[str] | None,
        deadline: Deadline,
    ) -> Steps[InferResult]:
        """Run arrays by the names of the inputs, in one request."""
        request = requests.infer_request(
            arrays, metadata, model_version=model_version, outputs=outputs
        )
        return answers.read_infer(
            (yield from self._known.send_built("ModelInfer", request, deadline))
        )

    def _encoded(
        self,
        rows: Sequence[Picture | Array],
        config: ModelConfig,
        *,
        model_version: str,
        outputs: Sequence[str] | None,
        deadline: Deadline,
    ) -> Steps[InferResult | None]:
        """Let the server decode the pictures of a batch; None where they are to be prepared here.

        What it refuses is prepared here as well: it succeeds, or the error names the file.
        """
        if not config.image_endpoint:
            return None
        encoded = yield Work(partial(read_encoded, rows, config.image_formats))
        if encoded is None:
            return None
        try:
            metadata = yield from self._known.metadata(
                config.image_endpoint, model_version, deadline
            )
            result = yield from self.once(
                requests.by_name(encoded, metadata),
                metadata,
                model_version=model_version,
                outputs=outputs,
                deadline=deadline,
            )
        except InvalidArgumentError:
            return None
        except NotFoundError:  # the server was replaced by one that does not do it
            self._known.forget_config(config.name, model_version)
            return None
        return replace(result, model_name=config.name)
