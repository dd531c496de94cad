"""The triplet loss, and the choice of triplets from a batch: Schroff et al., 2015 (FaceNet).

A face shall be nearer to all faces of the same person, the positives, than to any face of
another, a negative, by a margin. Of negatives, the hardest can make all embeddings collapse early
in training: the semi-hard ones, which are farther than the positive but within the margin, do not.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# The paper's alpha.
MARGIN = 0.2


def squared_distances(embeddings: Tensor) -> Tensor:
    """Give the squared distance between any two of the rows: (N, D) -> (N, N)."""
    return (embeddings[:, None] - embeddings[None]).square().sum(dim=2)


def triplet_loss(embeddings: Tensor, triplets: Tensor, *, margin: float = MARGIN) -> Tensor:
    """Give the mean over the triplets of how far each is from what it shall be.

    Args:
        embeddings: (N, D).
        triplets: Rows of anchor, positive and negative, (M, 3); without any the loss is 0.
        margin: By how much the negative shall be farther, in squared distance.
    """
    anchors, positives, negatives = embeddings[triplets].unbind(dim=1)  # (M, D) each
    positive = (anchors - positives).square().sum(dim=1)  # -> (M,)
    negative = (anchors - negatives).square().sum(dim=1)
    return functional.relu(positive - negative + margin).sum() / max(len(triplets), 1)


@torch.no_grad()
def semi_hard_triplets(embeddings: Tensor, labels: Tensor, *, margin: float = MARGIN) -> Tensor:
    """Choose a negative for each pair of an anchor and a positive.

    It is the nearest that is farther than the positive, if by less than the margin; a pair that
    has none is left out: it would teach nothing, or too much.

    Args:
        embeddings: (N, D).
        labels: Whose face each is, (N,).
        margin: The loss's.

    Returns:
        Rows of anchor, positive and negative, (M, 3).
    """
    distances = squared_distances(embeddings)  # (N, N)
    is_same = labels[:, None] == labels[None]
    is_pair = is_same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    anchors, positives = is_pair.nonzero(as_tuple=True)  # (P,) each
    positive = distances[anchors, positives, None]  # -> (P, 1)
    negative = distances[anchors]  # -> (P, N)
    is_semi_hard = ~is_same[anchors] & (negative > positive) & (negative < positive + margin)
    nearest = torch.where(is_semi_hard, negative, torch.inf).min(dim=1)  # -> (P,)
    triplets = torch.stack([anchors, positives, nearest.indices], dim=1)  # -> (P, 3)
    return triplets[nearest.values.isfinite()]
