"""The neocognitron learns digits without a teacher, and its winners are the right cells."""

import numpy as np
import pytest
import torch

from eyespot.transfer import Examples, ExamplesError, load_digits, train_neocognitron
from eyespot.transfer.neocognitron_training import representatives


def test_nine_of_ten_unseen_digits_are_told():
    split = load_digits()
    heard = []
    trained = train_neocognitron(split.train, held_out=split.test, seed=0, progress=heard.append)
    assert trained.accuracy >= 0.9
    assert trained.planes_used == (24, 24, 24)
    assert not trained.network.training
    assert heard == ["S1 learns", "S2 learns", "S3 learns", "the read-out learns"]
    images = torch.from_numpy(split.test.images).permute(0, 3, 1, 2)
    # 32x32 made half as large, without the rule of the zoo.
    ink = torch.nn.functional.interpolate(images / 255, scale_factor=0.5, mode="area")
    right = trained.network(ink).argmax(dim=1) == torch.from_numpy(split.test.labels)
    assert right.float().mean() > 0.9


def test_one_seed_gives_one_network():
    split = load_digits()
    few = Examples(split.train.images[:30], split.train.labels[:30])
    few.images[0] = 0  # a blank picture, from which nothing is learned
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first, again = (train_neocognitron(few, held_out=few, seed=3) for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    for one, other in zip(first.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(one, other)
    other = train_neocognitron(few, held_out=few, seed=4)
    assert not torch.equal(first.network.s1.a, other.network.s1.a)


def test_classes_that_were_never_shown_are_refused():
    images = np.zeros((2, 16, 16, 1), np.uint8)
    shown, other = (Examples(images, np.array(labels)) for labels in ([0, 1], [0, 2]))
    with pytest.raises(ExamplesError, match=r"have class 2, and .* have 2 classes"):
        train_neocognitron(shown, held_out=other, seed=0)


def test_of_a_column_the_strongest_cell_wins():
    s = torch.zeros(3, 1, 9)
    s[0, 0, 1] = 2.0
    s[1, 0, 2] = 3.0  # beside it, and stronger
    s[1, 0, 7] = 1.0  # of the same plane, in another column
    planes, places = representatives(s, 5)
    # Plane 1 sends its strongest. No column holds the cell of plane 0 without the stronger one.
    assert (planes.tolist(), places.tolist()) == ([1], [2])


def test_planes_win_in_different_places():
    s = torch.zeros(3, 2, 8)
    s[2, 1, 0] = 0.1
    s[0, 0, 7] = 5.0
    planes, places = representatives(s, 5)
    assert (planes.tolist(), places.tolist()) == ([0, 2], [7, 8])


def test_where_no_cell_answers_none_wins():
    planes, _ = representatives(torch.zeros(4, 6, 6), 5)
    assert not len(planes)
