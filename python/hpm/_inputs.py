"""What is asked of images, labels and models before anything is attacked, a sentence each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hpm import _engine
from hpm._progress import warn

Model = Callable[[Tensor], Any]

_MODES = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


def check_images(x: Tensor, y: Tensor, who: str) -> None:
    """Raises TypeError or ValueError, in a sentence, for what cannot be attacked.

    x: float32 [N,C,H,W] in [0,1]. y: int64 [N], each at least 0.
    """
    for name, value in (("x", x), ("y", y)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{who}: {name} needs to be a torch.Tensor, but is {type(value).__name__}")
    if x.dtype != torch.float32:
        fix = "x.float() / 255" if x.dtype == torch.uint8 else "x.float()"
        raise TypeError(f"{who}: x needs dtype torch.float32 with values in [0,1], but has {x.dtype}; give {fix}")
    if x.dim() != 4:
        raise ValueError(f"{who}: x needs shape [N,C,H,W], but has {list(x.shape)}")
    if y.dtype != torch.int64:
        raise TypeError(f"{who}: y needs dtype torch.int64 (class numbers), but has {y.dtype}; give y.long()")
    if y.dim() != 1 or y.shape[0] != x.shape[0]:
        raise ValueError(f"{who}: y needs one label for each of the {x.shape[0]} images, but has shape {list(y.shape)}")
    if x.shape[0] == 0:
        raise ValueError(f"{who}: there are no images")
    low, high = (float(v) for v in torch.aminmax(x.detach()))
    if low != low or high != high or abs(low) == float("inf") or abs(high) == float("inf"):
        raise ValueError(f"{who}: x holds NaN or infinite values")
    if low < 0 or high > 1:
        raise ValueError(
            f"{who}: x needs values in [0,1], but has values from {low:g} to {high:g}; give images before "
            "normalisation, and let the model normalise them"
        )
    if int(y.min()) < 0:
        raise ValueError(f"{who}: y needs class numbers from 0 on, but holds {int(y.min())}")


def check_mode(model: Model, who: str, random: bool) -> None:
    """Refuses a module in training mode where its layers then depend on the batch, or draw random numbers."""
    if not isinstance(model, nn.Module):
        return
    norms = [n for n, m in model.named_modules() if isinstance(m, _MODES) and m.training]
    if norms:
        raise ValueError(
            f"{who}: the model is in training mode, so its batch normalisation ({norms[0]}) depends on the batch and "
            "would change its statistics; call model.eval()"
        )
    drops = [
        n for n, m in model.named_modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.training and m.p > 0
    ]
    if drops and not random:
        raise ValueError(
            f"{who}: the model is in training mode, so its dropout ({drops[0]}) draws random numbers; call model.eval(), "
            'or, for a defence that draws them on purpose, use version="rand"'
        )
    if model.training and not drops:
        warn(f"{who}: the model is in training mode; call model.eval()")


def device_of(model: Model, x: Tensor, device: str | torch.device | None = None) -> torch.device:
    """The device asked for, else the model's (that of its first parameter), else that of the images."""
    if device is not None:
        wanted = torch.device(device)
        if wanted.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f'device: "{wanted}" needs a GPU and a CUDA build of PyTorch, and there is none; give device="cpu"'
            )
        return wanted
    if isinstance(model, nn.Module):
        for tensor in list(model.parameters()) + list(model.buffers()):
            return tensor.device
    return x.device


def name_of(model: Model) -> str:
    """What messages and reports call a model."""
    if isinstance(model, nn.Module):
        return type(model).__name__
    return getattr(model, "__name__", type(model).__name__)


@contextmanager
def frozen(model: Model) -> Iterator[list[Tensor]]:
    """The parameters of a module, without gradients for the time of the block: attacks need those of images alone."""
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    before = [p.requires_grad for p in parameters]
    try:
        yield list(parameters)
    finally:
        for p, needed in zip(parameters, before, strict=True):
            p.requires_grad_(needed)


def logits_of(model: Model, x: Tensor) -> Tensor:
    """Logits [n,K] of images, checked as the engine checks them."""
    with torch.no_grad():
        out = model(x)
    if not isinstance(out, Tensor):
        hint = ""
        if isinstance(out, (tuple, list)):
            hint = "; wrap it: lambda x: model(x)[0]"
        elif hasattr(out, "logits"):
            hint = "; wrap it: lambda x: model(x).logits"
        elif isinstance(out, dict):
            hint = '; wrap it: lambda x: model(x)["logits"]'
        size = f" of {len(out)}" if isinstance(out, (tuple, list, dict)) else ""
        raise TypeError(
            f"the model needs to return logits [N,K] as one torch.Tensor, but returned a {type(out).__name__}{size}{hint}"
        )
    if out.dim() != 2 or out.shape[0] != x.shape[0] or out.shape[1] < 2:
        raise ValueError(
            f"the model needs to return logits [{x.shape[0]},K] with at least 2 classes for images {list(x.shape)}, but "
            f"returned {list(out.shape)}"
        )
    return out


def check_labels(y: Tensor, classes: int, who: str) -> None:
    if int(y.max()) >= classes:
        raise ValueError(
            f"{who}: y holds class {int(y.max())}, but the model has {classes} classes (0 to {classes - 1})"
        )


def described(model: Model, x: Tensor, classes: int, parameters: list[Tensor], device: torch.device) -> Any:
    """What the engine is told of a callable."""
    about = _engine.CallableDescription()
    about.classes = classes
    about.input_shape = list(x.shape[1:])
    about.architecture = name_of(model)
    about.file = f"{name_of(model)} (in memory)"
    state = list(parameters)
    if isinstance(model, nn.Module):
        state += list(model.buffers())
    if not state:  # a function has nothing to know it by but its answers
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            state = [model(x[:4]).detach().to("cpu", torch.float32).contiguous()]
    about.sha256 = _engine.sha256_of_tensors(state)
    about.parameters = parameters or [torch.empty(0, device=device)]  # an empty one tells the device
    return about
