"""Errors in a sentence, exceptions with their tracebacks, Ctrl-C, warnings, and nothing left behind."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from typing import Any

import pytest
import torch
from torch import nn

import hpm


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (lambda x, y: (x.double(), y), TypeError, "x needs dtype torch.float32 with values in"),
        (lambda x, y: ((x * 255).byte(), y), TypeError, "give x.float\\(\\) / 255"),
        (lambda x, y: (x.numpy(), y), TypeError, "x needs to be a torch.Tensor, but is ndarray"),
        (lambda x, y: (x[0], y), ValueError, "x needs shape \\[N,C,H,W\\]"),
        (lambda x, y: (x * 255, y), ValueError, "x needs values in \\[0,1\\], but has values from 0"),
        (lambda x, y: (x.masked_fill(x > 0.99, float("nan")), y), ValueError, "NaN or infinite"),
        (lambda x, y: (x, y.int()), TypeError, "y needs dtype torch.int64"),
        (lambda x, y: (x, y.float()), TypeError, "give y.long\\(\\)"),
        (lambda x, y: (x, y[:5]), ValueError, "one label for each of the 24 images"),
        (lambda x, y: (x, y + 1), ValueError, "holds class 10, but the model has 10 classes"),
        (lambda x, y: (x, y - 1), ValueError, "class numbers from 0 on"),
        (lambda x, y: (x[:0], y[:0]), ValueError, "there are no images"),
    ],
)
def test_images_and_labels_that_cannot_be_are_refused(
    change: Any, error: Any, sentence: str, tiny: Any, x: Any, y: Any
) -> None:
    given = change(x, torch.full_like(y, 9).where(torch.arange(24) == 0, torch.zeros_like(y)))
    for call in (
        lambda: hpm.evaluate(tiny, *given, protocol="pgd"),
        lambda: hpm.AutoAttack(tiny, verbose=False).run_standard_evaluation(*given),
    ):
        with pytest.raises(error, match=sentence):
            call()


@pytest.mark.parametrize(
    ("wrap", "error", "sentence"),
    [
        (
            lambda net: lambda x: (net(x), None),
            TypeError,
            "returned a tuple of 2; wrap it: lambda x: model\\(x\\)\\[0\\]",
        ),
        (lambda net: lambda x: {"logits": net(x)}, TypeError, 'wrap it: lambda x: model\\(x\\)\\["logits"\\]'),
        (lambda net: lambda x: net(x).sum(1), ValueError, "at least 2 classes for images"),
        (lambda net: lambda x: net(x) * float("nan"), RuntimeError, "NaN or infinite"),
        (
            lambda net: lambda x: net(x).argmax(1, keepdim=True).expand(-1, 10),
            (TypeError, ValueError),
            "floating-point|differentiable",
        ),
        (lambda net: lambda x: net(x[:1]).expand(2, -1), ValueError, "needs to return logits"),
        (lambda net: lambda x: net(x.sub_(0.5)), ValueError, "in place"),
    ],
)
def test_models_that_cannot_be_attacked_are_refused(
    wrap: Any, error: Any, sentence: str, tiny: Any, x: Any, y: Any
) -> None:
    with pytest.raises(error, match=sentence):
        hpm.evaluate(wrap(tiny), x.clone(), y, protocol="pgd", steps=2)


def test_training_mode_is_refused_where_it_matters(x: Any, y: Any) -> None:
    normed = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))
    with pytest.raises(ValueError, match=r"batch normalisation \(1\) depends on the batch .* call model.eval\(\)"):
        hpm.evaluate(normed, x, y, protocol="pgd")
    dropping = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(192, 10))
    with pytest.raises(ValueError, match=r"its dropout \(1\) draws random numbers"):
        hpm.AutoAttack(dropping, verbose=False).run_standard_evaluation(x, y)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(192, 10)).train()
    with pytest.warns(RuntimeWarning, match="training mode"):
        hpm.evaluate(plain, x, plain(x).argmax(1), protocol="clean")


def test_an_exception_in_the_model_arrives_with_its_traceback(tiny: Any, x: Any, y: Any) -> None:
    class BrokenError(Exception):
        pass

    calls = {"n": 0}

    def deep_inside(images: torch.Tensor) -> torch.Tensor:
        calls["n"] += 1
        if calls["n"] > 15:
            raise BrokenError("at the sixteenth pass")
        return tiny(images)

    with pytest.raises(BrokenError, match="sixteenth") as caught:
        hpm.evaluate(deep_inside, x, y, protocol="pgd", checks="none")
    assert "deep_inside" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_an_exception_in_a_backward_function_arrives_too(tiny: Any, x: Any, y: Any) -> None:
    calls = {"n": 0}

    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, images: torch.Tensor) -> torch.Tensor:
            return images.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            calls["n"] += 1
            if calls["n"] > 5:
                raise ZeroDivisionError("in backward")
            return gradient

    with pytest.raises(ZeroDivisionError, match="in backward"):
        hpm.evaluate(lambda images: tiny(Failing.apply(images)), x, y, protocol="pgd", steps=20, checks="none")


def test_requires_grad_and_the_generator_are_as_they_were(tiny: Any, x: Any, y: Any) -> None:
    tiny.conv1.weight.requires_grad_(False)
    before = [p.requires_grad for p in tiny.parameters()]
    state = torch.get_rng_state()
    threads = torch.get_num_threads()
    x.requires_grad_()
    hpm.evaluate(tiny, x, y, protocol="pgd", steps=3, threads=2)
    with pytest.raises(RuntimeError):
        hpm.evaluate(lambda images: tiny(images[:, :2]), x, y, protocol="pgd")
    assert [p.requires_grad for p in tiny.parameters()] == before
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
    assert all(p.grad is None for p in tiny.parameters()) and x.grad is None


@pytest.mark.parametrize("way", ["native", "module"])
def test_ctrl_c_stops_within_a_second(way: str) -> None:
    program = """
