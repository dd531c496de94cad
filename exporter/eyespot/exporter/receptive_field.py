"""The arithmetic of receptive fields: Araujo, Norris and Sim, 2019.

Computing Receptive Fields of Convolutional Neural Networks, Distill, doi 10.23915/distill.00021.

The article goes from the output back to the input; here each map is described as it is made,
which gives the same numbers. In place of its effective padding stands the centre of the first
unit's field, so that what lies on a half pixel stays exact. Beyond the article: transposed
convolutions and interpolation, whose strides in input pixels are fractions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

_HALF = Fraction(1, 2)


@dataclass(frozen=True)
class Field:
    """What the units of a map see along one axis of the input, in input pixels.

    Attributes:
        axis: Of the input; its rows are axis 0.
        size: Pixels that one unit depends on, those in the padding as well.
        stride: From the field of one unit to that of the next.
        centre: Of the first unit's field; the first pixel's is 0.
    """

    axis: int
    size: Fraction = Fraction(1)
    stride: Fraction = Fraction(1)
    centre: Fraction = Fraction(0)

    @property
    def offset(self) -> Fraction:
        """The first pixel of the first unit's field; below 0 it lies in the padding."""
        return self.centre - (self.size - 1) * _HALF

    def windowed(
        self, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1
    ) -> Field:
        """See through a window that slides over the map: r + d(k - 1)j, and j becomes js."""
        reach = dilation * (kernel - 1)
        return replace(
            self,
            size=self.size + reach * self.stride,
            stride=self.stride * stride,
            centre=self.centre + (reach * _HALF - padding) * self.stride,
        )

    def spread(self, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> Field:
        """See through a transposed window, which puts a kernel down every `stride` units.

        A unit of the output is under the kernels of so many neighbours as fit into a kernel;
        where that number differs from unit to unit, the most counts.
        """
        step = math.gcd(stride, dilation)
        neighbours = (kernel - 1) // (stride // step) * (dilation // step)
        reach = dilation * (kernel - 1)
        return replace(
            self,
            size=self.size + neighbours * self.stride,
            stride=self.stride / stride,
            centre=self.centre + (padding - reach * _HALF) * self.stride / stride,
        )

    def resized(
        self, size: int, new_size: int, *, neighbours: int, align_corners: bool = False
    ) -> Field:
        """See through an interpolation between so many neighbours."""
        reach = (min(neighbours, size) - 1) * self.stride
        if align_corners:
            scale = Fraction(size - 1, max(new_size - 1, 1))
            return replace(self, size=self.size + reach, stride=self.stride * scale)
        scale = Fraction(size, new_size)
        return replace(
            self,
            size=self.size + reach,
            stride=self.stride * scale,
            centre=self.centre + (scale - 1) * _HALF * self.stride,
        )

    def pooled_to(self, size: int, new_size: int) -> Field:
        """See through adaptive pooling, whose windows share the map as evenly as they can."""
        if size == new_size:
            return self
        windows = [
            (unit * size // new_size, -(-(unit + 1) * size // new_size)) for unit in range(new_size)
        ]
        widest = max(end - start for start, end in windows)
        return replace(
            self,
            size=self.size + (widest - 1) * self.stride,
            stride=self.stride * Fraction(size, new_size),
            centre=self.centre + (windows[0][1] - 1) * _HALF * self.stride,
        )

    def sliced(self, start: int, step: int = 1) -> Field:
        """See a part of the map; a negative start is padding."""
        return replace(self, stride=self.stride * step, centre=self.centre + start * self.stride)
