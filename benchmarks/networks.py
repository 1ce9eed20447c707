"""Networks as people write them in PyTorch, for the benchmarks."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import hpm


class Normalised(nn.Module):
    """A network behind an input normalisation of its own."""

    def __init__(self, net: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - self.mean) / self.std)


def cnn_a() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(2048, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


class Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1)
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x).relu()) + self.shortcut(x)).relu()


class ResNet4b(nn.Module):
    """resnet4b: a strided convolution, four blocks of biased convolutions, two linear layers; no batch norm."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()

        def shape(name: str) -> tuple[int, ...]:
            return tuple(state[name].shape)

        self.conv1 = nn.Conv2d(3, shape("conv1.weight")[0], shape("conv1.weight")[2], 2, 1)
        width, stages = shape("conv1.weight")[0], 0
        while f"layer{stages + 1}.0.conv1.weight" in state:
            stages += 1
            blocks: list[nn.Module] = []
            while (key := f"layer{stages}.{len(blocks)}.conv1.weight") in state:
                strided = f"layer{stages}.{len(blocks)}.shortcut.0.weight" in state
                blocks.append(Block(width, shape(key)[0], 2 if strided else 1))
                width = shape(key)[0]
            setattr(self, f"layer{stages}", nn.Sequential(*blocks))
        self.stages = stages
        self.linear1 = nn.Linear(*reversed(shape("linear1.weight")))
        self.linear2 = nn.Linear(*reversed(shape("linear2.weight")))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x).relu()
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        return self.linear2(self.linear1(x.flatten(1)).relu())


def load(name: str, checkpoints: Path) -> nn.Module:
    """cnn-a or resnet4b for CIFAR-10, with weights and normalisation, in evaluation mode."""
    if name == "cnn-a":
        net: nn.Module = cnn_a()
        net.load_state_dict(hpm.read_checkpoint(checkpoints / "cifar_cnn_a_adv4.model"))
        return Normalised(net, [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]).eval()
    state = hpm.read_checkpoint(checkpoints / "resnet4b.pth")
    net = ResNet4b(state)
    net.load_state_dict(state)
    return Normalised(net, [0.4914, 0.4822, 0.4465], [0.2471, 0.2435, 0.2616]).eval()
