"""Hybrid Prototype Mixing as a torch.nn.Module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hpm import _engine
from hpm._engine_model import engine_model
from hpm._inputs import check_images, device_of
from hpm._progress import Progress

_CONTEXTS = ("reference", "alone", "solo", "joint", "stable")


class Parts(NamedTuple):
    """What one pass of the backbone gives: penultimate features z [N,D] and FC logits o [N,K]."""

    features: Tensor
    fc_logits: Tensor


class _State(nn.Module):
    """The head's tensors under the names that checkpoints have: hpm.means, hpm.metric, and so on."""

    means: Tensor
    metric: nn.Parameter | None
    calibration_sums: Tensor
    calibration_counts: Tensor
    log_tau: nn.Parameter

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.register_buffer("means", head.means.detach().clone())
        metric = head.metric
        self.metric = None if metric is None else nn.Parameter(metric.detach().clone())
        self.register_buffer("calibration_sums", head.calibration_sums.detach().clone())
        self.register_buffer("calibration_counts", head.calibration_counts.detach().clone())
        self.log_tau = nn.Parameter(head.log_tau.detach().clone())
        self.register_buffer("lambda", torch.tensor(head.lambda_, dtype=torch.float32))


class HpmModule(nn.Module):
    """A model with Hybrid Prototype Mixing on its last linear layer. attach() makes it.

    `module(x)` gives logits [N,K] of images [N,C,H,W]: in evaluation mode those of the context `module.context`
    ("reference" unless changed), in training mode those of `module.training_context` ("solo"), where a sample is judged
    among the others of its batch. Gradients pass the hard assignment straight through to the FC logits (assignment
    "ste"); parameters are the model's, the metric hpm.metric and hpm.log_tau; the class means hpm.means follow by
    update_means(), an EMA, and are never differentiated.

    state_dict() has the model's own names, and HPM's tensors beside them as hpm.*: a file that torch.save writes from
    it loads in the program (`hpm evaluate --model FILE`) for architectures that it knows.

    Source: K. Wang, arXiv:2606.01746; docs/hpm.md.
    """

    def __init__(self, model: nn.Module, layer: str, head: Any) -> None:
        super().__init__()
        self.model = model
        self.layer = layer
        self.hpm = _State(head)
        self.metric_kind = str(head.metric_kind)
        self.temperature = float(head.temperature)
        self.momentum = float(head.momentum)
        self.context = "reference"
        self.training_context = "solo"
        self.register_state_dict_post_hook(_take_prefix_off)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_put_prefix_on)  # type: ignore[no-untyped-call]

    @property
    def lambda_(self) -> float:
        """The weight of the stable prototypes, in [0,1]."""
        return round(float(self.hpm.get_buffer("lambda")), 7)

    @lambda_.setter
    def lambda_(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"HpmModule: lambda_ needs to be in [0,1], but is {value}")
        self.hpm.get_buffer("lambda").fill_(value)

    @property
    def last_layer(self) -> nn.Linear:
        """The last linear layer, on whose input the prototypes live."""
        found = self.model.get_submodule(self.layer)
        assert isinstance(found, nn.Linear)
        return found

    def parts(self, x: Tensor) -> Parts:
        """Features z [N,D] and FC logits o [N,K] of one pass."""
        seen: list[Tensor] = []
        handle = self.last_layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            logits = self.model(x)
        finally:
            handle.remove()
        if not seen:
            raise RuntimeError(f"HpmModule: the pass did not reach the layer {self.layer}")
        return Parts(seen[-1], logits)

    def logits(
        self, parts: Parts, context: str | None = None, clean: Parts | None = None, assignment: str = "ste"
    ) -> Tensor:
        """HPM's logits [N,K] from the parts of a pass.

        Arguments:
            parts: of the images that are judged.
            context: "reference", "alone", "solo", "joint" or "stable" (lambda = 1); None: that of the mode.
            clean: of solo: the parts of the clean versions of the same images, which are each other's company; None:
                `parts` themselves.
            assignment: "ste", "hard" or "soft": what gradients see of the assignment to classes.
        """
        chosen = context or (self.training_context if self.training else self.context)
        if chosen not in _CONTEXTS:
            raise ValueError(f'HpmModule: context needs to be one of {", ".join(_CONTEXTS)}, but is "{chosen}"')
        company = clean or parts
        logits: Tensor = self._head().logits(
            chosen, parts.features, parts.fc_logits, assignment, company.features.detach(), company.fc_logits.detach()
        )
        return logits

    def forward(self, x: Tensor, clean: Tensor | None = None) -> Tensor:
        """Logits [N,K] of images x [N,C,H,W] in [0,1]; `clean`: of solo, the clean versions of the same images."""
        company = None
        if clean is not None:
            with torch.no_grad():
                company = self.parts(clean)
        return self.logits(self.parts(x), clean=company)

    def loss(self, x: Tensor, y: Tensor, clean: Tensor | None = None, fc_weight: float = 0.5) -> Tensor:
        """The loss of HPM fine-tuning, CE(HPM) + fc_weight CE(FC), as `hpm finetune` has it; moves the means by EMA.

        Arguments: x: (adversarial) images; y: labels [N] int64; clean: the clean versions of the same images.
        """
        company = None
        if clean is not None:
            with torch.no_grad():
                company = self.parts(clean)
        parts = self.parts(x)
        ce = nn.functional.cross_entropy
        loss = ce(self.logits(parts, clean=company), y) + fc_weight * ce(parts.fc_logits, y)
        seen = [parts.features.detach()] if company is None else [company.features, parts.features.detach()]
        self.update_means(torch.cat(seen), y.repeat(len(seen)))
        return loss

    @torch.no_grad()
    def update_means(self, features: Tensor, y: Tensor) -> None:
        """mu_k <- beta mu_k + (1 - beta) mean{z_i : y_i = k} for the classes present. features [N,D], y [N]."""
        head = self._head()
        head.update_means(features, y)
        self.hpm.means = head.means  # a new tensor: graphs keep the one that they were made with

    def calibrate(
        self,
        loader: Iterable[Any],
        *,
        images: int = 10000,
        norm: str = "Linf",
        eps: float = 8 / 255,
        steps: int = 4,
        seed: int = 0,
        verbose: bool = False,
    ) -> None:
        """Stores the statistics of the reference context, from clean and adversarial training images. Call it after
        training. Arguments as attach()."""
        call = _fit_call(loader, images, norm, eps, steps, seed)
        with _evaluating(self), self._for_engine(call.x) as model:
            head = _engine.calibrate(model, call, Progress(verbose))
        self.hpm.calibration_sums = head.calibration_sums
        self.hpm.calibration_counts = head.calibration_counts

    def fold(self) -> nn.Module:
        """A copy of the model whose last layer is the reference context: an ordinary classifier, with the same argmax.

        Raises ValueError for the metric l2norm, which is not linear in the features, and for a layer without bias.
        """
        weight, bias = self._head().fold()
        plain = copy.deepcopy(self.model)
        layer = plain.get_submodule(self.layer)
        assert isinstance(layer, nn.Linear)
        if layer.bias is None:
            raise ValueError(f"fold: the layer {self.layer} has no bias, which the folded head needs")
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        return plain

    def _head(self) -> Any:
        state = self.hpm
        head = _engine.Head(self.metric_kind, self.lambda_, self.temperature, self.momentum)
        head.means, head.log_tau = state.means, state.log_tau
        if state.metric is not None:
            head.metric = state.metric
        head.calibration_sums, head.calibration_counts = state.calibration_sums, state.calibration_counts
        return head

    def _engine_parts(self) -> tuple[Callable[[Tensor], tuple[Tensor, Tensor]], Any, Any]:
        """For the engine: features and logits of a pass, the last layer, and the head."""
        layer = self.last_layer
        last = _engine.LastLayer(self.layer, layer.weight, layer.bias)
        return (lambda x: tuple(self.parts(x))), last, self._head()  # type: ignore[return-value]

    def _for_engine(self, x: Tensor) -> Any:
        return engine_model(self, x, device_of(self.model, x), self.last_layer.out_features)

    def extra_repr(self) -> str:
        return f"layer={self.layer}, lambda_={self.lambda_}, metric={self.metric_kind}, context={self.context}"


