"""The server: a Triton model repository in, inference and saliency over gRPC out."""

from eyespot.server.config import ServerConfig
from eyespot.server.process import run

__all__ = ["ServerConfig", "run"]
