import pytest
import torch

from eyespot.zoo import create_model, model_entry
from eyespot.zoo.inception_resnet_v1 import SCALES, block_a, block_b, block_c

# (in, out, pixels of the kernel) of every convolution, from figures 14, 10, 7, 11, 12 and 13.
STEM = [
    (3, 32, 9),
    (32, 32, 9),
    (32, 64, 9),
    (64, 80, 1),
    (80, 192, 9),
    (192, 256, 9),
]
BLOCK_A = [(256, 32, 1)] * 3 + [(32, 32, 9)] * 3
REDUCTION_A = [(256, 384, 9), (256, 192, 1), (192, 192, 9), (192, 256, 9)]
BLOCK_B = [(896, 128, 1)] * 2 + [(128, 128, 7)] * 2
REDUCTION_B = [
    *[(896, 256, 1)] * 3,
    (256, 384, 9),
    (256, 256, 9),
    (256, 256, 9),
    (256, 256, 9),
]
BLOCK_C = [(1792, 192, 1)] * 2 + [(192, 192, 3)] * 2
# The linear 1x1 convolutions have biases and no normalisation.
EXPANSIONS = [(96, 256)] * 5 + [(256, 896)] * 10 + [(384, 1792)] * 5


def test_the_parameters_by_hand():
    normalised = STEM + 5 * BLOCK_A + REDUCTION_A + 10 * BLOCK_B + REDUCTION_B + 5 * BLOCK_C
    count = sum(i * o * k + 2 * o for i, o, k in normalised)
    count += sum(i * o + o for i, o in EXPANSIONS)
    count += 1792 * 1000 + 1000
    assert model_entry("inception_resnet_v1").parameter_count == count


def test_the_maps_are_those_of_figures_14_and_15():
    with torch.device("meta"):
        network = create_model("inception_resnet_v1")
    shapes = []
    for part in (*network.stem, network.blocks_a, network.blocks_b, network.blocks_c):
        part.register_forward_hook(lambda _m, _i, output: shapes.append(tuple(output.shape[1:])))
    network(torch.empty(1, 3, 299, 299, device="meta"))
    assert shapes == [
        (32, 149, 149),
        (32, 147, 147),
        (64, 147, 147),
        (64, 73, 73),
        (80, 73, 73),
        (192, 71, 71),
        (256, 35, 35),
        (256, 35, 35),
        (896, 17, 17),
        (1792, 8, 8),
    ]


@pytest.mark.parametrize(
    ("build", "channels", "scale"),
    [(block_a, 256, 0.17), (block_b, 896, 0.10), (block_c, 1792, 0.20)],
)
def test_a_residual_is_scaled_before_it_is_added(build, channels, scale):
    block = build(channels).eval()
    torch.nn.init.zeros_(block.expand.weight)
    torch.nn.init.constant_(block.expand.bias, -10.0)
    x = torch.rand(1, channels, 3, 3) * 4
    torch.testing.assert_close(block(x), (x - 10 * scale).clamp(min=0))
    assert 0 < (block(x) > 0).float().mean() < 1


def test_the_scales_are_between_those_of_the_paper():
    assert all(0.1 <= scale <= 0.3 for scale in SCALES)


def test_no_smaller_input_would_pass():
    with torch.device("meta"):
        network = create_model("inception_resnet_v1")
    with pytest.raises(RuntimeError, match="Output size is too small"):
        network(torch.empty(1, 3, 74, 74, device="meta"))
