"""A file into a state_dict, and no code of the file's run on the way."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from eyespot.zoo.entry import StateDict
from eyespot.zoo.errors import WeightsError

_NESTED_UNDER = ("state_dict", "model")
_DATA_PARALLEL = "module."


def read_state_dict(path: Path) -> StateDict:
    """Read the tensors of a safetensors or torch file, whatever its suffix, onto the CPU.

    Raises:
        WeightsError: The file cannot be read, holds no state_dict, or holds code.
    """
    try:
        content = _read_safetensors(path) if _is_safetensors(path) else _read_torch(path)
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read: {error.strerror or error}") from error
    tensors = _unnest(content, path.name)
    return {name.removeprefix(_DATA_PARALLEL): tensor for name, tensor in tensors.items()}


def read_notes(path: Path) -> dict[str, str]:
    """Read what the header of a safetensors file tells beside its tensors; others tell nothing."""
    if not _is_safetensors(path):
        return {}
    with safetensors.safe_open(path, framework="numpy") as file:
        return dict(file.metadata() or {})


def _is_safetensors(path: Path) -> bool:
    """Tell by the content: the length of a JSON header in eight bytes, then the header."""
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        start = file.read(9)
    header_size = int.from_bytes(start[:8], "little")
    return start[8:] == b"{" and header_size <= path.stat().st_size


def _read_safetensors(path: Path) -> StateDict:
    try:
        tensors: StateDict = safetensors.torch.load_file(path, device="cpu")
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path.name} is no whole safetensors file: {error}") from error
    return tensors


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # torch tells of old formats; which we read is what this file is about.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(path.name, str(error)) from error
    except OSError:
        raise
    except Exception as error:
        # The unpickler meets arbitrary bytes: what it raises then is not to be foreseen.
        reason = str(error) or type(error).__name__
        raise _damaged(path.name, reason) from error


def _refused(file_name: str, reason: str) -> WeightsError:
    """Say what the pickle asked for; never pass on torch's advice to read it all the same."""
    code = re.search(r"GLOBAL (\S+)", reason)
    if code is None:
        return _damaged(file_name, "no pickle of tensors")
    return WeightsError(
        f"{file_name} holds more than tensors: reading it would run code ({code[1]}), which we "
        "do not. Where you trust it, save its tensors alone: torch.save(model.state_dict(), FILE)"
    )


def _damaged(file_name: str, reason: str) -> WeightsError:
    first_sentence = re.split(r"\.\s", reason, maxsplit=1)[0]
    return WeightsError(
        f"{file_name} is no weights file, or a damaged one ({first_sentence}): a state_dict is "
        "expected, in safetensors or as torch.save writes it (.pt, .pth, .th)"
    )


def _unnest(content: Any, file_name: str) -> Mapping[str, Tensor]:
    while isinstance(content, Mapping):
        inner = [content[key] for key in _NESTED_UNDER if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{file_name} holds a {type(content).__name__}, expected a state_dict: "
            "torch.save(model.state_dict(), FILE)"
        )
    strange = [
        str(name)
        for name, value in content.items()
        if not (isinstance(name, str) and isinstance(value, Tensor))
    ]
    if strange or not content:
        found = f"holds {', '.join(strange[:5])}" if strange else "is empty"
        raise WeightsError(
            f"{file_name} {found}; expected tensors by name, alone or under "
            f"{' or '.join(_NESTED_UNDER)}"
        )
    return content
