"""What a training runs on: the device, the precision, and how many processes prepare pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from eyespot.transfer.errors import SettingsError

PRECISIONS = ("auto", "float32", "bfloat16")
# Smaller pictures are varied in less time than it takes to hand them from process to process.
_SMALL_SIDE = 96
_MOST_WORKERS = 8


@dataclass(frozen=True)
class Machine:
    """Where a training runs.

    Attributes:
        device: PyTorch's name for it.
        precision: Of the forward and backward passes; weights are always float32.
        workers: Processes that prepare pictures; 0 prepares them in this one.
        channels_last: Keep maps with their channels together, as fast convolutions want them.
    """

    device: str = "cpu"
    precision: str = "float32"
    workers: int = 0
    channels_last: bool = True

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute in the chosen precision."""
        with torch.autocast(
            torch.device(self.device).type,
            dtype=getattr(torch, self.precision),
            enabled=self.precision != "float32",
        ):
            yield


def choose_machine(
    *, side: int, device: str = "auto", precision: str = "auto", workers: int | None = None
) -> Machine:
    """Choose what is there.

    Args:
        side: Of the pictures, in pixels.
        device: "auto" takes a GPU where there is one.
        precision: "auto" is float32 on a CPU, and on a GPU bfloat16 where it has it.
        workers: As many as make sense if not told.

    Raises:
        SettingsError: This machine has not what is asked for.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise SettingsError(f"device {device!r} is none that PyTorch knows, such as cpu") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise SettingsError("device cuda: PyTorch sees no GPU here; leave it out, or say cpu")
    return Machine(
        device=device,
        precision=_precision(kind, precision),
        workers=sensible_workers(side, os.cpu_count() or 1) if workers is None else workers,
    )


def sensible_workers(side: int, cores: int) -> int:
    """Tell how many processes should prepare pictures beside the training."""
    return 0 if side <= _SMALL_SIDE else max(1, min(cores // 2, _MOST_WORKERS))


def _precision(kind: str, asked: str) -> str:
    if asked not in PRECISIONS:
        raise SettingsError(f"precision must be one of {', '.join(PRECISIONS)}, found {asked!r}")
    if asked == "auto":
        is_there = kind == "cuda" and torch.cuda.is_bf16_supported()
        return "bfloat16" if is_there else "float32"
    if asked == "bfloat16" and kind == "cpu" and not _cpu_computes_bfloat16():
        raise SettingsError(
            "precision bfloat16: this CPU has no instructions for it and would be slower than in "
            "float32; leave it out"
        )
    return asked


def _cpu_computes_bfloat16() -> bool:
    told = torch.cpu.get_capabilities()
    return any(bool(told.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
