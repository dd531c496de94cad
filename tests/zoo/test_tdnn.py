"""The time-delay network against its paper."""

import pytest
import torch

from eyespot.zoo import create_model


def test_parameters_are_the_papers():
    counts = {name: tuple(p.shape) for name, p in create_model("tdnn").named_parameters()}
    assert counts == {
        "hidden1.weight": (8, 16, 3),  # 384
        "hidden1.bias": (8,),
        "hidden2.weight": (3, 8, 5),  # 120
        "hidden2.bias": (3,),
    }


def test_layers_have_the_papers_frames():
    network = create_model("tdnn")
    frames = {}
    for name, layer in network.named_children():
        layer.register_forward_hook(
            lambda _m, _i, output, name=name: frames.update({name: tuple(output.shape[1:])})
        )
    network(torch.zeros(1, 16, 15))
    assert frames == {"hidden1": (8, 13), "hidden2": (3, 9)}


def test_the_output_is_the_sum_of_sigmoids_over_time():
    network = create_model("tdnn", num_classes=2, in_channels=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.hidden2.bias.copy_(torch.tensor([0.0, 1.0]))
        # The first hidden unit sees the newest frame alone, the first class its present state.
        network.hidden1.weight[0, 0, 2] = 1.0
        network.hidden2.weight[0, 0, 4] = 2.0
    x = torch.linspace(-2, 2, 15)[None, None]
    first = torch.sigmoid(2 * torch.sigmoid(x[0, 0, 6:])).sum()
    second = 9 / (1 + torch.exp(torch.tensor(-1.0)))
    torch.testing.assert_close(network(x)[0], torch.stack([first, second]))


def test_a_shifted_phoneme_is_the_same_phoneme():
    network = create_model("tdnn")
    phoneme = torch.randn(16, 15)
    rows = torch.zeros(3, 16, 40)
    for row, beginning in zip(rows, (6, 13, 19), strict=True):
        row[:, beginning : beginning + 15] = phoneme
    early, middle, late = network(rows)
    torch.testing.assert_close(early, middle)
    torch.testing.assert_close(early, late)
    assert not torch.allclose(network(rows.flip(2))[0], early)  # but time has a direction


def test_each_frame_more_adds_its_evidence():
    network = create_model("tdnn")
    x = torch.randn(2, 16, 30)
    # Of the 24 windows of seven frames, the first 15 lie in 21 frames, and the other 9 begin later.
    whole = network(x)
    parts = network(x[:, :, :21]) + network(x[:, :, 15:])
    torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize("frames", [15, 16, 100])
def test_a_captured_program_takes_any_number_of_frames(frames):
    network = create_model("tdnn")
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time", min=15)
    program = torch.export.export(
        network, (torch.randn(2, 16, 20),), dynamic_shapes=({0: batch, 2: time},)
    )
    x = torch.randn(3, 16, frames)
    assert torch.equal(program.module()(x), network(x))
