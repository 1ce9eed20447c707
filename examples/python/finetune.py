"""HPM in a training loop of one's own: attach, train, evaluate beside a control, save, judge in the program.

    .venv/bin/python examples/python/finetune.py [--images 4000] [--count 200] [--out runs/python]

What `hpm finetune` does, as a loop in PyTorch: adversarial images by PGD on the FC layer, the loss CE(HPM) + .5 CE(FC) in
the context solo, means that follow by EMA, and a control that trains on the same batches without HPM.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
from pathlib import Path

import torch
from networks import ARCH, robust_model
from torch import Tensor, nn

import hpm

EPS = 0.1


def pgd(model: nn.Module, x: Tensor, y: Tensor, steps: int = 4) -> Tensor:
    """Training's adversary: gradient ascent on the cross-entropy from a random point of the ball."""
    adversarial = (x + EPS * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    for _ in range(steps):
        adversarial.requires_grad_()
        loss = nn.functional.cross_entropy(model(adversarial), y)
        (gradient,) = torch.autograd.grad(loss, adversarial)
        step = adversarial.detach() + EPS / 2 * gradient.sign()
        adversarial = torch.min(torch.max(step, x - EPS), x + EPS).clamp(0, 1)
    return adversarial.detach()


def batches(data: hpm.Data, size: int = 128) -> list[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(data.y), generator=torch.Generator().manual_seed(0))
    return [(data.x[rows], data.y[rows]) for rows in order.split(size)]


def train_defended(base: nn.Module, loader: list[tuple[Tensor, Tensor]]) -> hpm.HpmModule:
    defended = hpm.attach(copy.deepcopy(base), head="7", loader=loader, eps=EPS).train()
    optimizer = torch.optim.SGD(defended.parameters(), lr=0.001, momentum=0.9)
    for x, y in loader:
        loss = defended.loss(pgd(defended.model, x, y), y, clean=x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    defended.eval()
    defended.calibrate(loader, eps=EPS)
    return defended


def train_control(base: nn.Module, loader: list[tuple[Tensor, Tensor]]) -> nn.Module:
    control = copy.deepcopy(base).train()
    optimizer = torch.optim.SGD(control.parameters(), lr=0.001, momentum=0.9)
    for x, y in loader:
        loss = nn.functional.cross_entropy(control(pgd(control, x, y)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return control.eval()


def main() -> hpm.HpmModule:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4000, help="training images")
    parser.add_argument("--count", type=int, default=200, help="test images")
    parser.add_argument("--out", type=Path, default=Path("runs/python"))
    parser.add_argument("--program", default="hpm", help="the program hpm")
    args = parser.parse_args()
    torch.manual_seed(0)

    loader = batches(hpm.data("fashion-mnist", "train", count=args.images))
    test = hpm.data("fashion-mnist", count=args.count)
    base = robust_model()
    defended, control = train_defended(base, loader), train_control(base, loader)

    result = hpm.msa(defended, test.x, test.y, eps=EPS, base=base, control=control, class_names=test.class_names)
    print(result)
    args.out.mkdir(parents=True, exist_ok=True)
    result.save(args.out / "in-python", overwrite=True)
    hpm.report(result, args.out / "report.html")

    # Train in Python, judge in either: the program reads the state_dict.
    torch.save(defended.state_dict(), args.out / "model.pth")
    subprocess.run(
        [args.program, "evaluate", "--model", args.out / "model.pth", "--arch", ARCH, "--mean", "0.286", "--std", "0.353",
         "--data", "fashion-mnist", "--count", str(args.count), "--eps", str(EPS), "--protocol", "clean",
         "--out", args.out / "in-the-program", "--overwrite"],
        check=True,
    )  # fmt: skip
    return defended


if __name__ == "__main__":
    main()
