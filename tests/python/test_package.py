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
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )


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
        pytest.skip("mypy is not installed: scripts/setup installs it in .venv")
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


def test_the_console_script_runs_the_program_on_the_installed_torch(tmp_path: Path, program: Path) -> None:
    """A package folder as the wheel lays it out, with links to this build."""
    package = tmp_path / "hpm"
    (package / "bin").mkdir(parents=True)
    (package / "bin" / "hpm").symlink_to(program)
    for name in ("__init__.py", "_build.py"):
        (package / name).symlink_to(Path(hpm.__file__).parent / name)
    call = "import sys; sys.argv = ['hpm', '--version']; import hpm_program; hpm_program.main()"
    path = os.pathsep.join([str(tmp_path), str(SOURCE / "python")])
    found = python(call, PYTHONPATH=path)
    assert found.stdout.startswith("hpm 0.") and "LibTorch" in found.stdout
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("")
    other = tmp_path / "torch-2.9.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.9.1\n")
    assert "built for PyTorch" in python(call, PYTHONPATH=path).stderr
    (package / "bin" / "hpm").unlink()
    assert python(call.replace("hpm_program.main", "print"), PYTHONPATH=path).returncode == 0


def test_the_sdist_holds_what_the_build_needs(tmp_path: Path) -> None:
    import tarfile

    backend = pytest.importorskip(
        "scikit_build_core.build", reason="scikit-build-core is not installed: scripts/setup installs it in .venv"
    )
    before = os.getcwd()
    os.chdir(SOURCE)
    try:
        archive = tmp_path / backend.build_sdist(str(tmp_path))
    finally:
        os.chdir(before)
    with tarfile.open(archive) as file:
        names = {name.split("/", 1)[1] for name in file.getnames() if "/" in name}
    assert {
        "pyproject.toml",
        "CMakeLists.txt",
        "LICENSE",
        "python/src/module.cpp",
        "python/hpm/__init__.py",
        "hpm/core/error.h",
    } <= names
    assert not [name for name in names if name.startswith(("build/", ".venv/", "runs/", "checkpoints/"))]
    assert archive.stat().st_size < 3 * 2**20


def test_the_audit_of_a_wheel_finds_what_does_not_belong(tmp_path: Path) -> None:
    import zipfile

    wheel = tmp_path / "hpm_robust-0.1.0-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("hpm/__init__.py", "")
        file.writestr("hpm/lib/libtorch_cpu.so", "")
        file.write(sys.executable, "hpm/bin/hpm")
    audit = [sys.executable, str(SOURCE / "scripts" / "audit_wheel.py"), str(wheel)]
    found = subprocess.run(audit, capture_output=True, text=True)
    assert found.returncode == 1
    assert "hpm/lib/libtorch_cpu.so: a library of PyTorch's" in found.stderr
    assert "nothing matches hpm/py" in found.stderr
