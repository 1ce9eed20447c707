"""The examples, the notebook and the Python blocks of the documentation run as they stand."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SOURCE

import hpm

EXAMPLES = SOURCE / "examples" / "python"
sys.path.insert(0, str(EXAMPLES))


@pytest.fixture
def fashion(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> hpm.Data:
    """Fashion-MNIST, of which every example gets a few images alone, and a folder to write to.

    The test images are some that break soon: attacks take long on those that do not. Returns the first hundred.
    """
    whole = hpm.data
    try:
        test = whole("fashion-mnist", count=100)
    except RuntimeError:
        pytest.skip("Fashion-MNIST is not at hand: the Debian package dataset-fashion-mnist, or HPM_DATA")
    model = importlib.import_module("networks").robust_model()
    found = hpm.evaluate(model, test.x, test.y, eps=0.05, protocol="pgd", steps=5, checks="none")
    rows = (found.clean_flags & ~found.flags).nonzero().flatten()[:4]

    def few(name: str, split: str = "test", **options: Any) -> hpm.Data:
        if split == "train":
            return whole(name, split, **{**options, "count": min(options.get("count", 300), 300)})
        return replace(test, x=test.x[rows], y=test.y[rows])

    monkeypatch.setattr(hpm, "data", few)
    monkeypatch.chdir(tmp_path)
    return test


def test_the_official_script_runs_with_one_changed_import(fashion: hpm.Data) -> None:
    script = importlib.import_module("official_script")
    assert script.AutoAttack is hpm.AutoAttack
    assert script.main(count=4) == 0  # they break within the radius


def test_hpm_trains_in_a_plain_loop_and_the_program_judges_the_same(
    fashion: hpm.Data, tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(
        sys,
        "argv",
        ["finetune.py", "--images", "300", "--count", "4", "--out", str(tmp_path), "--program", str(program)],
    )
    defended = importlib.import_module("finetune").main()
    python = json.loads((tmp_path / "in-python" / "results.json").read_text())
    theirs = json.loads((tmp_path / "in-the-program" / "results.json").read_text())
    assert [c["context"] for c in theirs["contexts"]] == ["reference"]
    assert (
        [c["context"] for c in python["contexts"]] == ["reference"]
        and python["base"]
        and python["contexts"][0]["control"]
    )
    with torch.no_grad():
        assert theirs["predictions"]["clean"] == defended(fashion.x[:4]).argmax(1).tolist()
    assert (tmp_path / "report.html").stat().st_size > 10000


def test_hpm_trains_in_a_lightning_module(fashion: hpm.Data) -> None:
    result = importlib.import_module("lightning_loop").main(images=256, count=8)
    assert 0 <= result.robust_accuracy <= result.clean_accuracy


def run_cells(cells: list[str], names: dict[str, Any]) -> Any:
    """Runs cells as a notebook does: the value of a last expression is what the cell shows."""
    import ast

    shown = None
    for source in cells:
        body = ast.parse(source).body
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), "<cell>", "exec"), names)
        if last is not None:
            shown = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
            if hasattr(shown, "_repr_html_"):
                assert "robust" in shown._repr_html_()
    return shown


def test_the_notebook_runs(fashion: hpm.Data, tmp_path: Path) -> None:
    notebook = json.loads((EXAMPLES / "tour.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    run_cells(cells, names)
    assert "data:image/png;base64," in names["result"]._repr_html_()
    assert (tmp_path / "notebook-report.html").stat().st_size > 10000
    assert all(not cell.get("outputs") for cell in notebook["cells"])  # outputs are not committed


MARKED = re.compile(r"^<!-- python -->\n+```python\n(.*?)^```$", re.M | re.S)
PAGES = [page for page in [SOURCE / "README.md", *sorted((SOURCE / "docs").rglob("*.md"))] if MARKED.search(page.read_text())]


@pytest.mark.parametrize("page", [page.relative_to(SOURCE).as_posix() for page in PAGES])
def test_the_python_of_the_documentation_runs(page: str, fashion: hpm.Data, tmp_path: Path) -> None:
    """The blocks after <!-- python -->, in order, with `model` and `train_loader` given."""
    blocks = MARKED.findall((SOURCE / page).read_text())
    (tmp_path / "checkpoints").symlink_to(SOURCE / "checkpoints")  # a reader stands in the sources
    train = hpm.data("fashion-mnist", "train")
    loader = list(zip(train.x.split(100), train.y.split(100), strict=True))
    names: dict[str, Any] = {"model": importlib.import_module("networks").robust_model(), "train_loader": loader}
    for block in blocks:
        exec(compile(block, page, "exec"), names)


ROBUSTBENCH = """
import importlib, sys, types
from unittest.mock import MagicMock
import hpm, torch
official, state = types.ModuleType("autoattack"), types.ModuleType("autoattack.state")
official.AutoAttack, state.EvaluationState = hpm.AutoAttack, object
sys.modules["autoattack"], sys.modules["autoattack.state"] = official, state
while True:  # what benchmark() imports and does not need here: downloads, data sets, other models, tables
    try:
        evaluation = importlib.import_module("robustbench.eval")
        break
    except ModuleNotFoundError as missing:
        if missing.name.startswith("robustbench"):
            raise
        sys.modules[missing.name] = MagicMock(__spec__=None, __path__=[])
        for name in [n for n in sys.modules if n.startswith("robustbench")]:
            del sys.modules[name]
architectures = "robustbench.model_zoo.architectures."
torch.manual_seed(0)
for module, make in (("resnet", lambda m: m.ResNet18()), ("wide_resnet", lambda m: m.WideResNet(10, 10, 1)),
                     ("dm_wide_resnet", lambda m: m.DMWideResNet(10, 10, 1, activation_fn=m.Swish))):
    model = make(importlib.import_module(architectures + module)).eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        y = model(x).argmax(1)
    evaluation.load_clean_dataset = lambda *a, **k: (x, y)
    shown = hpm.AutoAttack.set_version
    def quick(self, version="standard"):
        shown(self, version)
        self.attacks_to_run = ["apgd-ce", "square"]
        self.apgd.n_iter, self.square.n_queries = 3, 5
    hpm.AutoAttack.set_version = quick
    clean, robust = evaluation.benchmark(model, n_examples=2, dataset="cifar10", threat_model="Linf", eps=0.5, batch_size=2)
    hpm.AutoAttack.set_version = shown
    print("accuracies", module, clean, robust)
"""


def test_robustbench_benchmarks_with_our_class_in_place_of_the_official_one() -> None:
    folder = os.environ.get("HPM_ROBUSTBENCH", "")
    if not (Path(folder) / "robustbench" / "eval.py").is_file():
        pytest.skip("RobustBench is not at hand: HPM_ROBUSTBENCH=DIR (a clone of github.com/RobustBench/robustbench)")
    path = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
    found = subprocess.run(
        [sys.executable, "-c", ROBUSTBENCH], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    lines = [line.split() for line in found.stdout.splitlines() if line.startswith("accuracies")]
    assert [line[1] for line in lines] == ["resnet", "wide_resnet", "dm_wide_resnet"]
    assert all(float(clean) == 1 and float(robust) < 1 for _, _, clean, robust in lines)
