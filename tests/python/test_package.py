"""The package itself: import time, the version of PyTorch, types, docstrings."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import SOURCE

import hpm


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment})


def test_importing_takes_little_more_than_torch() -> None:
    code = "import time, torch; t = time.perf_counter(); import hpm; print(time.perf_counter() - t)"
    assert min(float(python(code).stdout) for _ in range(2)) < 0.2


def test_another_torch_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text('__version__ = "2.9.1"\n')
    path = os.pathsep.join([str(tmp_path), str(Path(hpm.__file__).parent.parent)])
    found = python("import hpm", PYTHONPATH=path)
    line = found.stderr.strip().splitlines()[-1]
    assert line.startswith("ImportError: hpm was built for PyTorch ") and "but this is 2.9.1: install torch==" in line
    found = python("import sys; sys.modules['torch'] = None; import hpm", PYTHONPATH=path)
    assert "which is not installed here: pip install torch==" in found.stderr


@pytest.mark.parametrize("name", hpm.__all__)
def test_everything_public_has_a_docstring(name: str) -> None:
    thing = getattr(hpm, name)
    assert inspect.getdoc(thing), name
    if inspect.isclass(thing):
        for inner, member in vars(thing).items():
            plain = inspect.isfunction(member) and not inner.startswith("_")
            assert not plain or inspect.getdoc(getattr(thing, inner)) or inner in ("forward",), f"{name}.{inner}"
    elif name not in ("fast", "msa"):
        for parameter in inspect.signature(thing).parameters:
            assert parameter in (inspect.getdoc(thing) or ""), f"{name}: {parameter} is not described"


def test_package_and_examples_are_typed() -> None:
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    targets = [str(SOURCE / "python" / "hpm"), *map(str, sorted((SOURCE / "examples" / "python").glob("*.py")))]
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", str(SOURCE / "pyproject.toml"), "--cache-dir", str(SOURCE / "build" / "mypy"), *targets],
        capture_output=True, text=True, env={**os.environ, "MYPYPATH": str(SOURCE / "python")},
    )  # fmt: skip
    assert found.returncode == 0, found.stdout


def test_the_stub_names_everything_that_the_engine_has() -> None:
    from hpm import _engine

    stub = (SOURCE / "python" / "hpm" / "_engine.pyi").read_text()
    for name in [n for n in dir(_engine) if not n.startswith("__")]:
        assert f"def {name}(" in stub or f"class {name}:" in stub or f"\n{name}: " in stub, name
