import pytest
import torch

from eyespot.zoo import create_model


def shapes_at(name, *layers):
    with torch.device("meta"):
        network = create_model(name)
    shapes = []
    for layer in layers:
        network.get_submodule(layer).register_forward_hook(
            lambda _m, _i, output: shapes.append(tuple(output.shape[1:]))
        )
    network(torch.empty(1, 3, 299, 299, device="meta"))
    return shapes


def test_inception_v4_has_the_maps_of_figure_9():
    # Behind the stem, four, seven and three blocks and the reductions between them.
    shapes = shapes_at("inception_v4", *(f"features.{i}" for i in (5, 9, 10, 17, 18, 21)))
    assert shapes == [
        (384, 35, 35),
        (384, 35, 35),
        (1024, 17, 17),
        (1024, 17, 17),
        (1536, 8, 8),
        (1536, 8, 8),
    ]


def test_inception_resnet_v2_has_the_maps_that_its_departures_tell():
    shapes = shapes_at(
        "inception_resnet_v2", "repeat.9", "repeat_1.19", "repeat_2.8", "block8", "conv2d_7b"
    )
    assert shapes == [(320, 35, 35), (1088, 17, 17), (2080, 8, 8), (2080, 8, 8), (1536, 8, 8)]


@pytest.mark.parametrize("name", ["inception_v4", "inception_resnet_v2"])
def test_no_smaller_input_would_pass(name):
    with torch.device("meta"):
        network = create_model(name)
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        network(torch.empty(1, 3, 74, 74, device="meta"))


@pytest.mark.parametrize("name", ["inception_v4", "inception_resnet_v2"])
def test_a_fifth_is_dropped_in_training(name):
    with torch.device("meta"):
        assert create_model(name).head_drop.p == pytest.approx(0.2)  # the paper keeps 0.8
