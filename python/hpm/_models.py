"""Checkpoints, and the engine's own networks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hpm import _engine
from hpm._inputs import logits_of
from hpm._progress import warn


def read_checkpoint(path: str | os.PathLike[str], key: str = "") -> dict[str, Tensor]:
    """The tensors of a checkpoint, by name, without running code from it.

    Reads PyTorch's zip and legacy files, whole pickled modules included, which torch.load(weights_only=True) refuses,
    and safetensors. Wrappers are taken off: dictionaries around the weights, prefixes such as "module.".

    Arguments:
        path: the file. key: which weights of a file that holds several, e.g. "state_dict_ema".

    Returns: name -> tensor, in the file's order. Raises RuntimeError, with file and offset, for a broken, hostile or
    foreign file, ValueError for an unknown key. What was left out is a warning.

    Example:
        model.load_state_dict(hpm.read_checkpoint("model.pth"))
    """
    tensors, about = _engine.read_checkpoint(str(path), key)
    for line in about["warnings"]:
        warn(f"read_checkpoint: {line}")
    return dict(tensors)


class NativeModel:
    """A network of the engine's own, on its fast path. Callable: images [N,C,H,W] in [0,1] -> logits [N,K].

    AutoAttack, evaluate, fast, msa and analyze take it in place of a module. Gradients with respect to images flow
    through it; its weights do not train.
    """

    def __init__(self, model: Any, notes: Sequence[str] = ()) -> None:
        self._engine_model = model
        self.notes = list(notes)

    def __call__(self, x: Tensor) -> Tensor:
        if self._engine_model.head is not None:
            return self.predict(x)
        logits: Tensor = self._engine_model.run(x)[1]
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Penultimate features [N,D]."""
        features: Tensor = self._engine_model.run(x)[0]
        return features

    def predict(self, x: Tensor, context: str = "reference") -> Tensor:
        """Logits [N,K] of the prediction, without a gradient; `context`: of a model with an HPM head."""
        logits: Tensor = self._engine_model.predict(x, context)
        return logits

    def state_dict(self) -> dict[str, Tensor]:
        """Weights under their checkpoint names, HPM's too."""
        return dict(self._engine_model.state())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes a file that `hpm evaluate` reads, with its card: safetensors, or .pth for PyTorch."""
        target = Path(path)
        self._engine_model.save(str(target), "hpm (Python)", target.suffix != ".safetensors")
        return target

    @property
    def architecture(self) -> str:
        return str(self._engine_model.architecture)

    @property
    def classes(self) -> int:
        return int(self._engine_model.classes)

    def __repr__(self) -> str:
        m = self._engine_model
        return f"NativeModel({m.architecture}, {m.classes} classes, {m.parameter_count} parameters, head {m.head_kind})"


def _card(arch: str | None, mean: Sequence[float] | None, std: Sequence[float] | None, key: str = "") -> dict[str, str]:
    card = {"arch": arch or "", "key": key}
    for name, values in (("mean", mean), ("std", std)):
        card[name] = ",".join(repr(float(v)) for v in values) if values is not None else ""
    return {name: text for name, text in card.items() if text}


def load(
    path: str | os.PathLike[str],
    *,
    arch: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    key: str = "",
    input_shape: Sequence[int] = (),
    allow_torchscript: bool = False,
) -> NativeModel:
    """Loads a checkpoint of a known architecture as the engine's own network, as `hpm evaluate --model` does.

    Arguments:
        path: a file as PyTorch saved it, or safetensors; no code from it is run.
        arch: the architecture; None: the card's, else recognised from keys and shapes.
        mean, std: the input normalisation, per channel, where no card beside the file tells it.
        key: which weights of several. input_shape: C,H,W where keys cannot tell.
        allow_torchscript: run a TorchScript file's program.

    Returns: NativeModel. Raises RuntimeError and ValueError with what does not fit.
    """
    model, notes, lines = _engine.load_model(
        str(path), _card(arch, mean, std, key), list(input_shape), allow_torchscript
    )
    for line in lines:
        warn(f"load: {line}")
    return NativeModel(model, notes)


def native(
    model: nn.Module,
    x: Tensor,
    *,
    arch: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> NativeModel:
    """The same network on the engine's fast path, checked against the module on a batch.

    Arguments:
        model: a module whose weights have the names and shapes of an architecture that the engine knows.
        x: images [n,C,H,W] float32 in [0,1] to compare the logits on, e.g. 16 test images.
        arch: its name where keys cannot tell it. mean, std: the normalisation that the module applies itself.

    Returns: NativeModel on the module's device. Raises RuntimeError where no architecture fits, ValueError where one
    fits but gives other logits: normalisation, strides or activations that keys do not tell.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"native: model needs to be a torch.nn.Module, but is {type(model).__name__}")
    if model.training:
        raise ValueError("native: the model is in training mode; call model.eval()")
    wanted = logits_of(model, x)
    tensors = [(n, t.detach()) for n, t in model.state_dict().items() if isinstance(t, Tensor)]
    with tempfile.TemporaryDirectory(prefix="hpm-") as folder:
        path = os.path.join(folder, f"{type(model).__name__}.pth")
        _engine.write_state_dict(path, tensors, {})
        made, notes, _ = _engine.load_model(path, _card(arch, mean, std), list(x.shape[1:]), False)
    made.to(str(x.device))
    network = NativeModel(made, notes)
    with torch.no_grad():
        given = network(x)
    if given.shape != wanted.shape:
        raise ValueError(
            f"native: {made.architecture} gives logits {list(given.shape)}, the module {list(wanted.shape)}"
        )
    spread = float((wanted.amax(1) - wanted.amin(1)).max())
    apart = float((given - wanted).abs().max())
    if not apart <= 1e-4 * max(spread, 1e-12):
        told = "" if mean is not None else "; give mean and std where the module normalises its images"
        raise ValueError(
            f"native: the weights fit {made.architecture}, but its logits are {apart:.3g} away from the module's (of a "
            f"spread of {spread:.3g}){told}; or give arch= for strides and activations that weights do not tell"
        )
    return network
