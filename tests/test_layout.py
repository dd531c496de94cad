"""The walls of the house: where things are, and what an import must not drag in."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOTS = ["protos", "exporter", "server", "clients/python"]
LEAVES = sorted(
    path
    for root in ROOTS
    for path in (ROOT / root / "eyespot").iterdir()
    if path.name[0] not in "_."
)


def tracked_files():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [Path(line) for line in listed.stdout.splitlines() if (ROOT / line).exists()]


@pytest.mark.parametrize("root", ROOTS)
def test_the_namespace_has_no_init(root):
    assert (ROOT / root / "eyespot").is_dir()
    assert not (ROOT / root / "eyespot" / "__init__.py").exists()


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda path: path.name)
def test_each_leaf_is_typed_and_has_a_face(leaf):
    assert (leaf / "py.typed").is_file()
    assert (leaf / "__init__.py").is_file()


def test_the_leaves_are_the_rooms_of_the_house():
    assert sorted(leaf.name for leaf in LEAVES) == sorted(
        ["v1", "zoo", "exporter", "transfer", "server", "saliency", "client", "cli"]
    )


def test_the_top_level_is_the_one_agreed_on():
    folders = {path.parts[0] for path in tracked_files() if len(path.parts) > 1}
    assert folders == {
        ".ci", "benchmarks", "clients", "docs", "exporter", "protos", "server", "tests",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("eyespot.client", ["torch", "onnxruntime", "onnx", "sklearn", "rich"]),
        ("eyespot.cli.main", ["torch", "onnxruntime", "onnx", "sklearn", "grpc"]),
        ("eyespot.server", ["torch", "onnx"]),
        ("eyespot.server.app", ["torch", "onnx"]),
        ("eyespot.saliency", ["torch", "onnxruntime"]),
    ],
)
def test_an_import_does_not_drag_in(module, absent):
    program = f"import sys, {module}; print(*[name for name in {absent} if name in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == []


# Moments that are told to people; nothing waits for them.
TOLD_MOMENTS = {
    "server/eyespot/server/spans.py",
    "server/eyespot/server/statistics.py",
    "server/eyespot/server/supervisor.py",
}


def test_nothing_that_waits_looks_at_a_clock_that_can_be_set():
    wall_clock = re.compile(r"\btime\.(time|time_ns|localtime)\(|\b(now|utcnow|today)\(")
    rooms = ("server/eyespot/server", "server/eyespot/saliency", "clients/python/eyespot/client")
    found = {
        str(path)
        for path in tracked_files()
        if str(path).startswith(rooms) and wall_clock.search((ROOT / path).read_text())
    }
    assert found == TOLD_MOMENTS


ROOMS = {
    str(package.parent.relative_to(ROOT))
    for leaf in LEAVES
    for package in leaf.rglob("__init__.py")
}


def _block(file, heading):
    """The first code block behind a heading."""
    block = re.search(rf"{heading}\n.*?```\n(.*?)```", (ROOT / file).read_text(), re.DOTALL)
    assert block is not None, f"{file} has no map"
    return block.group(1).splitlines()


def test_the_rooms_of_the_readme_are_those_of_the_tree():
    named = [line.split()[0].rstrip("/") for line in _block("README.md", "## What is where")]
    assert sorted(named) == sorted(ROOMS)


def test_the_map_equals_the_tree():
    mapped = _paths_of(_block("docs/map.md", "# The map"))
    in_tree = {
        str(path)
        for path in tracked_files()
        if str(path.parent) in ROOMS
        and path.suffix in {".py", ".proto"}
        and not path.stem.endswith("_pb2")
        and path.stem not in {"__init__", "__main__"}
    }
    assert mapped == in_tree


def _paths_of(lines):
    """A line that ends its first word in "/" opens a room; the others name its files."""
    found, room = set(), ""
    for line in lines:
        word = line.split()[0] if line.split() else ""
        if word.endswith("/"):
            room = word
        elif word:
            found.add(room + word)
    return found
