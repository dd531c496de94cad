"""Random weights that prove something: what is moved, what is left, and what is refused."""

import pytest
import torch
from torch import nn

from eyespot.zoo import DeadNetworkError, check_is_alive, enliven


class Plain(nn.Module):
    """Layers of each kind, one of them deaf and one frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.loud = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.faint = nn.Conv2d(8, 8, 1)
        self.usual = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.frozen = nn.Conv2d(8, 8, 1)
        self.frozen.requires_grad_(False)
        self.head = nn.Linear(8, 5)
        with torch.no_grad():
            self.loud.weight.mul_(1e6)
            self.faint.weight.mul_(1e-6)
            for layer in (self.loud, self.faint, self.usual, self.frozen, self.head):
                layer.bias.zero_()

    def forward(self, x):
        x = torch.relu(self.norm(self.loud(x)))
        x = torch.relu(self.usual(self.faint(x)))
        return self.head(self.frozen(x).mean((2, 3)))


def build():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Plain().eval()


def pictures(seed=2):
    return torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_nothing_trainable_stays_at_its_default_and_the_frozen_does():
    before, network = build(), build()
    enliven(network, [pictures()], seed=0)
    moved = {
        name: not torch.equal(value, network.state_dict()[name])
        for name, value in before.state_dict().items()
    }
    left = {name for name, is_moved in moved.items() if not is_moved}
    assert left == {
        "usual.weight",
        "frozen.weight",
        "frozen.bias",
        "norm.num_batches_tracked",
    }


def test_the_signal_is_neither_faint_nor_loud():
    network = build()
    x = pictures()
    enliven(network, [x], seed=0)
    with torch.no_grad():
        assert 0.5 < network.loud(x).std() < 2
        normed = network.norm(network.loud(x))
        # Normalised but for what is drawn: a tenth of shift, a gain of a quarter, both twice.
        assert normed.mean((0, 2, 3)).abs().max() < 1
        assert 0.4 < normed.std((0, 2, 3)).min() < normed.std((0, 2, 3)).max() < 1.7
        assert 0.5 < network.faint(torch.relu(normed)).std() < 2
        assert check_is_alive(network(pictures(seed=9))) > 0.01


def test_the_running_statistics_are_those_of_the_signal():
    network = nn.Sequential(nn.BatchNorm2d(3)).eval()
    x = pictures() * torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1) + 5
    enliven(network, [x], seed=0)
    norm = network[0]
    variance = x.var((0, 2, 3), correction=0)
    assert torch.all((norm.running_mean - x.mean((0, 2, 3))).abs() < 0.4 * variance.sqrt())
    assert torch.all(norm.running_var / variance > 0.75)
    assert torch.all(norm.running_var / variance < 1.25)


def test_what_is_drawn_follows_the_seed_and_leaves_no_hook():
    first, same, other = build(), build(), build()
    state = torch.random.get_rng_state()
    for network, seed in ((first, 0), (same, 0), (other, 1)):
        enliven(network, [pictures()], seed=seed)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.norm.running_var, same.norm.running_var)
    assert torch.equal(first.head.bias, same.head.bias)
    assert not torch.equal(first.head.bias, other.head.bias)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in first.modules())


def test_a_layer_that_computes_in_its_own_way_keeps_its_weights():
    class Distances(nn.Linear):
        def forward(self, x):
            return -((x[:, None] - self.weight) ** 2).sum(2) * 1e6

    network = nn.Sequential(nn.Flatten(), Distances(108, 4)).eval()
    before = network[1].weight.clone()
    enliven(network, [pictures()], seed=0)
    assert torch.equal(network[1].weight, before)


def test_symbols_and_several_answers():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(5, 4)
            self.layer = nn.Conv1d(4, 3, 1)

        def forward(self, codes):
            x = self.embedding(codes).transpose(1, 2)
            return self.layer(x), x.mean(2)

    codes = torch.tensor([[0, 1, 2], [4, 4, 3]])
    enliven(Two().eval(), [codes], seed=0)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([[1.0, 2.0], [1.0, 2.0005]], r"differ by 0.00025 of their scale 2, at least 0.001"),
        ([[0.0, 0.0], [0.0, 0.0]], "signal dies"),
        ([[1.0, float("nan")], [0.0, 0.0]], "not finite"),
    ],
)
def test_dead_answers_are_refused(answers, told):
    with pytest.raises(DeadNetworkError, match=told):
        check_is_alive(torch.tensor(answers))


def test_the_spread_is_a_fraction_of_the_scale():
    assert check_is_alive(torch.tensor([[1.0, -4.0], [2.0, -3.0]])) == 0.25


def test_a_network_that_does_not_look_is_refused():
    class Blind(nn.Module):
        def forward(self, x):
            return torch.zeros_like(x) + 1

    with pytest.raises(DeadNetworkError):
        enliven(Blind(), [pictures()], seed=0)


def test_an_identity_is_disturbed_so_that_a_wrong_dilation_would_show():
    layer = torch.nn.Conv2d(3, 3, 3, padding=2, dilation=2)
    torch.nn.init.dirac_(layer.weight)
    network = torch.nn.Sequential(layer).eval()
    enliven(network, [torch.randn(4, 3, 8, 8)], seed=0)
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        right = network(x)
        wrong = torch.nn.functional.conv2d(x, layer.weight, layer.bias, padding=1, dilation=1)
    assert (right - wrong).abs().max() > 1e-2 * right.abs().max()
