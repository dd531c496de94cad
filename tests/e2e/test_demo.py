"""The whole demo as a user runs it; the training is the real one, a few seconds of one core."""

import re
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.e2e.conftest import processes_about, start

from eyespot.saliency import METHODS

# /proc tells which processes are left behind.
pytestmark = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")


@dataclass(frozen=True)
class Demo:
    folder: Path
    exit_code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work") / "demo"
    process = start("demo", "--output", folder, cwd=folder.parent)
    out, err = process.communicate()
    return Demo(folder, process.returncode, out, err)


def test_it_ends_well(demo):
    assert demo.exit_code == 0, demo.err
    assert "the server has ended with exit code 0" in demo.out


def test_the_network_is_right_about_98_percent_and_served_as_well_as_trained(demo):
    shares = re.findall(r"([\d.]+)% (?:right on|served|in PyTorch)", demo.out)
    assert len(shares) == 3
    assert len(set(shares)) == 1
    assert float(shares[0]) >= 98.0
    assert "the answers to all 360 are the same" in demo.out


def test_the_parity_report_and_the_speed_are_shown(demo):
    assert re.search(r"random +32 +logits +[\d.e-]+ +[\d.e-]+ +1$", demo.out, re.MULTILINE)
    assert re.search(r"[\d,]+ images/s from 360 requests at once", demo.out)


def test_progress_is_told_of_what_takes_long(demo):
    for what in ("loading PyTorch", "epoch ", "capturing", "starting the server", "explaining"):
        assert what in demo.err


def test_every_command_line_is_on_the_screen(demo):
    commands = re.findall(r"^\$ (?:\S*/)?eyespot ([\w-]+)", demo.out, re.MULTILINE)
    assert commands == [
        "train", "export", "serve", "evaluate-saliency", "serve", "status", "infer", "explain",
        "explain",
    ]  # fmt: skip


def test_the_contact_sheet_has_ten_pairs_in_two_rows(demo):
    with Image.open(demo.folder / "contact-sheet.png") as sheet:
        assert sheet.format == "PNG"
        # Five pairs of two tiles of 128 pixels, four gaps, two margins.
        assert sheet.width == 5 * 256 + 4 * 28 + 2 * 32
        colors = sheet.convert("RGB").getcolors(maxcolors=1 << 24)
    assert len([color for _, color in colors if max(color) - min(color) > 60]) > 50


def test_methods_are_called_as_the_command_line_takes_them(demo):
    called = re.findall(r"explaining them by (.+)", demo.err)
    assert len(called) == 5
    assert set(called) <= set(METHODS)


def test_five_methods_stand_side_by_side_for_each_digit(demo):
    with Image.open(demo.folder / "methods-sheet.png") as sheet:
        # Under a head of 76 and the columns' 26: ten tiles of 128 pixels and their gaps.
        tiles = np.asarray(sheet.convert("RGB"))[76 + 26 : 76 + 26 + 10 * 136, -32 - 6 * 136 : -32]
    columns = [tiles[:, 136 * number : 136 * number + 128] for number in range(6)]
    for number, column in enumerate(columns):
        assert not any((column == other).all() for other in columns[:number])


def test_faithfulness_is_measured_and_better_than_chance(demo):
    deletion = {
        found[0].strip(): float(found[1])
        for found in re.findall(r"^([a-z_ ]+?)  +([\d.]+) ", demo.out, re.MULTILINE)
    }
    for method in ("saliency", "guided_backprop", "integrated_gradients"):
        assert deletion[method] < deletion["random pixels"]
    with Image.open(demo.folder / "digits-faithfulness.png") as picture:
        assert picture.format == "PNG"


def test_the_pictures_are_there_to_be_asked_about(demo):
    assert len(list((demo.folder / "pictures").glob("[0-9]-[0-9]*.png"))) == 360


def test_no_server_is_left(demo):
    assert processes_about(demo.folder) == []


def test_a_second_run_uses_what_is_there(demo):
    made = [
        demo.folder / "lenet5_modern.safetensors",
        *(demo.folder / "repository" / "digits").rglob("*.*"),
    ]
    before = {path: path.stat().st_mtime_ns for path in made}
    process = start("demo", "--output", demo.folder, cwd=demo.folder.parent)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert {path: path.stat().st_mtime_ns for path in made} == before
    assert out.count("is there already") == 2
    assert "parity with the PyTorch original" in out
    assert "the answers to all 360 are the same" in out


def test_new_weights_are_exported_again(demo, tmp_path):
    folder = tmp_path / "demo"
    shutil.copytree(demo.folder, folder)
    (folder / "lenet5_modern.safetensors").unlink()
    # One epoch: right or wrong, what is served must be what was trained just now.
    process = start("demo", "--output", folder, "--epochs", "1", cwd=tmp_path)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "exported digits version 2" in out
    assert "the answers to all 360 are the same" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_no_server(number, demo, tmp_path):
    folder = tmp_path / "demo"
    shutil.copytree(demo.folder, folder)
    process = start("demo", "--output", folder, cwd=tmp_path)
    _wait_until(lambda: len(processes_about(folder)) == 2, process)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    assert processes_about(folder) == []


def _wait_until(is_so, process):
    while not is_so():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
