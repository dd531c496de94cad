"""ByteNet against its paper: what encoder and decoder see, and how long a translation may be."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from eyespot.zoo import create_model
from eyespot.zoo.bytenet import DILATIONS, ByteNet, ResidualBlock, translate, unfolded_length


def small(dilations=(1, 2)):
    torch.manual_seed(0)
    return ByteNet(source_symbols=256, target_symbols=256, dilations=dilations).eval()


def steps_moved(network, source, target, *, of, at):
    """Which logits change with one symbol of the source or of the target."""
    changed = {"source": source.clone(), "target": target.clone()}
    changed[of][0, at] = (changed[of][0, at] + 100) % 256
    with torch.no_grad():
        moved = network(source, target) != network(**changed)
    return moved.any(dim=2)[0].nonzero().flatten().tolist()


def test_encoder_and_decoder_have_thirty_blocks_each():
    network = create_model("bytenet")
    assert len(DILATIONS) == 30
    for stack in (network.encoder, network.decoder):
        assert [block.dilated.dilation[0] for block in stack] == [1, 2, 4, 8, 16] * 6


def test_no_target_symbol_of_the_future_is_seen():
    network = create_model("bytenet")
    source, target = torch.randint(0, 256, (1, 9)), torch.randint(0, 256, (1, 12))
    assert steps_moved(network, source, target, of="target", at=7) == list(range(7, 12))


def test_the_encoder_sees_both_sides():
    # With dilations 1 and 2 a column of the source reaches three to each side.
    network = small()
    network.decoder = nn.Sequential()
    source, target = torch.randint(0, 256, (1, 12)), torch.randint(0, 256, (1, 12))
    assert steps_moved(network, source, target, of="source", at=5) == list(range(2, 9))


def test_the_decoder_sees_the_past_alone():
    network = small()
    network.encoder = nn.Sequential()
    source, target = torch.randint(0, 256, (1, 20)), torch.randint(0, 256, (1, 20))
    # Six steps: 2 * 1 and 2 * 2.
    for of in ("source", "target"):
        assert steps_moved(network, source, target, of=of, at=5) == list(range(5, 12))


def test_a_residual_block_by_hand():
    torch.manual_seed(0)
    block = ResidualBlock(dilation=2, is_masked=True)
    x = torch.randn(2, 7, 256)

    def normalised(y):
        centred = y - y.mean(dim=-1, keepdim=True)
        return centred / torch.sqrt((centred**2).mean(dim=-1, keepdim=True) + 1e-5)

    y = normalised(x).relu() @ block.reduce.weight.T + block.reduce.bias
    past = functional.pad(normalised(y).relu(), (0, 0, 4, 0))
    kernel = block.dilated.weight  # (d, d, 3)
    y = sum(past[:, 2 * k : 2 * k + 7] @ kernel[:, :, k].T for k in range(3)) + block.dilated.bias
    y = normalised(y).relu() @ block.expand.weight.T + block.expand.bias
    torch.testing.assert_close(block(x), x + y, atol=1e-4, rtol=1e-4)


def test_zeros_stand_beyond_the_end_of_the_source():
    network = small()
    network.encoder = nn.Sequential()
    source, target = torch.randint(0, 256, (2, 3)), torch.randint(0, 256, (2, 8))
    nothing = network.source.weight.new_zeros(1, 256)
    with torch.no_grad():
        network.source.weight[255] = nothing
    longer = torch.cat([source % 255, torch.full((2, 5), 255)], dim=1)
    torch.testing.assert_close(network(source % 255, target), network(longer, target))
    # And what the source has beyond the end of the target is not unfolded over.
    assert network(longer, target[:, :2]).shape == (2, 2, 256)


@pytest.mark.parametrize(("source", "target"), [(10, 12), (1, 2), (100, 120), (7, 9)])
def test_the_papers_length_of_a_translation(source, target):
    assert unfolded_length(source) == target  # 1.2 times, rounded up


class Scripted(nn.Module):
    """Says 1, 2, 3 ... after the symbol 0."""

    def forward(self, source, target):
        return functional.one_hot(target + 1, 20).float()


def test_translating_ends_at_the_end_or_at_the_length():
    source = torch.zeros(10, dtype=torch.int64)
    assert translate(Scripted(), source, begin=0, end=5).tolist() == [1, 2, 3, 4]
    assert translate(Scripted(), source, begin=0, end=19).tolist() == list(range(1, 13))


def test_a_captured_program_takes_any_lengths():
    network = small((1,))
    batch, source, time = (torch.export.Dim(name) for name in ("batch", "source_time", "time"))
    inputs = torch.randint(0, 256, (2, 6)), torch.randint(0, 256, (2, 9))
    program = torch.export.export(
        network, inputs, dynamic_shapes=({0: batch, 1: source}, {0: batch, 1: time})
    )
    for lengths in ((3, 20), (20, 3), (4, 4), (1, 1)):
        inputs = [torch.randint(0, 256, (3, length)) for length in lengths]
        assert torch.equal(program.module()(*inputs), network(*inputs))
