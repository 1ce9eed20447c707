"""AutoAttack with the interface of its authors' class."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpm import _engine
from hpm._autoattack_settings import Apgd, ApgdTargeted, Fab, Logger, Square
from hpm._engine_model import engine_model
from hpm._inputs import Model, check_images, check_labels, check_mode, device_of, logits_of
from hpm._progress import Progress, warn

_KNOWN = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square")
_EXTRA = ("relaxation",)


class _Run(Progress):
    """The log of one evaluation, from what the engine reports."""

    def __init__(self, logger: Logger, images: int, batch_size: int, verbose: bool) -> None:
        super().__init__(verbose)
        self._logger = logger
        self._images = images
        self._batch_size = batch_size
        self._began = time.monotonic()
        self._robust: int | None = None
        self._chunk = 0
        self.seconds = 0.0

    def begin(self, task: str, total: int, unit: str) -> None:
        super().begin(task, total, unit)
        if self._robust is None:
            self._log(f"initial accuracy: {total / self._images:.2%}")
            self._began = time.monotonic()
        self._robust = total
        self._chunk = 0

    def chunk(self, attack: str, rows: int, broken: int) -> None:
        assert self._robust is not None
        self._chunk += 1
        self._robust -= broken
        chunks = -(-self._total // self._batch_size)
        super().end()
        self._log(f"{attack} - {self._chunk}/{chunks} - {broken} out of {rows} successfully perturbed")

    def end(self) -> None:
        super().end()
        if self._total:
            assert self._robust is not None
            accuracy = self._robust / self._images
            self._log(
                f"robust accuracy after {self._task.upper()}: {accuracy:.2%} "
                f"(total time {time.monotonic() - self._began:.1f} s)"
            )

    def _log(self, line: str) -> None:
        if self.verbose:
            self._logger.log(line)


class AutoAttack:
    """AutoAttack (Croce and Hein, ICML 2020, arXiv:2003.01690; L1: ICML 2021, arXiv:2103.01208).

    The class has the arguments, attributes and methods of its authors' class, so that a script for that one runs with
    one changed import. The verdicts are the engine's: they depend neither on `bs` nor on the order of the images. With
    `conformance=True` random draws, batches and operations are the official code's, and so are the flags, image by
    image; that takes longer, and one thread.

    Arguments:
        model: images [N,C,H,W] in [0,1] -> logits [N,K]; a torch.nn.Module in evaluation mode, or any callable.
        norm: "Linf", "L2" or "L1".
        eps: radius of the ball, in units of the input range [0,1].
        seed: of all random numbers; None is 0.
        verbose: log lines as the authors' class prints them.
        attacks_to_run: of version="custom": names out of apgd-ce, apgd-dlr, apgd-t, fab, fab-t, square, relaxation.
        version: "standard", "plus", "rand" (for a model that draws random numbers) or "custom".
        is_tf_model: refused: the engine attacks PyTorch models.
        device: where the attack runs; None: the model's device.
        log_path: a file to which the log is appended.
        conformance: the official flags bit for bit.

    Attributes: apgd, apgd_targeted, fab and square hold the attacks' settings, e.g. `adversary.apgd.n_restarts = 2`;
    attacks_to_run, seed, norm and epsilon may be changed too. After a run, `flags` [N] tells which images are robust.

    Raises: ValueError and TypeError for arguments, images and models that cannot be attacked.

    Example:
        adversary = hpm.AutoAttack(model, norm="Linf", eps=8/255, version="standard", device="cpu")
        x_adv = adversary.run_standard_evaluation(x, y, bs=250)
    """

    def __init__(
        self,
        model: Model,
        norm: str = "Linf",
        eps: float = 0.3,
        seed: int | None = None,
        verbose: bool = True,
        attacks_to_run: Sequence[str] = (),
        version: str = "standard",
        is_tf_model: bool = False,
        device: str | torch.device | None = None,
        log_path: str | os.PathLike[str] | None = None,
        *,
        conformance: bool = False,
    ) -> None:
        if is_tf_model:
            raise ValueError(
                "AutoAttack: is_tf_model=True asks for a TensorFlow model; hpm attacks PyTorch models alone"
            )
        if not callable(model):
            raise TypeError(f"AutoAttack: model needs to be callable, images -> logits, but is {type(model).__name__}")
        if version not in ("standard", "plus", "rand", "custom"):
            raise ValueError(f'AutoAttack: version needs to be standard, plus, rand or custom, but is "{version}"')
        if version != "custom" and len(attacks_to_run):
            raise ValueError(
                f'AutoAttack: version "{version}" has its own attacks; give version="custom" with attacks_to_run'
            )
        if norm not in ("Linf", "L2", "L1"):
            raise ValueError(f'AutoAttack: norm needs to be Linf, L2 or L1, but is "{norm}"')
        self.model = model
        self.norm = norm
        self.epsilon = eps
        self.seed = seed
        self.verbose = verbose
        self.attacks_to_run = list(attacks_to_run)
        self.version = version
        self.is_tf_model = False
        self.device = device
        self.logger = Logger(log_path)
        self.conformance = conformance
        self.flags: Tensor | None = None
        self.apgd = Apgd(n_restarts=5, n_iter=100, eot_iter=1, use_largereps=False)
        self.apgd_targeted = ApgdTargeted(n_restarts=1, n_iter=100, n_target_classes=9, eot_iter=1, use_largereps=False)
        self.fab = Fab(n_restarts=5, n_iter=100, n_target_classes=9)
        self.square = Square(n_queries=5000, n_restarts=1)
        if version != "custom":
            self.set_version(version)

    def set_version(self, version: str = "standard") -> None:
        """The attacks and settings of "standard", "plus" or "rand"."""
        if self.verbose:
            print(f"setting parameters for {version} version")
        if version == "standard":
            l1 = self.norm == "L1"
            self.attacks_to_run = ["apgd-ce", "apgd-t", "fab-t", "square"]
            self.apgd.n_restarts = 5 if l1 else 1
            self.apgd.use_largereps = self.apgd_targeted.use_largereps = l1
            self.apgd_targeted.n_target_classes = 5 if l1 else 9
            self.apgd_targeted.n_restarts = self.fab.n_restarts = 1
            self.fab.n_target_classes = 9
            self.square.n_queries = 5000
        elif version == "plus":
            self.attacks_to_run = ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"]
            self.apgd.n_restarts = self.fab.n_restarts = 5
            self.apgd_targeted.n_restarts = 1
            self.fab.n_target_classes = self.apgd_targeted.n_target_classes = 9
            self.square.n_queries = 5000
            if self.norm == "L1":
                warn('AutoAttack: version "plus" is defined for Linf and L2, and norm is L1')
        elif version == "rand":
            self.attacks_to_run = ["apgd-ce", "apgd-dlr"]
            self.apgd.n_restarts = 1
            self.apgd.eot_iter = 20
        else:
            raise ValueError(f'AutoAttack: version needs to be standard, plus or rand, but is "{version}"')

    def get_logits(self, x: Tensor) -> Tensor:
        """The model's logits [N,K] of images [N,C,H,W]."""
        logits: Tensor = self.model(x)
        return logits

    def get_seed(self) -> int:
        """The seed of the random numbers: that of the constructor, or 0."""
        return 0 if self.seed is None else int(self.seed)

    def run_standard_evaluation(
        self,
        x_orig: Tensor,
        y_orig: Tensor,
        bs: int = 250,
        return_labels: bool = False,
        state_path: str | os.PathLike[str] | None = None,
    ) -> Any:
        """Attack after attack, on the images that are not broken yet.

        Arguments:
            x_orig: images [N,C,H,W] float32 in [0,1].
            y_orig: labels [N] int64.
            bs: images a pass; changes the memory that is needed, and with conformance=True the flags.
            return_labels: also give the predicted labels.
            state_path: a file that tells how far the evaluation came; what is finished is kept in the folder
                `<state_path>.pieces`, and a run that was stopped goes on from there.

        Returns: adversarial images [N,C,H,W] on the device of x_orig, the originals where nothing broke them; with
        return_labels also the predicted labels [N] int64.
        """
        check_images(x_orig, y_orig, "AutoAttack")
        if bs < 1:
            raise ValueError(f"AutoAttack: bs needs to be at least 1, but is {bs}")
        check_mode(self.model, "AutoAttack", self.version == "rand")
        device = device_of(self.model, x_orig, self.device)
        classes, random = self._look_at(x_orig[:bs].to(device))
        check_labels(y_orig, classes, "AutoAttack")
        call = self._call(classes, bs, random)
        run = _Run(self.logger, x_orig.shape[0], bs, self.verbose)
        if self.verbose:
            self.logger.log(f"using {self.version} version including {', '.join(self.attacks_to_run)}.")
        with engine_model(self.model, x_orig, device, classes) as model:
            state = None if state_path is None else _State(Path(state_path), self, x_orig, y_orig, model)
            if state:
                state.begin(call)
            done = _engine.run_sequence(model, x_orig, y_orig, call, run)
        x_adv = done["adversarial"].to(x_orig.device)
        self.flags = done["robust"].to(x_orig.device)
        if state:
            state.finish(done)
        self._log_end(x_orig, x_adv)
        if not return_labels:
            return x_adv
        return x_adv, self._labels(done, x_adv, y_orig, bs, device)

    def run_standard_evaluation_individual(
        self, x_orig: Tensor, y_orig: Tensor, bs: int = 250, return_labels: bool = False
    ) -> dict[str, Any]:
        """Each attack on its own on all images.

        Arguments as run_standard_evaluation. Returns: attack -> adversarial images, or (images, labels).
        """
        if self.verbose:
            print(f"using {self.version} version including {', '.join(self.attacks_to_run)}")
        attacks, verbose, all_found = self.attacks_to_run, self.verbose, {}
        try:
            for attack in attacks:
                began = time.monotonic()
                self.attacks_to_run, self.verbose = [attack], False
                x_adv, y_adv = self.run_standard_evaluation(x_orig, y_orig, bs=bs, return_labels=True)
                all_found[attack] = (x_adv, y_adv) if return_labels else x_adv
                if verbose:
                    accuracy = self.clean_accuracy(x_adv, y_orig, bs=bs)
                    tabs = "\t \t" if attack == "fab" else "\t"
                    seconds = time.monotonic() - began
                    self.logger.log(
                        f"robust accuracy by {attack.upper()} {tabs} {accuracy:.2%} \t (time attack: {seconds:.1f} s)"
                    )
        finally:
            self.attacks_to_run, self.verbose = attacks, verbose
        return all_found

    def clean_accuracy(self, x_orig: Tensor, y_orig: Tensor, bs: int = 250) -> float:
        """The share in [0,1] of images that the model has right."""
        device = device_of(self.model, x_orig, self.device)
        right = 0
        for x, y in zip(torch.split(x_orig, bs), torch.split(y_orig, bs), strict=True):
            right += int((logits_of(self.model, x.to(device)).argmax(1) == y.to(device)).sum())
        accuracy = right / x_orig.shape[0]
        if self.verbose:
            print(f"clean accuracy: {accuracy:.2%}")
        return accuracy

    def _look_at(self, x: Tensor) -> tuple[int, bool]:
        """The number of classes, and whether the same images get other logits in another pass."""
        with torch.random.fork_rng(devices=[]):
            first, second = logits_of(self.model, x), logits_of(self.model, x)
        scale = float((first.amax(1) - first.amin(1)).max())
        moved = float((second - first).abs().max())
        # Sums on several threads may round differently; NaN is no randomness.
        random = self.version == "rand" or moved > 1e-4 * max(scale, 1e-30)
        if random and self.version != "rand":
            self._warn('the model seems to draw random numbers; use version="rand"')
        if bool(((first >= 0) & (first <= 1)).all()) and bool(((first.sum(1) - 1).abs() < 1e-5).all()):
            self._warn("the model seems to give probabilities; attacks need logits, the values before the softmax")
        return first.shape[1], random

    def _warn(self, line: str) -> None:
        warn(f"AutoAttack: {line}")
        if self.verbose:
            self.logger.log(f"Warning: {line}")

    def _call(self, classes: int, batch_size: int, random: bool) -> Any:
        call = _engine.SequenceCall()
        call.norm, call.eps = self.norm, float(self.epsilon)
        call.attacks = [self._spec(name, classes) for name in self.attacks_to_run]
        call.seed, call.batch_size = self.get_seed(), batch_size
        call.conformance, call.random = self.conformance, random
        return call

    def _spec(self, name: str, classes: int) -> Any:
        """An attack with its settings, as the engine takes it."""
        if name not in _KNOWN + _EXTRA:
            raise ValueError(f'AutoAttack: unknown attack "{name}"; known are {", ".join(_KNOWN + _EXTRA)}')
        spec = _engine.AttackSpec(name)
        if name in ("apgd-ce", "apgd-dlr"):
            spec.steps, spec.restarts = self.apgd.n_iter, self.apgd.n_restarts
            spec.eot, spec.large_radius = self.apgd.eot_iter, self.apgd.use_largereps
        elif name == "apgd-t":
            targeted = self.apgd_targeted
            spec.steps, spec.restarts, spec.targets = targeted.n_iter, targeted.n_restarts, targeted.n_target_classes
            spec.eot, spec.large_radius = targeted.eot_iter, targeted.use_largereps
        elif name in ("fab", "fab-t"):
            if name == "fab-t":
                self.fab.n_restarts = 1
            spec.steps, spec.restarts, spec.targets = self.fab.n_iter, self.fab.n_restarts, self.fab.n_target_classes
        elif name == "square":
            spec.queries, spec.restarts = self.square.n_queries, self.square.n_restarts
        else:
            spec.steps, spec.restarts, spec.targets = 150, 3, 9
        if name in ("apgd-t", "fab-t", "relaxation") and spec.targets > classes - 1:
            self._warn(f"{name} has {classes - 1} targets instead of {spec.targets}: the model has {classes} classes")
            spec.targets = classes - 1
        return spec

    def _labels(self, done: dict[str, Any], x_adv: Tensor, y: Tensor, bs: int, device: torch.device) -> Tensor:
        labels: Tensor = done["clean_prediction"].to(y.device).clone()
        broken = (done["clean_correct"] & ~done["robust"]).nonzero().squeeze(1)
        for rows in torch.split(broken, bs):
            found = logits_of(self.model, x_adv[rows.to(x_adv.device)].to(device)).argmax(1)
            labels[rows.to(y.device)] = found.to(y.device)
        return labels

    def _log_end(self, x: Tensor, x_adv: Tensor) -> None:
        if not self.verbose:
            return
        assert self.flags is not None
        change = (x_adv - x).flatten(1)
        norms = {"Linf": change.abs().amax(1), "L2": change.square().sum(1).sqrt(), "L1": change.abs().sum(1)}[
            self.norm
        ]
        self.logger.log(
            f"max {self.norm} perturbation: {norms.max():.5f}, nan in tensor: {x_adv.isnan().sum()}, "
            f"max: {x_adv.max():.5f}, min: {x_adv.min():.5f}"
        )
        self.logger.log(f"robust accuracy: {self.flags.float().mean():.2%}")


