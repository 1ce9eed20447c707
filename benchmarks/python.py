"""hpm's Python package beside the official AutoAttack: time and memory of one evaluation, each in its own process.

    python benchmarks/python.py --official DIR --data DIR --checkpoints DIR [--models cnn-a,resnet4b] [--count 100]

DIR of --official holds the folder `autoattack` of github.com/fra31/auto-attack. One thread. Seconds are CPU seconds of
the process, which a busy machine changes less than the clock's; the ratio is official / hpm. Memory is the peak
resident set, less that of the process before the evaluation. `relaxation` is the core of the protocol fast alone,
without its sample of FAB-T and Square, which costs most where images are few.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

EPS = 2 / 255
WAYS = ("official", "AutoAttack", "AutoAttack native", "fast", "fast native", "relaxation", "relaxation native")


def run(way: str, name: str, args: argparse.Namespace) -> dict[str, float | int]:
    import torch

    torch.set_num_threads(1)
    import hpm
    from networks import load

    images = hpm.data("cifar10", root=args.data, count=args.count)
    model = load(name, Path(args.checkpoints))
    with torch.no_grad():
        model(images.x[:8])
    if "native" in way:
        model = hpm.native(model, images.x[:8])
    if way == "official":
        sys.path.insert(0, args.official)
        from autoattack import AutoAttack
    else:
        from hpm import AutoAttack
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.monotonic()
    if way.startswith("fast"):
        robust = int(hpm.fast(model, images.x, images.y, eps=EPS, checks="none").flags.sum())
    elif way.startswith("relaxation"):
        settings = {"version": "custom", "attacks": ["relaxation"], "checks": "none"}
        robust = int(hpm.evaluate(model, images.x, images.y, eps=EPS, **settings).flags.sum())
    else:
        adversary = AutoAttack(model, norm="Linf", eps=EPS, seed=0, verbose=False, device="cpu")
        x = adversary.run_standard_evaluation(images.x, images.y, bs=args.count)
        with torch.no_grad():
            robust = int((model(x).argmax(1) == images.y).sum())
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "seconds": time.monotonic() - began,
        "memory": (after.ru_maxrss - before.ru_maxrss) / 1024,
        "robust": robust,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--checkpoints", required=True)
    parser.add_argument("--models", default="cnn-a,resnet4b")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--one", nargs=2, metavar=("WAY", "MODEL"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run(*args.one, args)))
        return
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, n = {args.count}, eps 2/255\n"
    )
    print("| model | | robust | CPU s | ratio | s | memory MiB |\n|---|---|---|---|---|---|---|")
    for name in args.models.split(","):
        official = None
        for way in args.ways.split(","):
            command = [sys.executable, __file__, *sys.argv[1:], "--one", way, name]
            found = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            )
            official = official or found["cpu"]
            print(
                f"| {name} | {way} | {found['robust']} | {found['cpu']:.1f} | {official / found['cpu']:.2f} | "
                f"{found['seconds']:.1f} | {found['memory']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
