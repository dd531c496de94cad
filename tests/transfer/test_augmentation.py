import pytest
import torch

from eyespot.transfer import RandomAffine


@pytest.fixture
def pictures():
    return torch.randint(0, 256, (16, 8, 12, 3), dtype=torch.uint8)


def vary(variation, pictures, seed=0):
    return variation(pictures, torch.Generator().manual_seed(seed))


def test_no_variation_changes_nothing(pictures):
    assert torch.allclose(vary(RandomAffine(), pictures), pictures.float(), atol=1e-3)


@pytest.mark.parametrize("variation", [RandomAffine(20, 0.2, 3), RandomAffine(shift=2)])
def test_chance_comes_from_the_generator_alone(variation, pictures):
    first, again, other = (vary(variation, pictures, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == pictures.shape
    assert first.dtype == torch.float32


def test_one_grey_stays_itself_because_the_border_goes_on():
    grey = torch.full((4, 8, 8, 1), 77, dtype=torch.uint8)
    assert torch.allclose(vary(RandomAffine(30, 0.3, 5), grey), torch.tensor(77.0), atol=1e-3)


def test_a_shift_moves_the_centre_of_mass_by_at_most_so_much():
    # A bright dot in the middle of darkness, in a picture that is not square.
    dots = torch.zeros(64, 21, 41, 1)
    dots[:, 10, 20] = 1.0
    moved = vary(RandomAffine(shift=3), dots)[..., 0]
    rows = (moved.sum(dim=2) * torch.arange(21.0)).sum(dim=1) - 10
    columns = (moved.sum(dim=1) * torch.arange(41.0)).sum(dim=1) - 20
    for offsets in (rows, columns):
        assert offsets.abs().max() <= 3 + 1e-3
        assert offsets.max() > 2
        assert offsets.min() < -2


def test_a_turn_keeps_the_distance_to_the_centre_in_a_picture_that_is_not_square():
    dots = torch.zeros(64, 41, 61, 1)
    dots[:, 20, 45] = 1.0  # 15 to the right of the centre
    moved = vary(RandomAffine(degrees=40), dots)[..., 0]
    mass = moved.sum(dim=(1, 2))
    down = (moved.sum(dim=2) * torch.arange(41.0)).sum(dim=1) / mass - 20
    right = (moved.sum(dim=1) * torch.arange(61.0)).sum(dim=1) / mass - 30
    assert torch.allclose((down**2 + right**2).sqrt(), torch.tensor(15.0), atol=0.6)
    angles = torch.rad2deg(torch.atan2(down, right))
    assert 30 < angles.max() < 42
    assert -42 < angles.min() < -30
