"""WaveNet against its paper: what it sees, and what it must not see."""

import math

import pytest
import torch
from torch import nn

from eyespot.zoo import create_model
from eyespot.zoo.wavenet import (
    DILATIONS,
    CausalConv1d,
    GatedLayer,
    WaveNet,
    generate,
    mu_law_decode,
    mu_law_encode,
    receptive_field,
)


def small(dilations=(1, 2, 4)):
    torch.manual_seed(0)
    return WaveNet(symbols=256, classes=256, dilations=dilations).eval()


def test_a_block_of_the_paper_sees_1024_samples():
    assert receptive_field([1, 2, 4, 8, 16, 32, 64, 128, 256, 512]) == 1024
    assert receptive_field([1, 2, 4], kernel=3) == 15
    assert len(DILATIONS) == 30
    assert receptive_field((1, *DILATIONS)) == 3071  # 3 * 1023 + 1 + 1


def test_a_causal_convolution_by_hand():
    layer = CausalConv1d(1, 1, 2, dilation=2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[10.0, 1.0]]]))
        layer.bias.zero_()
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    assert layer(x).tolist() == [[[1.0, 2.0, 13.0, 24.0]]]


def test_a_gated_layer_by_hand():
    layer = GatedLayer(dilation=1)
    for part in (layer.filter, layer.gate, layer.residual, layer.skip):
        nn.init.zeros_(part.weight)
        nn.init.zeros_(part.bias)
    nn.init.constant_(layer.filter.bias, 0.5)
    nn.init.constant_(layer.gate.bias, -1.0)
    nn.init.constant_(layer.residual.weight, 1 / 32)
    nn.init.constant_(layer.skip.weight, 2 / 32)
    x = torch.randn(1, 32, 3)
    z = math.tanh(0.5) / (1 + math.exp(1.0))
    onwards, skip = layer(x)
    torch.testing.assert_close(onwards, x + z)
    torch.testing.assert_close(skip, torch.full((1, 128, 3), 2 * z))


def test_no_sample_of_the_future_is_seen():
    network = create_model("wavenet")
    codes = torch.randint(0, 256, (1, 40))
    changed = codes.clone()
    changed[0, 25] = (changed[0, 25] + 100) % 256
    with torch.no_grad():
        moved = (network(codes) != network(changed)).any(dim=2)[0]
    assert moved.nonzero().flatten().tolist() == list(range(25, 40))


def test_it_sees_as_far_back_as_the_formula_says():
    network = small()
    assert network.receptive_field == 9  # 1 + (1 + 1 + 2 + 4)
    codes = torch.randint(0, 256, (1, 20))
    seen = []
    for step in range(20):
        changed = codes.clone()
        changed[0, step] = (changed[0, step] + 100) % 256
        with torch.no_grad():
            seen.append(bool((network(codes) != network(changed))[0, -1].any()))
    assert seen == [False] * 11 + [True] * 9


def test_every_layer_speaks_to_the_output():
    network = small()
    logits = network(torch.randint(0, 256, (1, 12)))
    for layer in network.layers:
        (gradient,) = torch.autograd.grad(logits.sum(), layer.skip.weight, retain_graph=True)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize(("wave", "code"), [(-1.0, 0), (0.0, 128), (1.0, 255), (1 / 255, 143)])
def test_the_mu_law_by_hand(wave, code):
    # For 1/255: (log 2 / log 256 + 1) / 2 * 255 = 143.4, and half a step to round.
    assert mu_law_encode(torch.tensor([wave])).item() == code


def test_decoding_gives_back_what_encoding_took():
    codes = torch.arange(256)
    waves = mu_law_decode(codes)
    assert (waves[0], waves[-1]) == (-1, 1)
    assert (waves.diff() > 0).all()
    assert torch.equal(mu_law_encode(waves), codes)
    # Quiet waves are told apart far more finely than loud ones.
    assert waves.diff()[127] < 0.02 * waves.diff()[-1]


def test_generating_draws_from_the_distribution_after_what_was_said():
    network = small()
    # Whatever it sees, 7 follows on 3 and 3 on everything else.
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        network.causal.weight[0, 3, 1] = 1.0
        network.layers[0].filter.weight[0, 0, 1] = 50.0
        network.layers[0].gate.bias.fill_(50.0)
        network.layers[0].skip.weight[0, 0] = 1.0
        network.hidden.weight[0, 0] = 1.0
        network.output.weight[7, 0] = 500.0
        network.output.bias[3] = 100.0
    drawn = generate(network, torch.tensor([128]), samples=5, seed=0)
    assert drawn.tolist() == [3, 7, 3, 7, 3]


def test_generating_is_repeatable_and_forgets_what_is_out_of_sight():
    network = small()
    long_ago = torch.randint(0, 256, (50,))
    recent = long_ago[-network.receptive_field :]
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    drawn = generate(network, long_ago, samples=8, seed=2)
    assert torch.equal(drawn, generate(network, recent, samples=8, seed=2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(drawn, generate(network, recent, samples=8, seed=3))


def test_a_captured_program_takes_any_number_of_samples():
    network = small()
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
    program = torch.export.export(
        network,
        (torch.randint(0, 256, (2, 20)),),
        dynamic_shapes=({0: batch, 1: time},),
    )
    for steps in (1, 33):
        codes = torch.randint(0, 256, (3, steps))
        assert torch.equal(program.module()(codes), network(codes))
