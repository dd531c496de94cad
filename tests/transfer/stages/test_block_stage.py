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
from safetensors.torch import save_file
from tests.transfer.stages.conftest import RULE, make_examples, make_network

from eyespot.transfer import CheckpointError, DivergedError, InterruptedTrainingError, SettingsError
from eyespot.transfer.stages.block_stage import BlockSettings, CheckpointPlace, train_blocks
from eyespot.transfer.stages.machine import Machine
from eyespot.transfer.stages.measuring import logits_of, score
from eyespot.transfer.stages.objective import Objective
from eyespot.exporter.preprocessed import Preprocessed

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
    run(network, blocks[:1], settings={"epochs": 1})
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
    logits = logits_of(Preprocessed(network, RULE), make_examples(8, seed=1).images, machine=Machine())
    found = score(logits, make_examples(8, seed=1), Objective("classes", 2))
    assert found == result.best
    scores = [epoch.held_out for epoch in result.history]
    assert not any(each.beats(result.best) for each in scores)
    if result.best_epoch == 0:
        assert not changed(before, network.state_dict())


def test_what_is_kept_is_the_best_epoch_not_the_last(network, blocks):
    losses = iter([0.0, 0.1, 0.9, 0.2, 0.3])

    class Rigged(Objective):
        def right(self, logits, targets):
            if len(targets) == 8 and not torch.is_grad_enabled():
                pass
            return super().right(logits, targets)

    del losses
    result = run(network, blocks[:1], settings={"epochs": 6, "learning_rate": 0.3})
    best = max(result.history, key=lambda epoch: (epoch.held_out.accuracy, -epoch.held_out.loss))
    assert result.best == best.held_out
    assert result.best_epoch == best.number


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
    result = run(network, blocks, settings={"epochs": 10, "learning_rate": 0.05})
    assert result.best.accuracy >= 7 / 8
    assert result.history[-1].loss < result.history[0].loss


def test_a_kill_at_any_step_changes_nothing(tmp_path, blocks):
    """The process is killed, and started again until it ends: the weights are the same bits."""
    kill_at = random.randrange(1, 12)
    script = tmp_path / "train.py"
    script.write_text(_SCRIPT)
    words = [sys.executable, str(script), str(tmp_path / "checkpoint"), str(tmp_path / "end")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
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


_SCRIPT = '''
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
ours.run(network, blocks, settings={**ours.EVERYTHING, "epochs": 3}, checkpoint=place, progress=kill)
'''
