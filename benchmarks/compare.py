#!/usr/bin/env python3
"""AutoAttack and its peers on the same model, images and threads, in one run: seconds, passes, verdicts, peak memory.

    python benchmarks/compare.py --case cnn-a --checkpoint cifar_cnn_a_adv4.model --cifar DIR [--count 100] [--repeats 3]
    python benchmarks/compare.py --case resnet18          # formula-filled weights and images: needs no files

Needs PyTorch (the build of the checkpoint of comparison), numpy, and for the peers what can be had:
    --official DIR    a clone of github.com/fra31/auto-attack
    torchattacks, foolbox: pip install --no-deps torchattacks foolbox eagerpy (skipped, with the reason, where missing)
Each measurement is a process of its own; the order is ours, official, ours, official, ... so that a busy machine hits both."""
import argparse, json, os, resource, subprocess, sys, tempfile, time

CASES = {
    "cnn-a": dict(arch="conv16k4s2p1-relu-conv32k4s2p1-relu-flatten-fc100-relu-fc10", mean=(.4914, .4822, .4465), std=(.2023, .1994, .2010), eps=2 / 255),
    "resnet4b": dict(arch="resnet4b", mean=(.4914, .4822, .4465), std=(.2471, .2435, .2616), eps=2 / 255),
    "resnet18": dict(arch="resnet18_cifar", mean=(0., 0., 0.), std=(1., 1., 1.), eps=.1 / 255, steps=10, queries=200, count=8),
}


def fill(n, t):
    """The fill rule: frac(sin(i * 12.9898 + t * 78.233) * 43758.5453)."""
    import numpy as np
    v = np.sin(np.arange(n, dtype=np.float64) * 12.9898 + t * 78.233) * 43758.5453
    return v - np.floor(v)


def resnet4b(torch):
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, cin, cout, stride):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(cin, cout, 3, stride, 1), nn.Conv2d(cout, cout, 3, 1, 1)
            self.shortcut = nn.Sequential(nn.Conv2d(cin, cout, 1, stride)) if stride > 1 else nn.Sequential()

        def forward(self, x):
            return F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))

    return Block


def resnet18(torch):
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, cin, cout, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout)
            self.conv2, self.bn2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout)
            same = stride == 1 and cin == cout
            self.shortcut = nn.Sequential() if same else nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

        def forward(self, x):
            return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
            for i, (cin, cout, stride) in enumerate([(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)], 1):
                setattr(self, f"layer{i}", nn.Sequential(Block(cin, cout, stride), Block(cout, cout, 1)))
            self.linear = nn.Linear(512, 10)

        def forward(self, x):
            x = F.relu(self.bn1(self.conv1(x)))
            for i in range(1, 5):
                x = getattr(self, f"layer{i}")(x)
            return self.linear(F.avg_pool2d(x, 4).flatten(1))

    return Net()


