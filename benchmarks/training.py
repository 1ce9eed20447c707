#!/usr/bin/env python3
"""Adversarial training beside PyTorch: images a CPU second of `hpm train` and of the same recipe written in PyTorch, the peak
memory of each, and the share of the time that is outside of passes. In turns.

    python3 benchmarks/training.py [--hpm build/release/hpm] [--arch resnet18_cifar] [--steps 10] [--images 256]

PyTorch: eager, channels last, PGD in evaluation mode without the weights' gradients, one training pass in training
mode, SGD with momentum; float32 and bfloat16 autocast. hpm: --precision fast and bfloat16. Threads: one each. The image
data are random: time does not depend on them. Seconds are those of the processor, so that a busy machine spoils them
little; PyTorch's are those of the epoch alone, hpm's those of a run of one epoch less those of a run of none.

Every run is a process of its own. Memory is the largest resident set of the run of one epoch, the program and its
libraries included (PyTorch's has Python and NumPy too). Outside of passes: batches and the optimiser, as share of the epoch's wall-clock time (of hpm from
its log.csv); the adversary's own arithmetic counts as passes.
"""
import argparse
import csv
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ARCHITECTURES = ("resnet18_cifar", "conv16k4s2p1-relu-conv32k4s2p1-relu-flatten-fc100-relu-fc10")


# ---- PyTorch's side, in a process of its own: the parent loads no PyTorch, because Linux counts the memory of a process
# from which another is started as that one's ------------------------------------------------------------------------


def network(arch):
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
                self.shortcut = nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )

        def forward(self, x):
            h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            return F.relu(h + self.shortcut(x))

    if arch != "resnet18_cifar":
        return nn.Sequential(
            nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(2048, 100), nn.ReLU(), nn.Linear(100, 10),
        )
    layers, width = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()], 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(width, outputs, stride), Block(outputs, outputs, 1)]
        width = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def pytorch(o):
    """One epoch; prints its processor seconds, its wall-clock seconds, and those outside of passes."""
    import numpy
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(1)
    with numpy.load(o.npz) as arrays:
        x = torch.from_numpy(arrays["x_train"]).permute(0, 3, 1, 2).float() / 255
        y = torch.from_numpy(arrays["y_train"])
    net = network(o.arch).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    eps, step = 8 / 255, 2 / 255
    begun, processor, outside = time.perf_counter(), time.process_time(), 0
    for i in range(0, len(x), o.batch):
        before = time.perf_counter()
        a = x[i : i + o.batch].to(memory_format=torch.channels_last)
        b = y[i : i + o.batch]
        outside += time.perf_counter() - before
        with torch.autocast("cpu", torch.bfloat16, enabled=o.bfloat16):
            net.eval()
            for p in net.parameters():
                p.requires_grad_(False)
            adv = (a + torch.empty_like(a).uniform_(-eps, eps)).clamp_(0, 1)
            for _ in range(o.steps):
                adv.requires_grad_()
                g = torch.autograd.grad(F.cross_entropy(net(adv).float(), b, reduction="sum"), adv)[0]
                adv = torch.min(torch.max(adv.detach() + step * g.sign(), a - eps), a + eps).clamp_(0, 1)
            net.train()
            for p in net.parameters():
                p.requires_grad_(True)
            loss = F.cross_entropy(net(adv).float(), b)
        optimizer.zero_grad()
        loss.backward()
        before = time.perf_counter()
        optimizer.step()
        outside += time.perf_counter() - before
    print(json.dumps({
        "processor": time.process_time() - processor,
        "seconds": time.perf_counter() - begun,
        "outside": outside,
    }))


# ---- the parent -----------------------------------------------------------------------------------------------------


def measured(command):
    """Runs a command: its processor seconds, its largest resident set in MB, and its standard output."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"benchmark: exit status {process.returncode} of {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out


def pytorch_epoch(o, npz, bfloat16):
    """Processor seconds of one epoch, peak memory in MB, and the share outside of passes."""
    command = [sys.executable, __file__, "--as-pytorch", "--npz", str(npz), "--arch", o.arch, "--steps", str(o.steps),
               "--batch", str(o.batch)] + (["--bfloat16"] if bfloat16 else [])
    _, megabytes, out = measured(command)
    found = json.loads(out)
    return found["processor"], megabytes, found["outside"] / found["seconds"]


def hpm_epoch(o, npz, precision, folder):
    """The same of hpm."""
    out = pathlib.Path(folder) / precision
    command = [o.hpm, "train", "--arch", o.arch, "--data", f"npz:{npz}", "--out", str(out), "--overwrite", "--quiet",
               "--train-batch", str(o.batch), "--attack-steps", str(o.steps),
               "--attack-step-size", "2/255", "--precision", precision, "--optimizer", "sgd", "--lr", ".01",
               "--crop", "0", "--no-flip", "--threads", "1", "--save-every", "epoch", "--epochs"]
    without, _, _ = measured([*command, "0"])
    seconds, megabytes, _ = measured([*command, "1"])
    with open(out / "log.csv", newline="") as log:
        last = list(csv.DictReader(log))[-1]
    # Seconds have one digit there; images a second have more.
    return seconds - without, megabytes, float(last["seconds_outside"]) * float(last["images_per_second"]) / o.images


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hpm", default="build/release/hpm")
    parser.add_argument("--arch", default=ARCHITECTURES[0], choices=ARCHITECTURES)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    for hidden in ("--as-pytorch", "--bfloat16"):
        parser.add_argument(hidden, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--npz", help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.as_pytorch:
        return pytorch(o)

    import numpy

    generator = numpy.random.default_rng(0)
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        npz = pathlib.Path(folder) / "images.npz"
        numpy.savez(npz, x_train=generator.integers(0, 256, (o.images, 32, 32, 3), dtype=numpy.uint8),
                    y_train=numpy.arange(o.images) % 10)
        for _ in range(o.rounds):
            for name, run in (
                ("PyTorch float32", lambda: pytorch_epoch(o, npz, False)),
                ("PyTorch bfloat16", lambda: pytorch_epoch(o, npz, True)),
                ("hpm fast", lambda: hpm_epoch(o, npz, "fast", folder)),
                ("hpm bfloat16", lambda: hpm_epoch(o, npz, "bfloat16", folder)),
            ):
                runs.setdefault(name, []).append(run())
    print(f"{o.arch}, PGD-{o.steps}, batch {o.batch}, {o.images} images, one thread")
    best = {name: min(seconds for seconds, _, _ in all_of) for name, all_of in runs.items()}
    for name, all_of in runs.items():
        seconds, megabytes, outside = zip(*all_of)
        spread = statistics.pstdev(seconds) / statistics.mean(seconds)
        print(f"{name:18} {o.images / best[name]:7.1f} images a CPU second, best of {len(seconds)}, spread {spread:.0%}; "
              f"peak memory {max(megabytes):.0f} MB; outside of passes {statistics.median(outside):.1%}")
    print(f"hpm fast over PyTorch float32:      {best['PyTorch float32'] / best['hpm fast']:.2f}")
    print(f"hpm bfloat16 over PyTorch bfloat16: {best['PyTorch bfloat16'] / best['hpm bfloat16']:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
