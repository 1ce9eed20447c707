"""Reads what export_test.cpp wrote: check_export.py FOLDER."""
import collections
import os
import sys

import torch
from torch import nn

folder = sys.argv[1]
torch.set_num_threads(1)


def load(name):
    return torch.load(os.path.join(folder, name), weights_only=True)


def network():
    """conv4k4s2p1-bn-relu-conv8k4s2p1-relu-flatten-fc20-relu-fc5"""
    return nn.Sequential(nn.Conv2d(3, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 4, 2, 1), nn.ReLU(),
                         nn.Flatten(), nn.Linear(128, 20), nn.ReLU(), nn.Linear(20, 5)).eval()


def agree(name, found, expected):
    worst = (found - expected).abs().max().item()
    if worst > 1e-5 * max(1, expected.abs().max().item()) or not torch.equal(found.argmax(1), expected.argmax(1)):
        sys.exit(f"{name}: logits differ by {worst}")


expected = load("expected.pth")
x = expected["x"]
for context in ("reference", "alone"):
    module = torch.jit.load(os.path.join(folder, context + ".pt"))
    for _ in range(3):  # the profiling executor changes its mind
        agree(context, module(x), expected[context])
    agree(context + ", one image", module(x[2:3]), expected[context][2:3])
    keys = set(module.state_dict())
    if not {"network.0.weight", "network.1.running_mean", "hpm.means", "mean", "std"} <= keys:
        sys.exit(f"{context}: keys {keys}")

mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([.5, .4, .3], [.2, .3, .25]))
folded = load("folded.pth")
if not isinstance(folded, collections.OrderedDict):
    sys.exit(f"folded.pth holds a {type(folded)}")
model = network()
model.load_state_dict(folded, strict=True)
agree("folded", model((x - mean) / std), expected["folded"])
if not torch.equal(expected["folded"].argmax(1), expected["reference"].argmax(1)):
    sys.exit("folded and reference predict differently")

whole = load("hpm.pth")
network().load_state_dict({k: v for k, v in whole.items() if not k.startswith("hpm.")}, strict=True)
if whole["hpm.metric_kind"] != "learned" or whole["hpm.metric"].shape != (4, 20):
    sys.exit(f"hpm.pth: {[(k, v) for k, v in whole.items() if k.startswith('hpm.')]}")

types = load("types.pth")
for name, dtype in (("Bool", torch.bool), ("Byte", torch.uint8), ("Char", torch.int8), ("Short", torch.int16),
                    ("Int", torch.int32), ("Long", torch.int64), ("Half", torch.half), ("BFloat16", torch.bfloat16),
                    ("Float", torch.float), ("Double", torch.double)):
    if types[name].dtype != dtype or types[name].tolist() != torch.tensor([[0, 1, 0], [1, 0, 1]]).to(dtype).tolist():
        sys.exit(f"{name}: {types[name]}")
if types["transposed"].tolist() != [[0, 3], [1, 4], [2, 5]] or types["scalar"].shape != () \
        or types["empty"].shape != (0, 3) or not types["nan"].isnan().tolist() == [True, False, False] \
        or types["nan"].signbit().tolist()[1:] != [True, False]:
    sys.exit(f"types: {types}")
torch.save(types, os.path.join(folder, "again.pth"))
