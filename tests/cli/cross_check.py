"""Attacks exported models with torchattacks, an implementation that shares nothing with hpm.

    cross_check.py FOLDER FASHION_MNIST N STEPS EPS

FOLDER has reference.pt and alone.pt (hpm export), reference.json and alone.json (results.json of hpm's own APGD-CE with the same
settings). Prints both accuracies; fails where the images on which they differ are more than chance explains. Exit status 77:
torchattacks is not installed.
"""
import gzip
import json
import os
import sys

import numpy
import torch

try:
    import torchattacks
except ImportError as error:
    print(error)
    sys.exit(77)

folder, data = sys.argv[1:3]
n, steps, eps = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
torch.set_num_threads(1)


def read(name, offset, count):
    with gzip.open(os.path.join(data, name)) as file:
        return numpy.frombuffer(file.read(offset + count), numpy.uint8)[offset:]


x = torch.tensor(read("t10k-images-idx3-ubyte.gz", 16, n * 784)).view(n, 1, 28, 28).float() / 255
y = torch.tensor(read("t10k-labels-idx1-ubyte.gz", 8, n)).long()

for context in ("reference", "alone"):
    model = torch.jit.load(os.path.join(folder, context + ".pt")).eval()
    attack = torchattacks.APGD(model, norm="Linf", eps=eps, steps=steps, n_restarts=1, seed=1, loss="ce", eot_iter=1,
                               rho=.75)
    with torch.no_grad():
        right = model(x).argmax(1) == y
    adversarial = attack(x, y)
    distance = (adversarial - x).abs().max().item()
    if distance > eps + 1e-6 or adversarial.min() < 0 or adversarial.max() > 1:
        sys.exit(f"{context}: torchattacks left the ball or the box: {distance}")
    with torch.no_grad():
        theirs = right & (model(adversarial).argmax(1) == y)
    with open(os.path.join(folder, context + ".json")) as file:
        record = json.load(file)["attacks"][0]
    if record["name"] != "apgd-ce":
        sys.exit(f"{context}: the first attack is {record['name']}")
    ours = torch.tensor(record["robust"]).bool()
    only_ours, only_theirs = (ours & ~theirs).sum().item(), (theirs & ~ours).sum().item()
    print(f"{context}: clean {100 * right.float().mean():.1f} %, robust {100 * ours.float().mean():.1f} % (hpm), "
          f"{100 * theirs.float().mean():.1f} % (torchattacks); {only_ours} and {only_theirs} images held by one alone")
    # McNemar: 3.3 standard deviations; and two runs of one attack differ on a few images in a hundred at most.
    if abs(only_ours - only_theirs) > 3.3 * max(only_ours + only_theirs, 1) ** .5 or only_ours + only_theirs > .05 * n:
        sys.exit(f"{context}: they differ by more than chance")
    if not 0 < ours.sum() < right.sum():
        sys.exit(f"{context}: nothing is compared: {ours.sum()} of {right.sum()} held")
