"""evaluate(), msa() and fast(): everything that `hpm evaluate` does, on a model in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from hpm import _engine
from hpm._defence import Defence
from hpm._engine_model import engine_model
from hpm._identity import identity_of
from hpm._inputs import Model, check_images, check_labels, check_mode, device_of, logits_of
from hpm._progress import Progress
from hpm._result import Result
from hpm._scratch import Scratch

Radius = float | str | Sequence[float]


def option_text(value: Any) -> str:
    """A value as it would be written on the command line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return ",".join(option_text(part) for part in value)
    return str(value)


def option_texts(given: dict[str, Any]) -> dict[str, str]:
    """Options that were given, by their names on the command line: lambda_ is lambda, step_size is step-size."""
    names = {"contexts": "context"}
    texts = {}
    for name, value in given.items():
        if value is None or value is False:
            continue
        texts[names.get(name, name.rstrip("_").replace("_", "-"))] = option_text(value)
    return texts


def evaluate(
    model: Model | Defence,
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "Linf",
    eps: Radius = 8 / 255,
    protocol: str = "autoattack",
    version: str | None = None,
    attacks: Sequence[str] | None = None,
    steps: int | None = None,
    restarts: int | None = None,
    targets: int | None = None,
    queries: int | None = None,
    step_size: float | None = None,
    loss: str | None = None,
    contexts: Sequence[str] | None = None,
    lambda_: float | None = None,
    sweep_lambda: Sequence[float] | None = None,
    colluders: Sequence[int] | None = None,
    malicious: Sequence[int] | None = None,
    company_sizes: Sequence[int] | None = None,
    victims: int | None = None,
    company: int | None = None,
    company_seed: int | None = None,
    surrogates: Sequence[str] | None = None,
    joint_surrogates: Sequence[str] | None = None,
    sample: int | None = None,
    no_escalate: bool = False,
    budget: float | None = None,
    base: Model | None = None,
    control: Model | None = None,
    transfer_only: bool = False,
    full_matrix: bool = False,
    conformance: bool = False,
    random: bool = False,
    checks: str = "basic",
    self_test: str | None = None,
    quantise: bool = False,
    role: str | None = None,
    seed: int = 0,
    batch_size: int = 256,
    threads: int | None = None,
    device: str | torch.device | None = None,
    class_names: Sequence[str] = (),
    data_name: str = "images in memory",
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    verbose: bool = False,
) -> Result:
    """Evaluates a model under attack, with checks that mark a suspect result.

    Arguments:
        model: images [N,C,H,W] in [0,1] -> logits [N,K]: a torch.nn.Module in evaluation mode, any callable, what
            attach() or native() gave, or with protocol="msa" a Defence.
        x: images [N,C,H,W] float32 in [0,1].
        y: labels [N] int64.
        norm: "Linf", "L2" or "L1".
        eps: radius, in units of the input range: a number, a text ("8/255"), or several for a curve, of which the first
            is headlined.
        protocol: "autoattack" (default), "fast", "msa" (the Mixed Surrogate Attack), "pgd" or "clean".
        version: of autoattack "standard", "plus", "rand" or "custom"; of msa "quick", "fast", "standard" or "plus".
        attacks: of autoattack's version custom, e.g. ["apgd-ce", "square"].
        steps, restarts, targets, queries: replace the version's; step_size, loss ("ce", "dlr"): of pgd.
        contexts: of an HPM model: "reference", "alone", "solo", "solo-eot", "joint"; the first is headlined.
        lambda_, sweep_lambda: mixing weight in place of the model's, and further ones that judge every iterate.
        colluders, victims, company, company_seed: of the contexts with a company; malicious: images of a batch that
            attack the untouched ones ([0]: no such study); company_sizes: further batch sizes to attack.
        surrogates, joint_surrogates: of msa; None: the version's. full_matrix: each on every correct image.
        sample, no_escalate, budget: of fast: survivors that FAB-T and Square attack in full; no AutoAttack after an
            alarm, the result is suspect instead; a time limit in seconds.
        base, control: the model before the defence and the matched control: both are transferred from, and evaluated
            under the same budget; transfer_only: not evaluated.
        conformance: of autoattack: the official code's draws, batches and operations, on one thread.
        random: the model draws random numbers.
        checks: "none", "basic" or "full". self_test: "binarisation": does the attack find what was planted?
        quantise: also judge the adversarial images rounded to 8 bits.
        role: what the run is called in a comparison.
        seed: of all random numbers. batch_size: images a pass; never changes a verdict.
        threads: for the time of the evaluation; None: as PyTorch is set. device: None: the model's.
        class_names, data_name: for the report.
        out: the folder of the run; None: a temporary one, which Result.save() copies. resume: go on with the run there;
            overwrite: replace it.
        verbose: progress on stderr.

    Returns: a Result.

    Raises: TypeError and ValueError for what cannot be evaluated, RuntimeError for logits that are NaN or infinite.
    Warnings go through the module warnings. An exception in the model arrives as it is.

    Source: docs/evaluation.md; F. Croce and M. Hein, arXiv:2003.01690; K. Wang, arXiv:2606.01746.

    Example:
        result = hpm.evaluate(model, x, y, eps=8/255, protocol="autoattack")
        print(result.robust_accuracy, result.flags.sum())
    """
    options = option_texts(
        {
            "norm": norm, "eps": eps, "protocol": protocol, "version": version, "attacks": attacks, "steps": steps,
            "restarts": restarts, "targets": targets, "queries": queries, "step_size": step_size, "loss": loss,
            "contexts": contexts, "lambda_": lambda_, "sweep_lambda": sweep_lambda, "colluders": colluders,
            "malicious": malicious, "company_sizes": company_sizes, "self_test": self_test,
            "victims": victims, "company": company, "company_seed": company_seed, "surrogates": surrogates,
            "joint_surrogates": joint_surrogates, "sample": sample, "no_escalate": no_escalate, "budget": budget,
            "transfer_only": transfer_only, "full_matrix": full_matrix,
            "conformance": conformance, "random": random, "checks": None if checks == "basic" else checks,
            "quantise": quantise, "role": role,
            "seed": seed, "batch_size": 250 if conformance and batch_size == 256 else batch_size, "threads": threads,
        }
    )  # fmt: skip
    defence = model if isinstance(model, Defence) else None
    if defence is not None and protocol != "msa":
        raise ValueError('evaluate: a Defence is judged by protocol="msa" (hpm.msa)')
    target: Model = model.target if isinstance(model, Defence) else model
    random = random or version == "rand"
    check_images(x, y, "evaluate")
    check_mode(target, "evaluate", random or (defence is not None and defence.random))
    place = device_of(target, x, device)
    with torch.random.fork_rng(devices=[]):  # the caller draws as if a random model had not been asked
        classes = logits_of(target, x[: min(len(x), 2)].to(place)).shape[1]
    check_labels(y, classes, "evaluate")
    if place.type == "cuda":
        options["device"] = str(place)

    call = _engine.EvaluationCall()
    call.resume, call.overwrite = resume, overwrite
    scratch = None
    if out is None:
        if resume:
            raise ValueError("evaluate: resume=True needs the folder of the run: out=...")
        scratch = Scratch(x.numel() * x.element_size())
        call.overwrite = True
    call.out = str(out) if scratch is None else scratch.name
    call.options = options
    if defence is not None:
        defence.check()
        call.surrogates = [
            _engine.Surrogate(n, f"{n}, written in Python", identity_of(s), s) for n, s in defence.surrogates.items()
        ]
        call.options = {**defence.options(), **options}
    images = _engine.EvaluatedImages(x, y, data_name, "all", list(class_names))
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        made = stack.enter_context(engine_model(target, x, place, classes))
        if base is not None:
            call.base = stack.enter_context(engine_model(base, x, place, classes))
        if control is not None:
            call.control = stack.enter_context(engine_model(control, x, place, classes))
        results, tensors = _engine.evaluate(made, images, call, Progress(verbose))
    return Result(results, tensors, x, y, call.out, scratch)


def msa(model: Model | Defence, x: Tensor, y: Tensor, *, eps: Radius = 8 / 255, **options: Any) -> Result:
    """The Mixed Surrogate Attack: evaluate() with protocol="msa", for an HPM model in its contexts or for a Defence.

    Several differentiable stand-ins for the prediction are attacked, every iterate is judged by the true prediction,
    and the worst case counts. Arguments and result as evaluate(); most used: contexts, base, control, version.

    Source: K. Wang, arXiv:2606.01746; docs/msa.md.

    Example:
        result = hpm.msa(defended, x, y, eps=8/255, contexts=["reference", "solo"], control=control)
    """
    return evaluate(model, x, y, eps=eps, protocol="msa", **options)


def fast(model: Model, x: Tensor, y: Tensor, *, eps: Radius = 8 / 255, **options: Any) -> Result:
    """AutoAttack's verdicts in a fraction of its time: evaluate() with protocol="fast". docs/fast.md tells its limits.

    Arguments and result as evaluate().

    Example:
        result = hpm.fast(model, x, y, eps=8/255)
    """
    return evaluate(model, x, y, eps=eps, protocol="fast", **options)
