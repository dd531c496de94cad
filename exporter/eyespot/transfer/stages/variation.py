"""Varying the pictures while blocks are trained, by torchvision's transforms.

How a picture is varied follows from the seed, the epoch and its number alone: it does not matter
which process does it, or after what.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from eyespot.transfer.errors import SettingsError
from eyespot.transfer.stages.chance import torch_chance_at
from eyespot.zoo import load_torchvision

AUGMENTATIONS = {
    "none": "as they are",
    "gentle": "turned, moved and scaled a little: for digits and letters, which have no mirror "
    "image",
    "natural": "cropped, mirrored, brighter or darker: for photographs",
}


def epoch_batches(
    images: NDArray[np.uint8],
    batches: Sequence[NDArray[np.int64]],
    *,
    epoch: int,
    augmentation: str,
    seed: int,
    workers: int,
) -> Iterator[Tensor]:
    """Give varied pixels (B, H, W, C) of each batch, in order.

    Args:
        images: (N, H, W, C).
        batches: The numbers of the pictures in each.
        epoch: One picture is varied otherwise in each.
        augmentation: One of `AUGMENTATIONS`.
        seed: Of the variation.
        workers: Processes that do it; 0 does it in this one.
    """
    varied = _VariedPictures(images, augmentation, seed)
    loader: DataLoader[Tensor] = DataLoader(
        varied,
        batch_sampler=[[(epoch, int(row)) for row in batch] for batch in batches],
        num_workers=workers,
        # Else it would draw from PyTorch's own generator, which is not ours.
        generator=torch.Generator(),
    )
    yield from loader


def transform_of(augmentation: str, *, height: int, width: int) -> Any:
    """Make torchvision's transform of pixels (C, H, W) of type uint8.

    Raises:
        SettingsError: There is no such augmentation.
    """
    if augmentation not in AUGMENTATIONS:
        raise SettingsError(
            f"augment must be one of {', '.join(AUGMENTATIONS)}, found {augmentation!r}"
        )
    load_torchvision()
    from torchvision.transforms import v2

    if augmentation == "none":
        return v2.Identity()
    if augmentation == "gentle":
        return v2.RandomAffine(
            degrees=10,
            translate=(0.08, 0.08),
            scale=(0.9, 1.1),
            interpolation=v2.InterpolationMode.BILINEAR,
        )
    return v2.Compose(
        [
            v2.RandomResizedCrop((height, width), scale=(0.6, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.2, contrast=0.2),
        ]
    )


class _VariedPictures(Dataset[Tensor]):
    def __init__(self, images: NDArray[np.uint8], augmentation: str, seed: int) -> None:
        self._images = images
        self._transform = transform_of(augmentation, height=images.shape[1], width=images.shape[2])
        self._seed = seed

    def __getitem__(self, place: tuple[int, int]) -> Tensor:
        epoch, row = place
        pixels = torch.from_numpy(self._images[row]).permute(2, 0, 1)  # -> (C, H, W)
        with torch_chance_at(self._seed, epoch, row):
            varied: Tensor = self._transform(pixels)
        return varied.permute(1, 2, 0)  # -> (H, W, C)
