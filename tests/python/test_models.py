"""native, load, read_checkpoint; attach: HPM as a module, equal to the engine and the program."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import images
from torch import nn

import hpm

ARCH = "conv8k4s2p1-relu-flatten-fc16-relu-fc10"


def layers() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 10)
    ).eval()


def loader(model: nn.Module, count: int = 240) -> list[tuple[torch.Tensor, torch.Tensor]]:
    x = images(count)
    with torch.no_grad():
        y = model(x).argmax(1)
    y[:10] = torch.arange(10)  # every class occurs
    return list(zip(x.split(40), y.split(40), strict=True))


def test_native_has_the_modules_logits_and_gradients(x: Any) -> None:
    module = layers()
    native = hpm.native(module, x[:8], arch=ARCH)
    assert native.architecture == ARCH and native.classes == 10
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    module(a).square().sum().backward()
    native(b).square().sum().backward()
    assert a.grad is not None and b.grad is not None
    assert torch.allclose(native(x), module(x), atol=1e-5) and torch.allclose(a.grad, b.grad, atol=1e-4)


def test_native_gives_the_modules_flags(x: Any) -> None:
    module = layers()
    with torch.no_grad():
        y = module(x).argmax(1)
    settings: Any = {"eps": 0.03, "version": "custom", "attacks": ["apgd-ce", "fab-t"], "checks": "none"}
    ours = hpm.evaluate(hpm.native(module, x[:8], arch=ARCH), x, y, **settings)
    theirs = hpm.evaluate(module, x, y, **settings)
    assert bool((ours.flags == theirs.flags).all()) and 0 < ours.robust_accuracy < 100


def test_native_refuses_weights_that_fit_but_give_other_logits(x: Any) -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = layers()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.net((images - 0.5) / 0.25)

    with pytest.raises(ValueError, match="give mean and std"):
        hpm.native(Shifted().eval(), x[:8], arch=ARCH)
    assert hpm.native(Shifted().eval(), x[:8], arch=ARCH, mean=[0.5] * 3, std=[0.25] * 3).classes == 10
    with pytest.raises(RuntimeError):
        hpm.native(nn.Sequential(nn.Flatten(), nn.LayerNorm(192), nn.Linear(192, 10)).eval(), x[:8])


def test_checkpoints_are_read_without_running_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    weights = layers().state_dict()
    torch.save({"epoch": 3, "state_dict": {f"module.{n}": t for n, t in weights.items()}}, tmp_path / "a.pth")
    read = hpm.read_checkpoint(tmp_path / "a.pth")
    assert list(read) == list(weights) and all(torch.equal(read[n], weights[n]) for n in weights)
    layers().load_state_dict(read)
    torch.save({"state_dict": weights, "log": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(Exception):  # noqa: B017  torch's own reader refuses the file
        torch.load(tmp_path / "evil.pth", weights_only=True)
    try:
        assert all(torch.equal(t, weights[n]) for n, t in hpm.read_checkpoint(tmp_path / "evil.pth").items())
    except RuntimeError as error:
        assert "evil.pth" in str(error)
    assert not (tmp_path / "ran").exists()
    (tmp_path / "broken.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:500])
    with pytest.raises(RuntimeError, match="broken.pth"):
        hpm.read_checkpoint(tmp_path / "broken.pth")


def test_attach_finds_the_last_layer_and_leaves_the_model_alone(tiny: Any) -> None:
    before = copy.deepcopy(tiny.state_dict())
    defended = hpm.attach(tiny, loader=loader(tiny), eps=0.02)
    assert defended.layer == "fc" and defended.hpm.means.shape == (10, 16)
    assert all(torch.equal(t, before[n]) for n, t in tiny.state_dict().items())
    with pytest.raises(ValueError, match="hidden is not the last layer"):
        hpm.attach(tiny, head="hidden", loader=loader(tiny))
    with pytest.raises(ValueError, match="no linear layer fd; its linear layers are hidden, fc"):
        hpm.attach(tiny, head="fd", loader=loader(tiny))


def test_the_state_has_the_models_names_and_hpms_beside_them(tiny: Any, tmp_path: Path) -> None:
    defended = hpm.attach(tiny, head="fc", loader=loader(tiny), eps=0.02, momentum=0.9)
    names = set(defended.state_dict())
    assert set(tiny.state_dict()) < names
    assert {n for n in names if n.startswith("hpm.")} == {
        "hpm.means", "hpm.metric", "hpm.calibration_sums", "hpm.calibration_counts", "hpm.log_tau", "hpm.lambda", "hpm.momentum",
    }  # fmt: skip
    torch.save(defended.state_dict(), tmp_path / "model.pth")
    other = hpm.attach(copy.deepcopy(tiny), head="fc", loader=loader(tiny, 80), eps=0.05, seed=4)
    x = images(16)
    assert not torch.allclose(other(x), defended(x))
    other.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    assert torch.equal(other(x), defended(x)) and other.momentum == 0.9


def test_folding_gives_a_plain_model_of_the_same_predictions(tiny: Any) -> None:
    defended = hpm.attach(tiny, loader=loader(tiny), eps=0.02)
    x = images(40)
    assert bool((defended.fold()(x).argmax(1) == defended(x).argmax(1)).all())
    assert torch.allclose(defended.fold()(x).softmax(1), defended(x).softmax(1), atol=1e-4)


def reference_formula(module: hpm.HpmModule, z: torch.Tensor) -> torch.Tensor:
    """-|P z - m_k|^2 / tau, m_k = lambda s_k + (1 - lambda) d_k, written out."""
    state = module.hpm
    assert state.metric is not None
    stable = state.means @ state.metric.T
    counts = state.calibration_counts
    absent = (counts == 0).float()
    dynamic = (state.calibration_sums @ state.metric.T + absent[:, None] * stable) / (counts + absent)[:, None]
    m = module.lambda_ * stable + (1 - module.lambda_) * dynamic
    return -(torch.cdist((z @ state.metric.T).double(), m.double()) ** 2 / state.log_tau.exp()).float()


def test_logits_follow_the_formula(tiny: Any) -> None:
    module = hpm.attach(tiny, loader=loader(tiny), eps=0.02)
    parts = module.parts(images(16))
    assert torch.allclose(module(images(16)), reference_formula(module, parts.features), atol=1e-3, rtol=1e-4)


def test_training_moves_all_parameters_and_means_follow(tiny: Any) -> None:
    batches = loader(tiny)
    module = hpm.attach(tiny, loader=batches, eps=0.02, momentum=0.9).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    before = {n: t.clone() for n, t in module.state_dict().items() if isinstance(t, torch.Tensor)}
    first = last = 0.0
    for step in range(12):
        x, y = batches[step % len(batches)]
        loss = module.loss(x + 0.01 * torch.randn_like(x), y, clean=x)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters())
        optimizer.step()
        first, last = first or loss.item(), loss.item()
    assert last < first
    moved = {n for n, t in module.state_dict().items() if n in before and not torch.equal(t, before[n])}
    assert set(before) - moved == {"hpm.lambda", "hpm.calibration_sums", "hpm.calibration_counts"}
    module.calibrate(batches, eps=0.02)
    assert not torch.equal(module.hpm.calibration_sums, before["hpm.calibration_sums"])
    x, y = batches[0]  # the EMA by its definition
    z, old = module.parts(x).features.detach(), module.hpm.means.clone()
    module.update_means(z, y)
    for k in range(10):
        wanted = 0.9 * old[k] + 0.1 * z[y == k].mean(0) if bool((y == k).any()) else old[k]
        assert torch.allclose(module.hpm.means[k], wanted, atol=1e-5)


def test_the_assignment_is_straight_through(tiny: Any) -> None:
    module = hpm.attach(tiny, loader=loader(tiny), eps=0.02)
    parts = module.parts(images(16))
    o = parts.fc_logits.detach().requires_grad_()
    given = {}
    for assignment in ("ste", "hard", "soft"):
        logits = module.logits(
            parts._replace(features=parts.features.detach(), fc_logits=o), "joint", assignment=assignment
        )
        weights = torch.arange(10.0)
        given[assignment] = (logits.detach(), torch.autograd.grad((logits * weights).sum(), o, allow_unused=True)[0])
    assert torch.equal(given["ste"][0], given["hard"][0]) and not torch.equal(given["ste"][0], given["soft"][0])
    assert float(given["ste"][1].abs().max()) > 0 and given["hard"][1] is None


def test_msa_evaluates_the_contexts_of_a_module_beside_its_control(tiny: Any, x: Any, y: Any) -> None:
    module = hpm.attach(tiny, loader=loader(tiny), eps=0.02)
    result = hpm.msa(module, x, y, eps=0.02, contexts=["reference", "solo"], control=tiny, company=12, checks="none")
    assert [c.name for c in result.contexts] == ["reference", "solo"]
    with torch.no_grad():
        assert bool(((module(x).argmax(1) == y) == result.clean_flags).all())
    paired = result.results["contexts"][0]["control"]
    assert paired["clean_accuracy"] == 87.5


def test_the_program_predicts_and_judges_as_python_does(program: Path, tmp_path: Path) -> None:
    net = layers()
    batches = loader(net)
    module = hpm.attach(net, loader=batches, eps=0.02)
    x = images(16)
    y = module(x).argmax(1)
    torch.save(module.state_dict(), tmp_path / "model.pth")
    numpy = pytest.importorskip("numpy", reason="numpy is not installed: .venv/bin/pip install numpy")
    numpy.savez(tmp_path / "images.npz", x=x.numpy(), y=y.numpy())
    common = ["--model", tmp_path / "model.pth", "--arch", ARCH, "--mean", "0,0,0", "--std", "1,1,1"]
    (tmp_path / "x.npy").parent.mkdir(exist_ok=True)
    numpy.save(tmp_path / "x.npy", x.numpy())
    subprocess.run(
        [program, "evaluate", *common, "--data", f"npz:{tmp_path / 'images.npz'}", "--eps", "0.02", "--protocol", "msa",
         "--context", "reference,alone", "--steps", "10", "--checks", "none", "--threads", "1", "--out", tmp_path / "run", "--quiet"],
        check=False, capture_output=True,
    )  # fmt: skip
    theirs = json.loads((tmp_path / "run" / "results.json").read_text())
    ours = hpm.msa(module, x, y, eps=0.02, contexts=["reference", "alone"], steps=10, checks="none")
    for mine, figures in zip(ours.contexts, theirs["contexts"], strict=True):
        assert mine.clean_flags.int().tolist() == figures["clean_correct"]
        assert mine.flags.int().tolist() == figures["robust"]
    loaded = hpm.load(tmp_path / "model.pth", arch=ARCH, input_shape=(3, 8, 8))
    with torch.no_grad():
        for context in ("reference", "alone", "solo", "joint"):
            module.context = context
            assert torch.allclose(loaded.predict(x, context), module(x), atol=1e-4, rtol=1e-5), context


def test_analyze_studies_the_heads_of_a_module(tiny: Any, x: Any, y: Any) -> None:
    module = hpm.attach(tiny, loader=loader(tiny), eps=0.02)
    study = hpm.analyze(module, x, y, eps=0.02, iterations=[2, 4])
    assert [head["name"] for head in study.results["heads"]] == ["fc", "l2", "hpm"]
    assert (study.folder / "report.html").is_file()
    with pytest.raises(ValueError):
        hpm.analyze(tiny, x, y)


def test_data_sets_come_as_tensors(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed: .venv/bin/pip install numpy")
    x = (images(6) * 255).round().byte()
    numpy.savez(tmp_path / "some.npz", x=x.numpy(), y=numpy.arange(6))
    found = hpm.data(f"npz:{tmp_path / 'some.npz'}", first=1, count=4)
    assert found.x.dtype == torch.float32 and torch.allclose(found.x, x[1:5].float() / 255)
    assert found.y.tolist() == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="did you mean|needs|unknown"):
        hpm.data("cifra10")
    with pytest.raises(ValueError, match="go beyond the 6 images"):
        hpm.data(f"npz:{tmp_path / 'some.npz'}", first=3, count=4)
