"""hpm.AutoAttack in the place of the official class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import official_settings
import pytest
import torch

import hpm

FLAGS = json.loads(Path(__file__).with_name("official_flags.json").read_text())


def text_of(flags: torch.Tensor) -> str:
    return "".join(str(int(f)) for f in flags)


@pytest.mark.parametrize("name", official_settings.RUNS)
def test_conformance_gives_the_official_flags_image_by_image(name: str, tiny: Any, x: Any, y: Any) -> None:
    adversary, x_adv, labels = official_settings.attack(hpm.AutoAttack, tiny, x, y, name, conformance=True)
    assert text_of(labels == y) == FLAGS[name]
    assert text_of(adversary.flags) == FLAGS[name]
    with torch.no_grad():
        assert text_of(tiny(x_adv).argmax(1) == y) == FLAGS[name]


def test_the_committed_flags_are_those_of_the_official_package(official: Any, tiny: Any, x: Any, y: Any) -> None:
    for name in ("Linf gradients", "L2 FAB", "Linf Square"):
        _, _, labels = official_settings.attack(official.AutoAttack, tiny, x, y, name)
        assert text_of(labels == y) == FLAGS[name]


def test_the_official_class_and_ours_have_the_same_arguments_and_methods(official: Any) -> None:
    import inspect

    theirs = inspect.signature(official.AutoAttack.__init__).parameters
    ours = inspect.signature(hpm.AutoAttack.__init__).parameters
    assert list(theirs) == [name for name, p in ours.items() if p.kind is not p.KEYWORD_ONLY]
    for name in [n for n in dir(official.AutoAttack) if not n.startswith("_")]:
        method = inspect.signature(getattr(official.AutoAttack, name)).parameters
        assert list(method) == list(inspect.signature(getattr(hpm.AutoAttack, name)).parameters), name


def test_adversarial_images_stay_in_ball_and_box(tiny: Any, x: Any, y: Any) -> None:
    for norm, eps in (("Linf", 0.06), ("L2", 0.6), ("L1", 2.0)):
        adversary = hpm.AutoAttack(tiny, norm=norm, eps=eps, verbose=False)
        adversary.square.n_queries = 100
        adversary.apgd.n_iter = adversary.apgd_targeted.n_iter = adversary.fab.n_iter = 20
        x_adv = adversary.run_standard_evaluation(x, y)
        change = (x_adv - x).double().flatten(1)
        size = {"Linf": change.abs().amax(1), "L2": change.norm(dim=1), "L1": change.abs().sum(1)}[norm]
        assert float(size.max()) <= eps * (1 + 1e-5)
        assert float(x_adv.min()) >= 0 and float(x_adv.max()) <= 1
        assert bool((x_adv[adversary.flags] == x[adversary.flags]).all())
        assert 0 < int(adversary.flags.sum()) < 21


def test_verdicts_do_not_depend_on_the_batch_size(tiny: Any, x: Any, y: Any) -> None:
    found = []
    for bs in (5, 24):
        adversary = hpm.AutoAttack(tiny, eps=0.06, verbose=False, version="custom", attacks_to_run=["apgd-ce", "fab-t"])
        adversary.apgd.n_iter = adversary.fab.n_iter = 30
        adversary.run_standard_evaluation(x, y, bs=bs)
        found.append(adversary.flags)
    assert bool((found[0] == found[1]).all())


def test_changed_settings_reach_the_attack(tiny: Any, x: Any, y: Any) -> None:
    calls = {"n": 0}

    def counted(images: torch.Tensor) -> torch.Tensor:
        calls["n"] += len(images)
        return tiny(images)

    passes = []
    for queries in (50, 150):
        adversary = hpm.AutoAttack(counted, eps=1e-6, verbose=False, version="custom", attacks_to_run=["square"])
        adversary.square.n_queries = queries
        calls["n"] = 0
        adversary.run_standard_evaluation(x, y)
        passes.append(calls["n"])
    assert passes[1] - passes[0] == 100 * 21  # of the 21 images that are right


def test_individual_attacks_see_all_images(tiny: Any, x: Any, y: Any, capsys: Any) -> None:
    adversary = hpm.AutoAttack(tiny, eps=0.06, version="custom", attacks_to_run=["apgd-ce", "square"])
    adversary.square.n_queries = 50
    found = adversary.run_standard_evaluation_individual(x, y, return_labels=True)
    assert list(found) == ["apgd-ce", "square"]
    for images, labels in found.values():
        with torch.no_grad():
            assert bool((tiny(images).argmax(1) == labels).all())
    assert "robust accuracy by SQUARE" in capsys.readouterr().out
    assert adversary.attacks_to_run == ["apgd-ce", "square"] and adversary.verbose


def test_the_log_has_the_official_lines(tiny: Any, x: Any, y: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    adversary = hpm.AutoAttack(tiny, eps=0.06, log_path=log, version="custom", attacks_to_run=["apgd-ce"])
    adversary.run_standard_evaluation(x, y, bs=12)
    lines = log.read_text().splitlines()
    assert lines[0] == "using custom version including apgd-ce."
    assert lines[1] == "initial accuracy: 87.50%"
    assert lines[2].startswith("apgd-ce - 1/2 - ") and lines[2].endswith("successfully perturbed")
    assert lines[4].startswith("robust accuracy after APGD-CE: ") and "(total time " in lines[4]
    assert lines[-2].startswith("max Linf perturbation: 0.06000, nan in tensor: 0, max: ")
    robust = float(adversary.flags.float().mean())
    assert lines[-1] == f"robust accuracy: {robust:.2%}"


def test_a_stopped_evaluation_goes_on_where_it_was(tiny: Any, x: Any, y: Any, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    calls = {"n": 0, "stop": 10**9}

    def stopping(images: torch.Tensor) -> torch.Tensor:
        calls["n"] += 1
        if calls["n"] > calls["stop"]:
            raise OSError("the power went out")
        return tiny(images)

    def adversary() -> hpm.AutoAttack:
        return hpm.AutoAttack(stopping, eps=0.06, verbose=False, version="custom", attacks_to_run=["apgd-ce", "apgd-t"])

    whole = adversary()
    whole.run_standard_evaluation(x, y, bs=12)
    needed, calls["n"], calls["stop"] = calls["n"], 0, int(0.8 * calls["n"])
    with pytest.raises(OSError, match="the power went out"):
        adversary().run_standard_evaluation(x, y, bs=12, state_path=state)
    calls["n"], calls["stop"] = 0, 10**9
    resumed = adversary()
    resumed.run_standard_evaluation(x, y, bs=12, state_path=state)
    assert calls["n"] < needed / 2
    assert bool((resumed.flags == whole.flags).all())
    kept = json.loads(state.read_text())
    assert kept["_robust_flags"] == whole.flags.tolist() and kept["_run_attacks"] == ["apgd-ce", "apgd-t"]
    with pytest.raises(RuntimeError, match="journal|fingerprint|other"):  # another radius is another evaluation
        hpm.AutoAttack(
            stopping, eps=0.05, verbose=False, version="custom", attacks_to_run=["apgd-ce", "apgd-t"]
        ).run_standard_evaluation(x, y, bs=12, state_path=state)


def test_a_random_model_is_judged_by_most_of_its_draws(tiny: Any, x: Any, y: Any) -> None:
    def noisy(images: torch.Tensor) -> torch.Tensor:
        return tiny(images + 0.01 * torch.randn_like(images))

    adversary = hpm.AutoAttack(noisy, eps=0.06, verbose=False, version="rand")
    adversary.apgd.n_iter, adversary.apgd.eot_iter = 5, 2
    adversary.run_standard_evaluation(x, y)
    assert 0 < int(adversary.flags.sum()) < 21
    with pytest.warns(RuntimeWarning, match="draw random numbers"):
        hpm.AutoAttack(
            noisy, eps=0.0, verbose=False, version="custom", attacks_to_run=["square"]
        ).run_standard_evaluation(x, y)


def test_what_the_engine_does_not_vary_is_refused_in_a_sentence(tiny: Any) -> None:
    adversary = hpm.AutoAttack(tiny, verbose=False)
    with pytest.raises(ValueError, match=r"Square.p_init is 0.8 in hpm"):
        adversary.square.p_init = 0.3
    with pytest.raises(AttributeError, match="Apgd has no setting n_restart; it has"):
        adversary.apgd.n_restart = 3
    with pytest.warns(RuntimeWarning, match="Fab.verbose has no effect"):
        adversary.fab.verbose = True
    with pytest.raises(ValueError, match="TensorFlow"):
        hpm.AutoAttack(tiny, is_tf_model=True)
    with pytest.raises(ValueError, match="its own attacks"):
        hpm.AutoAttack(tiny, attacks_to_run=["square"])
    with pytest.raises(ValueError, match='unknown attack "apgd"'):
        hpm.AutoAttack(tiny, version="custom", attacks_to_run=["apgd"], verbose=False).run_standard_evaluation(
            torch.rand(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64)
        )
