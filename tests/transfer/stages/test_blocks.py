"""What the blocks of a network are: expected names are read off the modules by hand."""

import pytest
import torch
from torch import nn

from eyespot.transfer import SettingsError
from eyespot.transfer.stages.blocks import chosen_blocks, find_blocks
from eyespot.zoo import create_model, model_entry


def blocks_of(name, *, head):
    network = create_model(name)
    return find_blocks(network, torch.zeros(1, *model_entry(name).input_size), head=head)


class Backwards(nn.Module):
    """Its children stand in the order opposite to that in which they are called."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 3)
        self.unused = nn.Conv2d(9, 9, 1)
        self.norm = nn.BatchNorm2d(2)
        self.second = nn.Conv2d(4, 2, 1)
        self.first = nn.Conv2d(1, 4, 1)

    def forward(self, x):
        return self.head(self.norm(self.second(self.first(x))).mean((2, 3)))


def test_the_order_is_that_of_execution_and_what_is_never_called_is_left_out():
    network = Backwards()
    blocks = find_blocks(network, torch.zeros(1, 1, 2, 2), head="head")
    assert [block.parts for block in blocks] == [("first",), ("second", "norm")]
    # 4 weights and 4 biases; 8 weights and 2 biases, and 2 scales and 2 shifts.
    assert [block.parameters for block in blocks] == [8, 14]
    assert [block.name for block in blocks] == ["first", "second to norm"]
    assert network.training
    assert not network.first._forward_pre_hooks


def test_stages_of_a_resnet():
    names = [block.name for block in blocks_of("resnet20", head="linear")]
    assert names == ["conv1 to bn1", "layer1", "layer2", "layer3"]


def test_a_sequence_that_holds_everything_is_opened_and_hidden_layers_join_the_last_block():
    network = nn.Module()
    network.features = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1))
    network.classifier = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 3))
    network.forward = lambda x: network.classifier(network.features(x).mean((2, 3)))
    blocks = find_blocks(network, torch.zeros(1, 1, 2, 2), head="classifier.1")
    assert [block.parts for block in blocks] == [("features.0",), ("features.2", "classifier.0")]


def test_parameters_of_what_was_opened_are_in_the_first_block():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.body = nn.Conv2d(1, 2, 1)
            self.head = nn.Linear(2, 2)

        def forward(self, x):
            return self.head(self.body(x * self.scale).mean((2, 3)))

    (block,) = find_blocks(Scaled(), torch.zeros(1, 1, 2, 2), head="head")
    assert block.parts == ("body", "scale")
    assert block.holds("scale")
    assert block.holds("body.weight")
    assert not block.holds("head.weight")


@pytest.mark.parametrize(
    ("unfreeze", "names"),
    [
        ("none", []),
        ("last-block", ["layer3"]),
        ("2", ["layer3", "layer2"]),
        (1, ["layer3"]),
        ("all", ["layer3", "layer2", "layer1", "conv1 to bn1"]),
    ],
)
def test_the_last_come_first(unfreeze, names):
    blocks = blocks_of("resnet20", head="linear")
    assert [block.name for block in chosen_blocks(blocks, unfreeze)] == names


@pytest.mark.parametrize(
    ("unfreeze", "message"),
    [
        ("5", r"5 blocks cannot be unfrozen: the network has 4 \(conv1 to bn1, layer1"),
        ("some", "unfreeze must be none, last-block, all or a number of blocks, found 'some'"),
        (-1, "found '-1'"),
    ],
)
def test_what_cannot_be_unfrozen_is_told(unfreeze, message):
    with pytest.raises(SettingsError, match=message):
        chosen_blocks(blocks_of("resnet20", head="linear"), unfreeze)


def test_a_network_without_known_parts_trains_its_head_alone():
    assert chosen_blocks((), "none") == ()
    with pytest.raises(SettingsError, match="nothing but its head can be trained"):
        chosen_blocks((), "last-block")
