"""Stage 2 on a network of a few weights: what learns, what does not, and what is kept."""

import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.transfer.stages.conftest import RULE, make_examples, make_network

from eyespot.exporter.preprocessed import Preprocessed
from eyespot.transfer import (
    CheckpointError,
    DivergedError,
    InterruptedTrainingError,
    SettingsError,
)
from eyespot.transfer.stages.block_stage import BlockSettings, CheckpointPlace, train_blocks
from eyespot.transfer.stages.machine import Machine
from eyespot.transfer.stages.measuring import logits_of, score
from eyespot.transfer.stages.objective import Objective

QUICK = {"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, "augmentation": "gentle"}
EVERYTHING = {"mixup": 0.3, "ema": 0.5, "gradual": True}


def run(network, blocks, **options):
    settings = BlockSettings(**{**QUICK, **options.pop("settings", {})})
    return train_blocks(
        network,
        options.pop("examples", make_examples(14)),
        held_out=make_examples(8, seed=1),
        rule=RULE,
        head="head",
        blocks=blocks,
        objective=options.pop("objective", Objective("classes", 2)),
        settings=settings,
        **options,
    )


def state_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def measured(network):
    """The score on what is held out, of the network as it is."""
    held_out = make_examples(8, seed=1)
    logits = logits_of(Preprocessed(network, RULE), held_out.images, machine=Machine())
    return score(logits, held_out, Objective("classes", 2))


def changed(before, after):
    return {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(
    ("count", "names"),
    [(0, {"head"}), (1, {"another", "head"}), (2, {"last", "another", "head"})],
)
def test_only_the_named_blocks_differ_afterwards(count, names, network, blocks):
    before = state_of(network)
    result = run(network, blocks[:count])
    assert result.best_epoch > 0
    assert changed(before, network.state_dict()) == names


def test_batch_norm_keeps_its_statistics_in_a_block_that_learns(network, blocks):
    before = state_of(network)
    run(network, blocks)
    after = network.state_dict()
    statistics = [name for name in before if "running" in name or "tracked" in name]
    assert len(statistics) == 9
    assert all(torch.equal(before[name], after[name]) for name in statistics)
    assert changed(before, after) == {"stem", "middle", "last", "another", "head"}


def test_the_network_is_in_its_modes_and_asks_for_its_gradients_as_before(network, blocks):
    network.train()
    network.middle.eval()
    network.stem[0].weight.requires_grad_(False)
    gradients = []

    def note(progress):
        gradients.append(
            {name for name, value in network.named_parameters() if value.requires_grad}
        )

    run(network, blocks[:1], settings={"epochs": 1}, progress=note)
    assert gradients[0] == {"another.weight", "another.bias", "head.weight", "head.bias"}
    assert network.training
    assert network.last.training
    assert not network.middle.training
    flags = {name: value.requires_grad for name, value in network.named_parameters()}
    assert [name for name in flags if not flags[name]] == ["stem.0.weight"]
    assert all(value.grad is None for value in network.parameters())


def test_it_never_ends_worse_than_it_began(network, blocks):
    before = state_of(network)
    # So high a rate that every epoch is worse than what came in, or luckily better.
    result = run(network, blocks, settings={"learning_rate": 30.0})
    assert measured(network) == result.best
    scores = [epoch.held_out for epoch in result.history]
    assert not any(each.beats(result.best) for each in scores)
    if result.best_epoch == 0:
        assert not changed(before, network.state_dict())


def test_what_is_kept_is_the_best_epoch_not_the_last(network, blocks):
    settings = {"epochs": 6, "learning_rate": 0.2, "mixup": 2.0, "augmentation": "natural"}
    result = run(network, blocks[:1], settings=settings)
    best = max(result.history, key=lambda epoch: (epoch.held_out.accuracy, -epoch.held_out.loss))
    assert result.best == best.held_out
    assert result.best_epoch == best.number
    assert best.held_out.beats(result.history[-1].held_out)  # or the test would prove nothing
    assert measured(network) == result.best


def test_one_seed_gives_one_network_whatever_the_workers(blocks):
    def trained(seed, workers):
        network = make_network()
        settings = {**EVERYTHING, "seed": seed, "epochs": 2}
        run(network, blocks, settings=settings, machine=Machine(workers=workers))
        return network.state_dict()

    torch.manual_seed(9)
    first = trained(1, 0)
    torch.manual_seed(8)
    assert not changed(first, trained(1, 1))
    assert changed(first, trained(2, 0))


def test_it_learns(network, blocks):
    result = run(network, blocks, settings={"epochs": 8, "learning_rate": 0.02})
    assert result.best.accuracy == 1
    assert result.history[-1].loss < result.history[0].loss


def test_the_average_of_the_weights_is_what_is_measured_and_kept(network, blocks):
    plain, averaged = make_network(), network
    run(plain, blocks[:1], settings={"epochs": 1})
    result = run(averaged, blocks[:1], settings={"epochs": 1, "ema": 0.9})
    assert changed(plain.state_dict(), averaged.state_dict()) == {"another", "head"}
    assert measured(averaged) == result.best


def test_progress_counts_steps_and_time_down(network, blocks):
    told = []
    run(network, blocks[:1], settings={"epochs": 2}, progress=told.append)
    assert [(each.epoch, each.step) for each in told] == [
        (epoch, step) for epoch in (1, 2) for step in (1, 2, 3, 4)
    ]
    assert told[0].seconds_left > told[-1].seconds_left == 0


def test_a_loss_that_is_no_number_ends_it_at_a_step_and_the_checkpoint_is_sound(
    network, blocks, tmp_path
):
    steps = []

    class Broken(Objective):
        def loss(self, logits, targets):
            if logits.requires_grad:
                steps.append(1)
            return super().loss(logits, targets) * (math.nan if len(steps) == 6 else 1)

    place = CheckpointPlace(tmp_path / "checkpoint", {}, seconds=0)
    with pytest.raises(DivergedError) as raised:
        run(network, blocks, objective=Broken("classes", 2), checkpoint=place)
    assert str(raised.value) == (
        f"the loss is nan at step 2 of 4 in epoch 2: the last good checkpoint is {place.path}; "
        "try a learning rate below 0.01"
    )
    with safe_open(place.path, framework="pt") as file:
        assert json.loads(file.metadata()["state"])["step"] == 1
        assert all(value.isfinite().all() for value in load_file(place.path).values())


def test_a_gradient_that_is_no_number_ends_it_before_the_step(network, blocks):
    class Steep(Objective):
        def loss(self, logits, targets):
            return (logits * 0).sqrt().sum()  # 0, with an infinite slope

    before = state_of(network)
    with pytest.raises(DivergedError, match="the gradient is nan at step 1 of 4 in epoch 1"):
        run(network, blocks, objective=Steep("classes", 2))
    assert not changed(before, network.state_dict())


def test_ctrl_c_writes_a_checkpoint_and_says_where(network, blocks, tmp_path):
    place = CheckpointPlace(tmp_path / "checkpoint", {}, seconds=math.inf)

    def interrupt(progress):
        if (progress.epoch, progress.step) == (2, 3):
            signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedTrainingError, match=r"in epoch 2 after step 3 of 4: .*resume"):
        run(network, blocks, checkpoint=place, progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    again, expected = make_network(), make_network()
    run(again, blocks, checkpoint=CheckpointPlace(place.path, {}, resume=True))
    run(expected, blocks)
    assert not changed(expected.state_dict(), again.state_dict())


def test_a_full_disk_leaves_the_last_good_checkpoint(network, blocks, tmp_path):
    place = CheckpointPlace(tmp_path / "checkpoint", {}, seconds=0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(progress):
        if progress.step == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))

    try:
        with pytest.raises(CheckpointError, match=r"checkpoint cannot be written: .*[Ff]ile too"):
            run(network, blocks, checkpoint=place, progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    again, expected = make_network(), make_network()
    run(again, blocks, checkpoint=CheckpointPlace(place.path, {}, resume=True))
    run(expected, blocks)
    assert not changed(expected.state_dict(), again.state_dict())


def test_another_training_is_not_taken_up(network, blocks, tmp_path):
    path = tmp_path / "checkpoint"
    run(network, blocks, checkpoint=CheckpointPlace(path, {"seed": 1, "data": "ab"}))
    other = CheckpointPlace(path, {"seed": 2, "data": "ab"}, resume=True)
    with pytest.raises(
        CheckpointError, match=r"another training \(seed was 1, is 2\): resume with"
    ):
        run(network, blocks, checkpoint=other)


@pytest.mark.parametrize("content", [b"", b"half a file", None])
def test_what_is_no_checkpoint_is_told(content, network, blocks, tmp_path):
    path = tmp_path / "checkpoint"
    if content is None:
        save_file({"a": torch.zeros(1)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint (cannot be read|is no checkpoint)"):
        run(network, blocks, checkpoint=CheckpointPlace(path, {}, resume=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"decay": -1.0},
        {"ema": 1.0},
        {"mixup": -1.0},
        {"augmentation": "wild"},
    ],
)
def test_impossible_settings_are_named(wrong, network, blocks):
    name = next(iter(wrong)).removesuffix("ation")
    with pytest.raises(SettingsError, match=f"{name}.* must"):
        run(network, blocks, settings=wrong)


def test_a_kill_at_any_step_changes_nothing(tmp_path, blocks):
    """The process is killed, and started again until it ends: the weights are the same bits."""
    kill_at = random.randrange(1, 12)
    script = tmp_path / "train.py"
    script.write_text(_SCRIPT)
    words = [sys.executable, str(script), str(tmp_path / "checkpoint"), str(tmp_path / "end")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path]),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),  # sums of more are in another order
    }
    killed = subprocess.run([*words, str(kill_at)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL, f"not killed at {kill_at}"
    network = make_network()
    settings = {**EVERYTHING, "epochs": 3}
    place = CheckpointPlace(tmp_path / "checkpoint", {"seed": 0}, seconds=0, resume=True)
    resumed = run(network, blocks, settings=settings, checkpoint=place)
    expected_network = make_network()
    expected = run(expected_network, blocks, settings=settings)
    assert not changed(expected_network.state_dict(), network.state_dict()), kill_at
    assert [epoch.held_out for epoch in resumed.history] == [
        epoch.held_out for epoch in expected.history
    ]
    assert [epoch.loss for epoch in resumed.history] == [epoch.loss for epoch in expected.history]


_SCRIPT = """
import os, signal, sys
import torch
from tests.transfer.stages.conftest import make_network
from tests.transfer.stages import test_block_stage as ours
from eyespot.transfer.stages.block_stage import CheckpointPlace
from eyespot.transfer.stages.blocks import find_blocks
from pathlib import Path

network, steps = make_network(), 0
blocks = tuple(reversed(find_blocks(network, torch.zeros(1, 1, 6, 6), head="head")))

def kill(progress):
    global steps
    steps += 1
    if steps == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

place = CheckpointPlace(Path(sys.argv[1]), {"seed": 0}, seconds=0, resume=True)
settings = {**ours.EVERYTHING, "epochs": 3}
ours.run(network, blocks, settings=settings, checkpoint=place, progress=kill)
"""
