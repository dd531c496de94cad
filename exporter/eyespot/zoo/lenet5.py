"""LeNet-5: LeCun, Bottou, Bengio and Haffner, 1998.

Gradient-Based Learning Applied to Document Recognition, Proceedings of the IEEE 86(11). Section,
table and layer names are the paper's. `lenet5` is the paper's network; `lenet5_modern` has its
shape and the parts of today.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo.lenet5_codes import CODE_SIZE, output_codes
from eyespot.zoo.registry import register_model

PAPER = (
    "LeCun, Bottou, Bengio and Haffner: Gradient-Based Learning Applied to Document Recognition, "
    "Proceedings of the IEEE 86(11), 1998"
)

# Background (0) becomes -0.1 and ink (1) becomes 1.175, so that inputs have about zero mean and
# unit variance (section II.B): (pixel - mean) / std, with 1 / std = 1.175 + 0.1.
GREY_DIGITS = PreprocessingRule(
    resize_size=(32, 32),
    crop_size=None,
    interpolation="bilinear",
    color_order="GRAY",
    mean=(0.1 / 1.275,),
    std=(1 / 1.275,),
)

# Table I: for each map of C3, the maps of S2 that it sees.
C3_CONNECTIONS = (
    (0, 1, 2),
    (1, 2, 3),
    (2, 3, 4),
    (3, 4, 5),
    (0, 4, 5),
    (0, 1, 5),
    (0, 1, 2, 3),
    (1, 2, 3, 4),
    (2, 3, 4, 5),
    (0, 3, 4, 5),
    (0, 1, 4, 5),
    (0, 1, 2, 5),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)


def squash(x: Tensor) -> Tensor:
    """Squash as in appendix A: A tanh(S a) with A = 1.7159 and S = 2/3, so that f(±1) = ±1."""
    return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.Module):
    """S2 and S4: the sum of four neighbours, times a coefficient, plus a bias, one each per map."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(maps))
        self.bias = nn.Parameter(torch.empty(maps))
        _draw(self.coefficient, fan_in=4)
        _draw(self.bias, fan_in=4)

    def forward(self, x: Tensor) -> Tensor:
        """Halve height and width; squashing is the caller's."""
        total = 4 * functional.avg_pool2d(x, 2)  # (B, M, H, W) -> (B, M, H/2, W/2)
        return total * self.coefficient[:, None, None] + self.bias[:, None, None]


