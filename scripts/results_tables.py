#!/usr/bin/env python3
"""The tables of docs/results.md, from the finished runs of scripts/results.

    python3 scripts/results_tables.py runs/results/NETWORK
"""
import glob
import json
import os
import sys

CONTEXTS = ["reference", "solo", "alone", "joint"]
folder = sys.argv[1]
runs = {}
for path in glob.glob(os.path.join(folder, "eval-*", "results.json")):
    with open(path) as file:
        runs[os.path.basename(os.path.dirname(path))[len("eval-"):]] = json.load(file)
if not runs:
    sys.exit(f"{folder}: holds no finished run; scripts/results makes them")


def context_of(run, name):
    return next((c for c in run["contexts"] if c["context"] == name), None)


def bounds(metric, lam):
    """Upper bounds of a lambda that was not attacked itself: the least over the runs that judged it, by context."""
    least = {}
    for name, run in runs.items():
        if name.rpartition("-")[0] != metric:
            continue
        for s in run.get("sweep", []):
            if abs(s["lambda"] - lam) < 1e-6 and not s["attacked"]:
                value = (s["robust_accuracy"], s["clean_accuracy"])
                least[s["context"]] = min(least.get(s["context"], value), value)
    return least


def cells(run, found):
    """Of a lambda's own run; where the run of another lambda broke more of it, that counts."""
    first = run["contexts"][0]
    clean = context_of(run, "solo") or first
    out = [f"{clean['clean_accuracy']:.1f}"]
    for name in CONTEXTS:
        c = context_of(run, name)
        worst = min(c["robust_accuracy"], found[name][0] if name in found else 100)
        ste = c.get("ste_accuracy")
        out.append(f"{worst:.1f}" + (f" ({max(ste - worst, 0):.1f})" if ste is not None else ""))
    joint = context_of(run, "joint")
    return out + [f"{joint['joint_any']:.1f}" if joint.get("joint_any") is not None else ""]


def main_table():
    print("| model | clean % | reference | solo | alone | joint | any attacked batch |\n|---|---|---|---|---|---|---|")
    for name, title in (("base", "base, FC"), ("control", "matched control, FC")):
        if name in runs:
            print(f"| {title} | {runs[name]['clean_accuracy']:.1f} | {runs[name]['robust_accuracy']:.1f} | | | | |")
    rows = [("l2", "l2"), ("paper", "HPM, `--preset paper` (no metric, lambda .5)")]
    rows += [(f"{metric}-{lam}", f"HPM, {'learned metric' if metric == 'learned' else 'no metric'}, lambda {lam}")
             for metric in ("learned", "none") for lam in (".3", ".5", ".7", ".9", "1")]
    for name, title in rows:
        found = {}
        if "-" in name:
            metric, _, lam = name.rpartition("-")
            found = bounds(metric, float(lam))
        if name in runs:
            print(f"| {title} | " + " | ".join(cells(runs[name], found)) + " |")
        elif found:
            values = [f"at most {found[c][0]:.1f}" if c in found else "" for c in CONTEXTS]
            print(f"| {title} | {found['solo'][1]:.1f} | " + " | ".join(values) + " | |")


def yields():
    """How many images each surrogate broke first, of those given to it, over the runs that were attacked in a context."""
    print("\n| context | right | another context's | " + " | ".join(
        (names := ["ste", "fc", "hard", "stable", "soft", "region", "base", "control"])) +
          " | worst case |\n|" + "---|" * (len(names) + 4))
    chosen = {name: run for name, run in runs.items()
              if name == "paper" or name.startswith(("learned", "none")) and not name.endswith("-1")}
    for context in CONTEXTS:
        right = robust = 0
        first, of = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
        for run in chosen.values():
            c = context_of(run, context)
            right, robust = right + sum(c["clean_correct"]), robust + sum(
                a and b for a, b in zip(c["clean_correct"], c["robust"]))
            for s in c["surrogates"]:
                first[s["name"]] += s.get("first", 0)
                of[s["name"]] += s.get("of", 0)
        elsewhere = right - robust - sum(first.values())
        print(f"| {context} | {right} | {elsewhere} | " +
              " | ".join(f"{first[n]} of {of[n]}" if of[n] else "-" for n in names) + f" | {robust} |")
    print(f"\n{len(chosen)} runs")


def more_starts():
    if "control-restarts-4" in runs and "control" in runs:
        print(f"\ncontrol: {runs['control']['robust_accuracy']:.1f} with the version's starts, "
              f"{runs['control-restarts-4']['robust_accuracy']:.1f} with four times as many")


def standard():
    """MSA standard beside quick on the same images."""
    for name, run in sorted(runs.items()):
        if not name.startswith("standard-"):
            continue
        n, quick = run["n"], runs.get(name[len("standard-"):])
        for c in run["contexts"] or [run]:
            line = f"{name} {c.get('context') or ''}: n = {n}, clean {c['clean_accuracy']:.1f}, " \
                   f"robust {c['robust_accuracy']:.1f} ({c['interval'][0]:.1f}-{c['interval'][1]:.1f})"
            if quick:
                same = context_of(quick, c["context"]) if run["contexts"] else quick
                before, after = same["robust"][:n], c["robust"]
                line += f"; quick, same images: {100 * sum(before) / n:.1f}, " \
                        f"{sum(b and not a for b, a in zip(before, after))} more broken, " \
                        f"{sum(a and not b for b, a in zip(before, after))} broken by quick alone"
            if name != "standard-control" and "standard-control" in runs:
                theirs = runs["standard-control"]["robust"]
                line += f"; against the control: {sum(a and not b for a, b in zip(c['robust'], theirs))} won, " \
                        f"{sum(b and not a for a, b in zip(c['robust'], theirs))} lost"
            print(line)
            for s in c.get("surrogates", []):
                if "of" in s and s["first"]:
                    print(f"  {s['name']}: first {s['first']} of {s['of']}")


first = runs.get("control") or next(iter(runs.values()))
print(f"# {os.path.basename(folder.rstrip('/'))}, {first['n']} images, {first['norm']} {first['config']['threat']['eps']}\n")
main_table()
yields()
more_starts()
standard()