class _State:
    """The file that tells how far an evaluation came, beside the folder of its finished pieces."""

    def __init__(self, path: Path, owner: AutoAttack, x: Tensor, y: Tensor, model: Any) -> None:
        self._path = path
        self._owner = owner
        self._pieces = Path(f"{path}.pieces")
        self._depends = [_engine.sha256_of_tensors([x, y]), model.sha256]

    def begin(self, call: Any) -> None:
        """Refuses the state of another evaluation; tells the engine where its pieces are."""
        settings = [(a.name, a.steps, a.restarts, a.targets, a.queries, a.eot, a.large_radius) for a in call.attacks]
        call.fingerprint = json.dumps([
            self._depends,
            settings,
            call.norm,
            call.eps,
            call.seed,
            call.conformance,
            call.random,
        ])
        if self._path.exists() and not self._pieces.is_dir():
            raise ValueError(
                f"AutoAttack: {self._path} has no folder {self._pieces} beside it; remove it, or give another state_path"
            )
        resumed = self._pieces.is_dir()
        self._pieces.mkdir(parents=True, exist_ok=True)
        call.journal = str(self._pieces)
        if self._owner.verbose:
            self._owner.logger.log(f"{'Restored' if resumed else 'Created'} state in {self._path}")
        if not resumed:
            self._write([], None, float("nan"))

    def finish(self, done: dict[str, Any]) -> None:
        names = [attack["name"] for attack in done["attacks"]]
        self._write(names, done["robust"].tolist(), float(done["clean_correct"].float().mean()))

    def _write(self, done: list[str], flags: list[bool] | None, accuracy: float) -> None:
        text = {
            "_attacks_to_run": list(self._owner.attacks_to_run),
            "path": str(self._path),
            "_run_attacks": done,
            "_robust_flags": flags,
            "_last_saved": str(datetime.now()),
            "_SAVE_TIMEOUT": 60,
            "_clean_accuracy": accuracy,
        }
        part = Path(f"{self._path}.part")
        part.write_text(json.dumps(text), encoding="utf-8")
        part.replace(self._path)