class PartialConvolution(nn.Module):
    """C3: a convolution whose maps see only some of the input's, after a connection table.

    Only the kernels of the table are parameters, packed one after the other. They are laid out
    among zeros for one dense convolution, which is faster than a convolution for each group.
    """

    kernel_positions: Tensor

    def __init__(
        self,
        connections: tuple[tuple[int, ...], ...],
        *,
        kernel_size: int,
        stride: int = 1,
        has_bias: bool = True,
    ) -> None:
        super().__init__()
        self.stride = stride
        inputs = 1 + max(max(sources) for sources in connections)
        self.dense_shape = (len(connections), inputs, kernel_size, kernel_size)
        wired = [
            target * inputs + source
            for target, sources in enumerate(connections)
            for source in sources
        ]
        self.weight = nn.Parameter(torch.empty(len(wired), kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(len(connections))) if has_bias else None
        # Where each packed kernel goes among targets x inputs kernels. It follows from the table.
        self.register_buffer("kernel_positions", torch.tensor(wired), persistent=False)
        first = 0
        for target, sources in enumerate(connections):
            fan_in = len(sources) * kernel_size**2
            _draw(self.weight[first : first + len(sources)], fan_in=fan_in)
            if self.bias is not None:
                _draw(self.bias[target : target + 1], fan_in=fan_in)
            first += len(sources)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve the maps of the table."""
        targets, inputs, height, width = self.dense_shape
        kernels = self.weight.new_zeros(targets * inputs, height, width)
        kernels = kernels.index_copy(
            0, self.kernel_positions, self.weight
        )  # (60, 5, 5) -> (96, 5, 5)
        return functional.conv2d(
            x, kernels.view(self.dense_shape), self.bias, self.stride
        )  # weight (16, 6, 5, 5)


class EuclideanOutput(nn.Module):
    """The output layer of radial basis functions: each class has a fixed code of +1 and -1.

    The paper's output is the squared distance to the code, the least for the best class; the
    logit is its negative.
    """

    codes: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        # In the state_dict, so that trained weights keep the codes that they were trained to.
        self.register_buffer("codes", output_codes(num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Give minus the squared distance to each class."""
        difference = x[:, None, :] - self.codes  # (B, 84) -> (B, num_classes, 84)
        return -(difference * difference).sum(dim=2)  # -> (B, num_classes)


class LeNet5(nn.Module):
    """The network of 1998: 60,000 trainable parameters at (1, 32, 32) and ten classes."""

    def __init__(self, *, num_classes: int, in_channels: int, input_size: int) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(in_channels, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = PartialConvolution(C3_CONNECTIONS, kernel_size=5)
        self.s4 = Subsampling(16)
        # C5's units see all of S4, and so are single ones: the paper keeps it a convolution.
        self.c5 = nn.Conv2d(16, 120, _s4_size(input_size))
        self.f6 = nn.Linear(120, CODE_SIZE)
        self.output = EuclideanOutput(num_classes)
        for layer in (self.c1, self.c5, self.f6):
            fan_in = layer.weight[0].numel()
            _draw(layer.weight, fan_in=fan_in)
            if layer.bias is not None:
                _draw(layer.bias, fan_in=fan_in)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        x = squash(self.c1(x))  # (B, 1, 32, 32) -> (B, 6, 28, 28)
        x = squash(self.s2(x))  # -> (B, 6, 14, 14)
        x = squash(self.c3(x))  # -> (B, 16, 10, 10)
        x = squash(self.s4(x))  # -> (B, 16, 5, 5)
        x = squash(self.c5(x))  # -> (B, 120, 1, 1)
        x = squash(self.f6(torch.flatten(x, 1)))  # -> (B, 84)
        logits: Tensor = self.output(x)  # -> (B, num_classes)
        return logits


class ModernLeNet5(nn.Module):
    """LeNet-5 with rectifiers, max pooling, full connections and a linear output layer."""

    def __init__(self, *, num_classes: int, in_channels: int, input_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * _s4_size(input_size) ** 2, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        x = functional.relu(self.conv1(x))  # (B, 1, 32, 32) -> (B, 6, 28, 28)
        x = functional.max_pool2d(x, 2)  # -> (B, 6, 14, 14)
        x = functional.relu(self.conv2(x))  # -> (B, 16, 10, 10)
        x = torch.flatten(functional.max_pool2d(x, 2), 1)  # -> (B, 400)
        x = functional.relu(self.fc1(x))  # -> (B, 120)
        x = functional.relu(self.fc2(x))  # -> (B, 84)
        logits: Tensor = self.fc3(x)  # -> (B, num_classes)
        return logits


def _s4_size(input_size: int) -> int:
    """Height and width after two times a 5x5 convolution and a halving: 32 -> 5."""
    return ((input_size - 4) // 2 - 4) // 2


def _draw(parameter: Tensor, *, fan_in: int) -> None:
    """Draw uniformly from ±2.4 / fan_in, as appendix A does."""
    bound = 2.4 / fan_in
    nn.init.uniform_(parameter, -bound, bound)


@register_model(
    "lenet5",
    paper=PAPER,
    year=1998,
    input_size=(1, 32, 32),
    min_input_size=16,
    num_classes=10,
    parameter_count=60_000,
    macs=415_680,
    receptive_field=16,
    departures="The logit is minus the squared distance that the paper's output layer gives; the "
    "bitmaps of the ten digits are drawn anew; other numbers of classes have random codes, which "
    "the paper offers; a picture is scaled to fill 32x32, where the paper leaves a margin.",
    preprocessing=GREY_DIGITS,
)
def lenet5(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the network of 1998; C5's kernel grows with `input_size`."""
    return LeNet5(num_classes=num_classes, in_channels=in_channels, input_size=input_size)


@register_model(
    "lenet5_modern",
    paper=PAPER,
    year=1998,
    input_size=(1, 32, 32),
    min_input_size=16,
    num_classes=10,
    parameter_count=61_706,
    macs=416_520,
    receptive_field=16,
    departures="Rectifiers for squashing functions, max pooling for trainable subsampling, C3 "
    "connected to every map, a linear output layer for the radial basis functions.",
    preprocessing=GREY_DIGITS,
)
def lenet5_modern(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build the modern variant; its first full layer grows with `input_size`."""
    return ModernLeNet5(num_classes=num_classes, in_channels=in_channels, input_size=input_size)
