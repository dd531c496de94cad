"""SECURITY.md names the tests that hold its lines; each of them is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def _tests_of(file):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_every_test_that_is_named_is_there():
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", TEXT)
    assert len(named) > 30
    missing = [f"{file}::{test}" for file, test in named if test not in _tests_of(file)]
    assert missing == []


def test_every_line_that_holds_names_its_test():
    held = TEXT.partition("## What holds")[2].partition("## What does not hold")[0]
    lines = re.split(r"^- ", held, flags=re.MULTILINE)[1:]
    assert len(lines) > 15
    assert [line for line in lines if "::test_" not in line] == []
