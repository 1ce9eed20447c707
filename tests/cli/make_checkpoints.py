"""Writes checkpoints as people's training scripts leave them: python make_checkpoints.py OUT (needs torch, numpy).

OUT/loads/*     a resnet14 that loads, with something beside or around its weights
OUT/modules/*   whole modules, as torch.save(model) writes them
OUT/several/*   more than one set of weights
OUT/refused/*   files that hold no whole network
"""
import argparse
import collections
import datetime
import enum
import functools
import pathlib
import random
import sys
import types

import numpy as np
import torch

out = pathlib.Path(sys.argv[1])

# Classes of a module that no other program has.
made = types.ModuleType("made")


class Colour(enum.Enum):
    RED = 1


class Settings:
    def __init__(self, **values):
        self.__dict__.update(values)


class Table(dict):
    pass


for cls in (Colour, Settings, Table):
    cls.__module__, cls.__qualname__ = "made", cls.__name__
    setattr(made, cls.__name__, cls)
sys.modules["made"] = made


class Attack:
    """Python would run a program when it unpickles this."""

    def __reduce__(self):
        import os
        return os.system, (f"touch '{out / 'hpm_was_here'}'",)


def resnet14(value=.01):
    """The state of the architecture of this name (He et al. for CIFAR)."""
    state = collections.OrderedDict()

    def conv(name, rows, columns):
        state[name + ".weight"] = torch.full((rows, columns, 3, 3), value)

    def norm(name, width):
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{part}"] = torch.full((width,), value)
        state[name + ".num_batches_tracked"] = torch.tensor(7)

    conv("conv1", 16, 3), norm("bn1", 16)
    columns = 16
    for stage, width in enumerate((16, 32, 64), 1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            conv(name + ".conv1", width, columns), norm(name + ".bn1", width)
            conv(name + ".conv2", width, width), norm(name + ".bn2", width)
            columns = width
    state["linear.weight"], state["linear.bias"] = torch.full((10, 64), value), torch.full((10,), value)
    return state


def below(prefix, state):
    return collections.OrderedDict((prefix + key, tensor) for key, tensor in state.items())


def save(name, what, **options):
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(what, path, **options)


# Objects beside the weights
weights = resnet14()
model = torch.nn.Linear(2, 2)
sgd = torch.optim.SGD(model.parameters(), lr=.1, momentum=.9)
model(torch.ones(1, 2)).sum().backward()
sgd.step()
cycle = Settings(name="cycle")
cycle.itself = [cycle]
everything = {
    "state_dict": weights, "optimizer": sgd.state_dict(), "optimiser object": sgd,
    "scheduler": torch.optim.lr_scheduler.MultiStepLR(sgd, [100, 150]).state_dict(),
    "cosine": torch.optim.lr_scheduler.LambdaLR(sgd, functools.partial(max, 0.)).state_dict(),
    "args": argparse.Namespace(lr=.1, out=pathlib.Path("runs/mod\udce8le"), when=datetime.datetime(2024, 5, 1)),
    "path": pathlib.PosixPath("/tmp"), "date": datetime.datetime.now(), "delta": datetime.timedelta(1),
    "random": random.getstate(), "numpy": np.random.get_state(), "generator": np.random.default_rng(1),
    "torch": torch.get_rng_state(), "colour": Colour.RED, "by colour": {Colour.RED: 1, (1, "a"): 2, None: 3, 2.5: 4},
    "settings": Settings(depth=3, inner=Settings()), "cycle": cycle, "partial": functools.partial(max, 0.),
    "objects": np.array([{}, None], dtype=object), "names": np.array(["a", "b"]), "dates": np.array(["2024-05"], "M8"),
    "big-endian": np.arange(3, dtype=">f4"), "record": np.zeros(2, [("a", "f4")]), "longdouble": np.longdouble(1),
    "string": np.str_("text"), "counts": collections.Counter("aab"), "deque": collections.deque([1, 2]),
    "set": {1, 2}, "frozen": frozenset([1]), "complex": 1 + 2j, "bytes": b"\xff", "bytearray": bytearray(b"ab"),
    "range": range(3), "slice": slice(1, 2), "class": Settings, "function": len, "huge": 2**5000, "infinite": float("inf"),
    "attack": Attack(), "sparse": torch.eye(3).to_sparse(), "complex tensor": torch.ones(2, dtype=torch.complex64),
    "quantised": torch.quantize_per_tensor(torch.ones(2), .1, 0, torch.quint8),
    "float8": torch.ones(2).to(torch.float8_e4m3fn), "uint16": torch.ones(2, dtype=torch.uint16),
    "meta": torch.empty(2, device="meta"), "dtype": torch.float8_e4m3fn, "layout": torch.strided,
    "table": Table(a=1), "text": "mod\udce8le",
}
save("loads/everything.pth", everything)
for protocol in (3, 4, 5):
    save(f"loads/everything-protocol{protocol}.pth", everything, pickle_protocol=protocol)
del everything["sparse"]  # the older format keeps such tensors' parts elsewhere
save("loads/everything-legacy.pth", everything, _use_new_zipfile_serialization=False)
save("loads/tuple.pth", (weights, sgd.state_dict(), 7))
save("loads/dictionary of another class.pth", collections.defaultdict(None, weights))
save("loads/table.pth", {"model": Table(weights)})
save("loads/fsdp.pth", {key.replace("layer1.0.", "layer1.0._checkpoint_wrapped_module."): t for key, t in weights.items()})
parameter = torch.nn.Parameter(weights["linear.bias"].clone())
parameter.tag = "an attribute"
save("loads/parameters.pth", {**weights, "linear.bias": parameter})
save("loads/step beside.pth", {**weights, "global_step": torch.tensor(5)})
save("loads/criterion beside.pth", {**below("net.", weights), "criterion.weight": torch.ones(10)})

save("loads/unknown normaliser beside.pth", {**below("net.", weights), "pre.a": torch.ones(3), "pre.b": torch.ones(3)})

# Whole modules
layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
                             torch.nn.Flatten(), torch.nn.Linear(4096, 10))
layers.register_buffer("scratch", torch.ones(1), persistent=False)
save("modules/module.pth", layers)
save("modules/module_protocol4.pth", layers, pickle_protocol=4)
save("modules/module_legacy.pth", layers, _use_new_zipfile_serialization=False)
flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
save("modules/flat.pth", {"net": torch.nn.DataParallel(flat)})
save("modules/module_under_a_key.pth", {"epoch": 3, "model": torch.nn.DataParallel(layers).module, "optimizer": sgd})

# Several sets of weights
save("several/student_and_teacher.pth", {**below("model.", weights), **below("teacher.", resnet14(.02))})
save("several/nested.pth", {"averages": {"ema": below("module.", weights)}, "current": {"weights": resnet14(.02)}})
mean, deviation = torch.tensor([.5, .25, .125]).view(3, 1, 1), torch.ones(3, 1, 1)
save("several/attacker.pth", {"model": {
    "module.normalizer.new_mean": mean, "module.normalizer.new_std": deviation, **below("module.model.", weights),
    "module.attacker.normalize.new_mean": mean, "module.attacker.normalize.new_std": deviation,
    **below("module.attacker.model.", weights)}, "epoch": 7})

# No whole network
save("refused/object.pth", Settings(weights=weights))
save("refused/strange_weight.pth", {**weights, "linear.weight": torch.eye(10, 64).to_sparse()})
save("refused/half.pth", {key.replace("layer3.1.conv2", "layer3.1.conv9"): t for key, t in weights.items()})
save("refused/projector.pth", {**below("model.", weights), "projector.0.weight": torch.ones(128, 64)})
