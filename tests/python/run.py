"""Runs the tests of the Python package with pytest; exits with 77, and a reason, where they cannot run.

run.py BUILD [pytest's arguments]      the module of a build folder
"""

import importlib.util
import os
import sys
from pathlib import Path

build = Path(sys.argv[1]).resolve()
if not list((build / "python" / "hpm").glob("_engine*.so")):
    print("skipped: the Python module is not built (HPM_BUILD_PYTHON, a Python with headers and PyTorch)")
    sys.exit(77)
if importlib.util.find_spec("pytest") is None:
    print(f"skipped: {sys.executable} has no pytest (scripts/setup installs it)")
    sys.exit(77)
os.environ["PYTHONPATH"] = os.pathsep.join([str(build / "python"), os.environ.get("PYTHONPATH", "")])
os.environ.setdefault("HPM_PROGRAM", str(build / "hpm"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
tests = str(Path(__file__).parent)
os.execv(
    sys.executable,
    [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5", tests, *sys.argv[2:]],
)
