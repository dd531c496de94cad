"""What the README shows is what works."""

import argparse
import importlib
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eyespot.cli.main import SUBCOMMANDS
from eyespot.exporter import export
from eyespot.v1.preprocessing import PreprocessingRule

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS = [
    line.split("#")[0].strip()
    for language, block in BLOCKS
    for line in block.splitlines()
    if language == "" and line.startswith("eyespot ")
]
EXPORT, TRITON, ASK = [block for language, block in BLOCKS if language == "python"]


def test_the_readme_shows_the_main_commands():
    shown = {command.split()[1] for command in COMMANDS}
    assert {"models", "export", "inspect", "check", "serve", "infer", "explain", "status"} <= shown


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_line_of_the_readme_is_understood(command):
    _, name, *arguments = shlex.split(command)
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(SUBCOMMANDS[name].module).add_arguments(parser)
    parser.parse_args(arguments)


def test_the_export_of_the_readme_runs(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", EXPORT], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "max rel diff" in ran.stdout
    assert (tmp_path / "repository" / "tiny" / "1" / "model.onnx").exists()


def test_the_questions_of_the_readme_are_answered(tmp_path):
    rule = PreprocessingRule((32, 32), None, "bilinear", "RGB", (0.5,) * 3, (0.5,) * 3)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 32), torch.nn.Flatten())
    labels = ["daisy", "dandelion", "roses", "sunflowers", "tulips"]
    export(
        module,
        torch.zeros(1, 3, 32, 32),
        repository=tmp_path / "repository",
        name="flowers",
        preprocessing=rule,
        labels=labels,
    )
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cat.jpg")
    server = subprocess.Popen(
        [sys.executable, "-m", "eyespot.cli", "serve", "repository",
         "--port", "0", "--port-file", "port"], cwd=tmp_path,
    )  # fmt: skip
    try:
        while not (tmp_path / "port").exists():
            assert server.poll() is None, "the server ended before it served"
            time.sleep(0.05)
        address = f"127.0.0.1:{(tmp_path / 'port').read_text().strip()}"
        program = ASK.replace("127.0.0.1:8001", address)
        assert address in program
        ran = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        lines = ran.stdout.splitlines()
        assert {line.split()[0] for line in lines[:3]} <= set(labels)
        assert lines[-1] == "100%"
        assert len(lines) > 3
        with Image.open(tmp_path / "why.png") as picture:
            assert picture.width >= 60
        program = TRITON.replace("127.0.0.1:8001", address)
        assert address in program
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert len(ran.stdout.strip("[] \n").split()) == 5
    finally:
        server.terminate()
        assert server.wait(timeout=300) == 0
