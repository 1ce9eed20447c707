"""hpm.evaluate, msa and fast; Result; Defence; reports; RobustBench's format."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

import hpm
from hpm._identity import identity_of


def test_evaluation_and_autoattack_come_to_the_same_flags(tiny: Any, x: Any, y: Any) -> None:
    result = hpm.evaluate(tiny, x, y, eps=0.06, version="custom", attacks=["apgd-ce", "apgd-t"])
    adversary = hpm.AutoAttack(tiny, eps=0.06, verbose=False, version="custom", attacks_to_run=["apgd-ce", "apgd-t"])
    adversary.run_standard_evaluation(x, y)
    assert bool((result.flags == adversary.flags).all())
    assert result.clean_accuracy == 87.5
    assert result.robust_accuracy == pytest.approx(100 * float(result.flags.float().mean()))
    assert result.interval[0] < result.robust_accuracy < result.interval[1]
    assert {c.status for c in result.checks} <= {"passed", "failed", "reported", "not run"}
    assert result.adversarial is not None
    with torch.no_grad():
        assert bool(((tiny(result.adversarial).argmax(1) == y) == result.flags).all())
    assert "robust" in repr(result) and "24 images" in repr(result)
    assert "<table>" in result._repr_html_() and "data:image/png" in result._repr_html_()


def test_fast_comes_to_the_verdicts_of_autoattack(tiny: Any, x: Any, y: Any) -> None:
    x, y = x[:12], y[:12]
    fast = hpm.fast(tiny, x, y, eps=0.06, sample=0, checks="none")
    full = hpm.evaluate(tiny, x, y, eps=0.06, version="custom", attacks=["apgd-ce", "apgd-t", "fab-t"], checks="none")
    assert fast.results["protocol"] == "fast"
    assert bool((fast.flags == full.flags).all())


def test_a_black_box_is_refused_for_gradients_and_attacked_by_queries(tiny: Any, x: Any, y: Any) -> None:
    def black_box(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return tiny(images)

    with pytest.raises(ValueError, match="not differentiable"):
        hpm.evaluate(black_box, x, y, eps=0.2)
    result = hpm.evaluate(black_box, x, y, eps=0.2, version="custom", attacks=["square"], queries=300, checks="none")
    assert result.robust_accuracy < result.clean_accuracy


def test_several_radii_give_a_falling_curve(tiny: Any, x: Any, y: Any) -> None:
    result = hpm.evaluate(tiny, x, y, eps=[0.06, 0.02, 0.1], protocol="pgd", steps=10, checks="none")
    curve = {point["eps"]: point["robust_accuracy"] for point in result.results["curve"]}
    assert list(curve) == [0.02, 0.06, 0.1]
    assert curve[0.02] >= curve[0.06] >= curve[0.1]


def test_a_saved_run_is_one_that_the_program_reports(tiny: Any, x: Any, y: Any, tmp_path: Path, program: Path) -> None:
    result = hpm.evaluate(tiny, x, y, eps=0.06, protocol="pgd", role="base")
    folder = result.save(tmp_path / "run")
    with pytest.raises(ValueError, match="is not empty"):
        result.save(folder)
    assert json.loads((folder / "results.json").read_text())["robust_accuracy"] == result.robust_accuracy
    subprocess.run([program, "report", folder, "--html", tmp_path / "theirs.html"], check=True, capture_output=True)
    ours = hpm.report([folder, result], tmp_path / "ours.html", labels=["saved", "in memory"])
    assert "<svg" in ours.read_text() and (tmp_path / "theirs.html").stat().st_size > 10000
    table = hpm.report(folder, tmp_path / "table.md").read_text()
    assert f"{result.clean_accuracy:.1f}" in table
    with pytest.raises(ValueError, match="needs to end in"):
        hpm.report(folder, tmp_path / "report.pdf")


def test_an_evaluation_in_a_folder_goes_on_there(tiny: Any, x: Any, y: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    calls = {"n": 0, "stop": 160}

    def stopping(images: torch.Tensor) -> torch.Tensor:
        calls["n"] += 1
        if calls["n"] == calls["stop"]:
            raise OSError("the power went out")
        return tiny(images)

    settings: Any = {
        "eps": 0.06,
        "version": "custom",
        "attacks": ["apgd-ce", "apgd-t"],
        "batch_size": 12,
        "checks": "none",
    }
    with pytest.raises(OSError, match="power"):
        hpm.evaluate(stopping, x, y, out=run, **settings)
    with pytest.raises(ValueError, match="holds another run"):
        hpm.evaluate(stopping, x, y, out=run, **settings)
    resumed = hpm.evaluate(stopping, x, y, out=run, resume=True, **settings)
    assert bool((resumed.flags == hpm.evaluate(tiny, x, y, **settings).flags).all())


def test_flags_come_as_a_table_with_a_row_an_image(tiny: Any, x: Any, y: Any) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: .venv/bin/pip install pandas")
    table = hpm.evaluate(tiny, x, y, eps=0.06, protocol="pgd", checks="none").to_pandas()
    assert isinstance(table, pandas.DataFrame) and len(table) == 24
    assert {"label", "clean_correct", "robust", "clean_prediction"} <= set(table.columns)
    assert table.clean_correct.sum() == 21


def test_msa_judges_a_defence_by_its_target_and_climbs_its_surrogates(tiny: Any, x: Any, y: Any) -> None:
    def rounded(images: torch.Tensor) -> torch.Tensor:
        return tiny((images * 31).round() / 31)

    with torch.no_grad():
        labels = rounded(x).argmax(1)
    with pytest.warns(RuntimeWarning, match="exactly zero"):
        alone = hpm.msa(hpm.Defence(target=rounded), x, labels, eps=0.06, checks="none")
    with pytest.warns(RuntimeWarning, match="exactly zero"):
        through = hpm.msa(hpm.Defence(target=rounded, surrogates={"through": tiny}), x, labels, eps=0.06, checks="none")
    assert alone.clean_accuracy == through.clean_accuracy == 100
    assert through.robust_accuracy < alone.robust_accuracy
    broke = {s["name"]: s.get("broke", 0) for s in through.contexts[0].surrogates}
    assert broke["through"] > broke["self"]
    with torch.no_grad():
        assert bool(((rounded(through.adversarial).argmax(1) == labels) == through.flags).all())


def test_msa_attacks_a_coupled_batch_as_one_object(tiny: Any, x: Any) -> None:
    seen = set()

    def centred(images: torch.Tensor) -> torch.Tensor:
        seen.add(len(images))
        logits = tiny(images)
        return logits - 0.5 * logits.mean(0, keepdim=True)

    with torch.no_grad():
        labels = torch.cat([centred(part).argmax(1) for part in x.split(12)])
    defence = hpm.Defence(target=centred, surrogates={"plain": tiny}, coupling="batch", batch_size=12)
    seen.clear()
    result = hpm.msa(defence, x, labels, eps=0.06, checks="none")
    assert result.clean_accuracy == 100 and result.robust_accuracy < 100
    assert result.adversarial is not None
    with torch.no_grad():
        right = torch.cat([centred(p).argmax(1) for p in result.adversarial.split(12)]) == labels
    assert bool((right == result.flags).all())
    greedy = hpm.msa(defence, x, labels, eps=0.06, checks="none", surrogates=["self", "gmsa-min"], steps=5)
    assert {"self", "gmsa-min"} <= {attack["surrogate"] for attack in greedy.results["attacks"]}
    assert greedy.robust_accuracy < 100


def test_a_coupled_black_box_is_attacked_through_its_stand_ins_alone(tiny: Any, x: Any) -> None:
    def centred(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            logits = tiny(images)
            return logits - 0.5 * logits.mean(0, keepdim=True)

    labels = torch.cat([centred(part).argmax(1) for part in x.split(12)])
    settings: Any = {"eps": 0.06, "checks": "none", "steps": 10}
    with pytest.raises(ValueError, match="not differentiable"):
        hpm.msa(hpm.Defence(target=centred, coupling="batch", batch_size=12), x, labels, **settings)
    defence = hpm.Defence(target=centred, surrogates={"plain": tiny}, coupling="batch", batch_size=12)
    with pytest.warns(RuntimeWarning, match="through stand-ins alone"):
        result = hpm.msa(defence, x, labels, **settings)
    surrogates = {s["name"]: s for s in result.contexts[0].surrogates}
    assert surrogates["self"]["unavailable"] == "the model has no gradient"
    assert {attack["surrogate"] for attack in result.results["attacks"]} == {"plain"}
    assert result.contexts[0].name == "joint" and result.robust_accuracy < 100


def test_msa_judges_a_random_defence_by_the_votes_of_its_draws(tiny: Any, x: Any, y: Any) -> None:
    def rounded(images: torch.Tensor) -> torch.Tensor:
        return tiny(((images + 0.05 * torch.randn_like(images)) * 31).round() / 31)

    def noisy(images: torch.Tensor) -> torch.Tensor:  # the same without the rounding
        return tiny(images + 0.05 * torch.randn_like(images))

    defence = hpm.Defence(target=rounded, surrogates={"unrounded": noisy}, random=True)
    state = torch.get_rng_state()
    settings: Any = {"eps": 0.06, "checks": "none", "steps": 5}
    with pytest.warns(RuntimeWarning, match="exactly zero"):
        result = hpm.msa(defence, x, y, **settings)
        again = hpm.msa(defence, x, y, **settings)
    assert [s["name"] for s in result.contexts[0].surrogates][:3] == ["eot", "unrounded", "smoothed"]
    broke = {s["name"]: s.get("broke", 0) for s in result.contexts[0].surrogates}
    assert broke["unrounded"] > broke["eot"]
    assert bool((result.flags == again.flags).all())  # the draws come from the seed
    assert torch.equal(torch.get_rng_state(), state)


def test_draws_that_no_seed_fixes_are_told(tiny: Any, x: Any, y: Any) -> None:
    own = torch.Generator()
    defence = hpm.Defence(lambda images: tiny(images + 0.1 * torch.rand(images.shape, generator=own)), random=True)
    with pytest.warns(RuntimeWarning, match="does not draw from PyTorch's default generator alone"):
        hpm.msa(defence, x[:2], y[:2], eps=0.01, checks="none", steps=1, surrogates=["query"], queries=2)


def test_a_run_does_not_go_on_with_another_surrogate_of_the_same_name(
    tiny: Any, x: Any, y: Any, tmp_path: Path
) -> None:
    def scaled(factor: float) -> Any:
        return lambda images: tiny(factor * images)

    def judged(factor: float, resume: bool) -> hpm.Result:
        defence = hpm.Defence(target=tiny, surrogates={"scaled": scaled(factor)})
        return hpm.msa(defence, x, y, eps=0.06, steps=2, checks="none", out=tmp_path / "run", resume=resume)

    flags = judged(2.0, False).flags
    assert bool((judged(2.0, True).flags == flags).all())
    with pytest.raises(RuntimeError, match="surrogate scaled was .*, is now"):
        judged(3.0, True)


LEVELS = 8


class _Scaled(torch.nn.Module):
    def __init__(self, net: Any, factor: float) -> None:
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, images: torch.Tensor) -> Any:
        return self.net(self.factor * images)


def test_functions_are_told_apart_by_their_code_and_what_it_refers_to(tiny: Any, monkeypatch: Any) -> None:
    def rounded(images: torch.Tensor) -> Any:
        return tiny((images * LEVELS).round() / LEVELS)

    def made(factor: float) -> Any:
        return lambda images: tiny(factor * images)

    assert identity_of(made(2)) == identity_of(made(2)) != identity_of(made(3))
    assert identity_of(_Scaled(tiny, 2)) == identity_of(_Scaled(tiny, 2)) != identity_of(_Scaled(tiny, 3))
    assert identity_of(lambda images: tiny(images)) != identity_of(lambda images: tiny(images + 0.1))
    of_rounded, of_model = identity_of(rounded), identity_of(tiny)
    monkeypatch.setitem(globals(), "LEVELS", 16)
    assert identity_of(rounded) != of_rounded
    monkeypatch.setitem(globals(), "LEVELS", 8)
    assert identity_of(rounded) == of_rounded
    tiny.fc.bias.data[0] += 1
    assert identity_of(tiny) != of_model and identity_of(rounded) != of_rounded


def test_a_defence_that_cannot_be_judged_is_refused(tiny: Any, x: Any, y: Any) -> None:
    with pytest.raises(ValueError, match='"rows" or "batch"'):
        hpm.msa(hpm.Defence(target=tiny, coupling="pairs"), x, y)
    with pytest.raises(ValueError, match="judged by protocol"):
        hpm.evaluate(hpm.Defence(target=tiny), x, y)
    with pytest.raises(ValueError, match='surrogate "flat" gives logits without a gradient'):
        hpm.msa(hpm.Defence(target=tiny, surrogates={"flat": lambda images: tiny(images).detach()}), x, y, eps=0.06)


ROBUSTBENCH_FIELDS = {  # of every entry below model_info/cifar10/Linf at commit 78fcc9e
    "link": str, "name": str, "authors": str, "additional_data": bool, "number_forward_passes": int, "dataset": str,
    "venue": str, "architecture": str, "eps": str, "clean_acc": str, "reported": str, "autoattack_acc": str,
    "unreliable": bool,
}  # fmt: skip


def test_an_entry_has_the_fields_and_types_of_robustbench(tiny: Any, x: Any, y: Any) -> None:
    result = hpm.evaluate(tiny, x[:8], y[:8], eps=64 / 255, checks="none")
    entry = result.to_robustbench(
        name="A paper", authors="A. Author", venue="arXiv", dataset="cifar10", link="https://x"
    )
    assert {name: type(value) for name, value in entry.items()} == ROBUSTBENCH_FIELDS
    assert entry["eps"] == "64/255" and entry["clean_acc"] == "87.50" and entry["architecture"] == "Tiny"
    assert entry["autoattack_acc"] == f"{result.robust_accuracy:.2f}"
    json.dumps(entry)
    with pytest.raises(ValueError, match="version standard"):
        hpm.evaluate(tiny, x, y, protocol="clean").to_robustbench()
    with pytest.raises(ValueError, match="unknown field autors"):
        result.to_robustbench(autors="A")
