"""Is a captured program (`.pt2`) nothing but numbers and a graph?

PyTorch's reader unpickles sample inputs, tensor subclasses and opaque objects, loads
compiled code, evaluates symbolic sizes as Python, compiles a function out of the names of
nodes, and looks up whatever dotted name a node calls. So the members of the archive are
checked before, against what `torch.export.save` writes for a plain network; anything else
is refused. The members come through the same reader that reads them afterwards.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from eyespot.saliency.errors import OriginalError, UnsafeOriginalError

_GRAPH = "models/model.json"
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_CONFIGS = {
    "data/weights/model_weights_config.json": re.compile(r"weight_\d+"),
    "data/constants/model_constants_config.json": re.compile(r"tensor_\d+"),
}
_MEMBER = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+|\.format_version|\.storage_alignment"
    r"|data/weights/(?:weight_\d+|model_weights_config\.json)"
    r"|data/constants/(?:tensor_\d+|model_constants_config\.json)"
    r"|data/sample_inputs/model\.pt|models/model\.json"
)
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!from_file)\w+\.\w+"
    r"|_operator\.(?:add|sub|mul|floordiv|truediv|mod|neg|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)
_NAME = re.compile(r"(?:[^\W\d]\w*)?", re.ASCII)
# A symbolic size: symbols such as s77, numbers, arithmetic, and sympy's names for them.
_SIZE_TOKEN = re.compile(
    r"\s|\b(?:[suz]\d+|\d+|Symbol|Integer|Add|Mul|positive|nonnegative|integer|True|False"
    r"|FloorDiv|CeilDiv|CleanDiv|Mod|PythonMod|Max|Min)\b|\*(?!\*)|[-+/(),='_]"
)
_CONTAINERS = {"builtins.tuple", "builtins.list", "builtins.dict", None}


def check_original(members: Sequence[str], read: Callable[[str], bytes]) -> None:
    """Check the members of an archive; runs nothing of what they hold.

    Args:
        members: names of all members, without the archive's root folder.
        read: gives the bytes of one of them.

    Raises:
        UnsafeOriginalError: reading it could run code.
        OriginalError: it is no captured program at all.
    """
    for member in members:
        if not _MEMBER.fullmatch(member):
            raise UnsafeOriginalError(f"holds {member!r}, which is neither weight nor graph")
    if _SAMPLE_INPUTS in members and read(_SAMPLE_INPUTS):
        raise UnsafeOriginalError(
            "holds pickled sample inputs; set the program's example_inputs to None and save it anew"
        )
    if _GRAPH not in members:
        raise OriginalError(f"holds no captured program: {_GRAPH} is missing")
    for name, payload in _CONFIGS.items():
        _check_payloads(_parse(read(name), name), payload)
    for value in _objects(_parse(read(_GRAPH), _GRAPH)):
        _check_object(value)


def _parse(raw: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise OriginalError(f"{name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise OriginalError(f"{name} is no JSON object")
    return value


def _check_payloads(config: dict[str, Any], payload: re.Pattern[str]) -> None:
    for name, entry in config.get("config", {}).items():
        if entry.get("use_pickle") is not False or not payload.fullmatch(entry["path_name"]):
            raise UnsafeOriginalError(f"holds {name!r} as a pickle, not as plain numbers")


def _check_object(value: dict[str, Any]) -> None:
    if value.get("guards_code"):
        raise UnsafeOriginalError("holds guards, which are Python code")
    for key in ("as_custom_obj", "as_operator"):
        if key in value:
            raise UnsafeOriginalError(f"holds an argument {key}, which is no tensor and no number")
    if "target" in value and "inputs" in value:
        target = value["target"]
        if not isinstance(target, str) or not _OPERATOR.fullmatch(target):
            raise UnsafeOriginalError(f"calls {target!r}, which is no ATen operator")
    name = value.get("name")
    if isinstance(name, str) and not _NAME.fullmatch(name):
        raise UnsafeOriginalError(f"holds the name {name!r}, which is no identifier")
    size = value.get("expr_str")
    if size is not None and (not isinstance(size, str) or _SIZE_TOKEN.sub("", size)):
        raise UnsafeOriginalError(f"holds {size!r} where a size is expected")
    for key in ("in_spec", "out_spec"):
        if isinstance(value.get(key), str):
            _check_tree(value[key])


def _check_tree(spec: str) -> None:
    try:
        tree = json.loads(spec) if spec else None
    except (ValueError, RecursionError) as error:
        raise OriginalError(f"a structure of inputs or outputs is not JSON: {error}") from error
    for value in _objects(tree):
        if value.get("type") not in _CONTAINERS:
            raise UnsafeOriginalError(f"takes or gives a {value['type']!r}, no plain container")


def _objects(value: object) -> Iterator[dict[str, Any]]:
    """Every JSON object in a value, at any depth."""
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict):
            yield current
            waiting.extend(current.values())
        elif isinstance(current, list):
            waiting.extend(current)
