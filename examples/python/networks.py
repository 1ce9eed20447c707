"""The network of the examples: the robust Fashion-MNIST model that comes with the project, rebuilt in PyTorch."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

import hpm

CHECKPOINT = Path(__file__).resolve().parents[2] / "checkpoints" / "fashion-mnist-linf-0.1.safetensors"
ARCH = "conv16k4s2p1-relu-conv32k4s2p1-relu-flatten-fc100-relu-fc10"


class FashionNet(nn.Sequential):
    """Images [N,1,28,28] in [0,1] -> logits [N,10]. The names of its weights are those of the checkpoint."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * 7 * 7, 100), nn.ReLU(), nn.Linear(100, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = (x - 0.286) / 0.353
        for layer in self:
            x = layer(x)
        return x


def robust_model() -> FashionNet:
    """The network with the project's weights, in evaluation mode."""
    model = FashionNet()
    model.load_state_dict(hpm.read_checkpoint(CHECKPOINT))
    return model.eval()
