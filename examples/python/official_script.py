"""A script for the official AutoAttack package, with one changed import."""

from __future__ import annotations

from networks import robust_model

import hpm
from hpm import AutoAttack  # was: from autoattack import AutoAttack


def main(count: int = 200) -> float:
    model = robust_model()
    test = hpm.data("fashion-mnist", count=count)
    adversary = AutoAttack(
        model, norm="Linf", eps=0.1, version="custom", attacks_to_run=["apgd-ce", "fab-t"], device="cpu"
    )
    adversary.apgd.n_restarts = 1
    adversary.fab.n_target_classes = 3
    x_adv = adversary.run_standard_evaluation(test.x, test.y, bs=100)
    return adversary.clean_accuracy(x_adv, test.y)


if __name__ == "__main__":
    main()
