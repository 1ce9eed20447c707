"""Python's side of torchscript_program_test.cpp: check_torchscript.py FOLDER FASHION_MNIST."""
import gzip
import os
import sys

import numpy
import torch

folder, data = sys.argv[1:]
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "models"))
import small_vit  # noqa: E402

torch.set_num_threads(1)
with gzip.open(os.path.join(data, "t10k-images-idx3-ubyte.gz")) as file:
    pixels = numpy.frombuffer(file.read(16 + 50 * 784), numpy.uint8)[16:]
x = torch.tensor(pixels).view(50, 1, 28, 28).float() / 255


def compare(name, found, context):
    expected = torch.tensor(numpy.load(os.path.join(folder, context, "logits.npy")))
    worst = (found - expected).abs().max().item() / expected.abs().max().item()
    if worst > 1e-5 or not torch.equal(found.argmax(1), expected.argmax(1)):
        sys.exit(f"{name}: logits differ by {worst} of the largest")


with torch.no_grad():
    for context in ("reference", "alone"):
        compare(context, torch.jit.load(os.path.join(folder, context + ".pt"))(x), context)
    model = small_vit.make(channels=1, size=28, classes=10).eval()
    model.load_state_dict(torch.load(os.path.join(folder, "folded.pth"), weights_only=True), strict=True)
    labels = numpy.load(os.path.join(folder, "reference", "labels.npy"))
    if model(x).argmax(1).tolist() != labels.tolist():
        sys.exit("the folded model predicts other labels than the reference context")
