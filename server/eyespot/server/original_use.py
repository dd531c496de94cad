"""Whether the PyTorch original of a version is ever read: what is not need not be there."""

from importlib.util import find_spec

from eyespot.server.config import ServerConfig


def is_torch_installed() -> bool:
    """Whether PyTorch can be imported; it is not."""
    return find_spec("torch") is not None


def reads_originals(settings: ServerConfig) -> bool:
    """Whether a server of these settings opens the originals of what it serves."""
    if settings.explain == "off" or settings.explain_backend == "onnx":
        return False
    return settings.explain_backend == "torch" or is_torch_installed()
