import pytest

from eyespot.exporter.quantisation.agreement import Agreement
from eyespot.exporter.quantisation.sensitivity import Sensitivity, choose_float_layers


def agreement(enough):
    return Agreement(float(enough), None, None, 0.0, 0.0, 1)


def layers(count):
    """The later the layer, the more sensitive."""
    return [Sensitivity(str(n), str(n), "Conv", 1, n / 100, 1.0) for n in range(count)]


def choose(count, needed):
    tried = []

    def compare(left_out):
        tried.append(len(left_out))
        assert list(left_out) == [str(count - 1 - n) for n in range(len(left_out))]
        return agreement(len(left_out) >= needed)

    choice = choose_float_layers(
        layers(count), compare, lambda found: found.top1_agreement == 1, progress=lambda _: None
    )
    return choice, tried


@pytest.mark.parametrize("needed", range(11))
def test_as_few_layers_as_will_do_are_left_out(needed):
    choice, tried = choose(20, needed)
    assert choice.is_enough
    assert len(choice.layers) == needed
    assert len(tried) == len(set(tried)) <= 8


def test_at_most_half_of_the_layers_are_left_out():
    choice, tried = choose(20, needed=11)
    assert not choice.is_enough
    assert max(tried) == len(choice.layers) == 10


def test_a_network_of_one_layer_is_tried_once():
    choice, tried = choose(1, needed=1)
    assert not choice.is_enough
    assert tried == [0]
