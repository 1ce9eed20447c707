"""The runs whose flags official_flags.json holds, and how they are set up: the same script for both packages."""

from __future__ import annotations

from typing import Any

from torch import Tensor

# name: norm, eps, attacks
RUNS: dict[str, tuple[str, float, list[str]]] = {
    "Linf gradients": ("Linf", 0.06, ["apgd-ce", "apgd-dlr", "apgd-t"]),
    "Linf FAB": ("Linf", 0.06, ["fab", "fab-t"]),
    "Linf Square": ("Linf", 0.2, ["square"]),
    "L2 gradients": ("L2", 0.6, ["apgd-ce", "apgd-t"]),
    "L2 FAB": ("L2", 0.6, ["fab-t"]),
    "L2 Square": ("L2", 2.5, ["square"]),
    "L1 gradients": ("L1", 2.0, ["apgd-ce", "apgd-t"]),
    "L1 FAB": ("L1", 2.0, ["fab"]),
    "L1 Square": ("L1", 4.0, ["square"]),
}


def attack(AutoAttack: Any, model: Any, x: Tensor, y: Tensor, name: str, **more: Any) -> tuple[Any, Tensor, Tensor]:
    """A script as people write it for the official package."""
    norm, eps, attacks = RUNS[name]
    adversary = AutoAttack(
        model, norm=norm, eps=eps, seed=3, verbose=False, version="custom", attacks_to_run=attacks, device="cpu", **more
    )
    adversary.apgd.n_restarts = 2
    adversary.apgd.n_iter = 20
    adversary.apgd_targeted.n_target_classes = 3
    adversary.apgd_targeted.n_iter = 20
    adversary.fab.n_restarts = 2
    adversary.fab.n_iter = 15
    adversary.fab.n_target_classes = 3
    adversary.square.n_queries = 200
    x_adv, labels = adversary.run_standard_evaluation(x, y, bs=10, return_labels=True)
    return adversary, x_adv, labels
