"""What the tests of the Python package share: a small network with weights from a formula, images, and what may be at hand."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

SOURCE = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(SOURCE))
torch.set_num_threads(1)


def fill(count: int, tag: int) -> Tensor:
    """frac(sin(12.9898 i + 78.233 tag) 43758.5453): the same numbers everywhere."""
    values = torch.sin(torch.arange(count, dtype=torch.float64) * 12.9898 + tag * 78.233) * 43758.5453
    return values - values.floor()


class Tiny(nn.Module):
    """[N,3,8,8] -> [N,10]; its last layer is `fc`, of 16 features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 2, 1)
        self.conv2 = nn.Conv2d(8, 12, 3, 2, 1)
        self.hidden = nn.Linear(48, 16)
        self.fc = nn.Linear(16, 10)
        for tag, p in enumerate(self.parameters()):
            spread = 3 / (p[0].numel() if p.dim() > 1 else 4) ** 0.5
            p.data = ((fill(p.numel(), tag) - 0.5) * spread).view_as(p).float()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.conv1(x).relu()).relu()
        return self.fc(self.hidden(x.flatten(1)).relu())


def images(count: int) -> Tensor:
    return fill(count * 192, 91).view(count, 3, 8, 8).float()


@pytest.fixture
def tiny() -> Tiny:
    return Tiny().eval()


@pytest.fixture
def x() -> Tensor:
    return images(24)


@pytest.fixture
def y(tiny: Tiny, x: Tensor) -> Tensor:
    """The network's own predictions, but for every eighth image: clean accuracy is 21 of 24."""
    with torch.no_grad():
        labels = tiny(x).argmax(1)
    labels[::8] = (labels[::8] + 1) % 10
    return labels


@pytest.fixture
def official() -> ModuleType:
    """The official package: a folder in HPM_OFFICIAL_AUTOATTACK, or installed."""
    folder = os.environ.get("HPM_OFFICIAL_AUTOATTACK")
    if folder:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module("autoattack")
    except ImportError:
        pytest.skip(
            "the official package is not at hand: HPM_OFFICIAL_AUTOATTACK=DIR (a clone of github.com/fra31/auto-attack)"
        )


@pytest.fixture
def program() -> Path:
    """The program hpm: of the build folder, or of the installed package."""
    import hpm

    for path in (Path(os.environ.get("HPM_PROGRAM", "")), Path(hpm.__file__).parent / "bin" / "hpm"):
        if path.is_file():
            return path
    pytest.skip("the program hpm is not built: make program")
