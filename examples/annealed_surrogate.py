#!/usr/bin/env python3
"""Writes a surrogate of one's own as TorchScript: FC logits averaged over three temperatures.

    .venv/bin/python examples/annealed_surrogate.py annealed.pt
    hpm evaluate --model MODEL --protocol msa --surrogate annealed.pt --allow-torchscript ...

The module's forward gets images x [N,C,H,W] in [0,1], penultimate features z [N,D] and FC logits o [N,K], and gives
logits [N,K] with a gradient in any of the three. Constants such as prototypes are buffers of the module.
"""
import sys

import torch


class Annealed(torch.nn.Module):
    def forward(self, x: torch.Tensor, z: torch.Tensor, o: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(o)
        for temperature in (4.0, 1.0, 0.25):
            total = total + torch.softmax(o / temperature, 1)
        return torch.log(total / 3)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: annealed_surrogate.py FILE.pt")
    torch.jit.script(Annealed().eval()).save(sys.argv[1])
    print("wrote", sys.argv[1])
