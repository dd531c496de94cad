"""Whether a server is shutting down, which no field of the protocol says."""

from __future__ import annotations

from collections.abc import Sequence

from eyespot.client import Client, ModelStatus


def is_draining(client: Client, models: Sequence[ModelStatus], *, is_ready: bool) -> bool:
    """Tell whether a server answers what it has admitted, and admits nothing more.

    It is not ready then. Its models stay in the index as READY, and are none that take requests.

    Args:
        client: Asks the server.
        models: What its index has.
        is_ready: What it says of itself.
    """
    model = next((model for model in models if model.is_ready), None)
    if is_ready or model is None:
        return False
    return not client.model_ready(model.name, model_version=model.version)
