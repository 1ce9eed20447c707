"""Runs scripts/export_torchscript.py on the modules of small_vit.py: make_torchscript.py FOLDER.

Writes vit.pt and logits_only.pt with their cards, tied.pt, what Python computes (expected.pth), and for each module that
must be refused the exporter's message (NAME.txt). training.pt: batch norm and dropout, scripted in training mode;
wrapped.pt: the same in evaluation mode, inside a module that nobody told.
"""
import contextlib
import importlib.util
import io
import os
import subprocess
import sys

import torch

here = os.path.dirname(os.path.abspath(__file__))
script = os.path.normpath(os.path.join(here, "..", "..", "scripts", "export_torchscript.py"))
sys.path.insert(0, here)
import small_vit  # noqa: E402

folder = sys.argv[1]
torch.set_num_threads(1)


def arguments(module, name, *more):
    return ["--module", f"{here}/small_vit.py:{module}", "--input-shape", "3,16,16",
            "--to", os.path.join(folder, name + ".pt"), *more]


def run_here(words):
    """The script's main() without another start of Python: what it prints, or the message it ends with."""
    spec = importlib.util.spec_from_file_location("export_torchscript", script)
    exporter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exporter)
    sys.argv = [script, *words]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            exporter.main()
        except SystemExit as end:
            return str(end.code)
    return out.getvalue()


model = small_vit.make(seed=5).eval()
weights = os.path.join(folder, "vit.pth")
torch.save({"state_dict": {"module." + key: value for key, value in model.state_dict().items()}}, weights)
subprocess.run([sys.executable, script, *arguments("make", "vit", "--head", "head", "--weights", weights)], check=True,
               stdout=subprocess.DEVNULL)
for name, words in {
        "logits_only": ("make", "logits_only", "--weights", weights),
        "tied": ("Tied", "tied", "--head", "head"),
        "fixed_batch": ("FixedBatch", "fixed_batch"),
        "doubled": ("Doubled", "doubled", "--head", "head"),
        "no_such_head": ("make", "no_such_head", "--head", "fc"),
}.items():
    with open(os.path.join(folder, name + ".txt"), "w", encoding="utf-8") as file:
        file.write(run_here(arguments(*words)))

dropping = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, 4), torch.nn.BatchNorm2d(8), torch.nn.Flatten(),
                               torch.nn.Dropout(.5), torch.nn.Linear(128, 4))
torch.jit.script(dropping.train()).save(os.path.join(folder, "training.pt"))
torch.jit.script(torch.nn.Sequential(dropping.eval())).save(os.path.join(folder, "wrapped.pt"))

x = torch.rand(7, 3, 16, 16, generator=torch.Generator().manual_seed(9), requires_grad=True)
features = []
model.head.register_forward_hook(lambda layer, inputs, output: features.append(inputs[0]))
logits = model(x)
gradient, = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, torch.arange(7) % 4), x)
torch.save({"x": x.detach(), "features": features[0].detach(), "logits": logits.detach(), "gradient": gradient},
           os.path.join(folder, "expected.pth"))
