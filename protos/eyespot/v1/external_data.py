"""External data: files beside an ONNX graph that hold its weights, and whether each may be read.

The graph is read off its bytes, without the onnx package, which a server does not have. Every
TensorProto counts, wherever it is: in initializers, sparse ones too, in attributes, subgraphs,
functions and training graphs. A runtime that looks at some of them only has been led out of the
model's folder through the others (CVE-2022-25882, CVE-2024-27318, CVE-2026-27489, CVE-2026-34446).
"""

from __future__ import annotations

import mmap
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

# By kind of message: the fields that lead to a tensor, and the kind of what they hold.
# Numbers are those of onnx.proto, IR version 13.
_LEADS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14  # of TensorProto
_KEY, _VALUE = 1, 2  # of StringStringEntryProto
_KEYS = ("location", "offset", "length", "checksum")

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10  # bytes


class ExternalDataError(ValueError):
    """A graph is no protobuf, or keeps weights where they must not be read."""


class ExternalTensor(NamedTuple):
    """A tensor whose numbers are said to lie in another file.

    Attributes:
        name: Of the tensor; it may be empty.
        entries: What the graph says of the place, such as ("location", "weights.bin").
    """

    name: str
    entries: tuple[tuple[str, str], ...]


def check_external_data(graph: Path) -> tuple[str, ...]:
    """Name the files that a graph keeps weights in, none of which leaves its folder.

    Args:
        graph: An ONNX file.

    Returns:
        Paths relative to the folder of the graph, each once.

    Raises:
        ExternalDataError: The file is no ONNX graph, or what it says of a tensor is not to be
            followed: a path out of its folder, a link, an unknown key, bytes beyond the file.
        OSError: The graph cannot be read.
    """
    found = {_check(tensor, graph.parent): None for tensor in read_external_tensors(graph)}
    return tuple(found)


def read_external_tensors(graph: Path) -> list[ExternalTensor]:
    """List the tensors of an ONNX file whose numbers lie elsewhere; weights are passed over.

    Raises:
        ExternalDataError: The file is no protobuf.
        OSError: It cannot be read.
    """
    with graph.open("rb") as file:
        if not graph.stat().st_size:
            raise ExternalDataError(f"{graph.name} is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return list(_walk(data))
            except ExternalDataError as error:
                raise ExternalDataError(f"{graph.name} is no ONNX graph: {error}") from error


def _walk(data: mmap.mmap) -> Iterator[ExternalTensor]:
    waiting = [("model", 0, len(data))]
    while waiting:
        kind, start, end = waiting.pop()
        if kind == "tensor":
            tensor = _tensor(data, start, end)
            if tensor is not None:
                yield tensor
            continue
        leads = _LEADS[kind]
        for number, wire_type, begin, stop in _fields(data, start, end):
            if wire_type == _BYTES and number in leads:
                waiting.append((leads[number], begin, stop))


def _tensor(data: mmap.mmap, start: int, end: int) -> ExternalTensor | None:
    """Read what a tensor says of another file; None if it says nothing of any."""
    name, entries, is_external = "", [], False
    for number, wire_type, begin, stop in _fields(data, start, end):
        if (number, wire_type) == (_NAME, _BYTES):
            name = _text(data, begin, stop)
        elif (number, wire_type) == (_EXTERNAL_DATA, _BYTES):
            entries.append(_entry(data, begin, stop))
        elif (number, wire_type) == (_DATA_LOCATION, _VARINT):
            is_external = _varint(data, begin, stop)[0] != 0
    return ExternalTensor(name, tuple(entries)) if is_external or entries else None


def _entry(data: mmap.mmap, start: int, end: int) -> tuple[str, str]:
    texts = {
        number: _text(data, begin, stop)
        for number, wire_type, begin, stop in _fields(data, start, end)
        if wire_type == _BYTES
    }
    return texts.get(_KEY, ""), texts.get(_VALUE, "")


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Give number, wire type, begin and end of each field of a message."""
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire_type = tag >> 3, tag & 7
        begin = at
        if wire_type == _VARINT:
            _, at = _varint(data, at, end)
        elif wire_type == _BYTES:
            length, begin = _varint(data, at, end)
            at = begin + length
        elif wire_type in _WIDTHS:
            at += _WIDTHS[wire_type]
        else:
            raise ExternalDataError(f"there is no wire type {wire_type} at byte {begin}")
        if at > end:
            raise ExternalDataError(f"a field at byte {begin} is longer than what holds it")
        yield number, wire_type, begin, at


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for count in range(_LONGEST_VARINT):
        if at + count >= end:
            break
        byte = data[at + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, at + count + 1
    raise ExternalDataError(f"a number at byte {at} has no end")


def _text(data: mmap.mmap, start: int, end: int) -> str:
    return data[start:end].decode("utf-8", "backslashreplace")


def _check(tensor: ExternalTensor, folder: Path) -> str:
    """Check what is said of one tensor, and name its file."""
    said = dict(tensor.entries)
    about = f"the weights of {tensor.name!r}"
    if not set(said) <= set(_KEYS) or len(said) < len(tensor.entries):
        keys = ", ".join(repr(key) for key, _ in tensor.entries)
        raise ExternalDataError(
            f"{about} have the keys {keys} in external_data: {', '.join(_KEYS)} are known, each "
            "once"
        )
    location = said.get("location", "")
    size = _size_of(folder, location, about)
    offset = _number(said.get("offset", "0"), "offset", about)
    length = _number(said.get("length", "0"), "length", about)
    if offset + length > size:
        raise ExternalDataError(
            f"{about} end at byte {offset + length} of {location!r}, which has {size}"
        )
    return PurePosixPath(location).as_posix()


def _size_of(folder: Path, location: str, about: str) -> int:
    """Tell the size of a file that lies within a folder, on a path without any link."""
    parts = PurePosixPath(location).parts
    if not parts or parts[0] == "/" or ".." in parts or "\\" in location or "\0" in location:
        raise ExternalDataError(
            f"{about} are in {location!r}, which is no path within the model's folder: save the "
            "model again with its data beside it"
        )
    path = folder
    try:
        for part in parts:
            path /= part
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                break
    except OSError as error:
        raise ExternalDataError(f"{about} are in {location!r}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise ExternalDataError(
            f"{about} are in {location!r}, which is a link or no file: what it leads to may lie "
            "anywhere; put a copy there"
        )
    return status.st_size


def _number(text: str, key: str, about: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 19:
        raise ExternalDataError(f"{about} have the {key} {text!r}, which is no number of bytes")
    return int(text)
