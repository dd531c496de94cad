"""Triplets on a line, where every distance is seen at a glance."""

import pytest
import torch

from eyespot.transfer import semi_hard_triplets, squared_distances, triplet_loss


def on_a_line(*places):
    return torch.tensor(places, dtype=torch.float64)[:, None]


def test_distances_are_squared():
    distances = squared_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    assert distances.tolist() == [[0, 25, 1], [25, 0, 18], [1, 18, 0]]


def test_the_loss_by_hand():
    # Anchor at 0, positive at 1, negatives at 1.1 and 2: 1 - 1.21 + 0.5 and 1 - 4 + 0.5.
    embeddings = on_a_line(0, 1, 1.1, 2)
    near, far = [0, 1, 2], [0, 1, 3]
    assert triplet_loss(embeddings, torch.tensor([near]), margin=0.5).item() == pytest.approx(0.29)
    assert triplet_loss(embeddings, torch.tensor([far]), margin=0.5).item() == 0
    both = torch.tensor([near, far])
    assert triplet_loss(embeddings, both, margin=0.5).item() == pytest.approx(0.29 / 2)


def test_the_loss_pulls_and_pushes():
    embeddings = on_a_line(0, 1, 1.1).requires_grad_()
    (gradients,) = torch.autograd.grad(
        triplet_loss(embeddings, torch.tensor([[0, 1, 2]]), margin=0.5), embeddings
    )
    # Of (a - p)² - (a - n)²: 2(n - p), -2(a - p) and 2(a - n).
    torch.testing.assert_close(gradients, on_a_line(0.2, 2, -2.2))


def test_without_triplets_there_is_no_loss():
    embeddings = on_a_line(0, 1).requires_grad_()
    loss = triplet_loss(embeddings, torch.empty(0, 3, dtype=torch.int64))
    assert loss.item() == 0
    loss.backward()


def test_the_negative_is_the_nearest_beyond_the_positive():
    #            anchor, positive, nearer (hard), two semi-hard, beyond the margin
    embeddings = on_a_line(0, 1, 0.5, 1.4, 1.2, 3)
    labels = torch.tensor([7, 7, 1, 2, 3, 4])
    triplets = semi_hard_triplets(embeddings, labels, margin=1.0)
    # From 1, the positive at 0 has distance 1; 3 has 4, and all others are nearer.
    assert triplets.tolist() == [[0, 1, 4]]


def test_every_pair_of_a_person_asks_for_a_negative():
    embeddings = on_a_line(0, 1, 2, 2.1, -1.1)
    labels = torch.tensor([0, 0, 0, 1, 1])
    triplets = semi_hard_triplets(embeddings, labels, margin=0.5)
    found = {(a, p): n for a, p, n in triplets.tolist()}
    # By squared distance from 0: 1, 4, 4.41, 1.21; from 1: 1, 1, 1.21, 4.41;
    # from 2: 4, 1, 0.01, 9.61; from 2.1, its own at -1.1 is farther than all others.
    assert found == {(0, 1): 4, (0, 2): 3, (1, 0): 3, (1, 2): 3}


def test_faces_of_one_person_alone_teach_nothing():
    triplets = semi_hard_triplets(on_a_line(0, 1, 2), torch.zeros(3, dtype=torch.int64))
    assert triplets.shape == (0, 3)


def test_the_loss_separates_two_persons():
    torch.manual_seed(0)
    embeddings = torch.randn(8, 4).requires_grad_()
    labels = torch.tensor([0, 1] * 4)
    optimizer = torch.optim.SGD([embeddings], lr=1.0)
    for _ in range(200):
        sphere = torch.nn.functional.normalize(embeddings, dim=1)
        # All triplets: a batch this small has too few semi-hard ones to begin with.
        rows = torch.cartesian_prod(*[torch.arange(8)] * 3)
        is_same = labels[rows[:, 0]] == labels[rows[:, 1]]
        is_other = labels[rows[:, 0]] != labels[rows[:, 2]]
        loss = triplet_loss(sphere, rows[is_same & is_other])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # Each is nearer to all of its own than to any other.
    distances = squared_distances(torch.nn.functional.normalize(embeddings, dim=1))
    is_same = labels[:, None] == labels
    nearest_other = distances.masked_fill(is_same, 4).min(dim=1).values
    assert (distances.masked_fill(~is_same, 0).max(dim=1).values < nearest_other).all()
