import pytest
import torch

from eyespot.zoo import create_model, model_entry

# torchvision's documentation; table 5 of the paper: channels of the stages, millions of FLOPs.
NETWORKS = {
    "shufflenet_v2_x0_5": (1_366_792, (48, 96, 192), 41),
    "shufflenet_v2_x1_0": (2_278_604, (116, 232, 464), 146),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_that_of_the_paper(name):
    parameter_count, channels, megaflops = NETWORKS[name]
    assert model_entry(name).parameter_count == parameter_count
    # The paper does not say what it counts beside the convolutions.
    assert model_entry(name).macs == pytest.approx(megaflops * 1e6, rel=0.015)
    with torch.device("meta"):
        network = create_model(name)
    shapes = []
    for stage in (network.stage2, network.stage3, network.stage4):
        stage.register_forward_hook(lambda _m, _i, output: shapes.append(tuple(output.shape[1:])))
    network(torch.empty(1, 3, 224, 224, device="meta"))
    assert shapes == [(c, side, side) for c, side in zip(channels, (28, 14, 7), strict=True)]


def test_a_unit_shuffles_what_it_passes_on_with_what_it_computes():
    unit = create_model("shufflenet_v2_x0_5").stage2[1]
    x = torch.rand(1, 48, 4, 4)
    y = unit(x)
    assert torch.equal(y[:, 0::2], x[:, :24])  # the half that is passed on
    assert torch.equal(y[:, 1::2], unit.branch2(x[:, 24:]))
