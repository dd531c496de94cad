"""What this processor multiplies whole numbers with, and which numbers suit it.

ONNX Runtime's kernels for x86 multiply unsigned activations by signed weights. With VNNI the
products are added in 32 bits. Without it two of them are added in 16 bits first, which saturates
when both are large: weights of 7 bits leave room (onnxruntime issue 12072).
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Processor = Literal["vnni", "avx2", "arm"]
PROCESSORS: tuple[Processor, ...] = get_args(Processor)

_CPUINFO = Path("/proc/cpuinfo")
_VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
_ARM_MACHINES = ("aarch64", "arm")


@dataclass(frozen=True)
class Scheme:
    """Which whole numbers stand for activations and weights.

    Attributes:
        activations: "uint8" or "int8"; weights are always signed and symmetric.
        reduce_range: Weights have 7 bits instead of 8.
        reason: Why, for the user.
    """

    activations: Literal["uint8", "int8"]
    reduce_range: bool
    reason: str

    def __str__(self) -> str:
        """Write the scheme as ONNX Runtime's documentation does."""
        name = "U8S8" if self.activations == "uint8" else "S8S8"
        return f"{name}, weights of 7 bits" if self.reduce_range else name


def this_processor(cpuinfo: Path = _CPUINFO, *, machine: str | None = None) -> Processor:
    """Tell what kind of processor this is; in doubt one without VNNI, whose numbers suit all.

    Args:
        cpuinfo: What Linux tells of it.
        machine: Its architecture; this machine's if not told.
    """
    if (machine or platform.machine()).lower().startswith(_ARM_MACHINES):
        return "arm"
    try:
        words = set(cpuinfo.read_text(encoding="utf-8").split())
    except OSError:
        return "avx2"
    return "vnni" if words & _VNNI_FLAGS else "avx2"


def scheme_for(processor: Processor) -> Scheme:
    """Choose the numbers for a processor."""
    match processor:
        case "vnni":
            return Scheme("uint8", False, "with VNNI products are added in 32 bits")
        case "arm":
            return Scheme("int8", False, "the kernels for ARM multiply signed numbers")
        case "avx2":
            return Scheme(
                "uint8", True, "without VNNI pairs of products are added in 16 bits and saturate"
            )
