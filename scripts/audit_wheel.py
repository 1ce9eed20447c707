"""Looks into a wheel of the Python package: what it holds, what its programs need, where they look for it.

    audit_wheel.py WHEEL      status 1, with a line for each finding, where something is wrong

No library of PyTorch's may be inside: the package uses the installed PyTorch. What else it needs must be named below.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

NEEDED_FILES = (
    r"hpm/__init__\.py", r"hpm/_engine\.[^/]*\.so", r"hpm/_engine\.pyi", r"hpm/py\.typed", r"hpm/_build\.py",
    r"hpm/bin/hpm", r"hpm_program\.py", r"hpm_robust-[^/]*\.dist-info/(licenses/)?LICENSE",
    r"hpm_robust-[^/]*\.dist-info/entry_points\.txt",
)  # fmt: skip
FOREIGN = re.compile(r"(libtorch|libc10|libgomp|libiomp|libshm|libcudart|libopenblas|libmkl)[^/]*$")
TORCH = re.compile(r"libtorch(_cpu|_python|_cuda)?\.so|libc10(_cuda)?\.so")
SYSTEM = re.compile(
    r"(libstdc\+\+|libm|libgcc_s|libc|libpthread|libdl|librt|ld-linux-x86-64|ld-linux-aarch64|libz|libcrypto|libarchive|"
    r"libturbojpeg|libjpeg|libpng16|libdeflate|libgomp[-\w]*)\.so[.\d]*"
)
ALLOWED_FOLDERS = ("$ORIGIN/../torch/lib", "$ORIGIN/../../torch/lib")


def dynamic(path: Path) -> tuple[list[str], list[str]]:
    """The libraries that a program needs, and the folders in which it looks for them."""
    text = subprocess.run(["readelf", "-d", path], check=True, capture_output=True, text=True).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", text)
    folders = [f for found in re.findall(r"\((?:RUNPATH|RPATH)\).*\[(.*)\]", text) for f in found.split(":")]
    return needed, folders


def findings(wheel: Path) -> list[str]:
    wrong = []
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        names = archive.namelist()
        for pattern in NEEDED_FILES:
            if not any(re.fullmatch(pattern, name) for name in names):
                wrong.append(f"nothing matches {pattern}")
        for name in names:
            if FOREIGN.search(name):
                wrong.append(f"{name}: a library of PyTorch's")
            if not name.startswith(("hpm/", "hpm_program.py", "hpm_robust-")):
                wrong.append(f"{name}: not of the package")
        archive.extractall(folder)
        for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
            with path.open("rb") as file:
                if file.read(4) != b"\x7fELF":
                    continue
            needed, folders = dynamic(path)
            name = path.relative_to(folder)
            print(
                f"{name}: {path.stat().st_size / 2**20:.1f} MiB, needs {', '.join(needed)}; looks in {', '.join(folders)}"
            )
            wrong += [f"{name}: needs {n}" for n in needed if not TORCH.fullmatch(n) and not SYSTEM.fullmatch(n)]
            wrong += [f"{name}: looks in {f}" for f in folders if f not in ALLOWED_FOLDERS]
    print(f"{wheel.name}: {wheel.stat().st_size / 2**20:.1f} MiB, {len(names)} files")
    return wrong


if __name__ == "__main__":
    found = findings(Path(sys.argv[1]))
    for line in found:
        print(f"audit: {line}", file=sys.stderr)
    sys.exit(1 if found else 0)
