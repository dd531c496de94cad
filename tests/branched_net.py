"""A small network with what stands in the way of a backward pass: branches, groups, strides."""

import torch
from torch import nn
from torch.nn import functional


class BranchedNet(nn.Module):
    """Takes (B, 3, 16, 16) and gives (B, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)  # 16 -> 8: one row is left over
        self.norm = nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.wide = nn.Conv2d(8, 4, 5, padding=2, groups=2)
        self.late_norm = nn.BatchNorm2d(12)
        self.late_act = nn.ReLU()
        self.head = nn.Linear(12, 5)
        for norm in (self.norm, self.late_norm):
            nn.init.normal_(norm.running_mean, std=0.3)
            nn.init.uniform_(norm.running_var, 0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu_(self.norm(self.stem(x)))
        x = functional.max_pool2d(x, 3, stride=1, padding=1)
        deep = functional.relu6(x + self.deep(x))
        x = torch.cat([deep, functional.avg_pool2d(self.wide(x), 3, 1, padding=1)], 1)
        x = self.late_act(self.late_norm(functional.avg_pool2d(x, 2)))  # (B, 12, 4, 4)
        return self.head(x.mean((2, 3)))
