"""Writes official_flags.json: what the official package finds for the runs of official_settings.py.

python make_official_flags.py DIR      DIR: a clone of github.com/fra31/auto-attack
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, sys.argv[1])
from autoattack import AutoAttack  # noqa: E402
from conftest import Tiny, images  # noqa: E402
from official_settings import RUNS, attack  # noqa: E402

model, x = Tiny().eval(), images(24)
with torch.no_grad():
    y = model(x).argmax(1)
y[::8] = (y[::8] + 1) % 10
flags = {}
for name in RUNS:
    _, x_adv, labels = attack(AutoAttack, model, x, y, name)
    flags[name] = "".join(str(int(right)) for right in labels == y)
    print(name, flags[name], flags[name].count("1"))
Path(__file__).with_name("official_flags.json").write_text(json.dumps(flags, indent=1) + "\n")
