"""Declared receptive fields against the arithmetic of Araujo, Norris and Sim, 2019.

Computing Receptive Fields of Convolutional Neural Networks, Distill. Each list is the widest path
to the last map, read off the papers' figures: (kernel, stride) along one side of the picture.
"""

import pytest

from eyespot.zoo import model_entry

INCEPTION_STEM = [(3, 2), (3, 1), (3, 1), (3, 2), (3, 1)]  # to 71x71
DENSENET_STEM = [(7, 2), (3, 2)]
REDUCTION = [(3, 1), (3, 2)]


def densenet(*layers):
    """A 3x3 convolution for each layer; 2x2 means between the blocks."""
    path = []
    for block in layers:
        path += [(2, 2)] * bool(path) + [(3, 1)] * block
    return path


# One 3x3 in each unit, the first of which halves.
SHUFFLENET = [
    (3, 2),
    (3, 2),
    *[step for units in (4, 8, 4) for step in [(3, 2)] + [(3, 1)] * (units - 1)],
]

PATHS = {
    "densenet121": DENSENET_STEM + densenet(6, 12, 24, 16),
    "densenet169": DENSENET_STEM + densenet(6, 12, 32, 32),
    "densenet201": DENSENET_STEM + densenet(6, 12, 48, 32),
    "densenet161": DENSENET_STEM + densenet(6, 12, 36, 24),
    "densenet40_k12": [(3, 1), *densenet(12, 12, 12)],
    "inception_v3": [
        *INCEPTION_STEM,
        (3, 2),
        *[(5, 1)] * 3,
        *REDUCTION,
        *[(7, 1), (7, 1)] * 4,
        *[(7, 1), (3, 2)],
        *[(3, 1), (3, 1)] * 2,
    ],
    "inception_v4": [
        *[(3, 2), (3, 1), (3, 1), (3, 2)],
        *[(7, 1), (3, 1), (3, 2)],
        *[(3, 1), (3, 1)] * 4,
        *REDUCTION,
        *[(7, 1), (7, 1)] * 7,
        *[(7, 1), (3, 2)],
        *[(3, 1), (3, 1)] * 3,
    ],
    "inception_resnet_v1": [
        *INCEPTION_STEM,
        (3, 2),
        *[(3, 1), (3, 1)] * 5,
        *REDUCTION,
        *[(7, 1)] * 10,
        *REDUCTION,
        *[(3, 1)] * 5,
    ],
    "inception_resnet_v2": [
        *INCEPTION_STEM,
        (3, 2),
        (5, 1),
        *[(3, 1), (3, 1)] * 10,
        *REDUCTION,
        *[(7, 1)] * 20,
        *REDUCTION,
        *[(3, 1)] * 10,
    ],
    "xception": [
        *[(3, 2), (3, 1)],
        *[(3, 1), (3, 1), (3, 2)] * 3,
        *[(3, 1)] * 3 * 8,
        *[(3, 1), (3, 1), (3, 2)],
        *[(3, 1), (3, 1)],
    ],
    **{f"shufflenet_v1_g{groups}": SHUFFLENET for groups in (1, 2, 3, 4, 8)},
    "shufflenet_v2_x0_5": SHUFFLENET,
    "shufflenet_v2_x1_0": SHUFFLENET,
}


@pytest.mark.parametrize("name", PATHS)
def test_the_receptive_field_is_that_of_the_widest_path(name):
    width, jump = 1, 1
    for kernel, stride in PATHS[name]:
        width += (kernel - 1) * jump
        jump *= stride
    assert model_entry(name).receptive_field == width


def test_two_of_them_are_in_the_article():
    assert model_entry("inception_v3").receptive_field == 1311
    assert model_entry("densenet121").receptive_field == 2071
