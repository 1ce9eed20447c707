#!/usr/bin/env python3
"""Adversarial training beside PyTorch: images a CPU second of `hpm train` and of the same recipe written in PyTorch, in turns.

    python3 benchmarks/training.py [--hpm build/release/hpm] [--arch resnet18_cifar] [--steps 10] [--images 256]

PyTorch: eager, channels last, PGD in evaluation mode without the weights' gradients, one training pass in training
mode, SGD with momentum; float32 and bfloat16 autocast. hpm: --precision fast and bfloat16. Threads: one each. The image
data are random: time does not depend on them. Seconds are those of the processor, so that a busy machine spoils them
little; hpm's are those of a run of one epoch less those of a run of none.
"""
import argparse
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import torch
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(h + self.shortcut(x))


def resnet18():
    layers, width = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()], 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(width, outputs, stride), Block(outputs, outputs, 1)]
        width = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def cnn_a():
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(2048, 100), nn.ReLU(), nn.Linear(100, 10),
    )


NETWORKS = {
    "resnet18_cifar": resnet18,
    "conv16k4s2p1-relu-conv32k4s2p1-relu-flatten-fc100-relu-fc10": cnn_a,
}


def pytorch(arch, x, y, batch, steps, bfloat16):
    """Seconds of one epoch."""
    net = NETWORKS[arch]().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    eps, step = 8 / 255, 2 / 255
    start = time.process_time()
    for i in range(0, len(x), batch):
        a = x[i : i + batch].to(memory_format=torch.channels_last)
        b = y[i : i + batch]
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            net.eval()
            for p in net.parameters():
                p.requires_grad_(False)
            adv = (a + torch.empty_like(a).uniform_(-eps, eps)).clamp_(0, 1)
            for _ in range(steps):
                adv.requires_grad_()
                g = torch.autograd.grad(F.cross_entropy(net(adv).float(), b, reduction="sum"), adv)[0]
                adv = torch.min(torch.max(adv.detach() + step * g.sign(), a - eps), a + eps).clamp_(0, 1)
            net.train()
            for p in net.parameters():
                p.requires_grad_(True)
            loss = F.cross_entropy(net(adv).float(), b)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.process_time() - start


def hpm(program, arch, npz, batch, steps, precision, folder):
    """Seconds of one epoch."""

    def seconds(epochs):
        out = pathlib.Path(folder) / precision
        command = [program, "train", "--arch", arch, "--data", f"npz:{npz}", "--out", str(out), "--overwrite",
                   "--quiet", "--epochs", str(epochs), "--train-batch", str(batch), "--attack-steps", str(steps),
                   "--attack-step-size", "2/255", "--precision", precision, "--optimizer", "sgd", "--lr", ".01",
                   "--crop", "0", "--no-flip", "--threads", "1", "--save-every", "epoch"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return seconds(1) - seconds(0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hpm", default="build/release/hpm")
    parser.add_argument("--arch", default="resnet18_cifar", choices=NETWORKS)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = numpy.random.default_rng(0)
    pixels = generator.integers(0, 256, (options.images, 32, 32, 3), dtype=numpy.uint8)
    labels = numpy.arange(options.images) % 10
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    y = torch.from_numpy(labels)
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        npz = pathlib.Path(folder) / "images.npz"
        numpy.savez(npz, x_train=pixels, y_train=labels)
        for _ in range(options.rounds):
            for name, run in (
                ("PyTorch float32", lambda: pytorch(options.arch, x, y, options.batch, options.steps, False)),
                ("PyTorch bfloat16", lambda: pytorch(options.arch, x, y, options.batch, options.steps, True)),
                ("hpm fast", lambda: hpm(options.hpm, options.arch, npz, options.batch, options.steps, "fast", folder)),
                ("hpm bfloat16",
                 lambda: hpm(options.hpm, options.arch, npz, options.batch, options.steps, "bfloat16", folder)),
            ):
                seconds.setdefault(name, []).append(run())
    print(f"{options.arch}, PGD-{options.steps}, batch {options.batch}, {options.images} images, one thread")
    best = {name: min(all_of) for name, all_of in seconds.items()}
    for name, all_of in seconds.items():
        spread = statistics.pstdev(all_of) / statistics.mean(all_of)
        print(f"{name:18} {options.images / best[name]:7.1f} images a CPU second, best of {len(all_of)}, spread {spread:.0%}")
    print(f"hpm fast over PyTorch float32:      {best['PyTorch float32'] / best['hpm fast']:.2f}")
    print(f"hpm bfloat16 over PyTorch bfloat16: {best['PyTorch bfloat16'] / best['hpm bfloat16']:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
