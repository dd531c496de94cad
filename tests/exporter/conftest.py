"""Small networks with known parts, and one exported model that many tests look at."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from eyespot.exporter import ExportResult, export
from eyespot.v1.preprocessing import PreprocessingRule


class SmallNet(nn.Module):
    """Each kind of layer that behaves otherwise in training."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return self.head(self.drop(x.mean((2, 3))))


@pytest.fixture(scope="session")
def make_net() -> Callable[..., nn.Module]:
    """Build the small network for inputs (B, 3, 12, 12); the same weights each time."""

    def make(classes: int = 5) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            return SmallNet(classes)

    return make


@pytest.fixture(scope="session")
def sample() -> torch.Tensor:
    return torch.zeros(1, 3, 12, 12)


@pytest.fixture(scope="session")
def rule() -> PreprocessingRule:
    return PreprocessingRule(
        resize_size=14,
        crop_size=(12, 12),
        interpolation="bilinear",
        color_order="RGB",
        mean=(0.5, 0.25, 0.125),
        std=(0.25, 0.5, 1.0),
    )


@pytest.fixture(scope="session")
def labels() -> tuple[str, ...]:
    return ("a", "b", "ç", "d d", "e")


@pytest.fixture(scope="session")
def exported(
    tmp_path_factory: pytest.TempPathFactory,
    make_net: Callable[..., nn.Module],
    sample: torch.Tensor,
    rule: PreprocessingRule,
    labels: tuple[str, ...],
) -> ExportResult:
    """Version 1 of `small`, with preprocessing and labels; nobody may change its files."""
    return export(
        make_net(),
        sample,
        repository=tmp_path_factory.mktemp("repository"),
        name="small",
        preprocessing=rule,
        labels=labels,
    )


@pytest.fixture
def walk() -> Callable[[Path], list[str]]:
    """Name everything in a folder, dot files too."""
    return lambda folder: sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))