def attach(
    model: nn.Module,
    head: str | None = None,
    *,
    loader: Iterable[Any],
    lambda_: float = 0.9,
    metric: str = "learned",
    rank: int = 0,
    tau: float | None = None,
    temperature: float = 1.0,
    momentum: float = 0.99,
    images: int = 10000,
    norm: str = "Linf",
    eps: float = 8 / 255,
    steps: int = 4,
    rounds: int = 2,
    metric_steps: int = 400,
    seed: int = 0,
    verbose: bool = False,
) -> HpmModule:
    """Attaches Hybrid Prototype Mixing to the last linear layer of a model.

    Class means are exact, the metric and tau are fitted on the features of clean and adversarial training images, and
    the reference context is calibrated on them: what `hpm finetune --epochs 0` does. The model itself does not change;
    train the result with any loop (module.loss()), then module.calibrate().

    Arguments:
        model: an adversarially trained torch.nn.Module, in evaluation mode, images in [0,1] -> logits [N,K].
        head: the name of its last linear layer, e.g. "fc"; None: found.
        loader: batches (x, y) of training images, x [n,C,H,W] float32 in [0,1], y [n] int64.
        lambda_: weight of the stable prototypes; 1 is the pure l2 classifier.
        metric: "learned", "l2norm" or "none". rank: of the learned metric; 0: classes - 1.
        tau: the logits' temperature; None: fitted. temperature: of the soft assignment. momentum: beta of the EMA.
        images: how many training images to fit on.
        norm, eps, steps: of the adversary; rounds: 2 attacks the fitted head too; metric_steps: of the fit.
        seed: of all random numbers. verbose: progress on stderr.

    Returns: HpmModule. Raises ValueError where no last linear layer is found or the loader's images do not fit.

    Example:
        defended = hpm.attach(model, head="fc", loader=train_loader)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"attach: model needs to be a torch.nn.Module, but is {type(model).__name__}")
    call = _fit_call(loader, images, norm, eps, steps, seed)
    call.rounds, call.metric_steps, call.rank, call.tau = rounds, metric_steps, rank, tau
    device = device_of(model, call.x)
    with _evaluating(model):
        layer = _last_layer(model, head, call.x[:4].to(device))
        wrapped = _Backbone(model, layer)
        settings = _engine.Head(metric, lambda_, temperature, momentum)
        with engine_model(wrapped, call.x, device, wrapped.last_layer.out_features) as made:
            fitted = _engine.attach_head(made, settings, call, Progress(verbose))
    return HpmModule(model, layer, fitted).train(model.training)


class _Backbone(HpmModule):
    """A model before a head is fitted to it: its features and last layer."""

    def __init__(self, model: nn.Module, layer: str) -> None:
        nn.Module.__init__(self)
        self.model = model
        self.layer = layer

    def _engine_parts(self) -> tuple[Callable[[Tensor], tuple[Tensor, Tensor]], Any, Any]:
        layer = self.last_layer
        last = _engine.LastLayer(self.layer, layer.weight, layer.bias)
        return (lambda x: tuple(self.parts(x))), last, None  # type: ignore[return-value]


def _last_layer(model: nn.Module, name: str | None, x: Tensor) -> str:
    """The name of the linear layer whose output are the logits."""
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    if name is not None and name not in layers:
        raise ValueError(
            f"attach: the model has no linear layer {name}; its linear layers are {', '.join(layers) or 'none'}"
        )
    with torch.no_grad():
        for candidate in [name] if name is not None else reversed(list(layers)):
            features, logits = _Backbone(model, candidate).parts(x)
            layer = layers[candidate]
            if features.dim() != 2:
                continue
            if torch.equal(nn.functional.linear(features, layer.weight, layer.bias), logits):
                return candidate
    if name is not None:
        raise ValueError(f"attach: {name} is not the last layer: its output on features [N,D] are not the logits")
    raise ValueError("attach: found no linear layer whose output are the logits; name the last one: head=...")


def _fit_call(loader: Iterable[Any], images: int, norm: str, eps: float, steps: int, seed: int) -> Any:
    xs: list[Tensor] = []
    ys: list[Tensor] = []
    for x, y in loader:
        xs.append(x)
        ys.append(y)
        if sum(len(part) for part in ys) >= images:
            break
    if not xs:
        raise ValueError("attach: the loader gave no batch (x, y)")
    x, y = torch.cat(xs)[:images].cpu(), torch.cat(ys)[:images].cpu()
    check_images(x, y, "attach")
    call = _engine.FitCall()
    call.x, call.y, call.norm, call.eps, call.adversary_steps, call.seed = x, y, norm, eps, steps, seed
    return call


class _evaluating:
    """Evaluation mode for the time of a block."""

    def __init__(self, module: nn.Module) -> None:
        self._modes = [(m, m.training) for m in module.modules()]

    def __enter__(self) -> None:
        for module, _ in self._modes:
            module.training = False

    def __exit__(self, *_: object) -> None:
        for module, mode in self._modes:
            module.training = mode


def _take_prefix_off(module: HpmModule, state: dict[str, Any], prefix: str, _: Any) -> None:
    """The model's tensors under their own names; settings of the head that are no tensors, where they are not usual."""
    for name in [n for n in state if n.startswith(prefix)]:
        value = state.pop(name)  # taken out and put back, so that the order stays
        inner = name[len(prefix) :]
        state[prefix + inner.removeprefix("model.")] = value
    usual = "learned" if module.hpm.metric is not None else "none"
    for key, text, default in (
        ("metric_kind", module.metric_kind, usual),
        ("temperature", f"{module.temperature:g}", "1"),
        ("momentum", f"{module.momentum:g}", "0.99"),
    ):
        if text != default:
            state[f"{prefix}hpm.{key}"] = text


def _put_prefix_on(module: HpmModule, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name in [n for n in state if n.startswith(prefix)]:
        inner = name[len(prefix) :]
        if inner == "hpm.metric_kind":
            module.metric_kind = state.pop(name)
        elif inner in ("hpm.temperature", "hpm.momentum"):
            setattr(module, inner.removeprefix("hpm."), float(state.pop(name)))
        elif not inner.startswith("hpm."):
            state[f"{prefix}model.{inner}"] = state.pop(name)