import sys, torch, hpm
from conftest import Tiny, images
model = Tiny().eval()
x = images(64)
y = model(x).argmax(1)
if sys.argv[1] == "native":
    import signal
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, 2, 1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(128, 10)).eval()
    model = hpm.native(layers, x[:4], arch="conv8k4s2p1-relu-flatten-fc10")
    y = model(x).argmax(1)
print("ready", flush=True)
try:
    hpm.evaluate(model, x, y, eps=1e-5, version="custom", attacks=["square"], queries=10**7)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""
    folder = os.path.dirname(__file__)
    process = subprocess.Popen([sys.executable, "-c", program, way], stdout=subprocess.PIPE, text=True, cwd=folder)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(1.5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "stopped\n"
    assert time.monotonic() - began < 1
    process.wait(10)


def test_other_threads_run_while_the_engine_computes(x: Any) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)).eval()
    native = hpm.native(net, x[:4], arch="conv8k4s2p1-relu-flatten-fc10")
    with torch.no_grad():
        y = net(x).argmax(1)
    ticks, stop = [0], threading.Event()

    def count() -> None:
        while not stop.wait(0.001):
            ticks[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    began = time.monotonic()
    hpm.evaluate(native, x, y, eps=1e-4, version="custom", attacks=["square"], queries=3000, checks="none")
    seconds = time.monotonic() - began
    stop.set()
    thread.join()
    assert ticks[0] > 50 * seconds  # with the GIL held there would be none


def test_warnings_point_at_the_line_that_called(tiny: Any, x: Any, y: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hpm.evaluate(tiny, x, y, protocol="clean", queries=5)
    assert caught and {w.filename for w in caught} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="queries has no effect"):
            hpm.evaluate(tiny, x, y, protocol="clean", queries=5)


def test_two_hundred_evaluations_leak_nothing(tiny: Any, x: Any, y: Any) -> None:
    def megabytes() -> float:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 2**20

    def once() -> None:
        hpm.evaluate(tiny, x[:2], y[:2], protocol="pgd", steps=2, checks="none")

    for _ in range(30):
        once()
    gc.collect()
    before, files = megabytes(), len(os.listdir("/proc/self/fd"))
    for _ in range(200):
        once()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= files
    assert megabytes() - before < 8
