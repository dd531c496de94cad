"""The codes of LeNet-5's output layer: a picture of 7x12 cells for each class, +1 for ink.

LeCun et al., 1998, section II.B. Pictures that look like the digits put classes that are easily
confused beside each other, which later stages of a recogniser can use.
"""

from __future__ import annotations

import torch
from torch import Tensor

CODE_WIDTH, CODE_HEIGHT = 7, 12
CODE_SIZE = CODE_WIDTH * CODE_HEIGHT

_SEED = 1998

# The digits 0 to 4, and below them 5 to 9.
_DIGITS = """
    ....... ....... ....... ....... .......
    ..###.. ...##.. .#####. .#####. ....##.
    .##.##. ..###.. ##...## ##...## ...###.
    ##...## .####.. .....## .....## ..####.
    ##...## ...##.. .....## .....## .##.##.
    ##...## ...##.. ....##. ..####. ##..##.
    ##...## ...##.. ...##.. .....## ##..##.
    ##...## ...##.. ..##... .....## #######
    ##...## ...##.. .##.... .....## ....##.
    .##.##. ...##.. ##..... ##...## ....##.
    ..###.. .###### ####### .#####. ....##.
    ....... ....... ....... ....... .......

    ....... ....... ....... ....... .......
    ####### ..####. ####### .#####. .#####.
    ##..... .##.... .....## ##...## ##...##
    ##..... ##..... .....## ##...## ##...##
    ##..... ##..... ....##. ##...## ##...##
    ######. ######. ....##. .#####. ##...##
    .....## ##...## ...##.. ##...## .######
    .....## ##...## ...##.. ##...## .....##
    .....## ##...## ..##... ##...## .....##
    ##...## ##...## ..##... ##...## ....##.
    .#####. .#####. ..##... .#####. .####..
    ....... ....... ....... ....... .......
"""


def output_codes(num_classes: int) -> Tensor:
    """Give each class its code of +1 and -1.

    Ten classes are taken for digits; any other number has random codes, always the same.
    """
    codes = digit_codes() if num_classes == 10 else random_codes(num_classes)
    return codes.to(torch.get_default_device())


def digit_codes() -> Tensor:
    """Read the ten pictures, (10, 84)."""
    halves = [half.split("\n") for half in _DIGITS.strip("\n").split("\n\n")]
    pictures = [[row.split()[column] for row in half] for half in halves for column in range(5)]
    ink = [[cell == "#" for row in picture for cell in row] for picture in pictures]
    return torch.tensor(ink, device="cpu").float() * 2 - 1


def random_codes(num_classes: int) -> Tensor:
    """Draw each bit at even odds, (num_classes, 84)."""
    # On the CPU: another device would draw other codes from the same seed.
    generator = torch.Generator("cpu").manual_seed(_SEED)
    bits = torch.randint(0, 2, (num_classes, CODE_SIZE), generator=generator, device="cpu")
    return bits.float() * 2 - 1
