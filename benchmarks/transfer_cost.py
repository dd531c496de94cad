"""`python -m benchmarks.transfer_cost`: stage 1 against a plain forward pass, and its second run.

ResNet-18 at 224 x 224 on 1,000 pictures of ten textures, which are drawn here. Only ratios of the
processor's time are printed, with the peak of the memory.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from eyespot.transfer import PictureSplit
from eyespot.transfer.stages import (
    Machine,
    Prepared,
    Recipe,
    prepare,
    read_pictures_for,
    train_probe,
)

_CLASSES, _SIDE, _ROWS = 10, 224, 32


def main() -> None:
    """Draw the pictures, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = Recipe(backbone="resnet18", method="linear-probe")
    with tempfile.TemporaryDirectory() as folder:
        draw_pictures(Path(folder), options.pictures // _CLASSES)
        split = read_pictures_for(folder, recipe)
    rounds = [measure(split, recipe) for _ in range(options.rounds)]
    for what, at in (("stage 1 / plain forward pass", 0), ("second run / first run", 1)):
        values = [each[at] for each in rounds]
        print(f"{what}: {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB -> GiB
    print(f"peak memory: {peak:.2f} GiB")


def measure(split: PictureSplit, recipe: Recipe) -> tuple[float, float]:
    """Give the ratios of stage 1 to a plain forward pass, and of its second run to the first."""
    prepared = prepare(split, recipe, machine=Machine())
    plain = _seconds(lambda: _pass(prepared))
    with tempfile.TemporaryDirectory() as folder:
        first = _seconds(lambda: train_probe(prepared, folder=folder))
        again = prepare(split, recipe, machine=Machine())
        second = _seconds(lambda: train_probe(again, folder=folder))
    return first / plain, second / first


def draw_pictures(folder: Path, per_class: int) -> None:
    """Write stripes of ten directions and widths, with noise, one folder for each."""
    chance = np.random.default_rng(0)
    for number in range(_CLASSES):
        place = folder / f"texture-{number}"
        place.mkdir()
        for each in range(per_class):
            Image.fromarray(_texture(number, chance)).save(place / f"{each:03}.jpg")


def _texture(number: int, chance: np.random.Generator) -> NDArray[np.uint8]:
    y, x = np.mgrid[:_SIDE, :_SIDE]
    angle = np.pi * number / _CLASSES + chance.normal(0, 0.05)
    width = 6 + 2 * number
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) / width + chance.uniform(0, 6))
    color = chance.uniform(60, 195, 3)
    pixels = color + 50 * wave[..., None] + chance.normal(0, 10, (_SIDE, _SIDE, 3))
    texture: NDArray[np.uint8] = pixels.clip(0, 255).astype(np.uint8)
    return texture


def _pass(prepared: Prepared) -> None:
    """Run the whole network once over all pictures."""
    module = prepared.backbone.module.eval()
    with torch.inference_mode():
        for examples in (prepared.split.train, prepared.split.held_out):
            for start in range(0, len(examples), _ROWS):
                module(torch.from_numpy(examples.images[start : start + _ROWS]))


def _seconds(work: Callable[[], object]) -> float:
    """Time the processor, which other work on the machine disturbs the least."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
