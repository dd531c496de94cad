"""Dense flow: the warp and the loss by hand, and a flow that the loss alone finds."""

import pytest
import torch
from torch.nn import functional

from eyespot.zoo import ArchitectureError, create_model, model_entry
from eyespot.zoo.densenet_flow import charbonnier, unsupervised_loss, warp
from eyespot.zoo.fc_densenet import FCDenseNet


def moving_by(right, down, *, height=6, width=7):
    return (
        torch.tensor([right, down], dtype=torch.float32)
        .view(1, 2, 1, 1)
        .repeat(1, 1, height, width)
    )


def smooth_frame(height, width):
    noise = torch.randn(1, 3, height // 4 + 2, width // 4 + 2)
    return functional.interpolate(noise, (height, width), mode="bicubic")


def test_a_frame_that_moved_is_pulled_back():
    first = torch.rand(1, 3, 6, 7)
    second = torch.zeros_like(first)
    second[:, :, 1:, 2:] = first[:, :, :-1, :-2]  # two to the right, one down
    pulled = warp(second, moving_by(2, 1))
    torch.testing.assert_close(pulled[:, :, :-1, :-2], first[:, :, :-1, :-2])


def test_half_a_pixel_is_interpolated():
    frame = torch.tensor([[[[0.0, 1.0, 3.0]]]]).repeat(1, 1, 2, 1)
    assert warp(frame, moving_by(0.5, 0, height=2, width=3))[0, 0, 0].tolist() == [0.5, 2.0, 3.0]


def test_no_motion_changes_nothing():
    frame = torch.rand(2, 3, 6, 7)
    torch.testing.assert_close(warp(frame, torch.zeros(2, 2, 6, 7)), frame)


def test_the_penalty_by_hand():
    x = torch.tensor([-2.0, 0.0, 2.0])
    assert charbonnier(x).tolist() == pytest.approx([4.000001**0.45, 1e-6**0.45, 4.000001**0.45])


def test_the_true_flow_has_the_least_loss():
    torch.manual_seed(0)
    first = smooth_frame(20, 24)
    second = torch.roll(first, (1, 2), (2, 3))
    frames = torch.cat([first, second], 1)
    losses = {
        (right, down): unsupervised_loss(frames, moving_by(right, down, height=20, width=24))
        for right in range(5)
        for down in range(4)
    }
    assert min(losses, key=losses.get) == (2, 1)


def test_smoothness_counts_differences_of_neighbours():
    frames = torch.zeros(1, 6, 4, 4)
    even, uneven = moving_by(0, 0, height=4, width=4), torch.zeros(1, 2, 4, 4)
    uneven[0, 0, :, 2:] = 1.0  # one edge: a third of the differences along rows, in one of two
    rest = charbonnier(torch.zeros(())).item()
    step = charbonnier(torch.ones(())).item()
    assert unsupervised_loss(frames, even).item() == pytest.approx(3 * rest)
    expected = rest + 2.0 * (rest + rest * 5 / 6 + step / 6)
    assert unsupervised_loss(frames, uneven, smoothness=2.0).item() == pytest.approx(expected)


def test_what_leaves_the_picture_explains_nothing():
    frames = torch.rand(1, 6, 4, 4)
    flow = moving_by(100, 0, height=4, width=4)
    rest = charbonnier(torch.zeros(())).item()
    assert unsupervised_loss(frames, flow, smoothness=0).item() == 0
    assert unsupervised_loss(frames, flow).item() == pytest.approx(2 * rest)


def test_gradients_of_the_loss_train_a_network():
    torch.manual_seed(0)
    first = smooth_frame(16, 16)
    frames = torch.cat([first, torch.roll(first, 1, 3)], 1)
    network = FCDenseNet((1, 1), growth=4, num_classes=2, in_channels=6)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    losses = []
    for _ in range(30):
        loss = unsupervised_loss(frames, network(frames), smoothness=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_two_frames_in_and_a_flow_out():
    with torch.device("meta"):
        network = create_model("densenet_flow")
        grey = create_model("densenet_flow", in_channels=2)
    assert tuple(network(torch.empty(1, 6, 64, 97, device="meta")).shape) == (1, 2, 64, 97)
    assert tuple(grey(torch.empty(1, 2, 64, 97, device="meta")).shape) == (1, 2, 64, 97)
    assert model_entry("densenet_flow").task == "flow"


def test_what_is_no_flow_is_refused():
    with pytest.raises(ArchitectureError, match="2 components, found num_classes 3"):
        create_model("densenet_flow", num_classes=3)
    with pytest.raises(ArchitectureError, match="even number of channels, found in_channels 3"):
        create_model("densenet_flow", in_channels=3)
