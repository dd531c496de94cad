"""A model at a server, to be evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyespot.client import Client

if TYPE_CHECKING:
    from eyespot.transfer.evaluation import EvaluatedModel


def served_model(
    client: Client,
    name: str,
    *,
    version: str | None = None,
    entry: EvaluatedModel | None = None,
) -> EvaluatedModel:
    """Describe a model as its server does.

    Args:
        client: Of the server.
        name: Of the model.
        version: The latest if None.
        entry: The same model in a repository here, whose original is compared with.

    Raises:
        EvaluationError: It is no classifier of pictures.
        EyespotError: The server has no such model, or does not answer.
    """
    from eyespot.transfer.evaluated_entry import check_is_classifier, labels_or_numbers
    from eyespot.transfer.evaluation import EvaluatedModel

    metadata = client.model_metadata(name, model_version=version or "")
    config = client.model_config(name, model_version=version or "")
    given, output = metadata.inputs[0], metadata.outputs[0]
    rows = 1 if config.max_batch_size else 0
    rule = check_is_classifier(name, output_shape=output.shape[rows:], rule=config.preprocessing)

    def classify(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        result = client.infer(
            name, {given.name: images}, model_version=version or "", outputs=[output.name]
        )
        return result.outputs[output.name].astype(np.float32, copy=False)

    return EvaluatedModel(
        model_name=name,
        model_version=version or metadata.versions[-1],
        labels=labels_or_numbers(config.labels, output.shape[-1]),
        rule=rule,
        max_batch_size=config.max_batch_size,
        classify=classify,
        original=None if entry is None else entry.original,
        no_original="no repository was named" if entry is None else entry.no_original,
    )
