"""Where a captured program is computed: on the device that is wanted, if PyTorch can use it."""

import functools
import logging

import torch
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

CPU = torch.device("cpu")
_logger = logging.getLogger(__name__)


@functools.cache
def find_device(wanted: str) -> torch.device:
    """The device of a name such as "cuda:0", or the CPU where PyTorch cannot use that.

    It is tried once in a process, and the log tells what was found. For the whole process TF32 is
    switched off, which rounds factors to ten bits, and so are convolutions that add up in another
    order each time: explanations are to be those of the CPU, and the same for the same.
    """
    if wanted == "cpu":
        return CPU
    try:
        torch.ones(1, device=wanted)
    except (AssertionError, RuntimeError) as error:  # a build without CUDA, and all the rest
        reason = str(error).partition("\n")[0]
        _logger.info("PyTorch explains on the CPU and not on %s: %s", wanted, reason)
        return CPU
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    _logger.info("PyTorch explains on %s", wanted)
    return torch.device(wanted)


def move_program(program: ExportedProgram, device: torch.device) -> ExportedProgram:
    """The program with its weights, its constants and what its graph makes anew on a device."""
    return program if device == CPU else move_to_device_pass(program, device)
