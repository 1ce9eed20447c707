#!/usr/bin/env python3
"""What a sweep over mixing weights costs: MSA quick with --sweep-lambda beside the same run without, in turns, one thread.

    python benchmarks/sweep.py --model runs/hpm/model.safetensors --data cifar10 --eps 2/255 [--repeats 5] [--count 100]

Prints the CPU seconds of each run, their ratio by pairs (median, least to largest), and whether the sweep changed a flag."""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import tempfile

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--data-root")
parser.add_argument("--eps", required=True)
parser.add_argument("--count", default="100")
parser.add_argument("--context", default="reference,solo,alone,joint")
parser.add_argument("--sweep", default=".3,.5,.7,1")
parser.add_argument("--repeats", type=int, default=5)
parser.add_argument("--hpm", default="build/release/hpm")
a = parser.parse_args()


def run(out, *flags):
    """CPU seconds, and the flags of every context."""
    command = [a.hpm, "evaluate", "--protocol", "msa", "--model", a.model, "--data", a.data, "--eps", a.eps, "--count", a.count,
               "--context", a.context, "--checks", "none", "--threads", "1", "--quiet", "--overwrite", "--out", out, *flags]
    if a.data_root:
        command += ["--data-root", a.data_root]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ, OMP_NUM_THREADS="1"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    results = json.loads((pathlib.Path(out) / "results.json").read_text())
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, [c["robust"] for c in results["contexts"]]


with tempfile.TemporaryDirectory() as folder:
    pairs = []
    for repeat in range(a.repeats):
        order = [("plain",), ("sweep", "--sweep-lambda", a.sweep)]
        seconds = {}
        for name, *flags in order if repeat % 2 == 0 else order[::-1]:
            seconds[name], seconds[name + " flags"] = run(f"{folder}/{name}", *flags)
        assert seconds["plain flags"] == seconds["sweep flags"], "the sweep changed what the run found"
        pairs.append(seconds["sweep"] / seconds["plain"])
        print(f"plain {seconds['plain']:6.1f} s  with the sweep {seconds['sweep']:6.1f} s  ratio {pairs[-1]:.3f}", flush=True)
print(f"ratio {statistics.median(pairs):.3f} ({min(pairs):.3f}-{max(pairs):.3f}), {a.repeats} pairs; no flag changed")
