"""Saliency by PyTorch on the captured program: the only folder of the room that imports torch."""

from eyespot.saliency.torch_backend.backend import TorchBackend

__all__ = ["TorchBackend"]
