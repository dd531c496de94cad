"""Small networks of every kind that saliency meets, written as their authors would."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


class TwoLayers(nn.Module):
    """z = V relu(U x), U = [[1, 1], [1, -1]], V = [[2, 3], [-1, 5]]."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        self.second = nn.Parameter(torch.tensor([[2.0, 3.0], [-1.0, 5.0]]))

    def forward(self, x):
        return torch.relu(x @ self.first.T) @ self.second.T


class Linear(nn.Module):
    """z = W x."""

    WEIGHT = ((1.0, -2.0, 0.5), (0.0, 3.0, -1.0))

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(self.WEIGHT))

    def forward(self, x):
        return x @ self.weight.T


class Pooled(nn.Module):
    """Feature maps as they are given, a global average, one linear layer."""

    def __init__(self, weight):
        super().__init__()
        self.head = nn.Linear(len(weight[0]), len(weight), bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor(weight))

    def forward(self, x):
        maps = x * 1.0
        return self.head(maps.mean((2, 3)))


def vgg(classes=5, *, bias=True, seed=0):
    """Convolutions, module ReLUs, max pools, dense layers."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(12 * 4 * 4, 16, bias=bias),
        nn.ReLU(),
        nn.Linear(16, classes, bias=bias),
    ).eval()


class Block(nn.Module):
    """A residual block as torchvision writes it: one in-place rectifier, used twice."""

    def __init__(self, width):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.first_norm = random_norm(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = random_norm(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        y += x
        return self.relu(y)


class Resnet(nn.Module):
    """A stem, two residual blocks, a global average, one linear layer."""

    def __init__(self, classes=5, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
            random_norm(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, classes)
        self.eval()

    def forward(self, x):
        return self.head(self.pool(self.blocks(self.stem(x))).flatten(1))


class Functional(nn.Module):
    """What module hooks miss: functional, in-place and capped rectifiers, as densenet,
    googlenet and mobilenet_v2 have them; `modules` writes each as a module ReLU of its own.
    """

    def __init__(self, *, modules, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.convs = nn.ModuleList(nn.Conv2d(c, 8, 3, padding=1) for c in (3, 8, 8, 8))
        for conv in self.convs:
            nn.init.normal_(conv.weight, std=0.4)
        self.head = nn.Linear(8, 5)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(4)) if modules else None
        self.eval()

    def forward(self, x):
        if self.relus is not None:
            x = self.relus[0](self.convs[0](x))
            x = self.relus[1](self.convs[1](x)).clamp(max=0.5)
            x = self.relus[2](self.convs[2](x))
            x = self.relus[3](self.convs[3](x)).clamp(max=0.5)
        else:
            x = F.relu(self.convs[0](x))
            x = F.relu6(self.convs[1](x) * 12) / 12
            y = self.convs[2](x)
            F.relu_(y)  # and what is used is y itself
            x = F.hardtanh(self.convs[3](y), 0.0, 0.5)
        return self.head(x.mean((2, 3)))


class Segmentation(nn.Module):
    """(B, 3, H, W) to the logits (B, 4, H, W) of its pixels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 4, 1)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


class Sequence(nn.Module):
    """(B, 3, H, W) to a step (B, W, 4) for each column."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return torch.tanh(self.conv(x)).mean(2).transpose(1, 2)


def random_norm(width):
    """A batch norm that has seen something."""
    norm = nn.BatchNorm2d(width)
    nn.init.uniform_(norm.running_mean, -0.5, 0.5)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.uniform_(norm.bias, -0.5, 0.5)
    return norm
