#!/usr/bin/env python3
"""Loading a Wide ResNet-34-10 (185 MB of random weights): hpm beside PyTorch, in one run, one thread each.

    python benchmarks/loading.py [--repeats 9] [--program build/release/benchmarks/hpm_loading]

PyTorch: torch.load(weights_only=True), then load_state_dict into a network that was made before. hpm: load_classifier,
which beside these takes the SHA-256 of the file, compares the archive's checksums, recognises the architecture and makes
the network. Each load is a process of its own, the file is in the page cache; the order is ours, theirs, ours, theirs, ..."""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time


def wide_resnet(torch, depth=34, width=10):
    """The layers with the keys of a checkpoint; only loaded, never run."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, cin, cout, stride):
            super().__init__()
            self.bn1, self.conv1 = nn.BatchNorm2d(cin), nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
            self.bn2, self.conv2 = nn.BatchNorm2d(cout), nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
            if cin != cout:
                self.convShortcut = nn.Conv2d(cin, cout, 1, stride, bias=False)

    class Stage(nn.Module):
        def __init__(self, n, cin, cout, stride):
            super().__init__()
            self.layer = nn.Sequential(*[Block(cin if i == 0 else cout, cout, stride if i == 0 else 1) for i in range(n)])

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            n, widths = (depth - 4) // 6, [16, 16 * width, 32 * width, 64 * width]
            self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            for s in (1, 2, 3):
                setattr(self, f"block{s}", Stage(n, widths[s - 1], widths[s], 1 if s == 1 else 2))
            self.bn1, self.fc = nn.BatchNorm2d(widths[3]), nn.Linear(widths[3], 10)

    return Net()


def worker(path):
    import torch
    torch.set_num_threads(1)
    net = wide_resnet(torch)
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    net.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps(dict(seconds=seconds, cpu=cpu, memory_mb=(after.ru_maxrss - before.ru_maxrss) / 1024)))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--repeats", type=int, default=9)
    p.add_argument("--program", default="build/release/benchmarks/hpm_loading")
    p.add_argument("--worker", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.worker:
        return worker(a.worker)
    import torch
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "wrn34_10.pth")
        torch.save({"state_dict": wide_resnet(torch).state_dict(), "epoch": 1}, path)
        commands = {"hpm": [a.program, path], "PyTorch": [sys.executable, os.path.abspath(__file__), "--worker", path]}
        runs = {name: [] for name in commands}
        for _ in range(a.repeats + 1):
            for name, command in commands.items():
                runs[name].append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        size = os.path.getsize(path) / 2**20
    runs = {name: all_runs[1:] for name, all_runs in runs.items()}  # the first load fills the page cache
    assert all(r["architecture"] == "wrn34_10" for r in runs["hpm"])
    print(f"wrn34_10, {size:.0f} MB, one thread, {a.repeats} repeats in turns\n")
    print("| | seconds, median (least-largest) | CPU seconds, median | memory MB |\n|---|---|---|---|")
    for name, all_runs in runs.items():
        seconds, cpu = (sorted(r[k] for r in all_runs) for k in ("seconds", "cpu"))
        middle = len(seconds) // 2
        print(f"| {name} | {seconds[middle]:.3f} ({seconds[0]:.3f}-{seconds[-1]:.3f}) | {cpu[middle]:.3f} | "
              f"{max(r['memory_mb'] for r in all_runs):.0f} |")
    ratios = sorted(o["seconds"] / t["seconds"] for o, t in zip(runs["hpm"], runs["PyTorch"]))
    print(f"\nours over theirs, by pairs: {ratios[len(ratios) // 2]:.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
