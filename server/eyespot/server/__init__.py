"""The server: a Triton model repository in, inference and saliency over gRPC out."""

from eyespot.server.app import run, serve
from eyespot.server.config import ServerConfig

__all__ = ["ServerConfig", "run", "serve"]
