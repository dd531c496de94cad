"""Features: what a frozen backbone gives its head, computed once and kept on disk.

A linear head on fixed features is as good as the features, and learns in seconds: Yosinski,
Clune, Bengio and Lipson, "How transferable are features in deep neural networks?", arXiv
1411.1792, NeurIPS 2014.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eyespot.exporter.capture import held_in_eval
from eyespot.transfer.atomic_files import replacing
from eyespot.transfer.backbones import Backbone
from eyespot.transfer.errors import SettingsError
from eyespot.transfer.examples import Examples

logger = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16"]

_FORMAT = 1  # of the file; another is computed anew
_TENSOR = "features"
_DIGEST = "sha256"


@dataclass(frozen=True, eq=False)
class Features:
    """What the head is trained on.

    Attributes:
        values: FP32 on the CPU, a row for each picture: (N, D), or (N, C, H, W) before a head
            that is a convolution.
        was_cached: They were read from disk, not computed.
    """

    values: Tensor
    was_cached: bool

    def __len__(self) -> int:
        return len(self.values)


def compute_features(
    backbone: Backbone,
    examples: Examples,
    *,
    cache: Path | None = None,
    batch_size: int = 32,
    precision: Precision = "float32",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Features:
    """Give what the backbone gives its head for each picture, in eval mode and without gradients.

    The network is left as it was found, after errors too.

    Args:
        backbone: On the device that is to compute.
        examples: Pixels of the backbone's rule.
        cache: Folder of files, one for each set of pictures and backbone; None keeps none. A
            damaged file is computed anew, and one that cannot be written is done without.
        batch_size: Pictures at once.
        precision: "bfloat16" multiplies in half the bits, where the processor can.
        progress: Called after each batch: how many pictures are done, and how many there are.

    Raises:
        SettingsError: The processor has no bfloat16, or the batch has no rows.
    """
    if batch_size < 1:
        raise SettingsError(f"batch_size must be at least 1, found {batch_size}")
    device = _device(backbone.network)
    _check_precision(precision, device)
    if cache is None:
        return Features(_compute(backbone, examples, batch_size, precision, progress), False)
    path = cache / f"{_key(backbone, examples, precision, device)}.safetensors"
    found = _read(path, len(examples))
    if found is not None:
        progress(len(examples), len(examples))
        return Features(found, True)
    values = _compute(backbone, examples, batch_size, precision, progress)
    _write(values, path)
    return Features(values, False)


def supports_bfloat16(device: torch.device) -> bool:
    """Tell whether a device multiplies in bfloat16 by itself, rather than by imitation."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    told = torch.cpu.get_capabilities()
    return any(bool(told.get(flag)) for flag in ("amx_bf16", "avx512_bf16", "bf16"))


@contextmanager
def captured_input(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Note what a layer is given while the context is open; no hook stays behind."""
    given: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    try:
        yield given
    finally:
        hook.remove()


def _compute(
    backbone: Backbone,
    examples: Examples,
    batch_size: int,
    precision: Precision,
    progress: Callable[[int, int], None],
) -> Tensor:
    device = _device(backbone.network)
    module = backbone.module
    half = torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
    values: Tensor | None = None
    with (
        held_in_eval(module),
        captured_input(backbone.head_layer) as given,
        torch.no_grad(),  # and not inference mode: the head learns from these tensors
        half,
    ):
        for start in range(0, len(examples), batch_size):
            # Pixels come with their channels last, and so the maps stay: most processors
            # convolve those fastest.
            pixels = torch.from_numpy(examples.images[start : start + batch_size]).to(device)
            given.clear()
            module(pixels)  # (B, H, W, C) -> (B, K)
            (rows,) = given
            if values is None:
                values = torch.empty((len(examples), *rows.shape[1:]))
            values[start : start + len(rows)] = rows.float().cpu()
            progress(start + len(rows), len(examples))
    assert values is not None  # examples are never empty
    return values


def _key(backbone: Backbone, examples: Examples, precision: Precision, device: torch.device) -> str:
    """Name all that features depend on: pixels, weights, rule, and how they are computed."""
    told = {
        "format": _FORMAT,
        "pixels": examples.digest,
        "weights": _weights_digest(backbone),
        "architecture": backbone.provenance.architecture,
        "transform_input": getattr(backbone.network, "transform_input", None),
        "head": backbone.head.name,
        "rule": backbone.rule.to_json(),
        "precision": precision,
        "device": device.type,
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _weights_digest(backbone: Backbone) -> str:
    """Hash all tensors but those of the head."""
    found = hashlib.sha256()
    for name, value in sorted(backbone.network.state_dict().items()):
        if not name.startswith(f"{backbone.head.name}."):
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(_bytes(value))
    return found.hexdigest()


def _bytes(value: Tensor) -> Any:
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _read(path: Path, rows: int) -> Tensor | None:
    """Read features, if they are there and whole."""
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            told = file.metadata() or {}
        values: Tensor = load_file(path)[_TENSOR]
    except (OSError, KeyError, safetensors.SafetensorError) as error:
        logger.warning("the features in %s are damaged and computed anew: %s", path, error)
        return None
    is_whole = (
        len(values) == rows and told.get(_DIGEST) == hashlib.sha256(_bytes(values)).hexdigest()
    )
    if not is_whole:
        logger.warning("the features in %s are damaged and computed anew", path)
        return None
    return values


def _write(values: Tensor, path: Path) -> None:
    notes = {_DIGEST: hashlib.sha256(_bytes(values)).hexdigest()}
    try:
        with replacing(path) as written:
            save_file({_TENSOR: values}, written, metadata=notes)
    except (OSError, safetensors.SafetensorError) as error:
        logger.warning("the features are not kept: %s cannot be written: %s", path, error)


def _check_precision(precision: Precision, device: torch.device) -> None:
    if precision == "bfloat16" and not supports_bfloat16(device):
        raise SettingsError(
            f"the {device.type} here has no bfloat16 of its own, in which it would be slower, not "
            "faster: take float32"
        )


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
