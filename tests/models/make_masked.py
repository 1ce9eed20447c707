"""Models that hide their gradients, as TorchScript: make_masked.py FOLDER CHECKPOINT FASHION_MNIST_FOLDER.

winners.pt: a small network with k-winners-take-all activations (Xiao et al., arXiv:1905.10510), trained for a few
seconds with one-step adversarial images. quantised.pt: the committed robust network behind an input that is rounded to
eight levels; base.pt: the same network without the rounding. centred.pt: its logits less their mean
over the batch, so that neighbours move a prediction.
"""
import gzip
import json
import os
import struct
import sys

import torch
from torch import Tensor, nn

folder, checkpoint, data = sys.argv[1:4]
torch.set_num_threads(1)
torch.manual_seed(0)


class Winners(nn.Module):
    """Of each row the largest share of the values; the others are 0."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        k = max(int(self.share * flat.shape[1]), 1)
        least = flat.detach().topk(k, 1)[0][:, k - 1 : k]
        return (flat * (flat.detach() >= least).to(flat.dtype)).view_as(x)


class Quantised(nn.Module):
    def __init__(self, net: nn.Module, levels: int):
        super().__init__()
        self.net = net
        self.steps = levels - 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.round(x * self.steps) / self.steps)


class Centred(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        return logits - 0.7 * logits.mean(0, keepdim=True)


class Normalised(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - 0.286) / 0.353)


def read_images(name: str, header: int) -> Tensor:
    with gzip.open(os.path.join(data, name)) as file:
        raw = file.read()
    return torch.frombuffer(bytearray(raw[header:]), dtype=torch.uint8)


def read_safetensors(path: str) -> dict[str, Tensor]:
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        body = bytearray(file.read())
    out = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            out[name] = torch.frombuffer(body[begin:end], dtype=torch.float32).view(entry["shape"]).clone()
    return out


def trained_winners() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, 16, 5, 2, 2), Winners(0.2), nn.Conv2d(16, 32, 5, 2, 2), Winners(0.2),
                        nn.Flatten(), nn.Linear(1568, 100), Winners(0.3), nn.Linear(100, 10))
    model = Normalised(net)
    n, eps = 6000, 0.1
    x = read_images("train-images-idx3-ubyte.gz", 16).view(-1, 1, 28, 28)[:n] / 255.0
    y = read_images("train-labels-idx1-ubyte.gz", 8)[:n].long()
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(2):
        for rows in torch.randperm(n).split(100):
            start = (x[rows] + eps * (2 * torch.rand_like(x[rows]) - 1)).clamp(0, 1).requires_grad_()
            gradient = torch.autograd.grad(nn.functional.cross_entropy(model(start), y[rows]), start)[0]
            moved = (start.detach() + eps * gradient.sign()).clamp(0, 1)
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(moved), y[rows]).backward()
            optimiser.step()
    return model


def robust_network() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
                        nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10))
    net.load_state_dict(read_safetensors(checkpoint))
    return Normalised(net)


base = robust_network()
for name, model in {"winners": trained_winners(), "base": base, "quantised": Quantised(base, 8),
                    "centred": Centred(base)}.items():
    torch.jit.script(model.eval()).save(os.path.join(folder, name + ".pt"))
