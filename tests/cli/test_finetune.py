import signal

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from eyespot.cli.finetune_progress import StageTeller, stage_text
from eyespot.transfer.stages import Progress

SMALL = ("--backbone", "lenet5_modern", "--channels", "1", "--head-epochs", "3", "--epochs", "1")


@pytest.fixture
def sky(tmp_path):
    """Six pictures of either class, and one that is none."""
    for name, color in (("day", 200), ("night", 5)):
        (tmp_path / "sky" / name).mkdir(parents=True)
        for number in range(6):
            picture = Image.new("L", (9, 9), color + number)
            picture.save(tmp_path / "sky" / name / f"{number}.png")
    (tmp_path / "sky" / "day" / "notes.txt").write_text("cloudy")
    return tmp_path / "sky"


def test_it_leaves_a_folder_whose_recipe_gives_the_same_again(run, sky, tmp_path):
    folder, again = tmp_path / "first", tmp_path / "again"
    words = ("finetune", sky, *SMALL, "--method", "linear-probe", "--no-export")
    first = run(*words, "--seed", "3", "--folder", folder, "--json")
    assert first.code == 0, first.err
    assert "skipped day/notes.txt" in first.err
    assert "its blocks are conv1, conv2 to fc2" in first.err
    assert "the backbone's weights are random: --weights gives it trained ones" in first.err
    assert "gives way" not in first.err
    assert {path.name for path in folder.iterdir()} == {
        "features",
        "metrics.json",
        "recipe.toml",
        "report.html",
        "weights.safetensors",
    }
    second = run(
        *("finetune", sky, "--config", folder / "recipe.toml", "--folder", again, "--no-export"),
        "--json",
    )
    assert second.code == 0, second.err
    assert second.json["recipe"] == first.json["recipe"]
    assert second.json["recipe"]["seed"] == 3
    assert second.json["metrics"] == first.json["metrics"]
    weights = [(each / "weights.safetensors").read_bytes() for each in (folder, again)]
    assert weights[0] == weights[1]
    with safe_open(folder / "weights.safetensors", framework="pt") as file:
        assert file.metadata() == {"labels": '["day", "night"]'}


def test_ctrl_c_is_told_and_taken_up(run, sky, tmp_path, monkeypatch):
    # The report has a test of its own, and takes the longest.
    monkeypatch.setattr("eyespot.transfer.stages.report_of", lambda tuned, title: None)
    monkeypatch.setattr("eyespot.transfer.write_report", lambda report, folder: None)
    words = ("finetune", sky, *SMALL, "--batch-size", "5", "--no-export")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(*words, "--folder", whole).code == 0

    def interrupting(self, progress):
        if (progress.stage, progress.step) == ("blocks", 1):
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(StageTeller, "__call__", interrupting)
        ran = run(*words, "--folder", parts)
    assert ran.code == 130
    assert "interrupted in epoch 1 after step 1 of 2" in ran.err
    assert "run the same command with --resume" in ran.err
    assert (parts / "checkpoint.safetensors").exists()
    other = run(*words, "--folder", parts, "--resume", "--seed", "9")
    assert other.code == 1
    assert "seed was 0, is 9" in other.err
    threads = torch.get_num_threads()
    other = run(*words, "--folder", parts, "--resume", "--threads", threads + 1)
    torch.set_num_threads(threads)
    assert f"threads was {threads}, is {threads + 1}" in other.err
    resumed = run(*words, "--folder", parts, "--resume")
    assert resumed.code == 0, resumed.err
    assert not (parts / "checkpoint.safetensors").exists()
    found = [(each / "weights.safetensors").read_bytes() for each in (whole, parts)]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "give --output REPOSITORY to export to, or --no-export"),
        (("--output", "{sky}/day/0.png"), 1, "0.png cannot be written"),
        (("--no-export", "--method", "magic"), 1, "method must be one of linear-probe, head"),
        (("--no-export", "--unfreeze", "7"), 1, "7 blocks cannot be unfrozen: the network has 2"),
        (("--no-export", "--config", "nowhere.toml"), 1, "nowhere.toml is no recipe: "),
        (("--no-export", "--weights", "nowhere.pt"), 1, "nowhere.pt"),
        (("--no-export", "--precision", "int4"), 1, "precision must be one of auto, float32"),
        (("--no-export", "--epochs", "0", "--method", "full"), 1, "epochs must be at least 1"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_trained(words, code, message, run, sky, tmp_path):
    words = [word.format(sky=sky) for word in words]
    ran = run("finetune", sky, *SMALL, *words, "--folder", tmp_path / "folder")
    assert ran.code == code
    assert message in ran.err
    assert "stage 1" not in ran.err


def test_a_step_is_told_every_two_seconds_and_the_first_of_a_stage():
    now, told = 0.0, []
    teller = StageTeller(told.append, clock=lambda: now)
    steps = [(0.1, "features", 1), (1.0, "features", 2), (2.2, "features", 3), (2.3, "head", 1)]
    for now, stage, step in steps:  # noqa: B007
        teller(Progress(stage, step=step, steps=9))
    assert told == [
        "1 of 9 pictures through the backbone",
        "3 of 9 pictures through the backbone",
        "1 of 9 stage 1, the head",
    ]


def test_a_step_tells_loss_accuracy_and_time_left():
    step = Progress("blocks", 3, 8, epoch=2, epochs=5, loss=0.5, accuracy=0.75, seconds_left=300)
    assert stage_text(step) == (
        "stage 2, unfrozen blocks: epoch 2 of 5, step 3 of 8, loss 0.5, 75.0% right, 5 min left"
    )