def load(a, torch):
    """The network in evaluation mode, counting images; images and labels."""
    import numpy as np
    case, nn = CASES[a.case], torch.nn
    if a.case == "cnn-a":
        net = nn.Sequential(nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 100), nn.ReLU(), nn.Linear(100, 10))
        net.load_state_dict(torch.load(a.checkpoint, map_location="cpu", weights_only=True))
    elif a.case == "resnet4b":
        state = torch.load(a.checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        Block, F = resnet4b(torch), nn.functional

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv1 = nn.Conv2d(*state["conv1.weight"].shape[1::-1], 3, 2, 1)
                for layer in sorted({k.split(".")[0] for k in state if k.startswith("layer")}):
                    blocks = []
                    for i in sorted({k.split(".")[1] for k in state if k.startswith(layer)}):
                        cout, cin = state[f"{layer}.{i}.conv1.weight"].shape[:2]
                        blocks.append(Block(cin, cout, 2 if f"{layer}.{i}.shortcut.0.weight" in state else 1))
                    setattr(self, layer, nn.Sequential(*blocks))
                self.layers = sorted({k.split(".")[0] for k in state if k.startswith("layer")})
                self.linear1, self.linear2 = (nn.Linear(*state[f"linear{i}.weight"].shape[::-1]) for i in (1, 2))

            def forward(self, x):
                x = F.relu(self.conv1(x))
                for layer in self.layers:
                    x = getattr(self, layer)(x)
                return self.linear2(F.relu(self.linear1(x.flatten(1))))

        net = Net()
        net.load_state_dict(state)
    else:
        net = resnet18(torch)
        for t, (name, v) in enumerate(net.state_dict().items()):
            if name.endswith("num_batches_tracked"):
                continue
            r = torch.tensor(fill(v.numel(), t)).view(v.shape)
            if v.dim() > 1:
                w = (2 * r - 1) * (3 / v[0].numel()) ** .5
            elif name.endswith("running_var") or name.endswith("weight"):
                w = .5 + r
            else:
                w = (2 * r - 1) * .1
            v.copy_(w)
    net.eval()
    for p in net.parameters():
        p.requires_grad_(a.gradients_of_weights)
    mean, std = (torch.tensor(case[k]).view(1, 3, 1, 1) for k in ("mean", "std"))

    class Counting(nn.Module):
        images = 0

        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            Counting.images += len(x)
            return self.net((x - mean) / std)

    model = Counting().eval()
    if a.case == "resnet18":
        x = torch.tensor(fill(a.count * 3072, 0)).view(-1, 3, 32, 32).float()
        with torch.no_grad():
            y = model(x).argmax(1)
    else:
        d = np.fromfile(os.path.join(a.cifar, "cifar-10-batches-bin/test_batch.bin"), dtype=np.uint8)[: a.count * 3073].reshape(-1, 3073)
        x, y = torch.tensor(d[:, 1:].reshape(-1, 3, 32, 32)).float() / 255, torch.tensor(d[:, 0]).long()
    return model, x, y


def worker(a):
    """One measurement of a peer, printed as JSON."""
    import torch
    torch.set_num_threads(a.threads)
    model, x, y = load(a, torch)
    eps, case = CASES[a.case]["eps"], CASES[a.case]
    with torch.no_grad():
        right = model(x).argmax(1) == y
    names = a.attacks.split(",") if a.attacks else None
    model.images, type(model).images = 0, 0
    start, cpu = time.perf_counter(), time.process_time()
    if a.worker == "official":
        sys.path.insert(0, a.official)
        from autoattack import AutoAttack
        aa = AutoAttack(model, norm="Linf", eps=eps, seed=0, version="custom" if names else "standard", attacks_to_run=names or [], device="cpu", verbose=False)
        if "steps" in case:
            aa.apgd.n_iter = aa.apgd_targeted.n_iter = aa.fab.n_iter = case["steps"]
            aa.square.n_queries = case["queries"]
        adversarial = aa.run_standard_evaluation(x, y, bs=a.batch)
    elif a.worker == "torchattacks":
        import torchattacks
        adversarial = x.clone()
        steps, queries = case.get("steps", 100), case.get("queries", 5000)
        todo = right.clone()
        for attack in (torchattacks.APGD(model, norm="Linf", eps=eps, steps=steps, n_restarts=1, loss="ce", seed=0),
                       torchattacks.APGDT(model, norm="Linf", eps=eps, steps=steps, n_restarts=1, n_classes=10, seed=0),
                       torchattacks.FAB(model, norm="Linf", eps=eps, steps=steps, n_restarts=1, n_classes=10, multi_targeted=True, seed=0),
                       torchattacks.Square(model, norm="Linf", eps=eps, n_queries=queries, n_restarts=1, seed=0)):
            rows = todo.nonzero().flatten()
            for part in rows.split(a.batch):
                found = attack(x[part], y[part])
                with torch.no_grad():
                    broken = model(found).argmax(1) != y[part]
                adversarial[part[broken]] = found[broken]
                todo[part[broken]] = False
    elif a.worker == "foolbox":
        import foolbox
        f = foolbox.PyTorchModel(model, bounds=(0, 1))
        adversarial = x.clone()
        attack = foolbox.attacks.LinfPGD(steps=100, abs_stepsize=eps / 4, random_start=True)
        for part in right.nonzero().flatten().split(a.batch):
            _, found, broken = attack(f, x[part], foolbox.criteria.Misclassification(y[part]), epsilons=eps)
            adversarial[part[broken]] = found[broken]
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    passes = type(model).images
    with torch.no_grad():
        robust = (model(adversarial).argmax(1) == y) & right
    print(json.dumps(dict(seconds=wall, cpu=cpu, forward_passes=passes, robust=robust.int().tolist(), peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)))


def ours(a, folder):
    case = CASES[a.case]
    command = [a.hpm, "bench", "--arch", case["arch"], "--eps", repr(case["eps"]), "--what", "passes,autoattack", "--repeats", "1", "--format", "json", "--clock", "cpu", "--threads", str(a.threads),
               "--batch-size", str(a.batch), "--quiet", "--mean", ",".join(map(str, case["mean"])), "--std", ",".join(map(str, case["std"]))]
    if a.case == "resnet18":
        import torch, numpy as np
        model, x, _ = load(a, torch)
        weights = os.path.join(folder, "resnet18.pth")
        torch.save(model.net.state_dict(), weights)
        np.save(os.path.join(folder, "x.npy"), x.numpy())
        command += ["--model", weights, "--input", os.path.join(folder, "x.npy"), "--steps", str(case["steps"]), "--queries", str(case["queries"])]
    else:
        command += ["--model", a.checkpoint, "--data", "cifar10", "--data-root", a.cifar, "--count", str(a.count)]
    if a.attacks:
        command += ["--attacks", a.attacks]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    j = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    last = j["rows"][-1]
    return dict(seconds=last["seconds"], cpu=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, forward_passes=last["forward_passes"],
                backward_passes=last["backward_passes"], passes_alone=last["passes_alone"], robust=j["robust"], peak_memory_mb=j["peak_memory_mb"],
                attacks={r["name"]: r["seconds"] for r in j["rows"][:-1] if r["passes_alone"]})


def peer(a, name):
    command = [sys.executable, os.path.abspath(__file__), "--worker", name] + [w for w in sys.argv[1:]]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        return run.stderr.strip().splitlines()[-1] if run.stderr.strip() else "failed"
    return json.loads(run.stdout.strip().splitlines()[-1])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--case", choices=CASES, default="cnn-a")
    p.add_argument("--checkpoint")
    p.add_argument("--cifar", help="the parent of cifar-10-batches-bin")
    p.add_argument("--count", type=int, default=100)
    p.add_argument("--batch", type=int, default=250)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--attacks", help="a list, instead of version standard")
    p.add_argument("--official", help="a clone of fra31/auto-attack")
    p.add_argument("--hpm", default="build/release/hpm")
    p.add_argument("--peers", default="official,torchattacks,foolbox")
    p.add_argument("--worker", help=argparse.SUPPRESS)
    p.add_argument("--gradients-of-weights", action="store_true", help="leave requires_grad of the weights on for the peers, as a script that forgets it does")
    a = p.parse_args()
    a.count = CASES[a.case].get("count", a.count)
    if a.worker:
        return worker(a)
    runs, reasons = {}, {}
    names = ["ours"] + [n for n in a.peers.split(",") if n != "official" or a.official]
    if "official" in a.peers.split(",") and not a.official:
        reasons["official"] = "not asked for: --official DIR"
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(a.repeats):
            for name in list(names):
                result = ours(a, folder) if name == "ours" else peer(a, name)
                if isinstance(result, str):
                    reasons[name] = result
                    names.remove(name)
                else:
                    runs.setdefault(name, []).append(result)
    reference = runs["ours"]
    print(f"{a.case}, Linf {CASES[a.case]['eps'] * 255:.3g}/255, {a.count} images, {a.threads} thread(s), batches of {a.batch}, {a.repeats} repeats; times are CPU seconds of the attacks\n")
    print("|who|seconds, median (least-largest)|ours are faster, by pairs|forward passes|robust|verdicts unlike ours|peak memory MB|\n|---|---|---|---|---|---|---|")
    for name, all_runs in runs.items():
        seconds = sorted(r["seconds"] if name == "ours" else r["cpu"] for r in all_runs)
        ratios = sorted((r["seconds"] if name == "ours" else r["cpu"]) / o["seconds"] for r, o in zip(all_runs, reference))
        differ = [sum(u != v for u, v in zip(r["robust"], o["robust"])) for r, o in zip(all_runs, reference)]
        missed = [sum(u == 0 and v == 1 for u, v in zip(r["robust"], o["robust"])) for r, o in zip(all_runs, reference)]
        print(f"|{name}|{seconds[len(seconds) // 2]:.2f} ({seconds[0]:.2f}-{seconds[-1]:.2f})|{ratios[len(ratios) // 2]:.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})|{all_runs[0]['forward_passes']}|"
              f"{sum(all_runs[0]['robust'])}|{max(differ)}, of which broken there alone {max(missed)}|{max(r['peak_memory_mb'] for r in all_runs):.0f}|")
    alone = sorted(r["passes_alone"] for r in reference)
    overhead = sorted(r["seconds"] / r["passes_alone"] for r in reference)
    print(f"\nour network passes alone, measured beside them: {alone[len(alone) // 2]:.2f} s; ours over that: {overhead[len(overhead) // 2]:.2f} ({overhead[0]:.2f}-{overhead[-1]:.2f})")
    print("ours, by attack:", ", ".join(f"{k} {v:.2f} s" for k, v in reference[0]["attacks"].items()))
    for name, reason in reasons.items():
        print(f"{name}: not measured: {reason}")


if __name__ == "__main__":
    main()
