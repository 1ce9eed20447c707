"""What runs in a Python of its own: the official AutoAttack on the same weights and images, and PyTorch's passes alone."""
import json, pathlib, sys, time

from on_gpu.clock import ROOT

MEAN, STD = (.4914, .4822, .4465), (.2471, .2435, .2616)


def tiny_network(torch):
    nn = torch.nn
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(),
                         nn.Linear(512, 10)).eval()


def tiny_inputs(folder):
    """A dry run's stand-ins for the checkpoint and the images: a network whose predictions on noise are spread over all
    classes, and its predictions as labels."""
    import numpy as np, torch
    torch.manual_seed(1)
    net = tiny_network(torch)
    x = np.random.default_rng(1).integers(0, 256, (150, 3, 32, 32), np.uint8)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    inputs = (torch.tensor(x) / 255. - mean) / std
    with torch.no_grad():
        logits = net(inputs)
        spread = logits.std(0)
        net[-1].bias.copy_((net[-1].bias - logits.mean(0)) / spread)
        net[-1].weight.div_(spread.view(-1, 1))
        y = net(inputs).argmax(1).numpy()
    torch.save(net.state_dict(), folder / "tiny.pth")
    y[0] = (y[0] + 1) % 10  # one image is misclassified
    np.savez(folder / "tiny.npz", test_images=x, test_labels=y, train_images=x, train_labels=y)
    return folder / "tiny.pth", folder / "tiny.npz"


def network(a, torch):
    """The checkpoint's network on the device, from images in [0,1]."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from compare import resnet18
    net = tiny_network(torch) if a.dry_run else resnet18(torch)
    state = torch.load(a.checkpoint, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state)
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    net = net.eval().to(a.device)
    mean, std = (torch.tensor(v, device=a.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return net, lambda x: net((x - mean) / std)


def images(a, torch):
    import numpy as np
    with np.load(a.images_file) as arrays:
        x, y = arrays["test_images"][: a.count], arrays["test_labels"][: a.count]
    return (torch.tensor(x) / 255.).to(a.device), torch.tensor(y).to(a.device)


def allow_tf32(torch, allowed):
    """PyTorch's default allows TF32 in cuDNN's convolutions, and not in matrix products."""
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = allowed, False
    return {"convolutions": torch.backends.cudnn.allow_tf32, "products": torch.backends.cuda.matmul.allow_tf32}


def write(answer, found):
    beside = pathlib.Path(answer + ".new")
    beside.write_text(json.dumps(found))
    beside.replace(answer)


def as_official(a):
    """One attack after the other, each on the images that those before it left, as run_standard_evaluation does. The answer
    is written after each: a further call goes on from there."""
    sys.path.insert(0, str(pathlib.Path(a.official_code)))
    import torch
    from autoattack import AutoAttack
    tf32 = allow_tf32(torch, a.tf32)
    _, forward = network(a, torch)
    x, y = images(a, torch)
    attack = AutoAttack(forward, norm="Linf", eps=a.radius, version="standard", device=a.device, verbose=True)
    names = ["apgd-ce", "square"] if a.dry_run else list(attack.attacks_to_run)
    if a.dry_run:
        attack.apgd.n_iter, attack.square.n_queries = 2, 4

    def right(points, labels):
        with torch.no_grad():
            return torch.cat([forward(some).argmax(1) for some in points.split(a.batch)]).eq(labels)

    clean = right(x, y)
    path = pathlib.Path(a.answer)
    found = json.loads(path.read_text()) if path.exists() else {}
    if not found:
        found = {"tf32": tf32, "clean": 100. * clean.float().mean().item(), "seconds": 0., "attacks": {}, "complete": False,
                 "robust_flags": clean.tolist()}
    standing = torch.tensor(found["robust_flags"], device=x.device)
    for name in names:
        if name in found["attacks"]:
            continue
        begun, rows = time.monotonic(), standing.nonzero().flatten()
        if len(rows):
            attack.attacks_to_run = [name]
            standing[rows] = right(attack.run_standard_evaluation(x[rows], y[rows], bs=a.batch), y[rows])
        found["attacks"][name] = {"seconds": round(time.monotonic() - begun, 3), "images": len(rows),
                                  "robust": 100. * standing.float().mean().item()}
        found |= {"seconds": found["seconds"] + time.monotonic() - begun, "robust_flags": standing.tolist(),
                  "robust": 100. * standing.float().mean().item(), "complete": name == names[-1]}
        write(a.answer, found)
    return 0


def as_passes(a):
    """Images a second of the network's passes alone: the ceiling of every attack, and what layout and precision change."""
    import torch
    net, forward = network(a, torch)
    x, y = images(a, torch)
    wait = torch.cuda.synchronize if a.device != "cpu" else lambda: None
    for p in net.parameters():
        p.requires_grad_(False)
    rows = []
    for batch in map(int, a.batches.split(",")):
        some, labels = x[:batch], y[:batch]
        for precision in ("float32", "tf32", "bfloat16"):
            allow_tf32(torch, precision != "float32")
            for layout in (torch.contiguous_format, torch.channels_last):
                net.to(memory_format=layout)
                inputs = some.contiguous(memory_format=layout)

                def search():
                    leaf = inputs.detach().requires_grad_()
                    with torch.autocast(a.device, torch.bfloat16, enabled=precision == "bfloat16"):
                        loss = torch.nn.functional.cross_entropy(forward(leaf).float(), labels, reduction="sum")
                    torch.autograd.grad(loss, leaf)

                def predict():
                    with torch.no_grad(), torch.autocast(a.device, torch.bfloat16, enabled=precision == "bfloat16"):
                        forward(inputs)

                row = {"batch": len(some), "precision": precision, "layout": str(layout).split(".")[-1]}
                for name, work in (("forward", predict), ("gradient", search)):
                    times = []
                    for _ in range(a.repeats + 2):
                        begun = time.monotonic()
                        work()
                        wait()
                        times.append(time.monotonic() - begun)
                    row[name] = round(len(some) / sorted(times[2:])[a.repeats // 2])
                rows.append(row)
                write(a.answer, {"images_per_second": rows})
    return 0
