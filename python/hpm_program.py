"""The console script `hpm`: runs the program of the package hpm on the LibTorch of the installed PyTorch.

It stands beside the package so that starting the program does not import PyTorch first.
"""

from __future__ import annotations

import os
import runpy
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path


def _folder(name: str, why: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        sys.exit(f"hpm: {why}")
    return Path(spec.origin).parent


def _torch_version(torch: Path) -> str:
    try:
        return version("torch")
    except PackageNotFoundError:
        return str(runpy.run_path(str(torch / "version.py"))["__version__"])


def main() -> None:
    """`hpm ...`: replaces this process by the program."""
    package = _folder("hpm", "the package hpm is not installed here")
    torch = _folder("torch", "PyTorch is not installed here, and the program uses its LibTorch: pip install torch")
    built_for = str(runpy.run_path(str(package / "_build.py"))["TORCH_VERSION"])
    found = _torch_version(torch)
    if found.split("+")[0].split(".")[:2] != built_for.split("+")[0].split(".")[:2]:
        sys.exit(f"hpm: this program was built for PyTorch {built_for}, but {found} is installed")
    program = package / "bin" / "hpm"
    if not program.is_file():
        sys.exit(f"hpm: this package was built without the program ({program})")
    before = os.environ.get("LD_LIBRARY_PATH")
    os.environ["LD_LIBRARY_PATH"] = f"{torch / 'lib'}:{before}" if before else str(torch / "lib")
    os.execv(str(program), [str(program), *sys.argv[1:]])
