"""Models of Python's as the engine takes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hpm import _engine
from hpm._inputs import Model, described, frozen


@contextmanager
def engine_model(model: Model, x: Tensor, device: torch.device, classes: int) -> Iterator[Any]:
    """A callable, an HpmModule or a NativeModel for the engine; the parameters of a module are frozen meanwhile."""
    made = getattr(model, "_engine_model", None)
    if made is not None and isinstance(made, _engine.Model):  # a NativeModel
        made.to(str(device))
        yield made
        return
    with frozen(model) as parameters:
        about = described(model, x, classes, parameters, device)
        parts = getattr(model, "_engine_parts", None)
        if parts is not None:  # an HpmModule: features, last layer and head
            call, last, head = parts()
            yield _engine.callable_model(call, about, last, head)
        else:
            yield _engine.callable_model(model, about, None, None)
